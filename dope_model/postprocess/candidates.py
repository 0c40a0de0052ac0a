"""Pose candidates as plain arrays: the input of the post-processing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from dope_model.skeleton import Skeleton, skeleton_for


@dataclass
class Candidates:
    """M pose candidates of one part: the (box, class) pairs with a sufficient score.

    Attributes:
        part: "body", "hand" or "face".
        classes: (M,) anchor-pose index, from 0.
        scores: (M,) class probability.
        boxes: (M, 4) proposals as x0 y0 x1 y1, px.
        keypoints_2d: (M, J, 2) px.
        keypoints_3d: (M, J, 3) m.
        confidence: (M, J) confidence of each joint, 0 to 1; 1 if the network has none.
    """

    part: str
    classes: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    keypoints_2d: np.ndarray
    keypoints_3d: np.ndarray
    confidence: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.confidence is None:
            self.confidence = np.ones(self.keypoints_2d.shape[:2], np.float32)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def joint_count(self) -> int:
        return self.keypoints_2d.shape[1]

    @property
    def skeleton(self) -> Skeleton:
        return skeleton_for(self.part, self.joint_count)

    @staticmethod
    def concatenate(items: Sequence[Candidates]) -> Candidates:
        """The candidates of several, concatenated; all of one part."""
        names = [field.name for field in fields(Candidates) if field.name != "part"]
        arrays = {name: np.concatenate([getattr(i, name) for i in items]) for name in names}
        return Candidates(items[0].part, **arrays)

    def best_first(self) -> Candidates:
        """The same candidates, highest score first."""
        return self.select(np.argsort(-self.scores, kind="stable"))

    def select(self, which: np.ndarray) -> Candidates:
        """The candidates that an index or mask array picks, in its order."""
        return Candidates(
            self.part,
            self.classes[which],
            self.scores[which],
            self.boxes[which],
            self.keypoints_2d[which],
            self.keypoints_3d[which],
            self.confidence[which],
        )
