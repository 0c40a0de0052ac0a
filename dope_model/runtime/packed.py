"""The layout of a graph's output: one tensor with the candidates of all scales and parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dope_model.network.config import STRIDE, Mode, NetworkConfig, padded_shape
from dope_model.postprocess.candidates import Candidates

CANDIDATES = 256
"""Largest number of candidates of each part and scale in a graph's output."""
# score, class, box
_HEAD_VALUES = 6
# 2D, 3D, confidence
_JOINT_VALUES = 6


@dataclass(frozen=True)
class PackedLayout:
    """Where the candidates lie in the output tensor.

    Attributes:
        looks: of each look, by part, (part, candidates, joints), in the order of the tensor.
    """

    looks: tuple[tuple[tuple[str, int, int], ...], ...]

    @classmethod
    def of(
        cls,
        config: NetworkConfig,
        modes: Sequence[Mode],
        size: tuple[int, int],
        candidates: int = CANDIDATES,
    ) -> PackedLayout:
        """The layout for images of one size (height, width) and the modes of all looks."""
        looks = []
        for mode in modes:
            proposals = proposal_count(config, mode, *size)
            looks.append(
                tuple(
                    (name, min(candidates, proposals * part.anchor_poses), part.joints)
                    for name, part in config.parts.items()
                )
            )
        return cls(tuple(looks))

    @property
    def size(self) -> int:
        """Length of the tensor."""
        rows = [row for look in self.looks for row in look]
        return sum(count * _width(joints) for _, count, joints in rows)

    def unpack(
        self, packed: np.ndarray, min_scores: dict[str, float]
    ) -> list[dict[str, Candidates]]:
        """For each scale the candidates by part from the output tensor (size,), without those below
        `min_scores`.

        Raises:
            ValueError: the tensor is of another length.
        """
        if packed.shape != (self.size,):
            raise ValueError(f"the output has shape {packed.shape}, not ({self.size},)")
        start, looks = 0, []
        for look in self.looks:
            found = {}
            for part, count, joints in look:
                width = _width(joints)
                rows = packed[start : start + count * width].reshape(count, width)
                start += count * width
                rows = rows[(rows[:, 0] >= min_scores[part]) & (rows[:, 0] > 0)]
                found[part] = Candidates(
                    part,
                    rows[:, 1].astype(np.int64),
                    rows[:, 0],
                    rows[:, 2:6],
                    rows[:, 6 : 6 + 2 * joints].reshape(-1, joints, 2),
                    rows[:, 6 + 2 * joints : 6 + 5 * joints].reshape(-1, joints, 3),
                    rows[:, 6 + 5 * joints :],
                )
            looks.append(found)
        return looks


def _width(joints: int) -> int:
    """Number of values of a candidate with that many joints."""
    return _HEAD_VALUES + _JOINT_VALUES * joints


def proposal_count(config: NetworkConfig, mode: Mode, height: int, width: int) -> int:
    """Proposals of an image of that size: a small one has fewer boxes than are asked for."""
    cells = [side // STRIDE for side in padded_shape(height, width, mode)]
    anchors = cells[0] * cells[1] * len(config.anchor_sizes) * len(config.anchor_ratios)
    return min(mode.proposals, anchors, config.pre_nms_proposals)
