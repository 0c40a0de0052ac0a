"""MPII Human Pose: people in everyday pictures, 16 joints in 2D and the box of the head.

As distributed: `mpii_human_pose_v1_u12_1.mat` (mpii_human_pose_v1_u12_2.zip) and the pictures of
mpii_human_pose_v1.tar.gz in `images/`.

Andriluka et al., "2D human pose estimation: new benchmark and state of the art analysis"
(CVPR 2014).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dope_model.datasets.conversions import MPII_JOINTS
from dope_model.datasets.files import first_existing, read_mat

ANNOTATIONS = "mpii_human_pose_v1_u12_1.mat"
WHERE = f"MPII is {ANNOTATIONS} (mpii_human_pose_v1_u12_2.zip) and images/ (mpii_human_pose_v1)"
HEAD_SEGMENT = 0.6
"""The owners' ratio between the length of the head and the diagonal of its box."""
HELD_OUT = 1000
REFERENCE_HEIGHT = 200.0
"""px: `scale` times this is a person's height."""


@dataclass
class MpiiPerson:
    """One annotated person; px in our convention.

    Attributes:
        joints: (16, 2); NaN where not labelled.
        visible: (16,) bool.
        head_size: length of the head segment; NaN without a head box.
        place: (4,) rough box x0 y0 x1 y1, NaN when unknown.
    """

    joints: np.ndarray
    visible: np.ndarray
    head_size: float
    place: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        """(16,) bool."""
        return np.isfinite(self.joints).all(axis=1)


@dataclass
class MpiiPicture:
    """A picture of the training part with its people; some may have no joints."""

    path: Path
    people: list[MpiiPerson] = field(default_factory=list)


def read_mpii(folder: Path) -> list[MpiiPicture]:
    """The pictures that MPII publishes labels of (its training part), in its order.

    Raises:
        FileNotFoundError: the annotations or the folder of pictures are missing.
        ValueError: the annotations are of another form.
    """
    folder = Path(folder)
    path = first_existing(
        folder,
        (ANNOTATIONS, f"annotations/{ANNOTATIONS}", f"mpii_human_pose_v1_u12_2/{ANNOTATIONS}"),
        WHERE,
    )
    images = first_existing(folder, ("images",), WHERE)
    try:
        release = read_mat(path)["RELEASE"]
        training = np.atleast_1d(release.img_train)
        annotations = np.atleast_1d(release.annolist)
    except (KeyError, AttributeError) as error:
        raise ValueError(f"{path} lacks {error}; {WHERE}") from error
    pictures = []
    for annotation, is_training in zip(annotations, training, strict=True):
        if not is_training:
            continue
        people = [_person(rect) for rect in _structs(getattr(annotation, "annorect", []))]
        pictures.append(MpiiPicture(images / str(annotation.image.name), people))
    return pictures


def held_out(pictures: list[MpiiPicture], count: int = HELD_OUT) -> set[str]:
    """Names of the pictures that are held out from training for evaluation.

    Those with labelled people whose names have the lowest hashes, independent of their order. Which
    pictures the paper held out was not published.
    """
    names = [p.path.name for p in pictures if any(x.labelled.any() for x in p.people)]
    return set(sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:count])


def _structs(value: Any) -> list[Any]:
    """A MATLAB struct array as a list, also if scipy returns a single object."""
    return [x for x in np.atleast_1d(np.asarray(value, object)) if hasattr(x, "_fieldnames")]


def _number(struct: Any, name: str) -> float:
    value = np.asarray(getattr(struct, name, np.nan)).ravel()
    try:
        return float(value[0]) if value.size else float("nan")
    except (TypeError, ValueError):
        return float("nan")


def _person(rect: Any) -> MpiiPerson:
    joints = np.full((len(MPII_JOINTS), 2), np.nan)
    visible = np.zeros(len(MPII_JOINTS), bool)
    for points in _structs(getattr(rect, "annopoints", [])):
        for point in _structs(getattr(points, "point", [])):
            j = int(_number(point, "id"))
            # MATLAB's pixel centres start at 1, this project's at 0.5.
            joints[j] = _number(point, "x") - 0.5, _number(point, "y") - 0.5
            visible[j] = _number(point, "is_visible") == 1
    corners = [_number(rect, name) for name in ("x1", "y1", "x2", "y2")]
    head = HEAD_SEGMENT * np.hypot(corners[2] - corners[0], corners[3] - corners[1])
    place = np.full(4, np.nan)
    scale = _number(rect, "scale")
    for position in _structs(getattr(rect, "objpos", [])):
        centre = np.array([_number(position, "x"), _number(position, "y")]) - 0.5
        half = REFERENCE_HEIGHT * scale / 2
        place = np.concatenate([centre - half, centre + half])
    return MpiiPerson(joints, visible, float(head), place)
