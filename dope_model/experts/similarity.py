"""How well two body poses agree: object keypoint similarity, as in the COCO evaluation.

Thirteen points count: the nose and the twelve joints of the limbs, with COCO's tolerances.
"""

from __future__ import annotations

import numpy as np

POSE_POINTS = (0, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""The thirteen among BlazePose's points."""

COCO_POINTS = (0, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
"""The thirteen among COCO's keypoints."""

SIGMAS = np.array([26, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
"""COCO's standard deviation of human labels, in square roots of the person's area."""

# COCO divides by the area of the person's outline, about this part of that of the box.
_PERSON_PER_BOX = 0.6


def directed_similarity(
    reference: np.ndarray, other: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Similarity 0..1 of poses (..., 13, 2), measured in sizes of `reference`.

    Args:
        weights: (..., 13), how much each point counts; not all zero.
    """
    extent = np.ptp(reference, axis=-2)
    area = np.maximum(extent.prod(axis=-1, keepdims=True), 1) * _PERSON_PER_BOX
    distance = ((reference - other) ** 2).sum(axis=-1)
    similarity = np.exp(-distance / (2 * area * (2 * SIGMAS) ** 2))
    return (similarity * weights).sum(axis=-1) / weights.sum(axis=-1)


def agreement(
    poses: np.ndarray, scores: np.ndarray, others: np.ndarray, other_scores: np.ndarray
) -> np.ndarray:
    """The smaller of the similarities in both directions: whether two passes found the same.

    Args:
        poses, others: (..., 13, 2) px.
        scores, other_scores: (..., 13), confidence of each point, 0..1.
    """
    weights = np.minimum(scores, other_scores) + 0.02
    return np.minimum(
        directed_similarity(poses, others, weights), directed_similarity(others, poses, weights)
    )


def overlap(
    poses: np.ndarray, scores: np.ndarray, others: np.ndarray, other_scores: np.ndarray
) -> np.ndarray:
    """The larger of the similarities in both directions: whether two are one person."""
    weights = np.minimum(scores, other_scores) + 0.05
    return np.maximum(
        directed_similarity(poses, others, weights), directed_similarity(others, poses, weights)
    )


def distinct(poses: np.ndarray, scores: np.ndarray, order: np.ndarray, limit: float) -> list[list]:
    """Groups of poses that are one person each, as lists of indices, the best first in each.

    Args:
        poses: (N, 13, 2) px.
        scores: (N, 13).
        order: (N,) indices, best first.
        limit: `overlap` above which two poses are one person.
    """
    groups: list[list[int]] = []
    for i in order:
        for group in groups:
            best = group[0]
            if overlap(poses[i], scores[i], poses[best], scores[best]) > limit:
                group.append(int(i))
                break
        else:
            groups.append([int(i)])
    return groups
