"""Overlap of boxes, which are x0 y0 x1 y1, and greedy non-maximum suppression."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def keep_best(count: int, stay: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
    """Indices of the kept ones of `count` items, best first.

    Args:
        stay: from a kept item and the indices (M,) of later ones to which of these stay, (M,) bool.
    """
    remaining = np.arange(count)
    keep = []
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        keep.append(best)
        remaining = remaining[stay(best, remaining)]
    return np.array(keep, int)


def box_iou(boxes: np.ndarray, others: np.ndarray, pixel_inclusive: bool = False) -> np.ndarray:
    """Intersection over union of boxes (..., 4) and (..., 4), broadcast against each other.

    Args:
        pixel_inclusive: a box includes its last pixel: sides are one longer.
    """
    # Column by column: reducing over an axis of two costs NumPy ten times as much.
    extra = 1.0 if pixel_inclusive else 0.0
    x0, y0, x1, y1 = np.moveaxis(boxes, -1, 0)
    other_x0, other_y0, other_x1, other_y1 = np.moveaxis(others, -1, 0)
    width = np.maximum(np.minimum(x1, other_x1) - np.maximum(x0, other_x0) + extra, 0)
    height = np.maximum(np.minimum(y1, other_y1) - np.maximum(y0, other_y0) + extra, 0)
    intersection = width * height
    area = (x1 - x0 + extra) * (y1 - y0 + extra)
    other_area = (other_x1 - other_x0 + extra) * (other_y1 - other_y0 + extra)
    union = area + other_area - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def box_ious(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of every box of (N, 4) with every one of (M, 4)."""
    return box_iou(boxes[:, None], others[None])
