"""Non-maximum suppression: the simpler way from candidates to detections."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dope_model.boxes import box_iou
from dope_model.poses import PartDetections
from dope_model.postprocess.candidates import Candidates


def suppress(
    candidates: Candidates, hand_classes_per_side: int, min_score: float = 0.3, max_iou: float = 0.3
) -> PartDetections:
    """Keep the best of candidates whose boxes overlap; best first.

    Args:
        hand_classes_per_side: K_H; a hand of a class from there on is a left one.
        min_score: candidates below are dropped.
        max_iou: a candidate that overlaps a better one by more is dropped.
    """
    candidates = candidates.select(candidates.scores >= min_score).best_first()
    keep = nms_keep(candidates.boxes, max_iou)
    kept = candidates.select(keep)
    return PartDetections(
        kept.part,
        kept.scores,
        kept.keypoints_2d,
        kept.keypoints_3d,
        kept.classes >= hand_classes_per_side if kept.part == "hand" else None,
    )


def nms_keep(boxes: np.ndarray, max_iou: float) -> np.ndarray:
    """Indices of the boxes (M, 4), best first, that no kept box before them overlaps by more."""
    return keep_best(len(boxes), lambda best, rest: box_iou(boxes[best], boxes[rest]) <= max_iou)


def keep_best(count: int, stay: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
    """Indices of `count` things, best first, that stay beside all kept ones before them.

    Args:
        stay: of a kept one and the indices (M,) of those after it, which of these stay, (M,) bool.
    """
    remaining = np.arange(count)
    keep = []
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        keep.append(best)
        remaining = remaining[stay(best, remaining)]
    return np.array(keep, int)
