"""Percentages of correct keypoints (PCK) and what they are measured with.

Distances are NaN where nothing is to be evaluated, and infinite where the keypoint was missed.
"""

from __future__ import annotations

import numpy as np


def distances(predicted: np.ndarray | None, truth: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Distances (J,) of joints (J, D): NaN where not counted, infinite for a missed instance.

    Args:
        predicted: None when the instance was missed. A joint that is NaN was missed too.
    """
    counted = np.asarray(counted, bool)
    if predicted is None:
        far = np.full(len(truth), np.inf)
    else:
        far = np.linalg.norm(np.asarray(predicted, float) - np.asarray(truth, float), axis=-1)
        far = np.where(np.isnan(far), np.inf, far)
    return np.where(counted, far, np.nan)


def pck(errors: np.ndarray, threshold: float) -> float:
    """Share of errors that are at most `threshold`; NaN errors do not count, infinite ones miss."""
    evaluated = ~np.isnan(errors)
    return float((errors[evaluated] <= threshold).mean()) if evaluated.any() else float("nan")


def pck_curve(errors: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """`pck` at each threshold."""
    evaluated = np.sort(errors[~np.isnan(errors)])
    if not len(evaluated):
        return np.full(len(thresholds), np.nan)
    return np.searchsorted(evaluated, thresholds, side="right") / len(evaluated)


def share(some: float, all_of_them: float) -> float:
    """`some` as a share of all; NaN where there are none."""
    return float(some / all_of_them) if all_of_them else float("nan")


def area_under_curve(x: np.ndarray, y: np.ndarray) -> float:
    """Area under a curve by the trapezoidal rule, as a share of the range of x."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum() / (x[-1] - x[0]))


def torso_size(left_shoulder: np.ndarray, right_hip: np.ndarray) -> float:
    """From the left shoulder to the right hip, px: what PCK on Leeds Sports Pose is relative to.

    Source: Yang and Ramanan, "Articulated human detection with flexible mixtures of parts" (PAMI
    2013), as used in the comparison of methods on Leeds Sports Pose.
    """
    return float(np.linalg.norm(np.subtract(left_shoulder, right_hip)))


def tight_box_side(keypoints_2d: np.ndarray, counted: np.ndarray) -> float:
    """Longer side of the tight box around the counted keypoints of (J, 2), px.

    Source: DOPE, Figure 5 d.
    """
    points = np.asarray(keypoints_2d, float)[np.asarray(counted, bool)]
    return float(np.ptp(points, axis=0).max()) if len(points) else 0.0


def best_pairs(similarity: np.ndarray, least: float) -> dict[int, int]:
    """One-to-one pairs truth to detection, most similar first, from (detections, truths)."""
    similarity = np.array(similarity, float)
    pairs: dict[int, int] = {}
    while similarity.size and similarity.max() >= least:
        detection, truth = np.unravel_index(np.argmax(similarity), similarity.shape)
        pairs[int(truth)] = int(detection)
        similarity[detection] = similarity[:, truth] = -np.inf
    return pairs
