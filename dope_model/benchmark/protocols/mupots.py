"""MuPoTS-3D: 3D-PCK of several people's bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dope_model.benchmark.protocols.bodies_3d import (
    EVALUATED_12,
    EVALUATED_14,
    auc_3d,
    errors_3d,
    match_people,
    mupots_joints,
    pck_3d,
)
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
from dope_model.skeleton import BODY

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
