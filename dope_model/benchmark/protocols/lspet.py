"""Leeds Sports Pose, extended or not: 2D bodies in hard poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dope_model.benchmark.protocols.pck import (
    area_under_curve,
    distances,
    pck,
    pck_curve,
    share,
    torso_size,
)
from dope_model.benchmark.protocols.protocol import (
    Curve,
    Found,
    Outcome,
    Picture,
    Protocol,
    bodies_of,
)
from dope_model.boxes import box_ious
from dope_model.datasets.conversions import LSP, LSP_JOINTS
from dope_model.datasets.lsp import read_lsp
from dope_model.poses import boxes_around
from dope_model.skeleton import BODY

THRESHOLD = 0.2
LEAST_ALIKE = 0.3
GROUPS = ("ankle", "knee", "hip", "wrist", "elbow", "shoulder", "head")
LIMBS = np.arange(12)


@dataclass(frozen=True)
class Evaluation:
    """Errors (13,) of the person in torso sizes (see `pck.distances`), whether it was found, and
    the number of detected bodies."""

    errors: np.ndarray
    found: bool
    detected: int


class Lspet(Protocol):
    """PCK@0.2 on Leeds Sports Pose: share of joints within 0.2 of the torso's size.

    --data is the folder of joints.mat and the pictures (lsp_dataset.zip, lspet_dataset.zip or
    hr-lspet.zip), or one with pictures and one .npz table.
    """

    name = "lspet"
    title = "Leeds Sports Pose: 2D bodies"
    notes = f"""
PCK@0.2: share of the 12 labelled limb joints within 0.2 of the torso (left shoulder to right hip)
of the truth. The labelled person is the detected body that is most alike: by the IoU of the tight
boxes or the share of correct joints, whichever is larger, and at least {LEAST_ALIKE}. All joints of
a missed person are wrong. The head is evaluated by itself, because it is defined differently: LSP
labels neck and top of the head, between which the middle of the head is assumed. PCKs are shares;
recall is the share of people found. Precision is the share of detected bodies that are the labelled
person: a lower bound, because other people in a picture are not labelled.
"""

    def load(self, options) -> list[Picture]:
        """Pictures with their person as truth; those without torso or limb are left out."""
        pictures = []
        for person in read_lsp(options.data):
            needed = [LSP_JOINTS.index("left_shoulder"), LSP_JOINTS.index("right_hip")]
            if not person.labelled[needed].all():
                continue
            marks = np.where(person.labelled[:, None], person.joints, np.nan)
            name = person.path.relative_to(options.data).as_posix()
            pictures.append(Picture(name, person.path, person, marks=marks))
        return pictures

    def evaluate(self, picture: Picture, found: Found) -> Evaluation:
        """Errors of the detected body that lies where the person is."""
        person = picture.truth
        truth, counted = LSP(person.joints), LSP.valid(person.labelled)
        bodies = bodies_of(found)
        size = torso_size(truth[BODY.index["left_shoulder"]], truth[BODY.index["right_hip"]])
        poses = bodies.keypoints_2d[:, : len(BODY)]
        labelled = LIMBS[counted[LIMBS]]
        box = boxes_around(truth[labelled])
        ious = box_ious(boxes_around(poses[:, labelled]), box[None])[:, 0]
        near = np.linalg.norm(poses - truth, axis=2)[:, labelled] <= THRESHOLD * size
        # One joint far away makes a large box: the person is found all the same.
        alike = np.maximum(ious, near.mean(axis=1))
        best = int(alike.argmax()) if len(alike) else -1
        matched = best >= 0 and bool(alike[best] >= LEAST_ALIKE)
        errors = distances(poses[best] if matched else None, truth, counted)
        return Evaluation(errors / max(size, 1e-6), matched, len(bodies))

    def summarise(self, pictures: Sequence[Picture], evaluations: Sequence[Evaluation]) -> Outcome:
        """PCK over all limb joints of all pictures."""
        errors = np.stack([j.errors for j in evaluations])
        found = np.array([j.found for j in evaluations])
        limbs = errors[:, LIMBS]
        thresholds = np.linspace(0, 0.5, 51)
        curve = pck_curve(limbs, thresholds)
        summary = {
            "PCK@0.2": pck(limbs, THRESHOLD),
            "recall": float(found.mean()),
            "precision": share(found.sum(), sum(j.detected for j in evaluations)),
            "PCK@0.2 of found": pck(limbs[found], THRESHOLD),
            "PCK@0.1": pck(limbs, THRESHOLD / 2),
            "AUC 0 to 0.5": area_under_curve(thresholds, curve),
            "head PCK@0.2": pck(errors[:, 12], THRESHOLD),
        }
        by_joint = [
            {"joint": group, "PCK@0.2": pck(errors[:, members], THRESHOLD),
             "PCK@0.2 of found": pck(errors[found][:, members], THRESHOLD)}
            for group in GROUPS
            for members in [[j for j, name in enumerate(BODY.joints) if name.endswith(group)]]
        ]  # fmt: skip
        wrong = np.array([1 - pck(j.errors[LIMBS], THRESHOLD) for j in evaluations])
        # Of those that are equally wrong, the ones that were found tell more.
        wrong = wrong + 0.01 * np.array([j.found for j in evaluations])
        curves = {"Leeds Sports Pose": Curve(thresholds, curve, "threshold / torso", "PCK")}
        return Outcome(summary, {"by joint": by_joint}, curves, wrong)
