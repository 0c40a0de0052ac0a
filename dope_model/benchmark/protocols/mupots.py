"""MuPoTS-3D: 3D-PCK of several people's bodies, as its authors evaluate it: predictions are matched
to people in the picture, their bones get the true lengths, and errors are relative to the pelvis.

Source: Mehta et al., "Single-shot multi-person 3D pose estimation from monocular RGB" (3DV 2018)
and the evaluation that its authors distribute with MuPoTS-3D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dope_model.benchmark.protocols.pck import share
from dope_model.benchmark.protocols.protocol import (
    Curve,
    Found,
    Outcome,
    Picture,
    Protocol,
    bodies_of,
)
from dope_model.datasets.conversions import MUPOTS_JOINTS
from dope_model.datasets.mupots import read_mupots
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
GROUPS = {
    "head": ("head_top",), "neck": ("neck",),
    **{joint: (f"right_{joint}", f"left_{joint}")
       for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")},
}  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """Of the people in a frame: errors (people, 17) mm, infinite where missed.

    `rescaled` with the true bone lengths, as the owners evaluate; `plain` without. `joints` is the
    number of joints of the model's bodies, `detected` the number of bodies.
    """

    rescaled: np.ndarray
    plain: np.ndarray
    found: np.ndarray
    detected: int
    joints: int


class Mupots(Protocol):
    """3D-PCK at 150 mm on MuPoTS-3D, per sequence, for all annotated and for matched people.

    --data is the folder of TS1 to TS20 (MultiPersonTestSet). Networks of 13 joints are evaluated on
    the 12 limb joints only; `finetune-14-joints` makes the 14 that MuPoTS asks for.
    """

    name = "mupots"
    title = "MuPoTS-3D: 3D bodies of several people"
    notes = """
PCK3D: share of joints less than 150 mm from the truth, both relative to the pelvis, after the
prediction's bones have got the true lengths, as in the owners' evaluation; `without rescaling` is
the same without that. The mean over the 20 sequences; in a sequence every annotated person of every
frame counts, missed people with all joints wrong ("all", what the paper reports), or only the
matched people. The truth is the one at universal height. AUC is the mean PCK at 0, 5, ... 150 mm.
A person is matched with the prediction of which most joints lie within 40 px in u and v. Networks
of 14 joints are evaluated on all 14, those of 13 on the 12 limb joints, which is not the published
number: the column `joints evaluated` says which. Joints MuPoTS needs and a model lacks are derived:
the pelvis is the middle of the hips, the spine that of pelvis and neck, and of 13 joints the neck
that of the shoulders.
"""

    def load(self, options) -> list[Picture]:
        """All frames with a valid person."""
        return [
            Picture(
                f"{frame.sequence}/{frame.path.name}", frame.path, frame,
                marks=np.concatenate([p.joints_2d for p in frame.people]),
            )
            for frame in read_mupots(options.data)
        ]  # fmt: skip

    def evaluate(self, picture: Picture, found: Found) -> Evaluation:
        """Errors of everybody in a frame."""
        people = picture.truth.people
        bodies = bodies_of(found)
        truth_2d = np.stack([p.joints_2d for p in people])
        matched = match_people(truth_2d, mupots_joints(bodies.keypoints_2d.astype(float)))
        poses = 1000 * mupots_joints(bodies.keypoints_3d.astype(float))
        errors = {
            rescaled: np.stack(
                [
                    errors_3d(poses[matched[k]] if k in matched else None, p.universal_3d, rescaled)
                    for k, p in enumerate(people)
                ]
            )
            for rescaled in (True, False)
        }
        is_found = np.array([k in matched for k in range(len(people))])
        return Evaluation(
            errors[True], errors[False], is_found, len(bodies), bodies.keypoints_2d.shape[1]
        )

    def summarise(self, pictures: Sequence[Picture], evaluations: Sequence[Evaluation]) -> Outcome:
        """Means over the sequences."""
        joint_count = max(j.joints for j in evaluations)
        evaluated = list(EVALUATED_12 if joint_count == len(BODY) else EVALUATED_14)
        sequences: dict[str, list[Evaluation]] = {}
        for picture, evaluation in zip(pictures, evaluations, strict=True):
            sequences.setdefault(picture.truth.sequence, []).append(evaluation)
        rows, curves = [], []
        thresholds = np.arange(0.0, 201.0, 5.0)
        for sequence, some in sequences.items():
            errors = np.concatenate([j.rescaled for j in some])[:, evaluated]
            plain = np.concatenate([j.plain for j in some])[:, evaluated]
            found = np.concatenate([j.found for j in some])
            curves.append([pck_3d(errors, t) for t in thresholds])
            rows.append(
                {
                    "sequence": sequence,
                    "PCK3D all %": 100 * pck_3d(errors),
                    "PCK3D matched %": 100 * pck_3d(errors[found]),
                    "AUC all %": 100 * auc_3d(errors),
                    "AUC matched %": 100 * auc_3d(errors[found]) if found.any() else np.nan,
                    "PCK3D all, without rescaling %": 100 * pck_3d(plain),
                    "people": len(found),
                    "recall": float(found.mean()),
                    "precision": share(found.sum(), sum(j.detected for j in some)),
                }
            )
        summary = {}
        for column in rows[0]:
            if column not in ("sequence", "people"):
                values = np.array([row[column] for row in rows], float)
                # A sequence in which nobody was matched has no error of matched people.
                known = values[np.isfinite(values)]
                summary[column] = float(known.mean()) if len(known) else 0.0
        summary["joints evaluated"] = len(evaluated)
        everything = np.concatenate([j.rescaled for j in evaluations])
        by_joint = [
            {"joint": group, "PCK3D all %": 100 * pck_3d(everything[:, members])}
            for group, names in GROUPS.items()
            for members in [[MUPOTS_JOINTS.index(name) for name in names]]
            if set(members) <= set(evaluated)
        ]
        wrong = np.array([1 - pck_3d(j.rescaled[:, evaluated]) for j in evaluations])
        curve = Curve(thresholds, np.mean(curves, axis=0), "threshold, mm", "PCK3D")
        return Outcome(
            summary, {"by sequence": rows, "by joint": by_joint}, {"MuPoTS-3D": curve}, wrong
        )


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


def match_people(truth: np.ndarray, predicted: np.ndarray) -> dict[int, int]:
    """Person to prediction: in the truth's order, each takes the free one with most joints near.

    Args:
        truth: (T, 17, 2) px; predicted: (P, 17, 2) px, NaN joints are not visible.
    """
    matched: dict[int, int] = {}
    for person, joints in enumerate(truth[:, MATCHED_JOINTS]):
        with np.errstate(invalid="ignore"):
            near = (np.abs(predicted[:, MATCHED_JOINTS] - joints) < MATCH_PX).all(axis=2)
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
