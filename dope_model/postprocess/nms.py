"""Greedy non-maximum suppression with a given rule."""

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
