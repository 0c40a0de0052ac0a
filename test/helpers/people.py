"""People of known shape, as a pinhole camera sees them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dope_model.camera.placement import Intrinsics
from dope_model.poses import PartPose
from dope_model.skeleton import BODY

CAMERA = Intrinsics(500.0, 500.0, 320.0, 240.0)
"""Of images of 640 x 480."""


def body_joints(left: Mapping[str, tuple[float, float, float]], head) -> np.ndarray:
    """(13, 3) m: a symmetric body that faces the camera, its right side on the left of the image.

    Args:
        left: the joints of its left side, by their names without the side.
    """
    joints = np.zeros((13, 3))
    for name, place in left.items():
        joints[BODY.index[f"right_{name}"]] = np.multiply(place, (-1, 1, 1))
        joints[BODY.index[f"left_{name}"]] = place
    joints[BODY.index["head"]] = head
    return joints


def part_at(joints: np.ndarray, root, trusted: np.ndarray | None = None) -> PartPose:
    """A part whose root is at `root` m, as CAMERA sees it."""
    points = joints + np.asarray(root, float)
    u, v = 500 * points[:, 0] / points[:, 2] + 320, 500 * points[:, 1] / points[:, 2] + 240
    if trusted is None:
        trusted = np.ones(len(joints), bool)
    pixels = np.column_stack([u, v]).astype(np.float32)
    return PartPose(0.9, pixels, joints.astype(np.float32), trusted)
