"""Shared by the loaders of training sets: the type of a labelled picture, and making labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dope_model.camera.placement import Intrinsics
from dope_model.datasets.labels import PartLabels, Sample, Visibility
from dope_model.skeleton import skeleton_for


@dataclass(frozen=True)
class Labelled:
    """A labelled picture; for a frame of a video, `video` and its index `frame` from 0.

    `sample.file` is relative to the data set's folder, or for frames the name to write them under.
    """

    sample: Sample
    video: Path | None = None
    frame: int = 0


def part_labels(
    part: str,
    size: tuple[int, int],
    keypoints_2d: np.ndarray,
    valid_2d: np.ndarray,
    joints_3d: np.ndarray | None = None,
    valid_3d: np.ndarray | None = None,
    visible: np.ndarray | None = None,
    is_left: np.ndarray | None = None,
    ignored: np.ndarray | None = None,
    complete: bool = True,
) -> PartLabels:
    """Labels of N instances of one part.

    Args:
        size: the picture's width and height, px.
        keypoints_2d: (N, J, 2) px; valid_2d: (N, J) bool.
        joints_3d: (N, J, 3) m in the camera's optical frame; None without 3D.
        valid_3d: (N, J) bool; if the root is not valid, no joint of the instance is.
        visible: (N, J) bool; None if unknown.
        ignored: (M, 4) boxes of people that are not labelled.
    """
    keypoints_2d = np.asarray(keypoints_2d, float)
    count, joints = keypoints_2d.shape[:2]
    skeleton = skeleton_for(part, joints)
    valid_2d = np.asarray(valid_2d, bool) & np.isfinite(keypoints_2d).all(axis=2)
    keypoints_2d = np.where(valid_2d[..., None], keypoints_2d, 0)
    root = np.full((count, 3), np.nan)
    if joints_3d is None:
        joints_3d, valid_3d = np.zeros((count, joints, 3)), np.zeros((count, joints), bool)
    else:
        joints_3d = np.asarray(joints_3d, float)
        valid_3d = np.asarray(valid_3d, bool) & np.isfinite(joints_3d).all(axis=2)
        has_root = valid_3d[:, list(skeleton.root)].all(axis=1)
        valid_3d = valid_3d & has_root[:, None]
        root[has_root] = skeleton.root_of(joints_3d[has_root])
        joints_3d = np.where(valid_3d[..., None], skeleton.centred(np.nan_to_num(joints_3d)), 0)
    visibility = np.full((count, joints), Visibility.UNKNOWN)
    if visible is not None:
        visibility[np.asarray(visible, bool) & valid_2d] = Visibility.VISIBLE
    outside = ((keypoints_2d < 0) | (keypoints_2d > np.array(size))).any(axis=2)
    visibility[outside & valid_2d] = Visibility.OUTSIDE_FRAME
    return PartLabels(
        part, keypoints_2d, joints_3d, valid_2d, valid_3d, visibility,
        np.full(count, -1), root, np.ones(count), is_left,
        np.zeros((0, 4)) if ignored is None else ignored, complete,
    )  # fmt: skip


def fitted_intrinsics(keypoints_2d: np.ndarray, joints_3d: np.ndarray) -> Intrinsics | None:
    """The pinhole camera that best projects (..., 3) m in the optical frame to (..., 2) px.

    Least squares, each axis by itself; None if the points do not determine it.
    """
    flat, deep = keypoints_2d.reshape(-1, 2), joints_3d.reshape(-1, 3)
    good = np.isfinite(flat).all(axis=1) & np.isfinite(deep).all(axis=1) & (deep[:, 2] > 0.01)
    flat, deep = flat[good], deep[good]
    if len(flat) < 4:
        return None
    focal, centre = [], []
    for axis in (0, 1):
        slope = deep[:, axis] / deep[:, 2]
        equations = np.stack([slope, np.ones_like(slope)], axis=1)
        (f, c), _, rank, _ = np.linalg.lstsq(equations, flat[:, axis], rcond=1e-9)
        if rank < 2 or f <= 0:
            return None
        focal.append(float(f))
        centre.append(float(c))
    return Intrinsics(*focal, *centre)
