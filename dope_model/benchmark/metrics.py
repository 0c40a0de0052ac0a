"""Metrics of poses, as functions of plain arrays."""

from __future__ import annotations

import numpy as np

SIMILARITY_SPREAD = 0.1
"""Distance, as a share of the instance's size, at which a joint's similarity is exp(-1/2)."""
LEAST_SIMILARITY = 0.4
"""Of a detection and a labelled instance that are taken for the same."""


def instance_size(keypoints_2d: np.ndarray, counted: np.ndarray) -> float:
    """Larger side of the box around the counted joints of (J, 2), px; at least 1."""
    points = keypoints_2d[counted]
    return max(float(np.ptp(points, axis=0).max()), 1.0) if len(points) else 1.0


def keypoint_similarity(
    predicted: np.ndarray, truth: np.ndarray, counted: np.ndarray, size: float
) -> float:
    """Mean over the counted joints of exp(-d^2 / 2 (size * SIMILARITY_SPREAD)^2): 1 is perfect.

    COCO's object keypoint similarity with one spread for all joints.

    Args:
        predicted, truth: (J, 2) px; counted: (J,) bool; size: px.
    """
    if not counted.any():
        return 0.0
    distance = np.linalg.norm(predicted - truth, axis=1)[counted] / (size * SIMILARITY_SPREAD)
    return float(np.exp(-0.5 * distance**2).mean())


def match_instances(similarities: np.ndarray, scores: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (detection, truth), of similarities (D, T) and scores (D,): the best scored detection
    first takes its most similar truth, if that is similar enough."""
    pairs, taken = [], set()
    for detection in np.argsort(-np.asarray(scores), kind="stable"):
        free = [t for t in range(similarities.shape[1]) if t not in taken]
        if not free:
            break
        best = max(free, key=lambda t: similarities[detection, t])
        if similarities[detection, best] >= LEAST_SIMILARITY:
            taken.add(best)
            pairs.append((int(detection), best))
    return pairs


def procrustes_align(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """`predicted` (J, 3) moved, turned and scaled to lie as near to `truth` as it can.

    Least squares over similarity transforms without reflection (Umeyama 1991).
    """
    centre_p, centre_t = predicted.mean(axis=0), truth.mean(axis=0)
    p, t = predicted - centre_p, truth - centre_t
    spread = (p**2).sum()
    if spread < 1e-18:
        return np.broadcast_to(centre_t, predicted.shape).copy()
    u, singular, v = np.linalg.svd(t.T @ p)
    proper = np.ones(3)
    proper[-1] = np.sign(np.linalg.det(u @ v)) or 1.0
    turn = (u * proper) @ v
    scale = (singular * proper).sum() / spread
    return scale * p @ turn.T + centre_t


def joint_errors(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distances (..., J) between joints (..., J, D)."""
    return np.linalg.norm(np.asarray(predicted, float) - np.asarray(truth, float), axis=-1)


def mpjpe(predicted: np.ndarray, truth: np.ndarray, counted: np.ndarray) -> float:
    """Mean per joint position error over the counted joints, in the unit of the poses."""
    return float(joint_errors(predicted, truth)[counted].mean())


def pa_mpjpe(predicted: np.ndarray, truth: np.ndarray, counted: np.ndarray) -> float:
    """MPJPE after Procrustes alignment of the counted joints; NaN with fewer than three."""
    if counted.sum() < 3:
        return float("nan")
    one = np.asarray(predicted, float)[counted]
    other = np.asarray(truth, float)[counted]
    return float(joint_errors(procrustes_align(one, other), other).mean())


def inside_any(point: np.ndarray, boxes: np.ndarray) -> bool:
    """Whether (2,) lies in one of boxes (M, 4) as x0 y0 x1 y1."""
    if not len(boxes):
        return False
    return bool(((point >= boxes[:, :2]) & (point <= boxes[:, 2:])).all(axis=1).any())
