"""The one table of joints, bones, left-right partners, roots and colours of every part.

Everything that needs to know a joint's place, name or mirror partner reads it here: the
messages' constants, flips in training, the metrics and the drawings.

Sources: bodies of 13 joints (LCR-Net++), hands of 21, faces of the 84 landmarks of the 3D Menpo
benchmark, as in the DOPE paper, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Bones = tuple[tuple[int, int], ...]
Color = tuple[int, int, int]

RIGHT: Color = (255, 138, 48)
LEFT: Color = (64, 160, 255)
MIDDLE: Color = (110, 220, 110)
FACE: Color = (240, 230, 120)


@dataclass(frozen=True)
class Skeleton:
    """Joints of one part and how they hang together.

    `swap[j]` is the joint that takes the place of joint `j` when the picture is mirrored.
    `root` lists the joints whose mean is the origin of the part's 3D pose. `colors` gives one
    RGB colour per bone.
    """

    name: str
    joints: tuple[str, ...]
    bones: Bones
    swap: tuple[int, ...]
    root: tuple[int, ...]
    colors: tuple[Color, ...]
    index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        count = len(self.joints)
        if sorted(self.swap) != list(range(count)):
            raise ValueError(f"{self.name}: swap is not a permutation of {count} joints")
        if any(self.swap[self.swap[j]] != j for j in range(count)):
            raise ValueError(f"{self.name}: mirroring twice must give back every joint")
        if len(self.colors) != len(self.bones):
            raise ValueError(f"{self.name}: one colour per bone is needed")
        object.__setattr__(self, "index", {joint: j for j, joint in enumerate(self.joints)})

    def __len__(self) -> int:
        return len(self.joints)

    def root_of(self, points: np.ndarray) -> np.ndarray:
        """Root of poses `points` (..., J, D) as (..., D): the mean of the root joints."""
        return points[..., list(self.root), :].mean(axis=-2)

    def centred(self, points: np.ndarray) -> np.ndarray:
        """Poses (..., J, D) moved so that their root is the origin."""
        return points - self.root_of(points)[..., None, :]


def swap_by_name(joints: tuple[str, ...]) -> tuple[int, ...]:
    """The joint that takes the place of each, by right_ and left_, when the picture is mirrored."""
    partner = {"right": "left", "left": "right"}
    mirrored = []
    for joint in joints:
        side, _, rest = joint.partition("_")
        mirrored.append(f"{partner[side]}_{rest}" if side in partner else joint)
    return tuple(joints.index(joint) for joint in mirrored)


def _side_colors(joints: tuple[str, ...], bones: Bones) -> tuple[Color, ...]:
    """Right and left bones by the side of both ends, the middle's colour otherwise."""
    colors = {"right": RIGHT, "left": LEFT}
    sides = [joint.partition("_")[0] for joint in joints]
    return tuple(colors.get(sides[a], MIDDLE) if sides[a] == sides[b] else MIDDLE for a, b in bones)


def _body(joint_count: int) -> Skeleton:
    joints: tuple[str, ...] = tuple(
        f"{side}_{joint}"
        for joint in ("ankle", "knee", "hip", "wrist", "elbow", "shoulder")
        for side in ("right", "left")
    ) + ("head",)
    bones: Bones = (
        (0, 2), (2, 4), (1, 3), (3, 5), (4, 5), (4, 10), (5, 11), (10, 11),
        (6, 8), (8, 10), (7, 9), (9, 11),
    )  # fmt: skip
    if joint_count == 14:
        joints += ("neck",)
        bones += ((10, 13), (11, 13), (13, 12))
    else:
        bones += ((10, 12), (11, 12))
    swap = swap_by_name(joints)
    return Skeleton("body", joints, bones, swap, (4, 5), _side_colors(joints, bones))


def _hand() -> Skeleton:
    fingers = ("thumb", "index", "middle", "ring", "little")
    first = tuple(f"{finger}_{'cmc' if finger == 'thumb' else 'mcp'}" for finger in fingers)
    further = tuple(
        f"{finger}_{joint}"
        for finger in fingers
        for joint in (("mcp", "ip", "tip") if finger == "thumb" else ("pip", "dip", "tip"))
    )
    bones, colors = [], []
    hues = ((230, 80, 80), (235, 190, 60), (90, 205, 90), (70, 180, 235), (190, 110, 235))
    for finger in range(5):
        chain = (0, 1 + finger, *range(6 + 3 * finger, 9 + 3 * finger))
        bones += list(zip(chain[:-1], chain[1:], strict=True))
        colors += [hues[finger]] * 4
    joints = ("wrist", *first, *further)
    # A mirrored right hand is a left hand with the same joints in the same places.
    return Skeleton("hand", joints, tuple(bones), tuple(range(21)), (0,), tuple(colors))


# Name, first landmark, count, whether the outline closes.
_FACE_GROUPS = (
    ("contour", 0, 33, False),
    ("right_eyebrow", 33, 5, False),
    ("left_eyebrow", 38, 5, False),
    ("nose_bridge", 43, 4, False),
    ("nose_base", 47, 5, False),
    ("right_eye", 52, 6, True),
    ("left_eye", 58, 6, True),
    ("outer_lips", 64, 12, True),
    ("inner_lips", 76, 8, True),
)

# Landmarks listed in the order in which their mirror image lists them.
_FACE_MIRROR_RUNS = (
    (range(0, 33), range(32, -1, -1)),
    (range(33, 38), range(42, 37, -1)),
    (range(43, 47), range(43, 47)),
    (range(47, 52), range(51, 46, -1)),
    ((52, 53, 54, 55, 56, 57), (61, 60, 59, 58, 63, 62)),
    (range(64, 71), range(70, 63, -1)),
    (range(71, 76), range(75, 70, -1)),
    (range(76, 81), range(80, 75, -1)),
    (range(81, 84), range(83, 80, -1)),
)


def _face() -> Skeleton:
    joints: list[str] = []
    bones: list[tuple[int, int]] = []
    for name, start, count, closed in _FACE_GROUPS:
        joints += [f"{name}_{k}" for k in range(count)]
        members = list(range(start, start + count))
        bones += list(zip(members[:-1], members[1:], strict=True))
        if closed:
            bones.append((members[-1], members[0]))
    swap = [0] * len(joints)
    for run, mirrored in _FACE_MIRROR_RUNS:
        for a, b in zip(run, mirrored, strict=True):
            swap[a], swap[b] = b, a
    nose_tip = (joints.index("nose_bridge_3"),)
    return Skeleton(
        "face", tuple(joints), tuple(bones), tuple(swap), nose_tip, (FACE,) * len(bones)
    )


BODY = _body(13)
BODY14 = _body(14)
HAND = _hand()
FACE84 = _face()

PARTS = ("body", "hand", "face")

COCO_JOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
"""COCO's 17 keypoints in its order; those of limbs have our names."""


def skeleton_for(part: str, joint_count: int) -> Skeleton:
    """The skeleton of `part` with `joint_count` joints.

    Raises:
        ValueError: there is no such skeleton.
    """
    for skeleton in (BODY, BODY14, HAND, FACE84):
        if skeleton.name == part and len(skeleton) == joint_count:
            return skeleton
    raise ValueError(
        f"no skeleton for part {part!r} with {joint_count} joints; "
        "known: body 13 or 14, hand 21, face 84"
    )
