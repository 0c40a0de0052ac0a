"""Which of your pictures may be backdrops: those in which nobody is.

    python -m dope_model.rendering.backdrops FOLDER

looks at every picture with the thorough experts (`pip install onnxruntime ai-edge-litert`,
`python -m dope_model.experts.prepare`) and writes the names of those that show nobody into
FOLDER/nobody.txt; `render --backdrops FOLDER` then uses these alone. People left in a backdrop
would be taken for background.
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
    """Whether a picture (H, W, 3) holds neither a body, a hand or a face, nor anything that may be
    one and is not trusted."""
    found, doubtful = experts.detect_with_ignored(rgb)
    return not any(len(part) for part in (*found.values(), *doubtful.values()))


def write_list(folder: Path, pictures: Iterable[Path], experts: CarefulExperts) -> list[Path]:
    """Look at pictures below a folder and list those that show nobody; returns these.

    What cannot be read is left out.
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
    """The pictures that may be backdrops: those of the list, or all where there is none.

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
        raise FileNotFoundError(f"{listed} names no picture in which nobody is")
    missing = [picture for picture in pictures if not picture.is_file()]
    if missing:
        raise FileNotFoundError(f"{listed} names {missing[0].name}, which is not there")
    return pictures


def main(arguments: list[str] | None = None) -> int:
    """Look at all pictures and write the list; returns the exit status."""
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
