"""`render`: pictures of rendered people with exact whole-body labels."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tqdm import tqdm


def add_render(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser("render", help=__doc__, description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for pictures and labels")
    parser.add_argument("--images", type=int, default=100, help="how many pictures")
    parser.add_argument(
        "--people", type=_people, default=(1, 4), metavar="1-4",
        help="people in each picture; fewer where there is no space for them",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other pictures")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    parser.add_argument(
        "--size", type=_size, default=(640, 480), metavar="640x480",
        help="of the pictures, px; one in five is in portrait format",
    )  # fmt: skip
    parser.add_argument("--body-joints", type=int, default=13, choices=(13, 14),
                        help="14 adds the neck")  # fmt: skip
    parser.add_argument(
        "--backdrops", type=Path,
        help="folder of pictures without people, as backgrounds for half of the images; "
        "`python -m dope_model.rendering.backdrops FOLDER` finds those",
    )  # fmt: skip
    parser.add_argument("--supersampling", type=int, default=2, choices=(1, 2, 3, 4),
                        help="smoother edges, but slower")  # fmt: skip
    parser.add_argument(
        "--acrobats", type=float, default=0.0, metavar="SHARE",
        help="share of pictures with whole bodies in acrobatic poses at any angle, 0 to 1",
    )  # fmt: skip
    parser.add_argument("--clean", action="store_true", help="no blur, no noise, PNG files")
    parser.add_argument(
        "--sheet", type=int, default=0, metavar="N",
        help="also draw the first N pictures with their labels on one sheet",
    )  # fmt: skip
    parser.set_defaults(run=run_render)


def run_render(options: argparse.Namespace) -> int:
    """Render; an unfinished folder is resumed."""
    from dope_model.rendering.assets import MissingAssetError, require_packages

    try:
        require_packages()
    except MissingAssetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    from dope_model.rendering.backdrops import LIST_FILE
    from dope_model.rendering.generate import LABELS_FILE, RenderSettings, render_images

    if options.images < 1 or options.workers < 1:
        raise ValueError("--images and --workers must be at least 1")
    settings = RenderSettings(
        options.seed,
        options.people,
        options.size,
        options.body_joints,
        str(options.backdrops) if options.backdrops else None,
        options.supersampling,
        not options.clean,
        options.acrobats,
    )
    if options.backdrops and not (options.backdrops / LIST_FILE).is_file():
        print(
            f"nobody has checked that {options.backdrops} shows no people: "
            f"python -m dope_model.rendering.backdrops {options.backdrops}",
            file=sys.stderr,
        )
    start, made = time.perf_counter(), 0
    try:
        images = render_images(options.out, options.images, settings, options.workers)
        for _ in tqdm(images, total=options.images, unit="picture"):
            made += 1
    except MissingAssetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    seconds = time.perf_counter() - start
    print(f"{made} new pictures in {seconds:.0f} s; labels in {options.out / LABELS_FILE}")
    if options.sheet:
        from dope_model.rendering.sheet import write_sheet

        print(f"sheet: {write_sheet(options.out, options.sheet)}")
    return 0


def _people(text: str) -> tuple[int, int]:
    least, _, most = text.partition("-")
    try:
        return int(least), int(most or least)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number or a range like 1-4") from None


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    try:
        return int(width), int(height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 640x480") from None
