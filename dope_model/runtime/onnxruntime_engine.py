"""The network on ONNX Runtime, on a CPU in float32."""

from __future__ import annotations

from dope_model.checkpoint import Checkpoint
from dope_model.hints import pip_install
from dope_model.network.config import Mode
from dope_model.runtime.canvas import Canvas
from dope_model.runtime.engine import GraphEngine, GraphRunner
from dope_model.runtime.graphs import graph_file
from dope_model.runtime.variant import FOR_CPU, INPUT


class OnnxRuntimeEngine(GraphEngine):
    """Runs a checkpoint's network on the CPU: `engine(rgb)` gives candidates by part.

    Raises:
        ImportError: ONNX Runtime is not installed.
    """

    def __init__(self, checkpoint: Checkpoint, mode: Mode, device: str = "cpu") -> None:
        super().__init__(checkpoint, mode)
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(f"ONNX Runtime: {error}: {pip_install('onnxruntime')}") from error
        self._onnxruntime = onnxruntime

    @property
    def description(self) -> str:
        return "ONNX Runtime float32 on cpu"

    def make_runner(self, canvas: Canvas) -> GraphRunner:
        graph = graph_file(self.checkpoint, self.mode, canvas, FOR_CPU)
        session = self._onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        return lambda image: session.run(None, {INPUT: image})[0]
