"""`calibrate`: turn the scores of a weights file into probabilities, from labelled pictures."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dope_model.datasets.labels import Sample


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
    parser.add_argument("--limit", type=int, metavar="N", help="at most N of each folder")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.set_defaults(run=run_calibrate)


def run_calibrate(options: argparse.Namespace) -> int:
    """Fit the curves, write them into the file, and print how good they are."""
    from dope_model.benchmark.report import markdown_table
    from dope_model.checkpoint import load_checkpoint, save_checkpoint
    from dope_model.network.config import mode_named
    from dope_model.runtime import load_engine
    from dope_model.training.calibrate_scores import fit_scores

    checkpoint = load_checkpoint(options.weights)
    engine = load_engine("eager", checkpoint, mode_named("auto", checkpoint.mode), options.device)
    parts = {name: part.joints for name, part in checkpoint.config.parts.items()}
    checkpoint.curves, rows = fit_scores(checkpoint, engine, list(_sets(options, parts)))
    half = all(
        t.half().float().equal(t) for t in checkpoint.state.values() if t.is_floating_point()
    )
    save_checkpoint(checkpoint, options.weights, half)
    print(markdown_table(rows))
    return 0


def _sets(
    options: argparse.Namespace, parts: dict[str, int]
) -> Iterator[list[tuple[Path, Sample]]]:
    from dope_model.datasets.coco import read_coco_folder
    from dope_model.datasets.files import picture_size
    from dope_model.datasets.labels import LabelSet
    from dope_model.datasets.training_sets import coco_sample, lsp_labels
    from dope_model.pictures import pictures_in
    from dope_model.training.calibrate_scores import empty_labels, name_number
    from dope_model.training.data import Source

    def some(examples: Iterator) -> list:
        """In the order of their names' hashes, so that few are a fair sample."""
        return sorted(examples, key=lambda e: name_number(e[0].name))[: options.limit]

    for folder in options.coco:
        yield some((p.path, coco_sample(p, p.path.name)) for p in read_coco_folder(folder)[1])
    for folder in options.lsp:
        yield some((folder / one.sample.file, one.sample) for one in lsp_labels(folder))
    for text in options.data:
        source = Source.parse(text)
        yield some((source.images / s.file, s) for s in LabelSet.load(source.labels))
    for folder in options.nobody:
        yield some(
            (path, empty_labels(parts, path.name, *picture_size(path)))
            for path in pictures_in(folder)
        )
