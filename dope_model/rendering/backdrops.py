"""Find the pictures without people, which can be backdrops.

    python -m dope_model.rendering.backdrops FOLDER

runs the thorough experts (`pip install onnxruntime ai-edge-litert`,
`python -m dope_model.experts.prepare`) on every picture and writes the names of those without
people to FOLDER/nobody.txt; `render --backdrops FOLDER` then uses only these. People in a backdrop
would be unlabelled.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from dope_model.pictures import PICTURE_SUFFIXES, read_rgb
from dope_model.poses import PartDetections

LIST_FILE = "nobody.txt"


class CarefulExperts(Protocol):
    """What `dope_model.experts.thorough.ThoroughExperts` gives."""

    def detect_with_ignored(
        self, rgb: np.ndarray
    ) -> tuple[dict[str, PartDetections], dict[str, np.ndarray]]: ...


def pictures_below(folder: Path) -> list[Path]:
    """All pictures of a folder and the folders in it, sorted."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)


def shows_nobody(experts: CarefulExperts, rgb: np.ndarray) -> bool:
    """Whether a picture (H, W, 3) has no body, hand or face, and no region that may have one."""
    found, doubtful = experts.detect_with_ignored(rgb)
    return not any(len(part) for part in (*found.values(), *doubtful.values()))


def write_list(folder: Path, pictures: Iterable[Path], experts: CarefulExperts) -> list[Path]:
    """List the pictures below a folder that show no people, and return them.

    Files that cannot be read are left out.
    """
    empty = []
    for picture in pictures:
        try:
            rgb = read_rgb(picture)
        except ValueError:
            continue
        if shows_nobody(experts, rgb):
            empty.append(picture)
    lines = [f"{picture.relative_to(folder).as_posix()}\n" for picture in empty]
    (folder / LIST_FILE).write_text("".join(lines), encoding="utf-8")
    return empty


def backdrop_pictures(folder: Path) -> list[Path]:
    """The pictures that may be backdrops: those of the list, or all if there is no list.

    Raises:
        FileNotFoundError: there are none, or one that is listed is missing.
    """
    listed = folder / LIST_FILE
    if not listed.is_file():
        pictures = pictures_below(folder)
        if not pictures:
            raise FileNotFoundError(f"no pictures for backdrops in {folder}")
        return pictures
    pictures = [folder / name for name in listed.read_text(encoding="utf-8").splitlines() if name]
    if not pictures:
        raise FileNotFoundError(f"{listed} lists no picture without people")
    missing = [picture for picture in pictures if not picture.is_file()]
    if missing:
        raise FileNotFoundError(f"{listed} names {missing[0].name}, which is not there")
    return pictures


def main(arguments: list[str] | None = None) -> int:
    """Check all pictures and write the list; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dope_model.rendering.backdrops", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("folder", type=Path, help="of pictures, with all folders in it")
    options = parser.parse_args(arguments)
    from dope_model.experts import load_experts

    try:
        pictures = pictures_below(options.folder)
        if not pictures:
            raise FileNotFoundError(f"no pictures in {options.folder}")
        experts = load_experts("thorough")
        empty = write_list(options.folder, tqdm(pictures, unit="picture"), experts)
    except (OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(empty)} of {len(pictures)} pictures show nobody: {options.folder / LIST_FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
