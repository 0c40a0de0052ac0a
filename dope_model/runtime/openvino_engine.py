"""The network on OpenVINO: the fastest engine on a CPU, in float32 or in INT8 (`int8`)."""

from __future__ import annotations

import numpy as np

from dope_model.checkpoint import Checkpoint
from dope_model.hints import pip_install
from dope_model.network.config import Mode
from dope_model.runtime.export import GraphCache, Variant
from dope_model.runtime.graph_engine import (
    EngineError,
    GraphEngine,
    GraphRunner,
    PartCandidatesFinder,
)
from dope_model.runtime.signal_stack import kept_signal_stack

# OpenVINO's own RoIAlign beats both of its replacements.
VARIANT = Variant(pooling="op", winograd=True)
# On processors with bfloat16 the default would be that: boxes would be off by pixels.
SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}


def import_openvino(engine: str = "openvino"):
    """The package.

    Raises:
        ImportError: it is not installed; the text has the command that brings it.
    """
    try:
        import openvino
    except ImportError as error:
        raise ImportError(
            f"engine {engine}: {error}: {pip_install('openvino', 'onnx', 'onnxscript')}"
        ) from error
    return openvino


class OpenVinoEngine(GraphEngine):
    """Runs a checkpoint's network on the CPU: `engine(rgb)` gives candidates by part.

    A graph is made for each size of image that comes, once, and kept in the cache folder.

    Raises:
        ImportError: OpenVINO is not installed.
    """

    def __init__(self, checkpoint: Checkpoint, mode: Mode) -> None:
        super().__init__(checkpoint, mode)
        self.openvino = import_openvino()
        self.core = self.openvino.Core()
        self.graphs = GraphCache(checkpoint, mode)

    @property
    def description(self) -> str:
        return "OpenVINO float32 on cpu"

    def make_runner(self, height: int, width: int) -> GraphRunner:
        return self.compile(self.core.read_model(self.graphs.graph(height, width, VARIANT)))

    def compile(self, model) -> GraphRunner:
        """A runner of an OpenVINO model.

        Raises:
            EngineError: OpenVINO cannot compile it.
        """
        try:
            compiled = self.compile_model(model)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot compile the graph: {error}") from error
        return lambda rgb: compiled(np.ascontiguousarray(rgb))[0]

    def compile_model(self, model):
        """An OpenVINO model as OpenVINO compiles it here."""
        with kept_signal_stack():
            return self.core.compile_model(model, "CPU", SETTINGS)

    def make_eager(self) -> PartCandidatesFinder:
        from dope_model.runtime.torch_engine import EagerEngine

        return EagerEngine(self.checkpoint, self.mode, "cpu")
