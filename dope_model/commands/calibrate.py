"""`calibrate`: turn the scores of a weights file into probabilities, from labelled pictures."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_calibrate(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "calibrate", help=__doc__,
        description=__doc__ + " Only the file's metadata change, no tensor. Half of the pictures "
        "are held out for the evaluation, see dope_model/training/calibrate_scores.py.",
    )  # fmt: skip
    parser.add_argument("weights", type=Path, help="a weights file, which is updated")
    parser.add_argument(
        "--coco", type=Path, action="append", default=[], metavar="FOLDER",
        help="pictures with people's keypoints in COCO's format",
    )  # fmt: skip
    parser.add_argument(
        "--lsp", type=Path, action="append", default=[], metavar="FOLDER",
        help="a Leeds Sports Pose data set",
    )  # fmt: skip
    parser.add_argument(
        "--data", action="append", default=[], metavar="LABELS:IMAGES",
        help="a labels file and the folder of its pictures, for hands and faces",
    )  # fmt: skip
    parser.add_argument(
        "--nobody", type=Path, action="append", default=[], metavar="FOLDER",
        help="pictures without people",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=int, default=150, metavar="N", help="at most N of each folder (%(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.set_defaults(run=run_calibrate)


def run_calibrate(options: argparse.Namespace) -> int:
    """Fit the curves, write them into the file, and print how good they are."""
    from dope_model.benchmark.report import markdown_table
    from dope_model.checkpoint import load_checkpoint, save_checkpoint
    from dope_model.training.calibrate_scores import examples_of, with_fitted_scores
    from dope_model.training.data import Source

    checkpoint = load_checkpoint(options.weights)
    given = {
        "coco": options.coco, "lsp": options.lsp, "labels": map(Source.parse, options.data),
        "nobody": options.nobody,
    }  # fmt: skip
    sets = [examples_of(k, where, options.limit) for k, some in given.items() for where in some]
    fitted, rows = with_fitted_scores(checkpoint, sets, options.device)
    half = all(
        t.half().float().equal(t) for t in checkpoint.state.values() if t.is_floating_point()
    )
    save_checkpoint(fitted, options.weights, half)
    print(markdown_table(rows))
    return 0
