"""Labelled instances of one part with their target boxes."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from dope_model.datasets.labels import PartLabels
from dope_model.skeleton import skeleton_for

# A box reaches this share of its size beyond the outermost joints, on every side.
BOX_MARGIN = 0.1


@dataclass
class Instances:
    """N instances of one part, ready to become targets.

    Attributes:
        boxes: (N, 4) around the valid 2D joints with a margin, cut at the picture's edge, px.
        keypoints_2d: (N, J, 2) px.
        keypoints_3d: (N, J, 3) m.
        valid_2d, valid_3d: (N, J) bool.
        is_left: (N,) bool for hands, else None.
    """

    part: str
    boxes: np.ndarray
    keypoints_2d: np.ndarray
    keypoints_3d: np.ndarray
    valid_2d: np.ndarray
    valid_3d: np.ndarray
    is_left: np.ndarray | None

    def __len__(self) -> int:
        return len(self.boxes)

    def in_unit_box(self) -> np.ndarray:
        """2D poses (N, J, 2) in units of their boxes."""
        corner, size = self.boxes[:, None, :2], (self.boxes[:, 2:] - self.boxes[:, :2])[:, None]
        return (self.keypoints_2d - corner) / np.maximum(size, 1e-6)

    def select(self, which: np.ndarray) -> Instances:
        """The instances that an index or mask array picks, in its order."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Instances(
            **{k: v[which] if isinstance(v, np.ndarray) else v for k, v in values.items()}
        )

    def with_sides_swapped(self) -> Instances:
        """The same places in the picture, named as if it were mirrored, and 3D mirrored in x.

        Left and right joints change names, and a left hand becomes a right one.
        """
        swap = list(skeleton_for(self.part, self.keypoints_2d.shape[1]).swap)
        return Instances(
            self.part,
            self.boxes,
            self.keypoints_2d[:, swap],
            self.keypoints_3d[:, swap] * [-1, 1, 1],
            self.valid_2d[:, swap],
            self.valid_3d[:, swap],
            None if self.is_left is None else ~self.is_left,
        )

    def mirrored(self, width: float) -> Instances:
        """The instances in the mirrored picture."""
        mirrored = self.with_sides_swapped()
        mirrored.boxes = self.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0, width, 0]
        mirrored.keypoints_2d = mirrored.keypoints_2d * [-1, 1] + [width, 0]
        return mirrored

    @staticmethod
    def concatenate(items: list[Instances]) -> Instances:
        """All instances of several pictures, one after the other."""
        values = {}
        for f in fields(Instances):
            parts = [getattr(item, f.name) for item in items]
            values[f.name] = np.concatenate(parts) if isinstance(parts[0], np.ndarray) else parts[0]
        return Instances(**values)


def instance_boxes(
    keypoints_2d: np.ndarray, valid_2d: np.ndarray, width: float, height: float
) -> np.ndarray:
    """Boxes (N, 4) around the valid joints with a margin, cut at the picture's edge.

    An instance without a valid joint gets an empty box at the origin.
    """
    boxes = np.zeros((len(keypoints_2d), 4))
    some = valid_2d.any(axis=1)
    points, valid = keypoints_2d[some], valid_2d[some][..., None]
    low = np.where(valid, points, np.inf).min(axis=1)
    high = np.where(valid, points, -np.inf).max(axis=1)
    margin = BOX_MARGIN * (high - low)
    frame = np.array([width, height])
    boxes[some] = np.concatenate(
        [np.clip(low - margin, 0, frame), np.clip(high + margin, 0, frame)], axis=1
    )
    return boxes


def instances_of(
    labels: PartLabels, width: float, height: float, points: np.ndarray | None = None
) -> Instances:
    """The labelled instances of a picture of that size.

    Args:
        points: (N, J, 2) px, where they lie in it if not where `labels` has them.
    """
    points = labels.keypoints_2d if points is None else points
    return Instances(
        labels.part,
        instance_boxes(points, labels.valid_2d, width, height),
        points,
        labels.keypoints_3d,
        labels.valid_2d,
        labels.valid_3d,
        labels.is_left,
    )
