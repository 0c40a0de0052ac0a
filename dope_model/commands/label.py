"""`label`: experts' labels of pictures, for training."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import cv2
import numpy as np

from dope_model.commands.detect import find_pictures
from dope_model.datasets.conversions import LSP
from dope_model.datasets.labels import LabelSet, Sample
from dope_model.datasets.lsp import read_lsp
from dope_model.drawing import draw_people
from dope_model.experts.proposals import Guess
from dope_model.pictures import picture_sheet, read_rgb, write_picture
from dope_model.poses import PartDetections
from dope_model.postprocess.assembly import assemble


def add_label(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "label", help=__doc__, description=__doc__ + " Run again with the same folder, it resumes."
    )
    parser.add_argument("images", type=Path, help="a folder of pictures")
    parser.add_argument("--out", type=Path, required=True, help="folder for labels.npz")
    parser.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--limit", type=int, help="label only the first N")
    parser.add_argument(
        "--shard", metavar="K/N",
        help="label part K of N; on several machines with one folder --out, the last one to end "
        "leaves the labels of all",
    )  # fmt: skip
    parser.add_argument("--known", type=Path, help="existing labels, which are kept")
    parser.add_argument(
        "--human-joints", type=Path, metavar="FOLDER",
        help="a Leeds Sports Pose folder with human annotations of these pictures",
    )  # fmt: skip
    parser.add_argument(
        "--renew-bodies",
        action="store_true",
        help="make the bodies of the known labels again; their hands and faces are kept",
    )
    parser.add_argument("--shuffle", type=int, metavar="SEED", help="in a random order")
    parser.add_argument("--sheet", type=int, default=24, help="random pictures on the sheet")
    parser.set_defaults(run=run_label)


def run_label(options: argparse.Namespace) -> int:
    """Label, write labels.npz and draw sheet.png; 1 if any picture could not be read."""
    from dope_model.datasets.teacher_labels import label_pictures

    names = [path.name for path in find_pictures([options.images])]
    if options.shuffle is not None:
        order = np.random.default_rng(options.shuffle).permutation(len(names))
        names = [names[i] for i in order]
    known = None if options.known is None else LabelSet.load(options.known)
    names = names[: options.limit]
    if options.shard is not None:
        names = shard_of(names, options.shard)
    annotated = (
        None if options.human_joints is None else annotated_bodies(options.human_joints, names)
    )
    path = label_pictures(
        options.images,
        names,
        options.out,
        workers=options.workers,
        known=known,
        annotated=annotated,
        renew_bodies=options.renew_bodies,
    )
    labels = LabelSet.load(path)
    counts = {
        part: sum(len(s.parts[part]) for s in labels if part in s.parts)
        for part in ("body", "hand", "face")
    }
    print(f"{path}: {len(labels)} pictures, " + ", ".join(f"{n} {p}" for p, n in counts.items()))
    if options.sheet and len(labels):
        sheet = label_sheet(labels, options.images, options.sheet)
        write_picture(options.out / "sheet.png", sheet)
        print(f"{options.out / 'sheet.png'}: {options.sheet} random pictures")
    labelled = {sample.file for sample in labels}
    skipped = [name for name in names if name not in labelled]
    for name in skipped:
        try:
            read_rgb(options.images / name)
        except ValueError as error:
            print(f"skipped: {error}", file=sys.stderr)
    return 1 if skipped else 0


def shard_of(names: list[str], shard: str) -> list[str]:
    """The names that are part "K/N".

    Raises:
        ValueError: it is no part.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"--shard is K/N with K from 1 to N, such as 3/16, not {shard!r}")
    return names[int(found[1]) - 1 :: int(found[2])]


def annotated_bodies(folder: Path, names: list[str]) -> dict[str, Guess]:
    """The human annotations of Leeds Sports Pose, by the picture's name.

    Raises:
        ValueError: none of the pictures is in that data set.
    """
    people = {person.path.name: person for person in read_lsp(folder)}
    found = [(name, people[Path(name).name]) for name in names if Path(name).name in people]
    if not found:
        raise ValueError(f"none of the pictures is in {folder}")
    return {name: Guess(LSP(one.joints), LSP.valid(one.labelled)) for name, one in found}


def label_sheet(labels: LabelSet, folder: Path, count: int) -> np.ndarray:
    """One image of random labelled pictures with labels and ignore regions (red: bodies)."""
    chosen = np.random.default_rng(0).permutation(len(labels))[:count]
    drawn = [_drawn(labels.samples[i], folder) for i in sorted(chosen)]
    return picture_sheet(drawn, columns=6, cell=(320, 320))


def _drawn(sample: Sample, folder: Path) -> np.ndarray:
    parts = {
        name: PartDetections(
            name, part.score, part.keypoints_2d, part.keypoints_3d, part.is_left, part.valid_2d
        )
        for name, part in sample.parts.items()
    }
    drawn = draw_people(read_rgb(folder / sample.file), assemble(parts, snap_wrists=False))
    colors = {"hand": (230, 200, 40), "face": (40, 200, 230), "body": (230, 40, 40)}
    for name in (name for name in colors if name in sample.parts):
        for x0, y0, x1, y1 in sample.parts[name].ignored.round().astype(int).tolist():
            cv2.rectangle(drawn, (x0, y0), (x1, y1), colors[name], 1)
    return drawn
