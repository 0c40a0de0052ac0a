"""Exact labels of a rendered scene: 2D, 3D, and what hides each joint."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dope_model.datasets.labels import PartLabels, Sample, Visibility
from dope_model.rendering.body import SEGMENTS, Joints
from dope_model.rendering.camera import Camera
from dope_model.rendering.renderer import Frame
from dope_model.rendering.scene import Scene
from dope_model.skeleton import FACE84, HAND, PARTS, skeleton_for

# A joint lies inside the body: a surface of the joint's own limbs hides it only if the distance in
# front of it exceeds the body's thickness there, m on an adult of `_ADULT` height.
_ADULT = 1.7
_BODY_DEPTH = {"ankle": 0.10, "knee": 0.11, "hip": 0.20, "wrist": 0.06, "elbow": 0.08,
               "shoulder": 0.13, "head": 0.15, "neck": 0.12}  # fmt: skip
_HAND_DEPTH = 0.028
_FACE_DEPTH = 0.012

_LIMBS = {
    "ankle": ("shin", "foot"), "knee": ("thigh", "shin"), "hip": ("thigh", "torso"),
    "wrist": ("forearm", "palm"), "elbow": ("upper_arm", "forearm"),
    "shoulder": ("upper_arm", "torso"), "head": ("head",), "neck": ("torso", "head"),
}  # fmt: skip

LEAST_VISIBLE = {"body": 3, "hand": 6, "face": 20}
"""Instances with fewer visible joints become ignore regions, if any part of them is visible."""
LEAST_SIZE = {"body": 12.0, "hand": 6.0, "face": 6.0}
"""The same for instances whose longer side is smaller than this, px."""
LEAST_PIXELS = 12
"""Fewer pixels than this count as not visible."""
_NEAREST = 0.05


def label_scene(scene: Scene, frame: Frame, file: str, body_joints: int = 13) -> Sample:
    """The labels of a picture.

    Args:
        frame: the rendered scene, which has what hides what.
        file: the picture's path for the labels file.
        body_joints: 13, or 14 with the neck.
    """
    rows: dict[str, list[dict]] = {part: [] for part in PARTS}
    for number, posed in enumerate(scene.people, 1):
        scale = posed.person.height / _ADULT
        for part, is_left, points in _parts(posed.joints, body_joints):
            optical = scene.camera.to_optical(points)
            visible = visibility(part, is_left, optical, number, scale, scene.camera, frame)
            rows[part].append(
                {"optical": optical, "is_left": is_left, "visibility": visible, "person": number}
            )
    parts = {part: _part_labels(part, rows[part], scene, frame, body_joints) for part in PARTS}
    camera = scene.camera
    return Sample(file, camera.width, camera.height, parts, camera.intrinsics)


def _parts(joints: Joints, body_joints: int):
    """(part, is_left, points) of one person; is_left is None where sides do not matter."""
    yield "body", None, joints.body[:body_joints]
    yield "hand", False, joints.right_hand
    yield "hand", True, joints.left_hand
    yield "face", None, joints.face


def visibility(
    part: str, is_left: bool | None, optical: np.ndarray, number: int, scale: float,
    camera: Camera, frame: Frame,
) -> np.ndarray:  # fmt: skip
    """(J,) `Visibility` of joints (J, 3) in the optical frame of person `number`.

    A joint is visible where the surface drawn at its pixel or a neighbour of it belongs to the same
    person and to the joint's own limbs (or is hardly in front of it). Otherwise the surface at its
    pixel says who hides it; things count as others.
    """
    pixels = camera.intrinsics.project(np.maximum(optical, [-np.inf, -np.inf, 1e-6]))
    depth = optical[:, 2]
    inside = (
        (pixels >= 0).all(axis=1)
        & (pixels < [camera.width, camera.height]).all(axis=1)
        & (depth > _NEAREST)
    )
    result = np.full(len(optical), Visibility.OUTSIDE_FRAME, np.uint8)
    columns, rows = (np.floor(pixels[inside]).astype(int)).T
    tolerance, near_tolerance, own_limbs = _tolerances(part, is_left, len(optical), scale)
    tolerance, near_tolerance = tolerance[inside], near_tolerance[inside]
    own_limbs, depth = own_limbs[inside], depth[inside]

    seen = np.zeros(inside.sum(), bool)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            y = np.clip(rows + dy, 0, camera.height - 1)
            x = np.clip(columns + dx, 0, camera.width - 1)
            same = frame.person[y, x] == number
            gap = depth - frame.depth[y, x]
            limb = own_limbs[np.arange(len(y)), frame.segment[y, x]]
            seen |= same & ((limb & (gap < tolerance)) | (gap < near_tolerance))
    at = frame.person[rows, columns]
    in_front = frame.depth[rows, columns] < depth
    hidden = np.where(at == number, Visibility.OCCLUDED_BY_SELF, Visibility.OCCLUDED_BY_OTHER)
    # Nothing in front and no person at the pixel: just beside the outline, so visible.
    seen |= (at != number) & ~in_front
    result[inside] = np.where(seen, Visibility.VISIBLE, hidden)
    return result


def _tolerances(
    part: str, is_left: bool | None, count: int, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far a surface may be in front of each joint (J,), m: one of the joint's own limbs, and
    any other of the same person; and which segments (J, 256) are its own limbs."""
    own = np.zeros((count, 256), bool)
    if part == "body":
        deep = np.zeros(count)
        for j, joint in enumerate(skeleton_for(part, count).joints):
            side, _, name = joint.rpartition("_")
            deep[j] = _BODY_DEPTH[name]
            for limb in _LIMBS[name]:
                segment = limb if limb in SEGMENTS else f"{limb}.{side[0].upper()}"
                own[j, SEGMENTS.index(segment)] = True
        return deep * scale, np.minimum(deep, 0.05) * scale, own
    if part == "hand":
        side = "L" if is_left else "R"
        fingers = ("thumb", "index", "middle", "ring", "little")
        for j, joint in enumerate(HAND.joints):
            finger, _, place = joint.partition("_")
            own[j, SEGMENTS.index(f"palm.{side}")] = place in ("", "cmc", "mcp")
            if finger in fingers:
                own[j, SEGMENTS.index(f"finger{fingers.index(finger) + 1}.{side}")] = True
            else:
                own[j, SEGMENTS.index(f"forearm.{side}")] = True
        deep = np.full(count, _HAND_DEPTH * scale)
        deep[0] = _BODY_DEPTH["wrist"] * scale
        return deep, np.full(count, 0.009 * scale), own
    assert count == len(FACE84)
    deep = np.full(count, _FACE_DEPTH * scale)
    own[:, SEGMENTS.index("head")] = True
    return deep, deep, own


def _seen_pixels(part: str, row: dict, frame: Frame) -> np.ndarray:
    """(P, 2) places of the pixels that show a body or a hand, px; none for faces, as the head's
    pixels may show its back."""
    shown = frame.person == row["person"]
    if part == "face":
        return np.zeros((0, 2))
    if part == "hand":
        shown &= _hand_segments(row["is_left"])[frame.segment]
    return np.argwhere(shown)[:, ::-1] + 0.5


@lru_cache(maxsize=2)
def _hand_segments(is_left: bool) -> np.ndarray:
    """(256,) whether a segment belongs to the hand."""
    side = "L" if is_left else "R"
    names = {f"palm.{side}", *(f"finger{k}.{side}" for k in range(1, 6))}
    return np.array([k < len(SEGMENTS) and SEGMENTS[k] in names for k in range(256)])


def _part_labels(
    part: str, rows: list[dict], scene: Scene, frame: Frame, body_joints: int
) -> PartLabels:
    """The instances that are visible enough, and boxes around those that are not."""
    joints = {"body": body_joints, "hand": len(HAND), "face": len(FACE84)}[part]
    skeleton, camera = skeleton_for(part, joints), scene.camera
    kept, ignored = [], []
    for row in rows:
        visible = row["visibility"] == Visibility.VISIBLE
        seen = _seen_pixels(part, row, frame)
        if len(seen) < LEAST_PIXELS and not visible.any():
            continue
        front = row["optical"][:, 2] > _NEAREST
        pixels = camera.intrinsics.project(row["optical"])
        size = float(np.ptp(pixels[front], axis=0).max())
        if visible.sum() >= LEAST_VISIBLE[part] and size >= LEAST_SIZE[part]:
            kept.append((row, pixels, front))
            continue
        joints_seen = np.clip(pixels[visible], 0, [camera.width, camera.height])
        spots = np.concatenate([joints_seen, seen])
        ignored.append(np.concatenate([spots.min(axis=0) - 3, spots.max(axis=0) + 3]))
    if not kept:
        labels = PartLabels.empty(part, joints)
    else:
        optical = np.array([row["optical"] for row, _, _ in kept])
        front = np.array([f for _, _, f in kept])
        pixels = np.where(front[..., None], np.array([p for _, p, _ in kept]), 0)
        labels = PartLabels(
            part,
            keypoints_2d=pixels,
            keypoints_3d=skeleton.centred(optical),
            valid_2d=front,
            valid_3d=np.ones(front.shape, bool),
            visibility=np.array([row["visibility"] for row, _, _ in kept]),
            person=np.array([row["person"] - 1 for row, _, _ in kept]),
            root=skeleton.root_of(optical),
            score=np.ones(len(kept)),
            is_left=np.array([row["is_left"] for row, _, _ in kept]) if part == "hand" else None,
        )
    labels.ignored = np.array(ignored, np.float32).reshape(-1, 4)
    return labels
