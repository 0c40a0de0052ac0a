"""Two looks at an image: small instances from the first, large ones from a smaller copy of it.

A network knows people of the sizes that it was trained on. Of each look only the candidates in its
range of sizes count, as in Singh and Davis, "An Analysis of Scale Invariance in Object Detection -
SNIP" (CVPR 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dope_model.network.config import Mode, SecondLook
from dope_model.network.dope import resized_shape
from dope_model.postprocess.candidates import Candidates

if TYPE_CHECKING:
    from dope_model.runtime import Engine


class TwoLooks:
    """An engine out of two.

    Args:
        first, second: the same network's engines for `mode` and for `look.mode_after(mode)`.
    """

    def __init__(self, first: Engine, second: Engine, mode: Mode, look: SecondLook) -> None:
        self._first, self._second = first, second
        self._mode, self._look = mode, look

    @property
    def description(self) -> str:
        """That of the first look, and the size of the second."""
        size = self._look.mode_after(self._mode).min_size
        return f"{self._first.description}, second look at {size} px"

    @property
    def prefetch(self) -> Callable[[np.ndarray], None] | None:
        """That of the first look."""
        return self._first.prefetch

    def __call__(self, rgb: np.ndarray) -> dict[str, Candidates]:
        """Candidates of an image (H, W, 3) uint8, by part, in its pixels."""
        height, width = rgb.shape[:2]
        # Of the network's input in pixels of the image.
        pixel = min(height, width) / min(resized_shape(height, width, self._mode))
        found, large = self._first(rgb), self._second(rgb)
        for part, largest in self._look.largest.items():
            if part in found:
                limit = largest * pixel
                small = found[part].select(_longer_sides(found[part]) <= limit)
                others = large[part].select(_longer_sides(large[part]) > limit)
                found[part] = Candidates.concatenate([small, others])
        return found


def _longer_sides(candidates: Candidates) -> np.ndarray:
    return (candidates.boxes[:, 2:] - candidates.boxes[:, :2]).max(axis=1)
