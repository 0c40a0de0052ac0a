"""Which fine map says where which joint is.

The first maps are COCO's keypoints, as MoveNet has them; then comes the head's, and those of hands
and faces. A hand's joint has one map for both sides. Some of a face's 84 landmarks tell where the
others are.
"""

from __future__ import annotations

from dope_model.experts.joints import COCO_POINT_OF_JOINT
from dope_model.skeleton import BODY, HAND, skeleton_for

KEYPOINTS = 17
"""COCO's, in its order."""

FACE_LANDMARKS = (
    0, 4, 8, 12, 16, 20, 24, 28, 32,  # contour
    33, 37, 38, 42,  # ends of the eyebrows
    43, 46, 47, 51,  # bridge, tip and sides of the nose
    52, 55, 58, 61,  # corners of the eyes
    64, 67, 70, 73,  # outer lips
)  # fmt: skip
"""Those that have a map."""

_HEAD = KEYPOINTS
_HAND = _HEAD + 1
_FACE = _HAND + len(HAND)

HAND_MAPS = range(_HAND, _FACE)
"""Those of hands' joints."""

MAPS = _FACE + len(FACE_LANDMARKS)


def maps_of_joints(part: str, joints: int) -> dict[int, int]:
    """By joint of a part of so many joints, its map; joints without one are left out."""
    skeleton = skeleton_for(part, joints)
    if part == "hand":
        return {joint: _HAND + joint for joint in range(joints)}
    if part == "face":
        return {landmark: _FACE + k for k, landmark in enumerate(FACE_LANDMARKS)}
    found = {skeleton.index[name]: point for name, point in COCO_POINT_OF_JOINT.items()}
    return {**found, BODY.index["head"]: _HEAD}
