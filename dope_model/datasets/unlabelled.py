"""Pictures without a labels file: without people, or not labelled yet."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dope_model.datasets.files import picture_size
from dope_model.datasets.labels import LabelSet, PartLabels, Sample
from dope_model.pictures import pictures_in

_JOINTS = {"body": 13, "hand": 21, "face": 84}


def name_number(file: str) -> int:
    """A number from the name of a file without its folder, always the same."""
    return int(hashlib.sha1(Path(file).name.encode()).hexdigest(), 16)


def for_validation(file: str) -> bool:
    """Whether a picture of nobody, by its file name, is of the fifth that is kept for validation:
    nothing is trained on it."""
    return name_number(file) % 5 == 0


def labels_of_nobody(folder: Path, with_validation: bool = False) -> LabelSet:
    """Pictures in which all parts are background, by default without those kept for validation.

    Raises:
        ValueError: the folder has none.
    """
    pictures = _pictures(folder)
    return _labels([p for p in pictures if with_validation or not for_validation(p.name)], True)


def unknown_labels(folder: Path) -> LabelSet:
    """Pictures of which nothing is known: experts complete them (section 3.2).

    Raises:
        ValueError: the folder has none.
    """
    return _labels(_pictures(folder), False)


def _pictures(folder: Path) -> list[Path]:
    found = pictures_in(folder) if folder.is_dir() else []
    if not found:
        raise ValueError(f"{folder}: no folder of pictures")
    return found


def _labels(pictures: list[Path], complete: bool) -> LabelSet:
    parts = {part: PartLabels.empty(part, count, complete) for part, count in _JOINTS.items()}
    return LabelSet(Sample(path.name, *picture_size(path), dict(parts)) for path in pictures)
