"""`export`: the network for images of one size as an ONNX file, uint8 image in, candidates out."""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict
from pathlib import Path

from dope_model.network.config import MODES, mode_named


def add_export(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser("export", help=__doc__, description=__doc__)
    parser.add_argument("weights", type=Path, help="a weights file, ours or the authors'")
    parser.add_argument("--mode", default="realtime", choices=list(MODES))
    parser.add_argument("--size", default="640x480", help="of the images, WIDTHxHEIGHT")
    parser.add_argument("--candidates", type=int, default=256, help="of each part that come out")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> int:
    """Write NAME-MODE-SIZE.onnx, and beside it a JSON file that says what its output holds."""
    import json

    from dope_model.checkpoint import load_checkpoint
    from dope_model.runtime.export import export_onnx

    size = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", options.size)
    if size is None:
        raise ValueError(f"--size is WIDTHxHEIGHT, such as 640x480, not {options.size!r}")
    width, height = map(int, size.groups())
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{options.weights.stem}-{options.mode}-{width}x{height}.onnx"
    layout = export_onnx(
        load_checkpoint(options.weights), mode_named(options.mode), height, width, path,
        options.candidates,
    )  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(asdict(layout)))
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {layout.size} values come out")
    return 0
