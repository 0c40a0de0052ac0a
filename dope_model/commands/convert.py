"""`convert`: a public training set, as its owners distribute it, to labels for training."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_convert(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    from dope_model.datasets.training_sets import SETS, VIDEO_SETS

    parser = subparsers.add_parser("convert", help=__doc__, description=__doc__)
    parser.add_argument("name", choices=list(SETS), help="of the data set; see docs/training.md")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--out", type=Path, required=True, help="folder for labels.npz")
    parser.add_argument(
        "--every", type=int, help=f"take every N-th frame of videos ({', '.join(VIDEO_SETS)})"
    )
    parser.add_argument("--limit", type=int, help="only the first N pictures")
    parser.set_defaults(run=run_convert)


def run_convert(options: argparse.Namespace) -> int:
    """Write the labels and print how to train on them."""
    from dope_model.datasets.training_sets import convert

    if options.every is not None and options.every < 1:
        raise ValueError(f"--every is at least 1, not {options.every}")
    labels, pictures = convert(
        options.name, options.data, options.out, options.every, options.limit
    )
    print(f"train on it with --data {labels}:{pictures}")
    return 0
