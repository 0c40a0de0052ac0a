"""The network on OpenVINO: the fastest engine on a CPU, in float32 or in INT8 (`int8`)."""

from __future__ import annotations

from dope_model.checkpoint import Checkpoint
from dope_model.hints import pip_install
from dope_model.network.config import Mode
from dope_model.runtime.canvas import Canvas
from dope_model.runtime.engine import GraphEngine, GraphRunner
from dope_model.runtime.graphs import graph_file
from dope_model.runtime.signal_stack import kept_signal_stack
from dope_model.runtime.variant import FOR_CPU

# On processors with bfloat16 the default would be that: boxes would be off by pixels.
SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}


class OpenVinoEngine(GraphEngine):
    """Runs a checkpoint's network on the CPU: `engine(rgb)` gives candidates by part.

    Raises:
        ImportError: OpenVINO is not installed.
    """

    def __init__(self, checkpoint: Checkpoint, mode: Mode, device: str = "cpu") -> None:
        super().__init__(checkpoint, mode)
        try:
            import openvino
        except ImportError as error:
            raise ImportError(f"OpenVINO: {error}: {pip_install('openvino')}") from error
        self.openvino = openvino
        self.core = openvino.Core()

    @property
    def description(self) -> str:
        return "OpenVINO float32 on cpu"

    def read(self, canvas: Canvas):
        """The graph as an OpenVINO model."""
        graph = graph_file(self.checkpoint, self.mode, canvas, FOR_CPU)
        return self.core.read_model(graph)

    def make_runner(self, canvas: Canvas) -> GraphRunner:
        compiled = self.compile(self.read(canvas))
        return lambda image: compiled(image)[0]

    def compile(self, model):
        """An OpenVINO model as OpenVINO compiles it here."""
        with kept_signal_stack():
            return self.core.compile_model(model, "CPU", SETTINGS)
