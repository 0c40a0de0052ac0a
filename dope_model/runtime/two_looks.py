"""Two looks at an image: small instances from the first, large ones from a smaller copy of it.

A network knows people of the sizes that it was trained on. Of each look only the candidates in its
range of sizes count, as in Singh and Davis, "An Analysis of Scale Invariance in Object Detection -
SNIP" (CVPR 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dope_model.network.config import Mode, SecondLook
from dope_model.network.dope import resized_shape
from dope_model.postprocess.candidates import Candidates

if TYPE_CHECKING:
    from dope_model.checkpoint import Checkpoint
    from dope_model.runtime import Engine


def as_one(engines: Sequence[Engine], checkpoint: Checkpoint, mode: Mode) -> Engine | TwoLooks:
    """What the engines of all looks (`checkpoint.looks(mode)`) find together."""
    if checkpoint.second_look is None:
        return engines[0]
    return TwoLooks(*engines, mode, checkpoint.second_look)


class TwoLooks:
    """An engine out of two.

    Args:
        first, second: the same network's engines for `look.modes(mode, ...)`.
    """

    def __init__(self, first: Engine, second: Engine, mode: Mode, look: SecondLook) -> None:
        self._first, self._second = first, second
        self._mode, self._look = mode, look

    @property
    def description(self) -> str:
        """Those of both looks, if they differ, and the size of the second."""
        first, second = self._first.description, self._second.description
        size = self._look.mode_after(self._mode).min_size
        return f"{first}, second look at {size} px" + f" on {second}" * (second != first)

    @property
    def prefetch(self) -> Callable[[np.ndarray], None] | None:
        """Those of both looks."""
        both = [p for p in (self._first.prefetch, self._second.prefetch) if p is not None]
        if not both:
            return None

        def begin(rgb: np.ndarray) -> None:
            for prefetch in both:
                prefetch(rgb)

        return begin

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
