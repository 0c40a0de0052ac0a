"""MPII Human Pose: PCKh@0.5 of bodies in 2D."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dope_model.benchmark.protocols.pck import (
    area_under_curve,
    best_pairs,
    distances,
    pck,
    pck_curve,
    share,
)
from dope_model.benchmark.protocols.protocol import (
    Curve,
    Found,
    Outcome,
    Picture,
    Protocol,
    bodies_of,
)
from dope_model.datasets.conversions import MPII
from dope_model.datasets.files import require_files
from dope_model.datasets.mpii import WHERE, MpiiPerson, held_out, read_mpii
from dope_model.skeleton import BODY

THRESHOLD = 0.5
GROUPS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")


@dataclass(frozen=True)
class Evaluation:
    """Errors (people, 13) in head segments (see `pck.distances`), whether each was found, and how
    many bodies were detected."""

    errors: np.ndarray
    found: np.ndarray
    detected: int


class Mpii(Protocol):
    """PCKh@0.5 on pictures held out from MPII's training part.

    --data is the folder of mpii_human_pose_v1_u12_1.mat and images/.
    """

    name = "mpii"
    title = "MPII Human Pose: 2D bodies"
    notes = """
PCKh@0.5: share of labelled joints within half a head segment (0.6 of the diagonal of the head's
box) of the truth; percent in the paper's Table 1. Counted are the 12 limb joints and the head,
taken for the middle of MPII's upper neck and head top; all joints of a missed person are wrong.
People are paired with detections one to one, the pair with the highest PCKh first, as in MPII's
own evaluation of several people. The paper measures on 1,000 pictures of the training part but
does not say which; here they are chosen by their names' hashes, and `convert mpii` leaves them out.
Precision is a lower bound: not everybody in a picture is labelled.
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--list", type=Path, help="a text file with names of pictures to evaluate instead"
        )

    def load(self, options) -> list[Picture]:
        """The held-out pictures; truth: people with joints and a head box."""
        everything = read_mpii(options.data)
        if options.list is not None:
            chosen = set(options.list.read_text().split())
            unknown = chosen - {p.path.name for p in everything}
            if unknown:
                raise ValueError(
                    f"{options.list}: {len(unknown)} pictures are not in MPII's training part, "
                    f"such as {sorted(unknown)[0]}"
                )
        else:
            chosen = held_out(everything)
        chosen_pictures = [p for p in everything if p.path.name in chosen]
        require_files(options.data / "images", [p.path.name for p in chosen_pictures], WHERE)
        pictures = []
        for picture in chosen_pictures:
            people = [p for p in picture.people if p.labelled.any() and np.isfinite(p.head_size)]
            if people:
                marks = np.concatenate([p.joints for p in people])
                pictures.append(Picture(picture.path.name, picture.path, people, marks=marks))
        return pictures

    def evaluate(self, picture: Picture, found: Found) -> Evaluation:
        """Errors of everybody, missed people's infinite."""
        people: list[MpiiPerson] = picture.truth
        poses = bodies_of(found).keypoints_2d[:, : len(BODY)]
        truths = [MPII(p.joints) for p in people]
        counted = [MPII.valid(p.labelled) for p in people]
        errors = np.array(
            [
                [distances(pose, t, c) / p.head_size
                 for t, c, p in zip(truths, counted, people, strict=True)]
                for pose in poses
            ]
        ).reshape(len(poses), len(people), len(BODY))  # fmt: skip
        similarity = np.nan_to_num([[pck(e, THRESHOLD) for e in row] for row in errors])
        pairs = best_pairs(np.reshape(similarity, errors.shape[:2]), least=1e-9)
        rows = [
            errors[pairs[k], k] if k in pairs else distances(None, truths[k], counted[k])
            for k in range(len(people))
        ]
        found = np.array([k in pairs for k in range(len(people))])
        return Evaluation(np.stack(rows), found, len(poses))

    def summarise(self, pictures: Sequence[Picture], evaluations: Sequence[Evaluation]) -> Outcome:
        """PCKh over all labelled joints of all people."""
        errors = np.concatenate([j.errors for j in evaluations])
        found = np.concatenate([j.found for j in evaluations])
        thresholds = np.linspace(0, 0.5, 51)
        curve = pck_curve(errors, thresholds)
        summary = {
            "PCKh@0.5 %": 100 * pck(errors, THRESHOLD),
            "limbs PCKh@0.5 %": 100 * pck(errors[:, :12], THRESHOLD),
            "PCKh@0.1 %": 100 * pck(errors, 0.1),
            "AUC 0 to 0.5 %": 100 * area_under_curve(thresholds, curve),
            "recall": float(found.mean()),
            "precision": share(found.sum(), sum(j.detected for j in evaluations)),
            "people": len(found),
        }
        by_joint = [
            {"joint": group, "PCKh@0.5 %": 100 * pck(errors[:, members], THRESHOLD)}
            for group in GROUPS
            for members in [[j for j, name in enumerate(BODY.joints) if name.endswith(group)]]
        ]
        wrong = np.array([1 - pck(j.errors, THRESHOLD) for j in evaluations])
        curves = {"MPII": Curve(thresholds, curve, "threshold / head segment", "PCKh")}
        return Outcome(summary, {"by joint": by_joint}, curves, wrong)
