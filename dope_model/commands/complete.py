"""`complete`: add part experts' pseudo ground truth to partial annotations, for training."""

from __future__ import annotations

import argparse
from pathlib import Path

from dope_model.commands.train import experts_of
from dope_model.skeleton import PARTS


def add_complete(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "complete",
        help=__doc__,
        description=__doc__ + " Existing annotations are kept; experts are weights files, "
        "trained with `train --recipe paper_body` and the like.",
    )
    parser.add_argument("labels", type=Path, help="a labels file")
    parser.add_argument("images", type=Path, help="the folder of its pictures")
    for part in PARTS:
        parser.add_argument(f"--{part}-expert", type=Path, help=f"finds each {part}")
    parser.add_argument("--out", type=Path, required=True, help="the completed labels file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--label-score",
        type=float,
        default=0.9,
        help="lowest score, a probability, of a detection that becomes a label",
    )
    parser.add_argument(
        "--ignore-score", type=float, default=0.3,
        help="lowest score of one that becomes an ignore region",
    )  # fmt: skip
    parser.set_defaults(run=run_complete)


def run_complete(options: argparse.Namespace) -> int:
    """Complete a labels file."""
    from dope_model.datasets.labels import LabelSet
    from dope_model.datasets.pseudo_labels import Confidence, check_calibrated, complete_labels
    from dope_model.training.fresh import load_expert

    confidence = Confidence(options.label_score, options.ignore_score)
    experts = experts_of(options)
    if not experts:
        raise ValueError("name at least one expert, such as --hand-expert WEIGHTS")
    for part, path in experts.items():
        load_expert(path, part)  # an error if it is another part's
        check_calibrated(path)
    labels = LabelSet.load(options.labels)
    completed = complete_labels(labels, options.images, experts, confidence, options.device)
    completed.save(options.out, compact=True)
    for part in experts:
        before, after = (
            sum(len(s.parts[part]) for s in which if part in s.parts)
            for which in (labels, completed)
        )
        print(f"{options.out}: {part} {before} -> {after} in {len(completed)} pictures")
    return 0
