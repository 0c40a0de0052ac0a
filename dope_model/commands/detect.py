"""`detect`: people in pictures, as JSON, drawn over the pictures, and as files for other tools."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dope_model.camera.rotation import ROTATIONS
from dope_model.detector import WholeBodyDetector
from dope_model.drawing import draw_people, side_by_side
from dope_model.network.config import MODE_NAMES
from dope_model.pictures import (
    PICTURE_SUFFIXES,
    fitted,
    picture_sheet,
    pictures_in,
    read_rgb,
    write_picture,
)
from dope_model.poses import PART_SLOTS, WholeBody
from dope_model.recording import PoseRecording, checked_format
from dope_model.runtime import ENGINES
from dope_model.weights import DEFAULT_MODEL


def add_detect(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser("detect", help=__doc__, description=__doc__)
    parser.add_argument("images", nargs="+", type=Path, help="pictures, or folders of pictures")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--model", default=DEFAULT_MODEL,
        help="dope_lite, experts, experts:guided, experts:thorough or a weights file (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--mode", default="auto", choices=MODE_NAMES)
    parser.add_argument(
        "--engine", default="auto", choices=list(ENGINES),
        help="what a network runs on; auto: the fastest that is installed and runs",
    )  # fmt: skip
    parser.add_argument(
        "--rotation", type=int, default=0, choices=ROTATIONS,
        help="degrees, clockwise, that make the pictures upright: 180 for a camera upside down; "
        "results are in the pictures' own pixels",
    )  # fmt: skip
    parser.add_argument("--no-pictures", action="store_true", help="write the JSON only")
    parser.add_argument(
        "--export", type=Path, action="append", default=[], metavar="FILE",
        help="also the poses as FILE.npz, FILE.csv or, a file per person and picture, FILE.bvh; "
        "repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--random", type=int, metavar="N", help="only N of the pictures, sampled at random"
    )
    parser.add_argument("--seed", type=int, default=0, help="of that draw")
    parser.add_argument(
        "--sheet", action="store_true", help="also a contact sheet of all of them, sheet.png"
    )
    parser.set_defaults(run=run_detect)


def run_detect(options: argparse.Namespace) -> int:
    """Detect people in all pictures; 1 if any could not be read, or its drawing not be written."""
    for path in options.export:
        checked_format(path)
    pictures = list(find_pictures(options.images))
    if options.random is not None and options.random < len(pictures):
        drawn = np.random.default_rng(options.seed).choice(len(pictures), options.random, False)
        pictures = [pictures[i] for i in sorted(drawn)]
    detector = WholeBodyDetector.load(options.model, options.device, options.mode, options.engine)
    detector.rotation = options.rotation
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{len(pictures)} pictures, {detector.description}")
    found = dict.fromkeys(("people", *PART_SLOTS), 0)
    bad: list[str] = []
    drawings: list[np.ndarray] = []
    recording = PoseRecording()
    names = drawing_names(pictures)
    with (options.out / "poses.jsonl").open("w") as lines:
        for path in tqdm(pictures, unit="picture"):
            try:
                rgb = read_rgb(path)
            except ValueError as error:
                bad.append(str(error))
                continue
            people = detector(rgb)
            lines.write(json.dumps(picture_record(path, rgb, people)) + "\n")
            if options.export:
                size = (rgb.shape[1], rgb.shape[0])
                recording.add(people, size, float(len(recording.stamps)), str(path))
            found["people"] += len(people)
            for person in people:
                for slot, _ in person.parts():
                    found[slot] += 1
            if not options.no_pictures:
                try:
                    write_picture(options.out / names[path], side_by_side(rgb, people))
                except OSError as error:  # such as a name that is too long
                    bad.append(f"the drawing of {path}: {error.strerror or error}")
            if options.sheet:
                drawings.append(fitted(draw_people(rgb, people)))
    for path in options.export:
        recording.save(path)
    if drawings:
        write_picture(options.out / "sheet.png", picture_sheet(drawings, columns=6))
    print(", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in found.items()))
    for problem in bad:
        print(f"skipped: {problem}", file=sys.stderr)
    return 1 if bad else 0


def find_pictures(paths: list[Path]) -> Iterator[Path]:
    """The files among `paths`, and the pictures in the folders among them, sorted.

    Raises:
        FileNotFoundError: a path does not exist, or a folder holds no picture.
    """
    for path in paths:
        if path.is_dir():
            pictures = pictures_in(path)
            if not pictures:
                raise FileNotFoundError(
                    f"no pictures in {path}; looked for {', '.join(PICTURE_SUFFIXES)}"
                )
            yield from pictures
        elif path.exists():
            yield path
        else:
            raise FileNotFoundError(f"no file or folder {path}")


def drawing_names(pictures: list[Path]) -> dict[Path, str]:
    """File names for the drawings of pictures; equal names get their folders as a prefix."""
    plain = {path: f"{path.stem}_{path.suffix[1:]}_poses.png" for path in pictures}
    often = Counter(plain.values())
    return {
        path: name if often[name] == 1 else "_".join([*path.absolute().parts[1:-1], name])
        for path, name in plain.items()
    }


def picture_record(path: Path, rgb: np.ndarray, people: list[WholeBody]) -> dict:
    """The JSON record of one picture: file, size, and all people."""
    height, width = rgb.shape[:2]
    return {
        "file": str(path),
        "width": width,
        "height": height,
        "people": [person.to_dict() for person in people],
    }
