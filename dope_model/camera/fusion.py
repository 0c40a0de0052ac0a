"""People seen by several cameras: who is who, and one pose in metres for each of them.

One camera knows well in which direction a joint is, and badly how far away it is: a 3D pose that is
a little too small is placed a little too near. A camera's error is therefore taken as

- one factor for everything of a person, by which it is too far away and too large, seen from the
  camera (`ErrorModel.distance`), and
- an error of each joint by itself, along the ray and across it, larger where the confidence is low.

With the camera's lens a joint's ray is that of its pixel, which is better than that of the 3D pose.

The poses that are most likely under this model are found by linear least squares: where two cameras
look from different sides, each one's factor is known from the other's directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dope_model.camera.placement import Camera
from dope_model.hints import pip_install
from dope_model.poses import PART_SLOTS, PartPose, WholeBody
from dope_model.skeleton import BODY, FACE84, HAND, skeleton_for

_BODY_SLOTS = len(BODY) + 1
"""Room for a body of 13 or 14 joints."""
_COUNTS = {
    "body": _BODY_SLOTS,
    "right_hand": len(HAND),
    "left_hand": len(HAND),
    "face": len(FACE84),
}
_STARTS = dict(zip(_COUNTS, np.cumsum([0, *_COUNTS.values()])[:-1].tolist(), strict=True))
_TOTAL = sum(_COUNTS.values())

_FAR = 3.0**2
"""A joint that is off by more than 3 standard deviations is hardly that joint."""
_ROUNDS = 3
_IN_BODY = slice(0, _BODY_SLOTS)

# Where a hand or a face without a body belongs to one.
_WRISTS = {"right_hand": BODY.index["right_wrist"], "left_hand": BODY.index["left_wrist"]}
_EARS = [FACE84.index["contour_0"], FACE84.index["contour_32"]]


@dataclass(frozen=True)
class ErrorModel:
    """How far off one camera's joints are: standard deviations, of dope_lite on
    rendered views.

    Attributes:
        distance: of the factor that a person's joints have in common; share of the distance.
        along, across: of each joint by itself, in the direction of the ray and across it, m, where
            the confidence is 1.
        by_pixel: across the ray of the joint's pixel, m.
        doubt: by how much these grow as the confidence falls to 0: a factor of 1 + doubt.
        same: largest root mean square of the deviations, in standard deviations, for the same
            person.
    """

    distance: float = 0.12
    along: float = 0.09
    across: float = 0.05
    by_pixel: float = 0.025
    doubt: float = 3.0
    same: float = 1.4

    def __post_init__(self) -> None:
        least = min(self.distance, self.along, self.across, self.by_pixel, self.same)
        if not least > 0 or not self.doubt >= 0:
            raise ValueError(f"errors must be positive: {self}")


@dataclass(frozen=True)
class View:
    """What one camera saw.

    Attributes:
        people: with the roots of their parts in the camera's optical frame; parts without a root
            or with a joint that is not finite are left out.
        turn: (3, 3), shift: (3,) m: take points from the camera's optical frame to the common one.
        camera: the lens, if known.
    """

    people: Sequence[WholeBody]
    turn: np.ndarray
    shift: np.ndarray
    camera: Camera | None = None


@dataclass(frozen=True)
class Fused:
    """One person.

    Attributes:
        person: joints and roots in the common frame, keypoints_2d NaN, no track id.
        seen_by: which person of which view it is: pairs of indices.
    """

    person: WholeBody
    seen_by: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Seen:
    """A person in one view, as one list of joints in the common frame; NaN where there is none."""

    key: tuple[int, int]
    person: WholeBody
    points: np.ndarray
    rays: np.ndarray
    weights: np.ndarray  # (N, 3, 3), the inverse covariance of each joint; 0 where there is none


def fuse(views: Sequence[View], model: ErrorModel | None = None) -> list[Fused]:
    """Everybody in the views, once.

    Joints are means of all cameras' joints, weighted by what each camera knows. A part's score and
    confidences are the best camera's. A person whom one camera sees is as that camera sees them.

    Raises:
        ImportError: SciPy is missing; the text has the command that brings it.
    """
    model = model or ErrorModel()
    groups: list[list[_Seen]] = []
    for number, view in enumerate(views):
        seen = [
            one
            for place, person in enumerate(view.people)
            if (one := _seen((number, place), person, view, model)) is not None
        ]
        groups = _joined(groups, seen, model)
    return [Fused(_person(group, model), tuple(one.key for one in group)) for group in groups]


def _seen(key: tuple[int, int], person: WholeBody, view: View, model: ErrorModel) -> _Seen | None:
    """A person's joints in the common frame; None if no part has a place."""
    points, confidence = np.full((_TOTAL, 3), np.nan), np.zeros(_TOTAL)
    across = np.full(_TOTAL, model.across)
    for slot, pose in person.parts():
        if not _is_placed(pose):
            continue
        joints = slice(_STARTS[slot], _STARTS[slot] + len(pose.confidence))
        placed = pose.placed_3d
        if view.camera is not None:
            placed, by_pixel = _on_rays(placed, pose.keypoints_2d, view.camera)
            across[joints][by_pixel] = model.by_pixel
        points[joints], confidence[joints] = placed, pose.confidence
        if person.body is None and slot in _WRISTS:
            points[_WRISTS[slot]], confidence[_WRISTS[slot]] = placed[0], pose.confidence[0]
        elif person.body is None:
            points[BODY.index["head"]] = placed[_EARS].mean(axis=0)
            confidence[BODY.index["head"]] = pose.confidence[_EARS].min()
    known = np.isfinite(points).all(axis=1)
    if not known.any():
        return None
    turn, shift = np.asarray(view.turn, float), np.asarray(view.shift, float)
    rays = points @ turn.T
    unit = rays / np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-9)
    along = unit[:, :, None] * unit[:, None, :]
    growth = 1 + model.doubt * (1 - confidence)
    weights = along / model.along**2 + (np.eye(3) - along) / across[:, None, None] ** 2
    weights = weights / (growth**2)[:, None, None]
    weights[~known] = 0
    return _Seen(key, person, rays + shift, rays, weights)


def _is_placed(pose: PartPose) -> bool:
    return pose.root is not None and bool(np.isfinite(pose.placed_3d).all())


def _on_rays(
    placed: np.ndarray, pixels: np.ndarray, camera: Camera
) -> tuple[np.ndarray, np.ndarray]:
    """Joints (J, 3) as far away as before, each on the ray of its pixel; (J,) whether it is."""
    rays = camera.rays(pixels)
    known = np.isfinite(rays).all(axis=1) & (placed[:, 2] > 0)
    moved = np.column_stack([rays, np.ones(len(rays))]) * placed[:, 2:]
    return np.where(known[:, None], moved, placed), known


def _joined(groups: list[list[_Seen]], seen: list[_Seen], model: ErrorModel) -> list[list[_Seen]]:
    """The groups with the people of another view: each belongs to one group or begins one."""
    if not groups or not seen:
        return groups + [[one] for one in seen]
    costs = np.array([[_deviation(group, one, model) for one in seen] for group in groups])
    # Beyond the limit all are equally bad: then a good pair is never given up for two bad ones.
    rows, columns = _assignment()(np.minimum(costs, model.same))
    matched = {c: r for r, c in zip(rows, columns, strict=True) if costs[r, c] < model.same}
    joined = [list(group) for group in groups]
    for column, one in enumerate(seen):
        if column in matched:
            joined[matched[column]].append(one)
        else:
            joined.append([one])
    return joined


def _assignment():
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise ImportError(
            f"joining people of several cameras needs SciPy ({error}): {pip_install('scipy')}"
        ) from error
    return linear_sum_assignment


def _deviation(group: list[_Seen], one: _Seen, model: ErrorModel) -> float:
    """How badly a person fits a group: the root mean square by which the joints that both have
    deviate, in standard deviations; infinite if they have none in common."""
    common = one.weights.any(axis=(1, 2)) & np.any(
        [other.weights.any(axis=(1, 2)) for other in group], axis=0
    )
    if common[_IN_BODY].any():
        common[_BODY_SLOTS:] = False
    if not common.any():
        return np.inf
    factors, squares = _factors([*group, one], common, model)
    # Limited, as a wrong arm does not make another person.
    square = np.minimum(squares, _FAR * len(group)).mean()
    square += (factors**2).sum() / model.distance**2 / common.sum()
    return float(np.sqrt(square / (3 * len(group))))


def _factors(
    group: list[_Seen], used: np.ndarray, model: ErrorModel
) -> tuple[np.ndarray, np.ndarray]:
    """The most likely factor of each camera, less 1, (C,); the square by which each joint is off,
    (J,).

    With y the joints as seen, r their rays and s the factors, the sum over cameras and joints of
    (y - s r - x)' W (y - s r - x), plus that of (s / distance)^2, is least; the joints x are
    eliminated. Joints that are far off count less.
    """
    y = np.nan_to_num([one.points[used] for one in group])
    r = np.nan_to_num([one.rays[used] for one in group])
    w = np.array([one.weights[used] for one in group])
    inverse = np.linalg.inv(w.sum(axis=0))
    wy, wr = np.einsum("cjab,cjb->cja", w, y), np.einsum("cjab,cjb->cja", w, r)
    mean = np.einsum("jab,jb->ja", inverse, wy.sum(axis=0))
    spread = np.einsum("jab,djb->dja", inverse, wr)
    trust = np.ones(len(mean))
    for _ in range(_ROUNDS):
        system = np.diag(np.einsum("j,cja,cja->c", trust, r, wr) + model.distance**-2)
        system = system - np.einsum("j,cja,dja->cd", trust, wr, spread)
        factors = np.linalg.solve(system, np.einsum("j,cja,cja->c", trust, wr, y - mean))
        left = y - factors[:, None, None] * r - mean + np.einsum("d,dja->ja", factors, spread)
        squares = np.einsum("cja,cjab,cjb->j", left, w, left)
        trust = 1 / (1 + squares / (_FAR * len(group)))
    return factors, squares


def _person(group: list[_Seen], model: ErrorModel) -> WholeBody:
    """The group's parts in the common frame."""
    weights = np.array([one.weights for one in group])
    known = weights.any(axis=(0, 2, 3))
    factors = np.zeros(len(group))
    if len(group) > 1:
        used = known.copy()
        if used[_IN_BODY].any():
            used[_BODY_SLOTS:] = False
        factors, _ = _factors(group, used, model)
    moved = np.nan_to_num(
        [one.points - s * one.rays for one, s in zip(group, factors, strict=True)]
    )
    joints = np.full((_TOTAL, 3), np.nan)
    total = np.einsum("cjab,cjb->ja", weights[:, known], moved[:, known])
    joints[known] = np.linalg.solve(weights[:, known].sum(axis=0), total[..., None])[..., 0]
    parts = {}
    for slot, start in _STARTS.items():
        poses = [
            pose
            for one in group
            if (pose := getattr(one.person, slot)) is not None and _is_placed(pose)
        ]
        if not poses:
            continue
        # A body of 13 joints and one of 14 differ in the last joint alone.
        count = max(len(pose.confidence) for pose in poses)
        confidence = np.zeros((len(poses), count), np.float32)
        for row, pose in zip(confidence, poses, strict=True):
            row[: len(pose.confidence)] = pose.confidence
        placed = joints[start : start + count]
        root = skeleton_for(PART_SLOTS[slot], count).root_of(placed)
        parts[slot] = PartPose(
            score=max(pose.score for pose in poses),
            keypoints_2d=np.full((count, 2), np.nan, np.float32),
            keypoints_3d=(placed - root).astype(np.float32),
            confidence=confidence.max(axis=0),
            root=root,
        )
    return WholeBody(**parts)
