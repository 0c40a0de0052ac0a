"""Small array classes that carry poses through the system.

Conventions, everywhere in the project:

- 2D keypoints are (u, v) in pixels of the full image, u to the right, v down; the centre of the
  top-left pixel is (0.5, 0.5), so a picture of width W spans 0 to W. They may lie outside it.
- 3D joints are (x, y, z) in metres in the axes of the camera's optical frame (x right, y down,
  z away from the camera), relative to the part's root (`Skeleton.root`).
- Right and left are the person's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from dope_model.skeleton import Skeleton, skeleton_for

PART_SLOTS = {"body": "body", "right_hand": "hand", "left_hand": "hand", "face": "face"}
"""The fields of a `WholeBody` and the part each holds."""


TRUSTED = 0.7
"""Joints of at least this confidence are trusted; about nine in ten of them are right."""


@dataclass
class PartDetections:
    """All detections of one part in one image.

    Attributes:
        part: "body", "hand" or "face".
        scores: (N,) float32, the probability that the part is there and its pose right, 0 to 1.
        keypoints_2d: (N, J, 2) float32, px.
        keypoints_3d: (N, J, 3) float32, m, root-relative.
        is_left: (N,) bool, the person's left hand; None for bodies and faces.
        confidence: (N, J) float32, the probability that the joint is right; 0 outside the image.
    """

    part: str
    scores: np.ndarray
    keypoints_2d: np.ndarray
    keypoints_3d: np.ndarray
    is_left: np.ndarray | None = None
    confidence: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.scores = np.asarray(self.scores, np.float32)
        self.keypoints_2d = np.asarray(self.keypoints_2d, np.float32)
        self.keypoints_3d = np.asarray(self.keypoints_3d, np.float32)
        count, joints = self.keypoints_2d.shape[:2]
        if self.confidence is None:
            self.confidence = np.ones((count, joints))
        self.confidence = np.asarray(self.confidence, np.float32)
        expected = {
            "scores": (count,),
            "keypoints_2d": (count, joints, 2),
            "keypoints_3d": (count, joints, 3),
            "confidence": (count, joints),
        }
        if (self.part == "hand") != (self.is_left is not None):
            raise ValueError("is_left belongs to hands, and only to hands")
        if self.is_left is not None:
            self.is_left = np.asarray(self.is_left, bool)
            expected["is_left"] = (count,)
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"{self.part}: {name} has shape {getattr(self, name).shape}, not {shape}"
                )
        skeleton_for(self.part, joints)

    @classmethod
    def empty(cls, part: str, joint_count: int) -> PartDetections:
        """No detections of `part`."""
        return cls(
            part,
            np.zeros(0),
            np.zeros((0, joint_count, 2)),
            np.zeros((0, joint_count, 3)),
            np.zeros(0, bool) if part == "hand" else None,
        )

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def skeleton(self) -> Skeleton:
        return skeleton_for(self.part, self.keypoints_2d.shape[1])

    @property
    def boxes(self) -> np.ndarray:
        """Tight boxes of the 2D keypoints, (N, 4) as x0 y0 x1 y1, px."""
        return boxes_around(self.keypoints_2d)

    def select(self, which: np.ndarray) -> PartDetections:
        """The detections that an index or mask array picks, in its order."""
        return PartDetections(
            self.part,
            self.scores[which],
            self.keypoints_2d[which],
            self.keypoints_3d[which],
            None if self.is_left is None else self.is_left[which],
            self.confidence[which],
        )

    @property
    def trusted(self) -> np.ndarray:
        """(N, J) bool, joints whose confidence is at least `TRUSTED`."""
        return self.confidence >= TRUSTED

    def poses(self) -> list[PartPose]:
        """Each detection, its 3D moved so that the root is the origin."""
        poses_3d = self.skeleton.centred(self.keypoints_3d)
        values = zip(
            self.scores.tolist(), self.keypoints_2d, poses_3d, self.confidence, strict=True
        )
        return [PartPose(*pose) for pose in values]


def boxes_around(keypoints_2d: np.ndarray) -> np.ndarray:
    """Tight boxes (..., 4) as x0 y0 x1 y1 around keypoints (..., J, 2)."""
    return np.concatenate([keypoints_2d.min(axis=-2), keypoints_2d.max(axis=-2)], axis=-1)


def inside_image(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which points (..., 2) px lie inside an image whose shape begins with height and width, (...)
    bool."""
    return ((points >= 0) & (points <= (shape[1], shape[0]))).all(axis=-1)


@dataclass
class PartPose:
    """One detected part.

    `score`, `keypoints_2d` (J, 2) px, `keypoints_3d` (J, 3) m, `confidence` (J,) 0 to 1, as in
    `PartDetections`; `root` (3,) m, where the root is in the camera's optical frame, None where
    that is not known.
    """

    score: float
    keypoints_2d: np.ndarray
    keypoints_3d: np.ndarray
    confidence: np.ndarray
    root: np.ndarray | None = None

    @property
    def trusted(self) -> np.ndarray:
        """(J,) bool, joints whose confidence is at least `TRUSTED`."""
        return self.confidence >= TRUSTED

    @property
    def placed_3d(self) -> np.ndarray | None:
        """The joints (J, 3) in the camera's optical frame, m; None without a root."""
        return None if self.root is None else self.keypoints_3d + self.root


@dataclass
class WholeBody:
    """One person: the parts that were found, the others None.

    A hand or a face that belongs to no body is a person whose body is None.
    """

    body: PartPose | None = None
    right_hand: PartPose | None = None
    left_hand: PartPose | None = None
    face: PartPose | None = None
    track_id: int = -1
    score: float = field(init=False)

    def __post_init__(self) -> None:
        scores = [pose.score for _, pose in self.parts()]
        if not scores:
            raise ValueError("a person needs at least one part")
        self.score = self.body.score if self.body is not None else max(scores)

    def parts(self) -> Iterator[tuple[str, PartPose]]:
        """The parts that were found, as (slot, pose); the slots are those of PART_SLOTS."""
        for slot in PART_SLOTS:
            pose = getattr(self, slot)
            if pose is not None:
                yield slot, pose

    def skeleton(self, slot: str) -> Skeleton:
        """The skeleton of the part in `slot`."""
        return skeleton_for(PART_SLOTS[slot], len(getattr(self, slot).keypoints_2d))

    def to_dict(self) -> dict:
        """Plain lists and numbers, for JSON; px and m, as in the arrays."""
        person: dict = {"track_id": self.track_id, "score": round(self.score, 4)}
        for slot, pose in self.parts():
            person[slot] = {
                "score": round(pose.score, 4),
                "keypoints_2d": rounded_list(pose.keypoints_2d, 2),
                "keypoints_3d": rounded_list(pose.keypoints_3d, 4),
                "confidence": rounded_list(pose.confidence, 3),
                "trusted": pose.trusted.tolist(),
                "root": None if pose.root is None else rounded_list(pose.root, 4),
            }
        return person


def rounded_list(values: np.ndarray, decimals: int) -> list:
    """An array as nested lists whose numbers are short when written out."""
    return np.round(np.asarray(values, np.float64), decimals).tolist()
