"""The network on OpenVINO: the fastest engine on a CPU."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from dope_model.checkpoint import Checkpoint
from dope_model.network.config import Mode
from dope_model.postprocess.candidates import Candidates
from dope_model.runtime.export import export_onnx, graphs_folder, weights_digest
from dope_model.runtime.static_graph import PackedLayout

log = logging.getLogger(__name__)

CANDIDATES = 256


class OpenVinoEngine:
    """Runs a checkpoint's network on the CPU: `engine(rgb)` gives candidates by part.

    A graph is made for each size of image that comes, once, and kept in the cache folder.

    Raises:
        ImportError: OpenVINO is not installed.
    """

    def __init__(self, checkpoint: Checkpoint, mode: Mode) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ImportError(
                f"engine openvino: {error}: pip install openvino onnx onnxscript"
            ) from error
        self._core = openvino.Core()
        self._checkpoint, self._mode = checkpoint, mode
        self._digest = weights_digest(checkpoint, mode)
        self._compiled: dict[tuple[int, int], object] = {}
        self.min_scores = checkpoint.min_candidate_scores()

    @property
    def description(self) -> str:
        return "OpenVINO float32 on cpu"

    def __call__(self, rgb: np.ndarray) -> dict[str, Candidates]:
        """Candidates of an image (H, W, 3) uint8, by part, in its pixels."""
        size = rgb.shape[:2]
        if size not in self._compiled:
            self._compiled[size] = self._compile(*size)
        compiled, layout = self._compiled[size]
        packed = compiled(np.ascontiguousarray(rgb))[0]
        return layout.unpack(packed, self.min_scores)

    def _compile(self, height: int, width: int) -> tuple[object, PackedLayout]:
        path = self._graph(height, width)
        try:
            model = self._core.read_model(path)
        except RuntimeError:
            log.warning("%s is damaged; making it anew", path)
            path.unlink()
            model = self._core.read_model(self._graph(height, width))
        # On processors with bfloat16 the default would be that: boxes would be off by pixels.
        compiled = self._core.compile_model(
            model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        )
        layout = PackedLayout.for_images(
            self._checkpoint.config, self._mode, height, width, CANDIDATES
        )
        return compiled, layout

    def _graph(self, height: int, width: int) -> Path:
        path = graphs_folder() / f"{self._digest[:24]}-{width}x{height}.onnx"
        if not path.is_file():
            log.info("making the graph for images of %d x %d, once", width, height)
            export_onnx(self._checkpoint, self._mode, height, width, path, CANDIDATES)
        return path
