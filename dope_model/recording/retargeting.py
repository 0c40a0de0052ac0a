"""Poses as tools that move a humanoid take them: a dict of name -> (position, rotation)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dope_model.rotations import BONE_INDEX, FINGERS, multiply

_SIDE_NAMES = {"thigh": "hip", "shin": "knee", "upper_arm": "shoulder", "forearm": "elbow",
               "hand": "wrist"}  # fmt: skip
_FINGER_BONES = ("proximal", "intermediate", "distal")
_THUMB_BONES = ("metacarpal", "proximal", "distal")


def _names() -> dict[str, str]:
    """SMPL-X's joint name -> our bone that starts there."""
    names = {"pelvis": "pelvis", "spine3": "chest", "neck": "neck", "head": "head"}
    for side in ("left", "right"):
        names |= {f"{side}_{smplx}": f"{side}_{bone}" for bone, smplx in _SIDE_NAMES.items()}
        for finger in FINGERS:
            bones = _THUMB_BONES if finger == "thumb" else _FINGER_BONES
            smplx = "pinky" if finger == "little" else finger
            for number, bone in enumerate(bones, 1):
                names[f"{side}_{smplx}{number}"] = f"{side}_{finger}_{bone}"
    return names


SMPLX_BONES = _names()
_ANKLES = {"left": "body.left_ankle", "right": "body.right_ankle"}
_Y_TO_Z_UP = np.array([0.5**0.5, 0.0, 0.0, 0.5**0.5])


def smplx_frames(
    recording: Mapping[str, np.ndarray], person: int
) -> list[dict[str, tuple[np.ndarray, np.ndarray]]]:
    """The images in which a person was seen, as General Motion Retargeting (GMR) takes them.

    Args:
        recording: the arrays of an .npz file (`PoseRecording.arrays`).
        person: its number in `recording["person"]`.

    Returns:
        For each image, SMPL-X's joint name -> position (3,) m and rotation (4,) as (w, x, y, z), in
        a world with z up, x to the camera's right and y away from it, as if the camera were level.
        Rotations are from SMPL-X's T-pose, whose own axes have y up and z to the front, so somebody
        who stands and faces the camera has (0.707, 0.707, 0, 0). left_foot and right_foot are at
        the ankles and turn with the shins: feet are not seen. What was not found is left out.

    Raises:
        ValueError: the person is not in the recording.
    """
    mine = np.flatnonzero(recording["person"] == person)
    if not len(mine):
        there = sorted(set(recording["person"].tolist()))
        raise ValueError(f"person {person} is not in the recording; there are: {there}")
    joint_names = list(recording["joint_names"])
    frames = []
    for row in mine:
        positions, rotations = recording["positions"][row], recording["rotations"][row]
        found = {
            name: (positions[BONE_INDEX[bone]], rotations[BONE_INDEX[bone]])
            for name, bone in SMPLX_BONES.items()
        }
        for side, ankle in _ANKLES.items():
            place = recording["joints"][row][joint_names.index(ankle)]
            found[f"{side}_foot"] = place, rotations[BONE_INDEX[f"{side}_shin"]]
        frames.append(
            {
                name: (_z_up(position), _turned(rotation))
                for name, (position, rotation) in found.items()
                if not (np.isnan(position).any() or np.isnan(rotation).any())
            }
        )
    return frames


def _z_up(position: np.ndarray) -> np.ndarray:
    x, y, z = np.asarray(position, np.float64)
    return np.array([x, z, -y])


def _turned(rotation: np.ndarray) -> np.ndarray:
    """From the optical frame's axes to y up, then to z up; scalar first."""
    y_up = np.asarray(rotation, np.float64) * [1, -1, -1, 1]
    return multiply(_Y_TO_Z_UP, y_up)[[3, 0, 1, 2]]
