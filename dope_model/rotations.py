"""Rotations of bones from 3D joints: a unit quaternion (x, y, z, w) for each of `BONES`.

A rotation turns a bone of the rest pose to where it was found, in the axes of the camera's optical
frame (x right, y down, z away). The rest pose is a T-pose that faces the camera: upright, arms out
to the sides, palms down, fingers straight along the arms, thumbs half forward. So the identity is a
bone that is held as in the rest pose, and there the axes of every bone are: x to the person's left,
y down, z to the person's back.

| bone | from -> to | in the rest pose | its turn about its own length |
|---|---|---|---|
| pelvis | middle of the hips -> of the shoulders | -y (up) | x is the line of the hips |
| chest | middle of the trunk -> of the shoulders | -y | x is the line of the shoulders |
| neck | middle of the shoulders -> head | -y | as the chest |
| head | head -> no joint | upright | by the face; without one: as the neck |
| SIDE_upper_arm | shoulder -> elbow | left +x, right -x | the elbow bends forward, to -z |
| SIDE_forearm | elbow -> wrist | left +x, right -x | as the upper arm |
| SIDE_hand | wrist -> middle_mcp | left +x, right -x | the palm faces down, to +y |
| SIDE_FINGER_proximal | mcp -> pip | left +x, right -x | bends to the palm about +-z |
| SIDE_FINGER_intermediate | pip -> dip | left +x, right -x | as the bone before |
| SIDE_FINGER_distal | dip -> tip | left +x, right -x | as the bone before |
| SIDE_thumb_metacarpal | cmc -> mcp | left +x-z, right -x-z | as the hand |
| SIDE_thumb_proximal | mcp -> ip | left +x-z, right -x-z | as the bone before |
| SIDE_thumb_distal | ip -> tip | left +x-z, right -x-z | as the bone before |
| SIDE_thigh | hip -> knee | +y (down) | the knee bends backward, to +z |
| SIDE_shin | knee -> ankle | +y | as the thigh |

FINGER is index, middle, ring or little; the names are those of OpenXR. "As" another bone: the
shortest turn from how that bone would hold this one. The same holds for an arm or a leg that is
straight, as joints on a line do not show it; such an arm is turned as if it came from half-lowered.
The trunk has one direction, from the hips to the shoulders, which pelvis and chest share. The chest
of a body without hips takes it from the head.

The same rotation for axes with y up and z towards the camera, as of SMPL and BVH: (x, -y, -z, w).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dope_model.poses import PART_SLOTS, WholeBody
from dope_model.skeleton import BODY, FACE84, HAND

FINGERS = ("thumb", "index", "middle", "ring", "little")


@dataclass(frozen=True)
class Bone:
    """A bone: from the mean of the joints `start` to that of `end`, of the part in `slot`.

    `rest` is its direction in the rest pose. The parent of the first bone is None.
    """

    name: str
    parent: str | None
    slot: str
    start: tuple[int, ...]
    end: tuple[int, ...]
    rest: tuple[float, float, float]


_UP, _DOWN = (0.0, -1.0, 0.0), (0.0, 1.0, 0.0)


def _body_joints(*names: str) -> tuple[int, ...]:
    return tuple(BODY.index[name] for name in names)


def _side_bones(side: str) -> list[Bone]:
    out = 1.0 if side == "left" else -1.0
    arm, thumb = (out, 0.0, 0.0), (out * 0.5**0.5, 0.0, -(0.5**0.5))
    shoulder, elbow, wrist, hip, knee, ankle = (
        _body_joints(f"{side}_{joint}")
        for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    )
    hand, slot = f"{side}_hand", f"{side}_hand"
    bones = [
        Bone(f"{side}_upper_arm", "chest", "body", shoulder, elbow, arm),
        Bone(f"{side}_forearm", f"{side}_upper_arm", "body", elbow, wrist, arm),
        Bone(hand, f"{side}_forearm", slot, (0,), (HAND.index["middle_mcp"],), arm),
    ]
    for finger in FINGERS:
        names, joints = ("proximal", "intermediate", "distal"), ("mcp", "pip", "dip", "tip")
        if finger == "thumb":
            names, joints = ("metacarpal", "proximal", "distal"), ("cmc", "mcp", "ip", "tip")
        parent = hand
        for name, start, end in zip(names, joints, joints[1:], strict=False):
            ends = (HAND.index[f"{finger}_{start}"],), (HAND.index[f"{finger}_{end}"],)
            rest = thumb if finger == "thumb" else arm
            bones.append(Bone(f"{side}_{finger}_{name}", parent, slot, *ends, rest))
            parent = bones[-1].name
    bones += [
        Bone(f"{side}_thigh", "pelvis", "body", hip, knee, _DOWN),
        Bone(f"{side}_shin", f"{side}_thigh", "body", knee, ankle, _DOWN),
    ]
    return bones


_HIPS = _body_joints("right_hip", "left_hip")
_SHOULDERS = _body_joints("right_shoulder", "left_shoulder")
_HEAD = _body_joints("head")

BONES: tuple[Bone, ...] = (
    Bone("pelvis", None, "body", _HIPS, _SHOULDERS, _UP),
    Bone("chest", "pelvis", "body", _HIPS + _SHOULDERS, _SHOULDERS, _UP),
    Bone("neck", "chest", "body", _SHOULDERS, _HEAD, _UP),
    Bone("head", "neck", "body", _HEAD, (), _UP),
    *_side_bones("right"),
    *_side_bones("left"),
)
"""Parents come before their children."""
BONE_INDEX = {bone.name: b for b, bone in enumerate(BONES)}

_PARENTS = np.array([-1 if bone.parent is None else BONE_INDEX[bone.parent] for bone in BONES])
_JOINTS = {"body": len(BODY), "hand": len(HAND), "face": len(FACE84)}
_BENDS = {
    "upper_arm": {"right": _UP, "left": _DOWN},
    "thigh": {"right": (1.0, 0.0, 0.0), "left": (1.0, 0.0, 0.0)},
}
"""The axis about which the next joint bends, in the rest pose."""
_STRAIGHT, _BENT = 0.15, 0.40
"""Sines of a bend: a smaller one does not turn the bone about its length, a larger one fully."""
_ARM_LOWERED = np.radians(45)
"""Where a straight arm is turned from: it can be raised anywhere but to the other side and up."""
_DEGENERATE = 0.05
"""Sine between two directions that are too near to one line to span a plane."""
_FACE_LEAN = np.radians(10.0)
"""Of the line from the eyebrows to the base of the nose, seen from the side: mean of rendered
people. Eyes and mouth open and close, so they are left out."""
_BROWS, _NOSE = (
    [j for j, name in enumerate(FACE84.joints) if group in name]
    for group in ("eyebrow", "nose_base")
)
_FACE_SWAP = list(FACE84.swap)
# Without the lips: round them, the left is first below.
_RIGHT_OF_FACE = [
    j for j, name in enumerate(FACE84.joints) if "lips" not in name and FACE84.swap[j] > j
]


def bone_rotations(joints: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rotations of the bones of one person, or of several at once.

    Args:
        joints: m, in axes of the camera's optical frame, by slot of `PART_SLOTS`: "body" (..., 13,
            3), "right_hand" and "left_hand" (..., 21, 3), "face" (..., 84, 3); a body may have the
            neck as joint 14. Each part may have its own origin. Parts may be left out, and joints
            be NaN.

    Returns:
        (..., B, 4) float64 unit quaternions (x, y, z, w), w not negative, in the order of `BONES`;
        NaN where joints are missing or do not tell the rotation.

    Raises:
        ValueError: an unknown slot, or a wrong shape.
    """
    points = _checked(joints)
    turns: dict[str, np.ndarray] = {}
    for bone in BONES:
        turns[bone.name] = _turn_of(bone, points, turns)
    return quaternions(np.stack([turns[bone.name] for bone in BONES], axis=-3))


def person_rotations(person: WholeBody) -> np.ndarray:
    """`bone_rotations` of one person from the joints that are trusted, (B, 4)."""
    return bone_rotations(
        {
            slot: np.where(pose.trusted[:, None], pose.keypoints_3d, np.nan)
            for slot, pose in person.parts()
        }
    )


def local_rotations(rotations: np.ndarray) -> np.ndarray:
    """Rotations (..., B, 4) of `bone_rotations` relative to each bone's parent.

    In the rest pose all are the identity. The first bone, which has no parent, stays as it is.
    NaN where the bone or its parent is.
    """
    parents = rotations[..., _PARENTS, :]
    parents = np.where((_PARENTS < 0)[:, None], [0.0, 0.0, 0.0, 1.0], parents)
    return _positive(multiply(parents * [-1, -1, -1, 1], rotations))


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The rotation `b`, then `a`, of quaternions (..., 4) as (x, y, z, w)."""
    va, wa, vb, wb = a[..., :3], a[..., 3:], b[..., :3], b[..., 3:]
    vector = wa * vb + wb * va + np.cross(va, vb)
    return np.concatenate([vector, wa * wb - (va * vb).sum(axis=-1, keepdims=True)], axis=-1)


def quaternions(matrices: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) as unit quaternions (..., 4) (x, y, z, w), w not negative."""
    m = matrices
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    xy, xz, yz = (m[..., i, j] + m[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    wx, wy, wz = (m[..., i, j] - m[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    # Row k is the quaternion times four of its component k: the longest is the most exact.
    rows = np.stack(
        [
            np.stack([1 + xx - yy - zz, xy, xz, wx], axis=-1),
            np.stack([xy, 1 - xx + yy - zz, yz, wy], axis=-1),
            np.stack([xz, yz, 1 - xx - yy + zz, wz], axis=-1),
            np.stack([wx, wy, wz, 1 + xx + yy + zz], axis=-1),
        ],
        axis=-2,
    )
    longest = np.linalg.norm(rows, axis=-1).argmax(axis=-1)
    best = np.take_along_axis(rows, longest[..., None, None], axis=-2)[..., 0, :]
    return _positive(_unit(best))


def _checked(joints: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The joints by slot, all slots with the same leading shape, NaN for those left out."""
    points: dict[str, np.ndarray] = {}
    for slot, given in joints.items():
        if slot not in PART_SLOTS:
            raise ValueError(f"no part {slot!r}; known: {', '.join(PART_SLOTS)}")
        count = _JOINTS[PART_SLOTS[slot]]
        array = np.asarray(given, np.float64)
        if array.shape[-2:] not in ((count, 3), (count + (slot == "body"), 3)):
            raise ValueError(f"{slot} has shape {array.shape}, not (..., {count}, 3)")
        points[slot] = array[..., :count, :]
    leading = {array.shape[:-2] for array in points.values()} or {()}
    if len(leading) > 1:
        raise ValueError(f"parts of different numbers of people: {sorted(leading)}")
    for slot, part in PART_SLOTS.items():
        points.setdefault(slot, np.full((*next(iter(leading)), _JOINTS[part], 3), np.nan))
    return points


def _turn_of(bone: Bone, points: dict[str, np.ndarray], turns: dict[str, np.ndarray]) -> np.ndarray:
    """The rotation (..., 3, 3) of a bone whose parents' `turns` are known."""
    side, _, kind = bone.name.partition("_")
    if bone.name in ("pelvis", "chest"):
        return _trunk(bone, points["body"])
    if bone.name == "head":
        of_face = _face(points["face"])
        return np.where(np.isnan(of_face), turns["neck"], of_face)
    part = points[bone.slot]
    along = _way(part, bone.start, bone.end)
    if kind == "hand":
        index, little = (
            _way(part, bone.start, (HAND.index[f"{finger}_mcp"],)) for finger in ("index", "little")
        )
        across = little - index
        return _frame(along, across) @ _frame(np.array(bone.rest), np.array([0, 0, 1.0])).T
    parent = turns[bone.parent]
    if kind.endswith("proximal") and not kind.startswith("thumb"):
        # A finger bends across its own metacarpal, and the metacarpals fan out.
        metacarpal = _way(part, (0,), bone.start)
        palm = parent[..., :, 1]
        parent = _frame(metacarpal, palm) @ _frame(np.array(bone.rest), np.array(_DOWN)).T
    if kind not in _BENDS:
        return _swung(parent, bone.rest, along)
    if kind == "upper_arm":
        lowered = _about(np.array([0, 0, 1.0]), np.array(_ARM_LOWERED * bone.rest[0]))
        rest = lowered @ bone.rest
        swung = _swung(parent, rest, along) @ lowered
    else:
        swung = _swung(parent, bone.rest, along)
    following = BONES[BONE_INDEX[bone.name] + 1]
    onward = _way(part, following.start, following.end)
    return _bent(swung, along, onward, np.array(bone.rest), np.array(_BENDS[kind][side]))


def _trunk(bone: Bone, body: np.ndarray) -> np.ndarray:
    """x along the hips or shoulders, y down the trunk; down from the head where no hips are."""
    right, left = _HIPS if bone.name == "pelvis" else _SHOULDERS
    down = _way(body, _SHOULDERS, _HIPS)
    if bone.name == "chest":
        down = np.where(np.isnan(down), _way(body, _HEAD, _SHOULDERS), down)
    return _frame(_way(body, (right,), (left,)), down)


def _face(face: np.ndarray) -> np.ndarray:
    """x from the right to the left landmarks, y from the eyebrows to the nose."""
    across = _mean((face[..., _FACE_SWAP, :] - face)[..., _RIGHT_OF_FACE, :])
    down = _mean(face[..., _NOSE, :]) - _mean(face[..., _BROWS, :])
    return _frame(_unit(across), _unit(down)) @ _about(np.array([1.0, 0, 0]), np.array(_FACE_LEAN))


def _mean(points: np.ndarray) -> np.ndarray:
    """Mean (..., 3) of those of the points (..., N, 3) that are not NaN; NaN if all are."""
    known = ~np.isnan(points).any(axis=-1, keepdims=True)
    count = known.sum(axis=-2)
    return np.where(known, points, 0).sum(axis=-2) / np.where(count, count, np.nan)


def _way(points: np.ndarray, start: tuple[int, ...], end: tuple[int, ...]) -> np.ndarray:
    """Unit vectors (..., 3) from the mean of some joints to that of others."""
    return _unit(points[..., list(end), :].mean(axis=-2) - points[..., list(start), :].mean(-2))


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 1e-9, length, np.nan)


def _frame(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Axes (..., 3, 3), columns: unit `first`, `second` made perpendicular to it, their cross."""
    aside = second - first * (first * second).sum(axis=-1, keepdims=True)
    apart = np.linalg.norm(aside, axis=-1, keepdims=True)
    limit = _DEGENERATE * np.linalg.norm(second, axis=-1, keepdims=True)
    y = aside / np.where(apart > limit, apart, np.nan)
    return np.stack([first + 0 * y, y, np.cross(first, y)], axis=-1)


def _cross_matrix(v: np.ndarray) -> np.ndarray:
    """(..., 3, 3) that takes a vector to its cross product with `v`."""
    return np.cross(v[..., None, :], np.eye(3)).swapaxes(-1, -2)


def _swung(parent: np.ndarray, rest, along: np.ndarray) -> np.ndarray:
    """The parent's rotation, then the shortest one that turns its `rest` to `along`."""
    start = parent @ np.asarray(rest, float)
    cross = _cross_matrix(np.cross(start, along))
    cosine = (start * along).sum(axis=-1)[..., None, None]
    turn = np.eye(3) + cross + cross @ cross / np.where(cosine > -1 + 1e-6, 1 + cosine, np.nan)
    return turn @ parent


def _about(axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """(..., 3, 3) about unit axes (..., 3) by angles (...), rad."""
    cross = _cross_matrix(axis)
    sine, cosine = np.sin(angle)[..., None, None], np.cos(angle)[..., None, None]
    return np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)


def _bent(
    swung: np.ndarray, along: np.ndarray, onward: np.ndarray, rest: np.ndarray, axis: np.ndarray
) -> np.ndarray:
    """The rotation `swung` of a bone, turned about its direction `along` as its end is bent.

    The next bone, in direction `onward`, bends about `axis` in the rest pose. Between a straight
    and a bent joint the turn fades in, so that a small movement makes a small difference.
    """
    normal = np.cross(along, onward)
    sine = np.linalg.norm(normal, axis=-1)
    share = np.clip((sine - _STRAIGHT) / (_BENT - _STRAIGHT), 0, 1)
    share = np.where(np.isnan(share), 0, share)  # no next bone: as straight
    hinge = swung @ axis
    angle = np.arctan2((np.cross(hinge, normal) * along).sum(-1), (hinge * normal).sum(-1))
    partly = _about(along, np.where(share > 0, angle * share, 0)) @ swung
    # Wholly bent: the joints say all, whatever the parent.
    wholly = _frame(along, normal) @ _frame(rest, axis).T
    return np.where((share == 1)[..., None, None], wholly, partly)


def _positive(rotations: np.ndarray) -> np.ndarray:
    return np.where(rotations[..., 3:] < 0, -rotations, rotations)
