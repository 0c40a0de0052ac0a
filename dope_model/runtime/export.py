"""One export for every engine: both scales of a network for a canvas as an ONNX file."""

from __future__ import annotations

import importlib.util
import os
import warnings
from pathlib import Path

import torch

from dope_model.checkpoint import Checkpoint
from dope_model.hints import pip_install
from dope_model.network.config import Mode
from dope_model.runtime.canvas import Canvas
from dope_model.runtime.packed import CANDIDATES, PackedLayout
from dope_model.runtime.static_graph import StaticGraph, for_inference
from dope_model.runtime.variant import INPUT, OUTPUT, Variant

# Not 20: there GridSample's mode is "linear", which TensorRT up to at least 11.1 silently reads as
# nearest.
OPSET = 19


def export_onnx(
    checkpoint: Checkpoint,
    mode: Mode,
    canvas: Canvas,
    path: Path,
    variant: Variant,
    candidates: int = CANDIDATES,
) -> PackedLayout:
    """Write the graph for a canvas atomically; returns the layout of its output.

    Raises:
        ImportError: onnx or onnxscript is missing.
    """
    require_exporter()
    network = for_inference(checkpoint.build(mode), variant.half)
    size = canvas.height, canvas.width
    graph = StaticGraph(
        network, checkpoint.scale_modes(mode), size, candidates, variant.pooling
    ).eval()
    example = torch.zeros(canvas.shape, dtype=torch.uint8)
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


def require_exporter() -> None:
    """
    Raises:
        ImportError: onnx or onnxscript is missing; the text has the command that brings them.
    """
    missing = [name for name in ("onnx", "onnxscript") if not importlib.util.find_spec(name)]
    if missing:
        command = pip_install("onnx", "onnxscript")
        raise ImportError(f"the export needs {' and '.join(missing)}: {command}")
