"""The experts' result for one person's body, and what faces and hands need of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dope_model.experts.joints import body_from_pose
from dope_model.experts.landmarks import Pose, PoseLandmarker
from dope_model.experts.regions import Picture, Region, angle_of_up
from dope_model.experts.similarity import agreement, distinct
from dope_model.poses import PartDetections
from dope_model.skeleton import BODY

LEFT_ARM = (11, 13, 15, 17, 19)
RIGHT_ARM = (12, 14, 16, 18, 20)
"""BlazePose's shoulder, elbow, wrist, little and index finger."""

MINIMUM_JOINTS = 3
"""Fewest trusted joints of a body."""

_JOINT_OF_POSE_POINT = (
    *["head"] * 11, "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    *["left_wrist", "right_wrist"] * 4, "left_hip", "right_hip", "left_knee", "right_knee",
    *["left_ankle", "right_ankle"] * 3,
)  # fmt: skip

_SHOULDERS, _HIPS, _HEAD = (11, 12), (23, 24), slice(0, 11)


@dataclass
class Body:
    """One person's body.

    Attributes:
        score: 0..1, how well independent passes agree on it.
        pose: the mean of a plain and a mirrored pass of BlazePose.
        keypoints_2d: (13, 2) px; keypoints_3d: (13, 3) m.
        trusted: (13,) bool.
    """

    score: float
    pose: Pose
    keypoints_2d: np.ndarray
    keypoints_3d: np.ndarray
    trusted: np.ndarray

    @property
    def head_centre(self) -> np.ndarray:
        """(2,) px."""
        return self.pose.points[_HEAD].mean(axis=0)

    @property
    def box(self) -> np.ndarray:
        """Box of the joints that are trusted, of all when fewer than four are."""
        joints = self.keypoints_2d
        if self.trusted.sum() >= 4:
            joints = joints[self.trusted]
        return np.concatenate([joints.min(axis=0), joints.max(axis=0)])


def mean_pose(plain: Pose, mirrored: Pose) -> Pose:
    """The mean of two passes.

    The world model makes one side's limbs longer; in the mean with the mirrored pass, right and
    left limbs have the same length.
    """
    return replace(
        plain,
        score=min(plain.score, mirrored.score),
        points=(plain.points + mirrored.points) / 2,
        visibility=(plain.visibility + mirrored.visibility) / 2,
        world=(plain.world + mirrored.world) / 2,
    )


def one_each(poses: Sequence[Pose], limit: float = 0.5) -> list[int]:
    """Indices of the best pose of each person, of poses sorted best first."""
    if not poses:
        return []
    points, scores = (np.stack(values) for values in zip(*(p.compared for p in poses), strict=True))
    return [group[0] for group in distinct(points, scores, np.arange(len(poses)), limit)]


def pose_agreement(pose: Pose, other: Pose) -> float:
    """Similarity of two passes, 0..1."""
    return float(agreement(*pose.compared, *other.compared))


@dataclass(frozen=True, eq=False)
class BodyPasses:
    """BlazePose's passes on one body: the `second` in the region from the `first`, and the
    `mirrored` one at the same place.
    """

    first: Pose
    second: Pose
    mirrored: Pose

    @property
    def score(self) -> float:
        """The smallest of the passes' scores."""
        return min(one.score for one in (self.first, self.second, self.mirrored))

    @property
    def reproduced(self) -> float:
        """Similarity of the plain and the mirrored pass, 0..1."""
        return pose_agreement(self.second, self.mirrored)

    @property
    def mean(self) -> Pose:
        return mean_pose(self.second, self.mirrored)


def body_passes(picture: Picture, landmarker: PoseLandmarker, region: Region) -> BodyPasses | None:
    """Three passes on the body in `region`; None if the first scores at most 0.5."""
    first = landmarker(picture, region)
    if first.score <= 0.5:
        return None
    second = landmarker(picture, first.next_region)
    return BodyPasses(first, second, landmarker(picture, second.region, mirrored=True))


def pose_of_joints(joints: np.ndarray, joints_3d: np.ndarray, seen: np.ndarray) -> Pose:
    """A body of BlazePose of which only our joints are known.

    Its other points are at the nearest joint: those of a hand at the wrist, say.

    Args:
        joints: (13, 2) px; joints_3d: (13, 3) m; seen: (13,) bool.
    """
    nearest = [BODY.index[name] for name in _JOINT_OF_POSE_POINT]
    nowhere = Region(0.0, 0.0, 1.0)
    return Pose(
        1.0, joints[nearest], seen[nearest].astype(float), joints_3d[nearest], nowhere, nowhere
    )


def body_size(keypoints_2d: np.ndarray) -> float:
    """Square root of the area of the keypoints' box, px; at least 1."""
    return float(np.sqrt(max(np.ptp(keypoints_2d, axis=0).prod(), 1)))


def steady_joints(plain: Pose, mirrored: Pose, limit: float = 0.06) -> np.ndarray:
    """(13,) bool: visible in both passes, which differ by less than `limit` body sizes."""
    joints, others = body_from_pose(plain.points), body_from_pose(mirrored.points)
    visibility = np.minimum(
        *(body_from_pose(p.visibility[:, None])[:, 0] for p in (plain, mirrored))
    )
    apart = np.linalg.norm(joints - others, axis=1)
    size = body_size((joints + others) / 2)
    return (visibility >= 0.5) & (apart < limit * size)


def body_detections(bodies: list[Body], picture: Picture) -> PartDetections:
    """The bodies' joints; those outside the picture are invented and not trusted."""
    if not bodies:
        return PartDetections.empty("body", len(BODY))
    keypoints_2d = np.stack([body.keypoints_2d for body in bodies])
    return PartDetections(
        "body",
        np.array([body.score for body in bodies]),
        keypoints_2d,
        BODY.centred(np.stack([body.keypoints_3d for body in bodies])),
        confidence=np.stack([body.trusted for body in bodies]) & picture.contains(keypoints_2d),
    )


def _torso(points: np.ndarray) -> tuple[float, float]:
    """Width of the shoulders and length of the torso, px."""
    shoulders, hips = points[list(_SHOULDERS)], points[list(_HIPS)]
    width = np.linalg.norm(shoulders[0] - shoulders[1])
    return float(width), float(np.linalg.norm(shoulders.mean(axis=0) - hips.mean(axis=0)))


def head_box(body: Body, scale: float) -> np.ndarray:
    """The square `scale` heads wide around the body's head, x0 y0 x1 y1 px."""
    points = body.pose.points
    shoulder_width, torso = _torso(points)
    width, height = np.ptp(points[_HEAD], axis=0)
    size = max(1.6 * width, 1.6 * height, 0.35 * max(shoulder_width, 0.75 * torso))
    return np.concatenate(
        [body.head_centre - scale * size / 2, body.head_centre + scale * size / 2]
    )


@dataclass(frozen=True, eq=False)
class WristView:
    """The search region for the hand of one wrist.

    Attributes:
        is_left: the person's left.
        wrist: (2,) px; visibility: 0..1.
        direct: the region in which the pose expects the hand.
        centre, size: of the place to search for a palm, px.
    """

    is_left: bool
    wrist: np.ndarray
    visibility: float
    direct: Region
    centre: np.ndarray
    size: float

    def search_box(self, scale: float) -> np.ndarray:
        """The square to search, `scale` sizes wide, x0 y0 x1 y1 px."""
        return np.concatenate(
            [self.centre - scale * self.size / 2, self.centre + scale * self.size / 2]
        )


def wrist_views(pose: Pose) -> list[WristView]:
    """Both wrists of a body."""
    views = []
    shoulder_width, torso = _torso(pose.points)
    for is_left, arm in ((True, LEFT_ARM), (False, RIGHT_ARM)):
        _, elbow, wrist, little, index = pose.points[list(arm)]
        forearm = wrist - elbow
        length = float(np.linalg.norm(forearm))
        size = max(torso, 1.1 * shoulder_width, 1.5 * length, 1.0)
        to_hand = (2 * index + little) / 3 - wrist
        if np.linalg.norm(to_hand) < 0.1 * size:
            to_hand = forearm / max(length, 1e-6) * 0.12 * size
        centre = wrist + to_hand
        extent = max(5.4 * float(np.linalg.norm(to_hand)), 0.5 * size)
        direct = Region(float(centre[0]), float(centre[1]), extent, angle_of_up(to_hand))
        visibility = float(pose.visibility[arm[2]])
        views.append(WristView(is_left, wrist, visibility, direct, wrist + 0.25 * forearm, size))
    return views
