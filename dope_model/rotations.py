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


def _bones(*names: str) -> list[int]:
    """Indices of the right and the left bones of these names."""
    return [BONE_INDEX[f"{side}_{name}"] for side in ("right", "left") for name in names]


_COUNTS = {slot: len({"body": BODY, "hand": HAND, "face": FACE84}[part])
           for slot, part in PART_SLOTS.items()}  # fmt: skip
_FIRST = dict(zip(_COUNTS, np.cumsum([0, *_COUNTS.values()]).tolist(), strict=False))
"""The first joint of each part where all parts are in one array."""


def _columns(slot: str, joints: tuple[int, ...]) -> list[int]:
    """Four joints of that array whose mean is that of one, two or four joints of a part."""
    return [_FIRST[slot] + joint for joint in joints * (4 // len(joints))]


_PARENTS = np.array([-1 if bone.parent is None else BONE_INDEX[bone.parent] for bone in BONES])
_REST = np.array([bone.rest for bone in BONES])
_STARTS = np.array([_columns(bone.slot, bone.start) for bone in BONES])
_ENDS = np.array([_columns(bone.slot, bone.end or bone.start) for bone in BONES])
_PELVIS, _CHEST, _NECK, _HEAD_BONE = range(4)
_TRUNK_ENDS = np.array([_HIPS, _SHOULDERS]).T
_HANDS = _bones("hand")
_KNUCKLES = np.array(
    [_STARTS[b, 0] for b in _bones(*(f"{finger}_proximal" for finger in FINGERS[1:]))]
)
# Bones whose ends bend, each with the next one and the axis of the bend in the rest pose.
_BENDING, _FOLLOWING = _bones("upper_arm", "thigh"), _bones("forearm", "shin")
_BEND_AXES = np.array([_UP, (1, 0, 0), _DOWN, (1, 0, 0)], float)
# By the number of bones between them and the hand.
_FINGER_BONES = [
    _bones(thumb, *(f"{finger}_{bone}" for finger in FINGERS[1:]))
    for thumb, bone in (
        ("thumb_metacarpal", "proximal"),
        ("thumb_proximal", "intermediate"),
        ("thumb_distal", "distal"),
    )
]
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
    along = _unit(points[..., _ENDS, :].mean(axis=-2) - points[..., _STARTS, :].mean(axis=-2))
    turns = np.full((*along.shape, 3), np.nan)
    turns[..., [_PELVIS, _CHEST], :, :] = _trunk(points, along)
    turns[..., _NECK, :, :] = _swung(turns[..., _CHEST, :, :], _REST[_NECK], along[..., _NECK, :])
    face = _face(points[..., _FIRST["face"] :, :])
    turns[..., _HEAD_BONE, :, :] = np.where(np.isnan(face), turns[..., _NECK, :, :], face)
    _turn_limbs(turns, along)
    _turn_hands(turns, along, points)
    return quaternions(turns)


def bone_starts(joints: Mapping[str, np.ndarray]) -> np.ndarray:
    """Where the bones start, (..., B, 3) m, in the axes and the origin of `joints`, which are those
    of `bone_rotations` with one origin for all parts; NaN where joints are missing."""
    return _checked(joints)[..., _STARTS, :].mean(axis=-2)


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


def _checked(joints: Mapping[str, np.ndarray]) -> np.ndarray:
    """The joints of all parts in one array (..., J, 3), NaN for those left out."""
    points: dict[str, np.ndarray] = {}
    for slot, given in joints.items():
        if slot not in PART_SLOTS:
            raise ValueError(f"no part {slot!r}; known: {', '.join(PART_SLOTS)}")
        count = _COUNTS[slot]
        array = np.asarray(given, np.float64)
        if array.shape[-2:] not in ((count, 3), (count + (slot == "body"), 3)):
            raise ValueError(f"{slot} has shape {array.shape}, not (..., {count}, 3)")
        points[slot] = array[..., :count, :]
    leading = {array.shape[:-2] for array in points.values()} or {()}
    if len(leading) > 1:
        raise ValueError(f"parts of different numbers of people: {sorted(leading)}")
    for slot, count in _COUNTS.items():
        points.setdefault(slot, np.full((*next(iter(leading)), count, 3), np.nan))
    return np.concatenate([points[slot] for slot in _COUNTS], axis=-2)


def _trunk(points: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Pelvis and chest: x along hips or shoulders, y down the trunk or else, for the chest, down
    from the head."""
    across = _unit(points[..., _TRUNK_ENDS[1], :] - points[..., _TRUNK_ENDS[0], :])
    down = np.repeat(-along[..., _PELVIS, None, :], 2, axis=-2)
    down[..., 1, :] = np.where(np.isnan(down[..., 1, :]), -along[..., _NECK, :], down[..., 1, :])
    return _frame(across, down)


def _turn_limbs(turns: np.ndarray, along: np.ndarray) -> None:
    """Fill in arms and legs up to wrists and ankles."""
    upper = along[..., _BENDING, :]
    parents = turns[..., _PARENTS[_BENDING], :, :] @ _LOWERED
    swung = _swung(parents, _REST[_BENDING], upper)
    turns[..., _BENDING, :, :] = _bent(swung, upper, along[..., _FOLLOWING, :])
    lower = along[..., _FOLLOWING, :]
    turns[..., _FOLLOWING, :, :] = _swung(turns[..., _BENDING, :, :], _REST[_FOLLOWING], lower)


def _turn_hands(turns: np.ndarray, along: np.ndarray, points: np.ndarray) -> None:
    """Fill in hands and fingers."""
    wrists = np.repeat(_STARTS[_HANDS, 0], 4)
    metacarpals = _unit(points[..., _KNUCKLES, :] - points[..., wrists, :])
    across = metacarpals[..., [3, 7], :] - metacarpals[..., [0, 4], :]  # from index to little
    turns[..., _HANDS, :, :] = _frame(along[..., _HANDS, :], across) @ _HANDS_BACK
    # A finger bends across its own metacarpal, and the metacarpals fan out.
    parents = turns[..., _PARENTS[_FINGER_BONES[0]], :, :]
    fingers = [1, 2, 3, 4, 6, 7, 8, 9]
    palms = parents[..., fingers, :, :][..., 1]
    parents[..., fingers, :, :] = _frame(metacarpals, palms) @ _METACARPALS_BACK
    for bones in _FINGER_BONES:
        turns[..., bones, :, :] = _swung(parents, _REST[bones], along[..., bones, :])
        parents = turns[..., bones, :, :]


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


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 1e-9, length, np.nan)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """As np.cross, several times faster on few vectors."""
    return a[..., [1, 2, 0]] * b[..., [2, 0, 1]] - a[..., [2, 0, 1]] * b[..., [1, 2, 0]]


def _frame(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Axes (..., 3, 3), columns: unit `first`, `second` made perpendicular to it, their cross."""
    aside = second - first * (first * second).sum(axis=-1, keepdims=True)
    apart = np.linalg.norm(aside, axis=-1, keepdims=True)
    limit = _DEGENERATE * np.linalg.norm(second, axis=-1, keepdims=True)
    y = aside / np.where(apart > limit, apart, np.nan)
    return np.stack([first + 0 * y, y, _cross(first, y)], axis=-1)


def _cross_matrix(v: np.ndarray) -> np.ndarray:
    """(..., 3, 3) that takes a vector to its cross product with `v`."""
    return (v @ _LEVI_CIVITA).reshape(*v.shape, 3)


def _swung(parents: np.ndarray, rest: np.ndarray, along: np.ndarray) -> np.ndarray:
    """The parents' rotations (..., 3, 3), each with the shortest one that turns the bone's `rest`
    (3,) to `along` after it."""
    start = (parents @ rest[..., None])[..., 0]
    cross = _cross_matrix(_cross(start, along))
    cosine = (start * along).sum(axis=-1)[..., None, None]
    turn = np.eye(3) + cross + cross @ cross / np.where(cosine > -1 + 1e-6, 1 + cosine, np.nan)
    return turn @ parents


def _about(axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """(..., 3, 3) about unit axes (..., 3) by angles (...), rad."""
    cross = _cross_matrix(axis)
    sine, cosine = np.sin(angle)[..., None, None], np.cos(angle)[..., None, None]
    return np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)


def _bent(swung: np.ndarray, along: np.ndarray, onward: np.ndarray) -> np.ndarray:
    """The rotations `swung` (..., 4, 3, 3) of _BENDING, each turned about its direction `along` as
    the joint at its end is bent; the bones after it go `onward`.

    Between a straight and a bent joint the turn fades in, so that a small movement makes a small
    difference.
    """
    normal = _cross(along, onward)
    sine = np.linalg.norm(normal, axis=-1)
    share = np.clip((sine - _STRAIGHT) / (_BENT - _STRAIGHT), 0, 1)
    share = np.where(np.isnan(share), 0, share)  # no next bone: as straight
    hinge = (swung @ _BEND_AXES[..., None])[..., 0]
    angle = np.arctan2((_cross(hinge, normal) * along).sum(-1), (hinge * normal).sum(-1))
    partly = _about(along, np.where(share > 0, angle * share, 0)) @ swung
    # Wholly bent: the joints say all, whatever the parent.
    wholly = _frame(along, normal) @ _BENDS_BACK
    return np.where((share == 1)[..., None, None], wholly, partly)


def _positive(rotations: np.ndarray) -> np.ndarray:
    return np.where(rotations[..., 3:] < 0, -rotations, rotations)


def _back(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """From axes of two directions to those of the rest pose, in which they have these values."""
    return _frame(first, np.broadcast_to(second, first.shape)).swapaxes(-1, -2)


_LEVI_CIVITA = np.cross(np.eye(3)[:, None], np.eye(3)).swapaxes(1, 2).reshape(3, 9)
_LOWERED = _about(
    np.array([0, 0, 1.0]),
    _ARM_LOWERED * np.array([-1.0, 0, 1, 0]),  # no legs
)
_BENDS_BACK = _back(_REST[_BENDING], _BEND_AXES)
_HANDS_BACK = _back(_REST[_HANDS], np.array([0, 0, 1.0]))
_METACARPALS_BACK = _back(np.repeat(_REST[_HANDS], 4, axis=0), np.array(_DOWN))
