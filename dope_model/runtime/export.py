"""One export for every engine: the static graph as an ONNX file.

python -m dope_model export WEIGHTS --size 640x480 --out DIR
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from dope_model import __version__
from dope_model.cache import cache_folder
from dope_model.checkpoint import Checkpoint
from dope_model.network.config import Mode
from dope_model.runtime.static_graph import PackedLayout, StaticDope

# RoiAlign and GridSample have stood in ONNX since 16; 20 is what today's engines all read.
OPSET = 20
INPUT, OUTPUT = "image", "packed"


def export_onnx(
    checkpoint: Checkpoint,
    mode: Mode,
    height: int,
    width: int,
    path: Path,
    candidates: int = 256,
    pooling: str | None = None,
) -> PackedLayout:
    """Write the graph for images (height, width, 3) uint8; returns the layout of its output.

    See `StaticDope` for `candidates` and `pooling`. The file is whole or not there.

    Raises:
        ImportError: onnx or onnxscript is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"the export needs onnx ({error}): pip install onnx onnxscript"
        ) from error
    graph = StaticDope(checkpoint.build(mode), height, width, candidates, pooling).eval()
    example = torch.zeros(height, width, 3, dtype=torch.uint8)
    new = path.with_suffix(".new")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        torch.onnx.export(
            graph, (example,), str(new), dynamo=True, opset_version=OPSET, external_data=False,
            input_names=[INPUT], output_names=[OUTPUT], verbose=False,
        )  # fmt: skip
    new.replace(path)
    return graph.layout


def weights_digest(checkpoint: Checkpoint, mode: Mode) -> str:
    """A hash of all that decides a graph but the image's size."""
    digest = hashlib.sha256(__version__.encode())
    digest.update(json.dumps([checkpoint.config.to_dict(), asdict(mode)], sort_keys=True).encode())
    for name in sorted(checkpoint.state):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(checkpoint.state[name].numpy()))
    return digest.hexdigest()


def graphs_folder() -> Path:
    """Where exported graphs are kept: $DOPE_CACHE_DIR, else ~/.cache/dope_ros/engines."""
    folder = cache_folder("engines", "DOPE_CACHE_DIR")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
