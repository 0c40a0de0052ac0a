"""Pose proposals integration (LCR-Net++, section 3.1 of the paper).

Overlapping candidates are grouped, the modes among their 3D poses are found, and each group yields
the score-weighted mean pose of its best mode.
"""

from __future__ import annotations

import numpy as np

from dope_model.poses import PartDetections
from dope_model.postprocess.candidates import Candidates, box_iou
from dope_model.postprocess.settings import OVERLAP_JOINTS, IntegrationSettings

LOWER_BODY_JOINTS = slice(0, 4)
# A class of upper bodies has seen nothing of the legs.
UPPER_BODY_LEG_WEIGHT = 0.1


def integrate(candidates: Candidates, settings: IntegrationSettings) -> PartDetections:
    """Merge pose candidates into detections, best first.

    Args:
        candidates: of one part; those that score under `settings.score_th` have been left out.

    Returns:
        One detection per group of overlapping candidates whose best mode exceeds
        `settings.th_persondetect`. Its score is the sum of its members' scores, so it may exceed
        1. A hand is left if its seed's class is K or above.
    """
    candidates = candidates.best_first()
    remaining = np.arange(len(candidates))
    modes: list[_Mode] = []
    while len(remaining):
        overlapping = _overlaps_first(candidates.select(remaining), settings)
        group, remaining = remaining[overlapping], remaining[~overlapping]
        mode = _best_mode(candidates, group, settings)
        if mode.score > settings.th_persondetect:
            modes.append(mode)
    modes.sort(key=lambda mode: -mode.score)
    if not modes:
        return PartDetections.empty(candidates.part, candidates.joint_count)
    seeds = np.array([mode.seed for mode in modes])
    return PartDetections(
        candidates.part,
        np.array([mode.score for mode in modes]),
        np.stack([mode.mean(candidates.keypoints_2d, candidates, settings) for mode in modes]),
        np.stack([mode.mean(candidates.keypoints_3d, candidates, settings) for mode in modes]),
        candidates.classes[seeds] >= settings.K if candidates.part == "hand" else None,
    )


class _Mode:
    """Candidates `members` whose 3D poses are close to that of candidate `seed`."""

    def __init__(self, seed: int, members: np.ndarray, score: float) -> None:
        self.seed, self.members, self.score = seed, members, score

    def mean(
        self, poses: np.ndarray, candidates: Candidates, settings: IntegrationSettings
    ) -> np.ndarray:
        """Score-weighted mean (J, D) of the members' poses, out of all `poses` (M, J, D)."""
        weights = np.repeat(candidates.scores[self.members][:, None], poses.shape[1], axis=1)
        weights = weights.astype(np.float64)
        if candidates.part == "body":
            upper_body = candidates.classes[self.members] >= settings.K
            weights[upper_body, LOWER_BODY_JOINTS] *= UPPER_BODY_LEG_WEIGHT
        weights /= weights.sum(axis=0)
        return np.einsum("mj,mjd->jd", weights, poses[self.members])


def _best_mode(candidates: Candidates, group: np.ndarray, settings: IntegrationSettings) -> _Mode:
    """The mode of highest score among candidates `group` (best first)."""
    poses, scores = candidates.keypoints_3d[group], candidates.scores[group]
    unassigned = np.ones(len(group), bool)
    best: _Mode | None = None
    while unassigned.any():
        seed = int(np.argmax(unassigned))
        if best is not None and scores[seed] < settings.min_mode_score:
            break
        distances = np.linalg.norm(poses - poses[seed], axis=-1).mean(axis=-1)
        members = distances < settings.th_pose3D
        members[seed] = True
        unassigned &= ~members
        score = float(scores[members].sum())
        if best is None or score > best.score:
            best = _Mode(int(group[seed]), group[members], score)
    assert best is not None
    return best


def _overlaps_first(candidates: Candidates, settings: IntegrationSettings) -> np.ndarray:
    """(M,) which candidates overlap the first one; the first one does."""
    first_box = candidates.boxes[0]
    if settings.overlaps_by_box:
        overlapping = box_iou(first_box, candidates.boxes, pixel_inclusive=True) > settings.th_iou
    else:
        size = (first_box[2:] - first_box[:2]).max() + 1
        distance = _joint_distance(candidates, settings) / (2 * size)
        overlapping = distance < settings.th_iou
    overlapping[0] = True
    return overlapping


def _joint_distance(candidates: Candidates, settings: IntegrationSettings) -> np.ndarray:
    """(M,) mean 2D distance, px, of the joints named by `iou_func` to those of the first."""
    poses = candidates.keypoints_2d
    joints = OVERLAP_JOINTS[settings.overlap_joints_name]
    joints = list(range(candidates.joint_count)) if joints is None else list(joints)

    def mean_distance(others: np.ndarray) -> np.ndarray:
        return np.linalg.norm(others[:, joints] - poses[0, joints], axis=-1).mean(axis=-1)

    distance = mean_distance(poses)
    if settings.left_right_swapped:
        distance = np.minimum(distance, mean_distance(poses[:, list(candidates.skeleton.swap)]))
    return distance
