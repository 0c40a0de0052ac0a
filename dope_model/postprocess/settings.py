"""Settings of the post-processing, one class per method."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

# Joints that each joint-distance overlap looks at; 13 is the neck of bodies of 14 joints. None is
# all joints.
OVERLAP_JOINTS: dict[str, tuple[int, ...] | None] = {
    "torso": (4, 5, 10, 11),
    "torsohead": (4, 5, 10, 11, 12, 13),
    "head": (12, 13),
    "shoulderhead": (10, 11, 12, 13),
    "mje": None,
}
# Thresholds of earlier versions, which `scores.ScoreCurves` replaces.
_EARLIER = {"th_alone", "th_sure", "th_trusted", "min_trusted"}
_BOX_OVERLAPS = ("bbox", "bbox_torsohead")


@dataclass(frozen=True)
class IntegrationSettings:
    """Settings of the pose proposals integration; the names are those of LCR-Net++.

    Attributes:
        K: pose classes, not counting the copies for upper bodies or left hands.
        score_th: lowest class score of a candidate; None is 0.1 / C, for C classes of the part.
        th_pose3D: mean 3D joint distance, m, below which a candidate belongs to a mode.
        th_iou: IoU above which, or joint distance below which, candidates overlap.
        iou_func: "bbox" (also called "bbox_torsohead"), or a joint distance: one of "torso",
            "torsohead", "head", "shoulderhead", "mje", with suffix "LR" for the smaller of the
            plain and the left-right swapped distance.
        min_mode_score: no further mode of a group is searched below this seed score.
        th_persondetect: lowest score of a mode that becomes a detection.
        th_duplicate: duplicate-pose suppression, an addition to LCR-Net++. A detection is left out
            if its joints are on average nearer to a better one's than this share of the latter's
            longer side, or of the geometric mean of both if it is smaller: a small person beside a
            large one is no duplicate. 0: off. With a large `th_iou` a person would be reported once
            per size of box.
        th_joint: a joint in the image is the mean over those candidates of a mode that agree on it:
            within this share of the best pose's longer side of the position with most of the best
            ones' scores. 0: the mean over all, as in LCR-Net++. With heat maps some candidates
            point at one limb and others at another one, and the mean is neither.
        confidence_exponent: the weight of a candidate for a joint is its score times the odds of
            the joint's confidence (`Candidates.confidence`) to this power. 0: the score alone, as
            in LCR-Net++.
    """

    K: int
    score_th: float | None = None
    th_pose3D: float = 0.3  # noqa: N815
    th_iou: float = 0.2
    iou_func: str = "bbox"
    min_mode_score: float = 0.05
    th_persondetect: float = 0.002
    th_duplicate: float = 0.0
    th_joint: float = 0.0
    confidence_exponent: float = 0.0

    def __post_init__(self) -> None:
        if self.iou_func not in _BOX_OVERLAPS and self.overlap_joints_name not in OVERLAP_JOINTS:
            known = [*_BOX_OVERLAPS, *(f"{n}[LR]" for n in OVERLAP_JOINTS)]
            raise ValueError(f"unknown iou_func {self.iou_func!r}; known: {', '.join(known)}")

    @property
    def overlaps_by_box(self) -> bool:
        return self.iou_func in _BOX_OVERLAPS

    @property
    def overlap_joints_name(self) -> str:
        return self.iou_func.removesuffix("LR")

    @property
    def left_right_swapped(self) -> bool:
        return self.iou_func.endswith("LR")

    def min_candidate_score(self, anchor_poses: int) -> float:
        """The lowest score of a candidate, for a part with that many classes in all."""
        return 0.1 / anchor_poses if self.score_th is None else self.score_th

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> IntegrationSettings:
        """The inverse of `to_dict`. Settings of earlier versions are ignored.

        Raises:
            ValueError: an unknown setting.
        """
        unknown = set(values) - {f.name for f in fields(cls)} - _EARLIER
        if unknown:
            raise ValueError(f"unknown integration settings: {', '.join(sorted(unknown))}")
        return cls(**{name: value for name, value in values.items() if name not in _EARLIER})
