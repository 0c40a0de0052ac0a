"""Greedy non-maximum suppression by any rule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


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
