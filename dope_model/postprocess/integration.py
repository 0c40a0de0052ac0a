"""Pose proposals integration (LCR-Net++, section 3.1 of the paper).

Overlapping candidates are grouped, the modes among their 3D poses are found, and each group yields
the score-weighted mean pose of its best mode. All groups are processed at once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dope_model.boxes import keep_best
from dope_model.poses import PartDetections
from dope_model.postprocess.candidates import Candidates
from dope_model.postprocess.settings import OVERLAP_JOINTS, IntegrationSettings

LOWER_BODY_JOINTS = slice(0, 4)
# Classes of upper bodies have no information about the legs.
UPPER_BODY_LEG_WEIGHT = 0.1
# The top 6 candidates of a mode propose positions of a joint, and the top 16 vote for them. More
# change nothing (Leeds Sports Pose) and cost time.
_PLACES, _VOTERS = 6, 16
# Odds of confidence are limited to this range, so no candidate has no weight or all of it.
_CONFIDENCE_RANGE = 0.01, 0.99

OverlapsOf = Callable[[int], np.ndarray]
"""Which of the candidates (M,) overlap the one of an index."""


def integrate(candidates: Candidates, settings: IntegrationSettings) -> PartDetections:
    """Merge pose candidates into detections, best first.

    Args:
        candidates: of one part, with scores of at least `settings.score_th`.

    Returns:
        One detection per group of overlapping candidates whose best mode exceeds
        `settings.th_persondetect`. Its score is the sum of its members' scores, which may exceed 1,
        and its joints' confidence is the height of their heat maps' peaks; `scores.calibrated`
        turns both into probabilities. A hand is a left one if its seed's class is K or above.
    """
    if not len(candidates):
        return PartDetections.empty(candidates.part, candidates.joint_count)
    grouped, starts = _groups(candidates, settings)
    candidates = candidates.select(grouped)
    scores, seeds, members = _best_modes(candidates, starts, settings)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > settings.th_persondetect]
    if not len(order):
        return PartDetections.empty(candidates.part, candidates.joint_count)
    modes, starts = candidates.select(members), (np.cumsum(members) - members)[starts]
    weights = _joint_weights(modes, settings)
    seen = np.concatenate([modes.keypoints_2d, modes.confidence[..., None]], axis=2)
    if settings.th_joint:
        seen = _agreed_joints(seen, weights, starts, order, settings.th_joint)
    else:
        seen = _means(seen, weights, starts)[order]
    found = PartDetections(
        candidates.part,
        scores[order],
        seen[..., :2],
        _means(modes.keypoints_3d, weights, starts)[order],
        candidates.classes[seeds[order]] >= settings.K if candidates.part == "hand" else None,
        seen[..., 2],
    )
    if not settings.th_duplicate:
        return found
    return found.select(_without_doubles(found.keypoints_2d, candidates, settings.th_duplicate))


def _without_doubles(poses: np.ndarray, candidates: Candidates, share: float) -> np.ndarray:
    """Indices of the 2D poses (N, J, 2), best first, that are not duplicates of a better one.

    A pose with left and right swapped is a duplicate, too.
    """
    swap = list(candidates.skeleton.swap)
    sizes = np.ptp(poses, axis=1).max(axis=1)
    centres = poses.mean(axis=1)

    def no_doubles(best: int, others: np.ndarray) -> np.ndarray:
        reach = share * np.sqrt(sizes[best] * np.minimum(sizes[best], sizes[others]))
        # The mean distance of joints is no shorter than that of their means; a pixel for rounding.
        away = np.abs(centres[others] - centres[best]).max(axis=1)
        near = np.flatnonzero(away < reach + 1)
        stay = np.ones(len(others), bool)
        if len(near):
            variants = [poses[others[near]], poses[others[near]][:, swap]]
            stay[near] = _distances(variants, poses[best]) >= reach[near]
        return stay

    return keep_best(len(poses), no_doubles)


def _distances(variants: list[np.ndarray], pose: np.ndarray) -> np.ndarray:
    """(N,) mean distances of a pose (J, 2) from N poses, each in the nearest of its variants
    (N, J, 2)."""
    return np.minimum.reduce(
        [np.linalg.norm(variant - pose, axis=2).mean(axis=1) for variant in variants]
    )


def _groups(candidates: Candidates, settings: IntegrationSettings) -> tuple[np.ndarray, np.ndarray]:
    """Candidates by group: the best remaining one and all remaining ones that overlap it.

    Returns:
        The candidates' indices (M,), by group and best first in each, and the start of each group
        (G,).
    """
    overlaps_of = _overlaps(candidates, settings)
    group = np.full(len(candidates), -1)
    best_first = np.argsort(-candidates.scores, kind="stable")
    number = 0
    for best in best_first.tolist():
        if group[best] >= 0:
            continue
        group[overlaps_of(best) & (group < 0)] = number
        group[best] = number
        number += 1
    grouped = best_first[np.argsort(group[best_first], kind="stable")]
    return grouped, np.cumsum([0, *np.bincount(group)[:-1]])


def _overlaps(candidates: Candidates, settings: IntegrationSettings) -> OverlapsOf:
    if settings.overlaps_by_box:
        return _box_overlaps(candidates.boxes, settings.th_iou)
    boxes = candidates.boxes
    joints = OVERLAP_JOINTS[settings.overlap_joints_name]
    everything = range(candidates.joint_count)
    joints = [j for j in everything if joints is None or j in joints]
    poses = candidates.keypoints_2d
    variants = [poses[:, joints]]
    if settings.left_right_swapped:
        variants.append(poses[:, list(candidates.skeleton.swap)][:, joints])

    def near(one: int) -> np.ndarray:
        """By the mean 2D distance of the named joints, in units of twice the box's longer side."""
        pose = variants[0][one]
        size = (boxes[one, 2:] - boxes[one, :2]).max() + 1
        return _distances(variants, pose) / (2 * size) < settings.th_iou

    return near


def _box_overlaps(boxes: np.ndarray, threshold: float) -> OverlapsOf:
    """By intersection over union above `threshold`; a box covers its last pixel, too."""
    # This is called in a loop: what does not depend on the one box is computed beforehand, and
    # columns avoid a slow reduction over an axis of two.
    x0, y0, x1, y1 = np.array(boxes.T, np.float64)
    x1, y1 = x1 + 1, y1 + 1
    area = (x1 - x0) * (y1 - y0)

    def overlapping(one: int) -> np.ndarray:
        width = np.minimum(x1, x1[one]) - np.maximum(x0, x0[one])
        height = np.minimum(y1, y1[one]) - np.maximum(y0, y0[one])
        common = np.maximum(width, 0) * np.maximum(height, 0)
        return common > threshold * (area + area[one] - common)

    return overlapping


def _best_modes(
    candidates: Candidates, starts: np.ndarray, settings: IntegrationSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mode of highest score in each group.

    A mode is a seed, the best candidate without a mode, and all candidates of its group whose 3D
    poses are close to the seed's. Each round makes one mode per group.

    Args:
        candidates: group after group, best first in each; the groups start at `starts` (G,).

    Returns:
        Score (G,) and index of the seed (G,) of each best mode, and the candidates that belong to
        them (M,) bool.
    """
    count = len(candidates)
    group = np.zeros(count, int)
    group[starts[1:]] = 1
    group = np.cumsum(group)
    indices = np.arange(count)
    candidate_scores = np.asarray(candidates.scores, np.float64)
    axes = np.ascontiguousarray(np.moveaxis(candidates.keypoints_3d, -1, 0))

    scores = np.full(len(starts), -np.inf)
    seeds = starts.copy()
    best_members = np.zeros(count, bool)
    free = np.ones(count, bool)
    while True:
        seed = np.minimum.reduceat(np.where(free, indices, count), starts)
        has_seed = seed < count
        further = has_seed & (scores > -np.inf)
        has_seed[further] = candidate_scores[seed[further]] >= settings.min_mode_score
        rows = np.nonzero(has_seed[group])[0]
        if not len(rows):
            return scores, seeds, best_members
        seed_of_row = seed[group[rows]]
        offsets = axes.take(rows, axis=1)
        offsets -= axes.take(seed_of_row, axis=1)
        offsets *= offsets
        near = np.sqrt(offsets[0] + offsets[1] + offsets[2]).mean(axis=-1) < settings.th_pose3D
        near |= rows == seed_of_row
        members = np.zeros(count, bool)
        members[rows] = near
        free &= ~members
        score = np.bincount(group, np.where(members, candidate_scores, 0.0))
        better = has_seed & (score > scores)
        scores[better], seeds[better] = score[better], seed[better]
        in_better = better[group]
        best_members[in_better] = members[in_better]


def _joint_weights(candidates: Candidates, settings: IntegrationSettings) -> np.ndarray:
    """The weight of each candidate for each joint (M, J)."""
    weights = np.repeat(candidates.scores[:, None], candidates.joint_count, axis=1)
    if settings.confidence_exponent:
        confidence = np.clip(candidates.confidence, *_CONFIDENCE_RANGE)
        weights = weights * (confidence / (1 - confidence)) ** settings.confidence_exponent
    if candidates.part == "body":
        # Upper bodies begin at K, and the authors' code leaves out the first of their classes:
        # checkpoints give the results that theirs gives.
        upper_body = candidates.classes > settings.K
        weights[upper_body, LOWER_BODY_JOINTS] *= UPPER_BODY_LEG_WEIGHT
    return weights


def _means(poses: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Mean poses (G, J, D) of groups that start at `starts` (G,) among the poses (M, J, D)."""
    total = np.add.reduceat(weights, starts)[..., None]
    return np.add.reduceat(weights[..., None] * poses, starts) / total


def _agreed_joints(
    poses: np.ndarray, weights: np.ndarray, starts: np.ndarray, groups: np.ndarray, share: float
) -> np.ndarray:
    """Poses (G, J, D) of some `groups` (G,), with each joint where the best poses agree.

    Args:
        poses: (M, J, D), by group and best first in each; x, y, and further values that are
            averaged over the poses that agree.
        weights: (M, J).
        starts: of all groups.
        share: of the best pose's longer side, within which poses agree.
    """
    counts = np.diff(starts, append=len(poses))[groups]
    slots = np.arange(min(_VOTERS, counts.max()))[:, None]
    there = slots < counts  # (V, G)
    voters = starts[groups] + np.where(there, slots, 0)
    poses, weights = poses[voters], weights[voters] * there[..., None]
    shape = poses.shape[1:]
    reach = share * np.ptp(poses[0, ..., :2], axis=1).max(axis=1)
    squared = np.repeat(reach**2, shape[1])
    # One row per voter and one column per joint of all groups: long sums are fast.
    weights = weights.reshape(len(weights), -1)
    values = [np.ascontiguousarray(v).reshape(weights.shape) for v in np.moveaxis(poses, -1, 0)]
    x, y = values[:2]
    most, best = np.zeros_like(weights[0]), np.zeros_like(weights)
    for place in range(min(_PLACES, len(slots))):
        near = (x - x[place]) ** 2 + (y - y[place]) ** 2 <= squared
        agreeing = weights * near
        total = agreeing.sum(axis=0)
        better = total > most
        np.copyto(most, total, where=better)
        np.copyto(best, agreeing, where=better)
    agreed = [(best * value).sum(axis=0) / most for value in values]
    return np.stack(agreed, axis=-1).reshape(shape)
