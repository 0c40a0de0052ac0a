"""`info`: what a weights file holds."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_info(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser("info", help=__doc__, description=__doc__)
    parser.add_argument("weights", type=Path, help="a weights file, also the paper's authors'")
    parser.set_defaults(run=run_info)


def run_info(options: argparse.Namespace) -> int:
    """Print a weights file's configuration, size and description."""
    from dope_model.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(options.weights)
    count = sum(t.numel() for t in checkpoint.state.values())
    print(f"{options.weights}: {checkpoint.config.backbone}, {count / 1e6:.1f} million values")
    for name, part in checkpoint.config.parts.items():
        print(f"  {name}: {part.joints} joints, {part.anchor_poses} anchor poses")
    mode = checkpoint.mode
    print(
        f"  made for {mode.min_size} px, {mode.proposals} proposals, "
        f"{'FP16' if mode.half else 'float32'}"
    )
    if coarse := checkpoint.coarse_scale:
        sizes = ", ".join(f"{part} {size:g} px" for part, size in coarse.largest.items())
        print(
            f"  a second scale of {coarse.scale:g} for instances larger than {sizes}, "
            f"{coarse.mode_after(mode).proposals} proposals"
        )
    if ranges := checkpoint.input_ranges:
        print(f"  {len(ranges)} convolutions in eight bits on engine int8")
    for topic, text in checkpoint.about.items():
        print(f"  {topic}: {text}")
    return 0
