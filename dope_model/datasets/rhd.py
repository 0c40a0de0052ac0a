"""Rendered Handpose Dataset (RHD): rendered people with two hands of 21 joints in 2D and 3D.

As distributed (RHD_published_v2.zip): folders `training` and `evaluation`, each with pictures
`color/00000.png`, hand masks `mask/00000.png` and `anno_training.pickle` or
`anno_evaluation.pickle`. A pickle can execute code when it is read; here it is read as plain
values and NumPy arrays, and anything else in it is rejected.

Zimmermann and Brox, "Learning to estimate 3D hand pose from single RGB images" (ICCV 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dope_model.camera.placement import Intrinsics
from dope_model.datasets.conversions import RHD, RHD_JOINTS
from dope_model.datasets.files import read_pickle, require_files
from dope_model.pictures import decode_file

WHERE = "RHD is the folders training and evaluation of RHD_published_v2.zip"
LEFT_MASK, RIGHT_MASK = (2, 17), (18, 33)
"""First and last mask value of the fingers and palm of the left and the right hand."""


@dataclass(frozen=True)
class RhdHand:
    """One hand in our joints: `keypoints_2d` (21, 2) px, `keypoints_3d` (21, 3) m in the optical
    frame, `visible` (21,) bool."""

    is_left: bool
    keypoints_2d: np.ndarray
    keypoints_3d: np.ndarray
    visible: np.ndarray


@dataclass(frozen=True)
class RhdPicture:
    """A picture with its right and left hand, and where the mask of its hands lies."""

    path: Path
    mask: Path
    hands: tuple[RhdHand, RhdHand]
    intrinsics: Intrinsics


def read_rhd(folder: Path, part: str) -> list[RhdPicture]:
    """The pictures of `part`, "training" or "evaluation".

    Raises:
        FileNotFoundError: annotations or pictures are missing.
        ValueError: the annotations are not of the distributed form, or hold more than arrays.
    """
    folder = Path(folder)
    if (folder / "RHD_published_v2").is_dir():
        folder = folder / "RHD_published_v2"
    require_files(folder, [f"{part}/anno_{part}.pickle", f"{part}/color"], WHERE)
    path = folder / part / f"anno_{part}.pickle"
    annotations = read_pickle(path)
    try:
        pictures = [
            _picture(folder / part, number, annotation)
            for number, annotation in sorted(annotations.items())
        ]
    except (KeyError, AttributeError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not of the distributed form ({error!r}); {WHERE}") from error
    require_files(folder / part, [f"color/{p.path.name}" for p in pictures], WHERE)
    return pictures


def _picture(folder: Path, number: int, annotation: dict) -> RhdPicture:
    count = len(RHD_JOINTS)
    xyz = np.asarray(annotation["xyz"], float).reshape(2 * count, 3)
    uv = np.asarray(annotation["uv_vis"], float).reshape(2 * count, 3)
    hands = tuple(
        RhdHand(
            is_left, RHD(uv[rows, :2]), RHD(xyz[rows]), RHD.valid(uv[rows, 2] > 0.5)
        )
        for is_left, rows in ((False, slice(count, 2 * count)), (True, slice(0, count)))
    )  # fmt: skip
    k = np.asarray(annotation["K"], float)
    name = f"{int(number):05d}.png"
    return RhdPicture(
        folder / "color" / name, folder / "mask" / name, hands,
        Intrinsics(float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])),
    )  # fmt: skip


def prominent_hand(picture: RhdPicture) -> RhdHand:
    """The hand that covers more pixels of the mask, as in the owners' evaluation.

    Without a mask, the hand with more visible joints, and if both have the same number, the larger.
    """
    if picture.mask.is_file():
        mask = decode_file(picture.mask, cv2.IMREAD_GRAYSCALE)
        left, right = (
            int(((mask >= low) & (mask <= high)).sum()) for low, high in (LEFT_MASK, RIGHT_MASK)
        )
        return picture.hands[left > right]
    return max(
        picture.hands,
        key=lambda hand: (hand.visible.sum(), np.ptp(hand.keypoints_2d, axis=0).max()),
    )
