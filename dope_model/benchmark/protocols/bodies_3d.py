"""3D metrics of bodies as MuPoTS-3D defines them.

Source: Mehta et al., "Single-shot multi-person 3D pose estimation from monocular RGB" (3DV 2018)
and the evaluation that its authors distribute with MuPoTS-3D: predictions are matched to people in
the picture, their bones get the true lengths, and errors are relative to the pelvis.
"""

from __future__ import annotations

import numpy as np

from dope_model.datasets.conversions import MUPOTS_JOINTS
from dope_model.skeleton import BODY, BODY14

PCK_THRESHOLD = 150.0
"""mm"""
AUC_THRESHOLDS = np.arange(0.0, 151.0, 5.0)
"""mm; the AUC is the mean of the PCKs at these thresholds."""
MATCH_PX = 40.0
"""A joint agrees when both its u and its v are nearer than this."""

JOINT_INDEX = {name: j for j, name in enumerate(MUPOTS_JOINTS)}
PELVIS = JOINT_INDEX["pelvis"]
MATCHED_JOINTS = tuple(range(1, 14))
"""Neck and limbs."""
EVALUATED_14 = tuple(range(14))
EVALUATED_12 = tuple(range(2, 14))
"""The limbs: all that a network of 13 joints has in common with MuPoTS."""

_PARENT = {
    "spine": "pelvis", "neck": "spine", "head_top": "neck", "head": "neck",
    "right_shoulder": "neck", "right_elbow": "right_shoulder", "right_wrist": "right_elbow",
    "left_shoulder": "neck", "left_elbow": "left_shoulder", "left_wrist": "left_elbow",
    "right_hip": "pelvis", "right_knee": "right_hip", "right_ankle": "right_knee",
    "left_hip": "pelvis", "left_knee": "left_hip", "left_ankle": "left_knee",
}  # fmt: skip
"""Each joint's parent, parents before their children."""


def mupots_joints(body: np.ndarray) -> np.ndarray:
    """Our bodies (..., 13 or 14, D) as MuPoTS' 17 joints (..., 17, D); NaN where there is none.

    Pelvis and, with 13 joints, neck are the middles of hips and shoulders, as the owners advise;
    the spine lies halfway between them. With 13 joints there is no top of the head.
    """
    skeleton = BODY14 if body.shape[-2] == len(BODY14) else BODY
    joints = np.full((*body.shape[:-2], len(MUPOTS_JOINTS), body.shape[-1]), np.nan)
    for name in BODY.joints[:-1]:
        joints[..., JOINT_INDEX[name], :] = body[..., skeleton.index[name], :]

    def middle(joint: str) -> np.ndarray:
        sides = [skeleton.index[f"right_{joint}"], skeleton.index[f"left_{joint}"]]
        return body[..., sides, :].mean(axis=-2)

    joints[..., PELVIS, :] = middle("hip")
    if skeleton is BODY14:
        joints[..., JOINT_INDEX["neck"], :] = body[..., skeleton.index["neck"], :]
        joints[..., JOINT_INDEX["head_top"], :] = body[..., skeleton.index["head"], :]
    else:
        joints[..., JOINT_INDEX["neck"], :] = middle("shoulder")
    joints[..., JOINT_INDEX["spine"], :] = (
        joints[..., PELVIS, :] + joints[..., JOINT_INDEX["neck"], :]
    ) / 2
    return joints


def match_people(
    truth: np.ndarray, predicted: np.ndarray, threshold: float = MATCH_PX
) -> dict[int, int]:
    """Person to prediction: in the truth's order, each takes the free one with most joints near.

    Args:
        truth: (T, 17, 2) px; predicted: (P, 17, 2) px, NaN joints are not visible.
    """
    matched: dict[int, int] = {}
    for person, joints in enumerate(truth[:, MATCHED_JOINTS]):
        with np.errstate(invalid="ignore"):
            near = (np.abs(predicted[:, MATCHED_JOINTS] - joints) < threshold).all(axis=2)
        agreeing = near.sum(axis=1)
        agreeing[list(matched.values())] = 0
        if len(agreeing) and agreeing.max() > 0:
            matched[person] = int(agreeing.argmax())
    return matched


def with_true_bone_lengths(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A pose (17, 3) whose bones keep their directions and get those of `truth`'s lengths."""
    scaled = np.array(predicted, float)
    for name, parent in _PARENT.items():
        j, p = JOINT_INDEX[name], JOINT_INDEX[parent]
        bone = predicted[j] - predicted[p]
        length = max(float(np.linalg.norm(bone)), 1e-9)
        scaled[j] = scaled[p] + bone * (np.linalg.norm(truth[j] - truth[p]) / length)
    return scaled


def errors_3d(predicted: np.ndarray | None, truth: np.ndarray, rescaled: bool) -> np.ndarray:
    """Distances (17,) to the truth (17, 3), both relative to their pelvis; mm in, mm out.

    Infinite for a person that was missed (None) and for joints that were not predicted (NaN).

    Args:
        rescaled: give the prediction the true bone lengths first, as the owners do.
    """
    if predicted is None:
        return np.full(len(truth), np.inf)
    truth = truth - truth[PELVIS]
    predicted = predicted - predicted[PELVIS]
    if rescaled:
        predicted = with_true_bone_lengths(predicted, truth)
    errors = np.linalg.norm(predicted - truth, axis=1)
    return np.where(np.isnan(errors), np.inf, errors)


def pck_3d(errors: np.ndarray, threshold: float = PCK_THRESHOLD) -> float:
    """Share of errors below the threshold; NaN without any error."""
    return float((errors < threshold).mean()) if errors.size else float("nan")


def auc_3d(errors: np.ndarray) -> float:
    """Mean of the PCKs at AUC_THRESHOLDS."""
    return float(np.mean([pck_3d(errors, t) for t in AUC_THRESHOLDS]))
