"""Multi-scale inference: small instances from the image, large ones from a smaller copy of it.

A network is good at the sizes that it was trained on. At each scale only the candidates in its
range of sizes count, as in Singh and Davis, "An Analysis of Scale Invariance in Object Detection -
SNIP" (CVPR 2018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dope_model.network.config import CoarseScale
from dope_model.postprocess.candidates import Candidates


def candidates_that_count(
    scales: Sequence[Mapping[str, Candidates]], coarse_scale: CoarseScale | None
) -> dict[str, Candidates]:
    """By part, the candidates of one or both scales that count.

    Args:
        scales: candidates of each scale, in px of the first scale's input.
    """
    found = dict(scales[0])
    if coarse_scale is None:
        return found
    for part, largest in coarse_scale.largest.items():
        if part in found:
            small = found[part].select(_longer_sides(found[part]) <= largest)
            large = scales[1][part].select(_longer_sides(scales[1][part]) > largest)
            found[part] = Candidates.concatenate([small, large])
    return found


def _longer_sides(candidates: Candidates) -> np.ndarray:
    return (candidates.boxes[:, 2:] - candidates.boxes[:, :2]).max(axis=1)
