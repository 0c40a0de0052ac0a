"""Images of a camera that hangs upside down or sideways: turned before detection, results back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from dope_model.poses import PartDetections

ROTATIONS = (0, 90, 180, 270)
"""Degrees, clockwise, by which an image can be turned to stand upright."""

# The axes of the turned image in those of the original one: u = a u' + b v', v = c u' + d v'.
_BACK = {
    0: np.array([[1, 0], [0, 1]]),
    90: np.array([[0, 1], [-1, 0]]),
    180: np.array([[-1, 0], [0, -1]]),
    270: np.array([[0, -1], [1, 0]]),
}


def checked_rotation(degrees: int) -> int:
    """`degrees` itself if images can be turned by it.

    Raises:
        ValueError: it is none of `ROTATIONS`.
    """
    if degrees not in ROTATIONS:
        raise ValueError(f"image_rotation is 0, 90, 180 or 270 degrees, not {degrees}")
    return degrees


def rotate_image(rgb: np.ndarray, degrees: int) -> np.ndarray:
    """An image (H, W, 3) turned clockwise by one of `ROTATIONS`; itself for 0."""
    turns = checked_rotation(degrees) // 90
    return np.ascontiguousarray(np.rot90(rgb, -turns)) if turns else rgb


def rotate_back(
    found: Mapping[str, PartDetections], degrees: int, shape: tuple[int, ...]
) -> dict[str, PartDetections]:
    """Detections of a turned image as those of the original one.

    Args:
        found: by part, from `rotate_image(rgb, degrees)`.
        shape: height and width of the original image, px, and what may follow.

    Returns:
        The same detections with 2D in px of the original image and 3D in the axes of its camera's
        optical frame. A person's right stays right.
    """
    back = _BACK[checked_rotation(degrees)]
    # Pixels count from a corner: an axis that points the other way starts at the other end.
    corner = np.where(back.sum(axis=1) < 0, (shape[1], shape[0]), 0)
    turned = {}
    for part, poses in found.items():
        keypoints_3d = poses.keypoints_3d.copy()
        keypoints_3d[..., :2] = keypoints_3d[..., :2] @ back.T
        keypoints_2d = poses.keypoints_2d @ back.T + corner
        turned[part] = replace(poses, keypoints_2d=keypoints_2d, keypoints_3d=keypoints_3d)
    return turned
