"""`export`: the network for images of one size as one graph, uint8 image in, candidates out.

    python -m dope_model export WEIGHTS --size 640x480 --out DIR

writes it as an ONNX file; of weights that ask for a second look, as two.

    python -m dope_model export WEIGHTS --size 640x480 --build-only

builds what the engine "tensorrt" needs on this machine's GPU, and keeps it in the cache folder.
"""

from __future__ import annotations

import argparse
import logging
import re
from dataclasses import asdict
from pathlib import Path

from dope_model.network.config import MODE_NAMES, mode_named


def add_export(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "export", help=__doc__.splitlines()[0], description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("weights", type=Path, help="a weights file, ours or the authors'")
    parser.add_argument("--mode", default="realtime", choices=MODE_NAMES)
    parser.add_argument("--size", default="640x480", help="of the images, WIDTHxHEIGHT")
    onnx = parser.add_argument_group("an ONNX file")
    onnx.add_argument("--out", type=Path, help="folder")
    onnx.add_argument("--candidates", type=int, default=256, help="of each part that come out")
    onnx.add_argument(
        "--half", action="store_true",
        help="convolutions and linear layers in FP16; boxes, softmax and the like stay float32",
    )  # fmt: skip
    tensorrt = parser.add_argument_group("a TensorRT engine, for engine tensorrt")
    tensorrt.add_argument("--build-only", action="store_true", help="build it on this GPU")
    tensorrt.add_argument("--device", default="auto", help="auto, cuda or cuda:N")
    parser.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> int:
    """Do what the options ask for."""
    size = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", options.size)
    if size is None:
        raise ValueError(f"--size is WIDTHxHEIGHT, such as 640x480, not {options.size!r}")
    width, height = map(int, size.groups())
    if not (options.build_only or options.out):
        raise ValueError("--out is missing: the folder for the ONNX file")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("dope_model").setLevel(logging.INFO)
    if options.build_only:
        return _build(options, height, width)
    return _write_onnx(options, height, width)


def _write_onnx(options: argparse.Namespace, height: int, width: int) -> int:
    """Write NAME-MODE-SIZE.onnx, and beside it a JSON file that says what its output holds. Where
    the weights ask for a second look there is NAME-MODE-second-SIZE.onnx, too, and the JSON files
    say which candidates count in which."""
    import json

    from dope_model.checkpoint import load_checkpoint
    from dope_model.runtime.export import Variant, export_onnx

    options.out.mkdir(parents=True, exist_ok=True)
    precision = "-fp16" if options.half else ""
    checkpoint = load_checkpoint(options.weights)
    variant = Variant(half=options.half, candidates=options.candidates)
    looks = checkpoint.looks(mode_named(options.mode, checkpoint.mode))
    for which, mode in zip(("", "-second"), looks, strict=False):
        name = f"{options.weights.stem}-{options.mode}{which}-{width}x{height}{precision}"
        path = options.out / f"{name}.onnx"
        layout = export_onnx(checkpoint, mode, height, width, path, variant)
        described = asdict(layout)
        if checkpoint.second_look is not None:
            described["second_look"] = asdict(checkpoint.second_look)
        path.with_suffix(".json").write_text(json.dumps(described))
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {layout.size} values come out")
    return 0


def _build(options: argparse.Namespace, height: int, width: int) -> int:
    from dope_model.checkpoint import load_checkpoint
    from dope_model.runtime.tensorrt_engine import TensorRtEngine

    checkpoint = load_checkpoint(options.weights)
    for mode in checkpoint.looks(mode_named(options.mode, checkpoint.mode)):
        engine = TensorRtEngine(checkpoint, mode, options.device)
        cache = engine.build(height, width)
        print(f"{cache.path}: {cache.path.stat().st_size / 1e6:.1f} MB, {engine.description}")
    return 0
