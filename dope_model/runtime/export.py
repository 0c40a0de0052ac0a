"""One export for every engine: the static graph as an ONNX file.

python -m dope_model export WEIGHTS --size 640x480 --out DIR
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from dope_model import __version__
from dope_model.cache import cache_folder, file_digest
from dope_model.checkpoint import Checkpoint
from dope_model.hints import pip_install
from dope_model.network.config import Mode
from dope_model.runtime.graph_engine import CANDIDATES
from dope_model.runtime.static_graph import REVISION, PackedLayout, StaticDope, for_inference
from dope_model.runtime.winograd import use_winograd

log = logging.getLogger(__name__)

# Not 20: there GridSample's mode is called "linear", which TensorRT up to 11.1 at least takes for
# nearest, without a word.
OPSET = 19
INPUT, OUTPUT = "image", "packed"
_DIGEST = ".sha256"


@dataclass(frozen=True)
class Variant:
    """What may differ between graphs of the same weights for the same images.

    Attributes:
        pooling: see `StaticDope`. TensorRT takes no "op".
        half: convolutions and linear layers in FP16; see `for_inference`.
        winograd: see `use_winograd`; for float32 on a CPU.
        candidates: of each part that come out.
    """

    pooling: str | None = None
    half: bool = False
    winograd: bool = False
    candidates: int = CANDIDATES

    @property
    def name(self) -> str:
        """Short, for file names."""
        precision = "fp16" if self.half else "fp32"
        products = "-winograd" * self.winograd
        return f"{self.pooling or 'any'}-{precision}{products}-{self.candidates}"


def export_onnx(
    checkpoint: Checkpoint,
    mode: Mode,
    height: int,
    width: int,
    path: Path,
    variant: Variant = Variant(),
) -> PackedLayout:
    """Write the graph for images (height, width, 3) uint8; returns the layout of its output.

    The file is whole or not there.

    Raises:
        ImportError: onnx or onnxscript is missing.
    """
    require_exporter()
    network = for_inference(checkpoint.build(mode), variant.half)
    if variant.winograd:
        use_winograd(network)
    graph = StaticDope(network, height, width, variant.candidates, variant.pooling).eval()
    example = torch.zeros(height, width, 3, dtype=torch.uint8)
    new = path.with_suffix(f".new{os.getpid()}")
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter warns of its own internals
            torch.onnx.export(
                graph, (example,), str(new), dynamo=True, opset_version=OPSET, external_data=False,
                input_names=[INPUT], output_names=[OUTPUT], verbose=False,
            )  # fmt: skip
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    return graph.layout


def weights_digest(checkpoint: Checkpoint, mode: Mode) -> str:
    """A hash of all that decides a graph but the image's size and the variant."""
    digest = hashlib.sha256(f"{__version__} {REVISION}".encode())
    digest.update(json.dumps([checkpoint.config.to_dict(), asdict(mode)], sort_keys=True).encode())
    for name in sorted(checkpoint.state):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(checkpoint.state[name].numpy()))
    return digest.hexdigest()


def graphs_folder() -> Path:
    """Where graphs and built engines are kept: $DOPE_CACHE_DIR, else ~/.cache/dope_ros/engines."""
    folder = cache_folder("engines", "DOPE_CACHE_DIR")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def require_exporter() -> None:
    """
    Raises:
        ImportError: onnx or onnxscript is missing; the text has the command that brings them.
    """
    missing = [name for name in ("onnx", "onnxscript") if not importlib.util.find_spec(name)]
    if missing:
        command = pip_install("onnx", "onnxscript")
        raise ImportError(f"the export needs {' and '.join(missing)}: {command}")


class GraphCache:
    """Graphs of one checkpoint in the cache folder; a damaged one is made anew.

    Raises:
        ImportError: what makes graphs is not installed.
    """

    def __init__(self, checkpoint: Checkpoint, mode: Mode) -> None:
        require_exporter()
        self._checkpoint, self._mode = checkpoint, mode
        self._stem = weights_digest(checkpoint, mode)[:24]

    def graph(self, height: int, width: int, variant: Variant) -> Path:
        """The ONNX file for images of that size, made if it is not there or not whole."""
        path = graphs_folder() / f"{self._stem}-{width}x{height}-{variant.name}.onnx"
        if path.is_file():
            if is_whole(path):
                return path
            log.warning("%s is damaged; making it anew", path)
        else:
            log.info("making the graph for images of %d x %d, once", width, height)
        export_onnx(self._checkpoint, self._mode, height, width, path, variant)
        mark_as_whole(path)
        return path


def _digest_file(path: Path) -> Path:
    return path.with_name(path.name + _DIGEST)


def mark_as_whole(path: Path) -> None:
    """Note beside a file what it holds, so that `is_whole` can tell."""
    _digest_file(path).write_text(file_digest(path) + "\n")


def is_whole(path: Path) -> bool:
    """Whether a file holds what `mark_as_whole` noted."""
    noted = _digest_file(path)
    return noted.is_file() and noted.read_text().strip() == file_digest(path)
