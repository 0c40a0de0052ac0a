"""Hands by the names of OpenXR (XR_EXT_hand_tracking): 26 joints, the palm first. WebXR's 25 are
those without the palm."""

from __future__ import annotations

import numpy as np

from dope_model.rotations import BONE_INDEX, FINGERS, multiply, quaternions
from dope_model.skeleton import HAND


def _joints_of(finger: str) -> tuple[str, ...]:
    middle = ("proximal",) if finger == "thumb" else ("proximal", "intermediate")
    return tuple(f"{finger}_{joint}" for joint in ("metacarpal", *middle, "distal", "tip"))


OPENXR_JOINTS = ("palm", "wrist", *(joint for finger in FINGERS for joint in _joints_of(finger)))

METACARPAL_BASE = 1 / 3
"""Where a metacarpal begins between the wrist and its knuckle: 0.31 to 0.44 in the body model of
the rendered people."""


def openxr_hand(
    hand: np.ndarray, rotations: np.ndarray, side: str
) -> tuple[np.ndarray, np.ndarray]:
    """The joints of a hand as OpenXR has them.

    The metacarpals of the four fingers begin on the line from the wrist to the knuckle (see
    METACARPAL_BASE); the palm is the middle of the middle finger's metacarpal. Both turn with the
    hand, a tip with its last bone.

    Args:
        hand: (..., 21, 3) m.
        rotations: (..., B, 4) of `dope_model.rotations.bone_rotations`.
        side: "right" or "left".

    Returns:
        Positions (..., 26, 3) m in the axes of `hand`, and rotations (..., 26, 4) from the joint's
        axes as OpenXR has them (-z to the next joint, y out of the back of the hand) to those of
        `hand`. The thumb's y is that of a thumb that lies beside the palm.
    """
    wrist, made = hand[..., 0, :], {}
    for finger in FINGERS[1:]:
        knuckle = hand[..., HAND.index[f"{finger}_mcp"], :]
        made[f"{finger}_metacarpal"] = wrist + METACARPAL_BASE * (knuckle - wrist)
    made["palm"] = (made["middle_metacarpal"] + hand[..., HAND.index["middle_mcp"], :]) / 2
    made["wrist"] = wrist
    positions, turns = [], []
    for joint in OPENXR_JOINTS:
        finger, _, place = joint.partition("_")
        if joint not in made:
            made[joint] = hand[..., HAND.index[f"{finger}_{_NAMES[finger == 'thumb'][place]}"], :]
        bone = f"{side}_{joint}".replace("_tip", "_distal")
        bone = bone if bone in BONE_INDEX else f"{side}_hand"
        positions.append(made[joint])
        axes = _axes(side, finger == "thumb")
        turns.append(multiply(rotations[..., BONE_INDEX[bone], :], axes))
    return np.stack(positions, axis=-2), np.stack(turns, axis=-2)


# OpenXR's names of the joints where bones begin, in our words: of fingers, and of the thumb.
_NAMES = (
    {"proximal": "mcp", "intermediate": "pip", "distal": "dip", "tip": "tip"},
    {"metacarpal": "cmc", "proximal": "mcp", "distal": "ip", "tip": "tip"},
)


def _axes(side: str, thumb: bool) -> np.ndarray:
    """OpenXR's axes of a joint in the rest pose, as a quaternion (4,)."""
    out = 1.0 if side == "left" else -1.0
    z = -np.array([out, 0, -1.0]) * 0.5**0.5 if thumb else np.array([-out, 0, 0])
    y = np.array([0, -1.0, 0])
    return quaternions(np.stack([np.cross(y, z), y, z], axis=1))
