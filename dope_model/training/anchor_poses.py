"""Anchor poses: the pose classes of section 3.1, from K-means in 3D pose space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.cluster.vq import ClusterError, kmeans2

from dope_model.datasets.labels import LabelSet
from dope_model.skeleton import skeleton_for
from dope_model.training.instances import Instances, instances_of

if TYPE_CHECKING:
    from dope_model.network.dope import DopeNetwork

# Smallest share of valid joints of a pose that takes part in the clustering.
MIN_VALID_JOINTS = 0.6

# The paper's numbers; hands: per side.
PAPER_CLASSES = {"body": 10, "hand": 5, "face": 10}


@dataclass(frozen=True)
class AnchorPoses:
    """The anchor poses of one part.

    Attributes:
        poses: (C, J, 5); 2D in the unit box, 3D in metres. Hands: right ones first, then the left
            ones, which are their mirror images.
    """

    part: str
    poses: np.ndarray

    def classify(self, instances: Instances) -> np.ndarray:
        """(N,) the closest anchor pose of each instance, from 0.

        Close is a small mean 3D distance over the valid joints; where no 3D is valid, a small mean
        2D distance in the unit box. Hands only look at the anchor poses of their side.
        """
        anchors_3d, anchors_2d = self.poses[None, ..., 2:], self.poses[None, ..., :2]
        distance = _masked_mean_distance(
            instances.keypoints_3d[:, None], anchors_3d, instances.valid_3d[:, None]
        )
        flat = _masked_mean_distance(
            instances.in_unit_box()[:, None], anchors_2d, instances.valid_2d[:, None]
        )
        no_3d = ~instances.valid_3d.any(axis=1)
        distance[no_3d] = flat[no_3d]
        if instances.is_left is not None:
            left_class = np.arange(len(self.poses)) >= len(self.poses) // 2
            distance[instances.is_left[:, None] != left_class[None]] = np.inf
        return distance.argmin(axis=1)


def fit_anchor_poses(part: str, labels: LabelSet, classes: int, seed: int = 0) -> AnchorPoses:
    """Cluster the 3D poses of the instances of `part` of which most joints are valid.

    The labels' guesses for the other joints are good enough for a mean; requiring all joints would
    leave out everybody who is not visible from head to foot.

    Args:
        classes: K; for hands per side, and right and mirrored left hands are clustered together.

    Raises:
        ValueError: fewer than ten such poses per class.
    """
    instances = Instances.concatenate(
        [instances_of(s.parts[part], s.width, s.height) for s in labels if part in s.parts]
    )
    complete = instances.valid_3d.mean(axis=1) >= MIN_VALID_JOINTS
    complete &= instances.valid_2d.any(axis=1)
    if complete.sum() < 10 * classes:
        raise ValueError(
            f"{part}: {complete.sum()} poses with enough 3D joints are too few for {classes} "
            "classes: add pictures whose labels have 3D, or take the anchor poses of other weights "
            "with --anchors-from dope_lite"
        )
    instances = instances.select(complete)
    if part == "hand":
        left = instances.is_left
        instances = Instances.concatenate(
            [instances.select(~left), instances.select(left).mirrored(width=0)]
        )
    flat = instances.keypoints_3d.reshape(len(instances), -1).astype(float)
    label = _cluster(flat, classes, seed)
    poses = np.stack([_mean_pose(instances.select(label == k)) for k in range(classes)])
    if part == "hand":
        poses = np.concatenate([poses, mirrored_pose(part, poses)])
    return AnchorPoses(part, poses.astype(np.float32))


def anchor_poses_of(network: DopeNetwork) -> dict[str, AnchorPoses]:
    """The anchor poses that a network has, by part."""
    return {
        part: AnchorPoses(part, head.anchor_poses.cpu().numpy())
        for part, head in network.branches.items()
    }


def anchors_of_weights(path: Path, part: str) -> AnchorPoses:
    """The anchor poses of one part of a weights file: a network that follows an expert needs its.

    Raises:
        ValueError: the weights do not detect that part.
    """
    from dope_model.checkpoint import load_checkpoint

    state = load_checkpoint(path).state
    poses = state.get(f"branches.{part}.anchor_poses")
    if poses is None:
        raise ValueError(
            f"{path} does not detect a {part}, so there are no anchor poses to take: name weights "
            f"that do, such as of python -m dope_model train --recipe paper_{part}"
        )
    return AnchorPoses(part, poses.numpy())


def _cluster(points: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """K-means labels (N,) of points (N, D): the best of ten starts, no class empty.

    Raises:
        ValueError: the points are fewer different ones than classes.
    """
    best, best_spread = None, np.inf
    for start in range(10):
        try:
            centres, label = kmeans2(
                points, classes, minit="++", seed=seed + start, iter=50, missing="raise"
            )
        except ClusterError:
            continue
        spread = ((points - centres[label]) ** 2).sum()
        if spread < best_spread:
            best, best_spread = label, spread
    if best is None:
        raise ValueError(f"{len(points)} poses do not fall into {classes} classes; use fewer")
    return best


def mirrored_pose(part: str, poses: np.ndarray) -> np.ndarray:
    """Poses (..., J, 5) in the unit box, mirrored."""
    swap = list(skeleton_for(part, poses.shape[-2]).swap)
    mirrored = poses[..., swap, :].copy()
    mirrored[..., 0] = 1 - mirrored[..., 0]
    mirrored[..., 2] = -mirrored[..., 2]
    return mirrored


def _mean_pose(instances: Instances) -> np.ndarray:
    """Mean 2D pose in the unit box over the valid joints, and mean 3D pose: (J, 5)."""
    unit, valid = instances.in_unit_box(), instances.valid_2d[..., None]
    mean_2d = np.where(valid, unit, 0).sum(axis=0) / np.maximum(valid.sum(axis=0), 1)
    never = ~instances.valid_2d.any(axis=0)
    mean_2d[never] = unit.mean(axis=0)[never]
    return np.concatenate([mean_2d, instances.keypoints_3d.mean(axis=0)], axis=1)


def _masked_mean_distance(a: np.ndarray, b: np.ndarray, valid: np.ndarray) -> np.ndarray:
    distance = np.where(valid, np.linalg.norm(a - b, axis=-1), 0).sum(axis=-1)
    return distance / np.maximum(valid.sum(axis=-1), 1)
