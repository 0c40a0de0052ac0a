"""COCO-WholeBody: average precision of whole bodies and their parts in 2D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dope_model.benchmark.protocols.keypoint_ap import (
    BODY_SIGMAS,
    WHOLEBODY_SIGMAS,
    keypoint_ap,
    object_keypoint_similarity,
    only_keypoints,
    require_coco_tools,
    wholebody_ap,
)
from dope_model.benchmark.protocols.protocol import Found, Outcome, Picture, Protocol
from dope_model.datasets.coco import (
    PIXEL_MIDDLE,
    WHOLEBODY_FIELDS,
    CocoPicture,
    keypoints_of,
    read_coco,
)
from dope_model.datasets.conversions import COCO_JOINTS, IBUG68_OF_FACE84, OPENPOSE_HAND_JOINTS
from dope_model.datasets.files import read_json
from dope_model.poses import WholeBody
from dope_model.postprocess.assembly import assemble
from dope_model.skeleton import BODY, FACE84, HAND

LIMBS = tuple(j for j, name in enumerate(COCO_JOINTS) if name in BODY.index)
_FROM_FACE = {
    "nose": ("nose_bridge_3",),
    "right_eye": tuple(f"right_eye_{k}" for k in range(6)),
    "left_eye": tuple(f"left_eye_{k}" for k in range(6)),
}
_HAND_ORDER = [HAND.index[name] for name in OPENPOSE_HAND_JOINTS]
_PERSON = 1


@dataclass(frozen=True)
class Evaluation:
    """COCO's results of a picture, and one minus the mean of each person's best OKS."""

    results: list[dict]
    error: float


class CocoWholebody(Protocol):
    """OKS average precision on COCO-WholeBody's validation pictures.

    --data is COCO's folder: annotations/coco_wholebody_val_v1.0.json and val2017/.
    """

    name = "coco-wholebody"
    title = "COCO-WholeBody: whole bodies in 2D"
    notes = """
Average precision and recall over object keypoint similarity 0.5 to 0.95, computed by pycocotools
with COCO-WholeBody's constants; `limbs` over the 12 limb joints only, all other labels taken away.
Our skeletons have no feet and no ears: these keypoints count as wrong, as does whatever was not
detected, so that `whole`, `body` and `foot` have a ceiling below 1. Nose and eyes are those of the
attached face, of whose 84 landmarks 68 are COCO-WholeBody's.
"""

    def load(self, options) -> list[Picture]:
        """All validation pictures, those without people too."""
        require_coco_tools()
        file, pictures = read_coco(options.data, "val", wholebody=True)
        self._file = file
        return [
            Picture(p.path.name, p.path, p, marks=_marks(p))
            for p in sorted(pictures, key=lambda p: p.id)
        ]

    def evaluate(self, picture: Picture, found: Found) -> Evaluation:
        """Everybody found, as COCO's results."""
        truth: CocoPicture = picture.truth
        results = [
            {"image_id": truth.id, "category_id": _PERSON, "score": person.score}
            | wholebody_keypoints(person)
            for person in assemble(found)
        ]
        return Evaluation(results, _picture_error(truth, results))

    def summarise(self, pictures: Sequence[Picture], evaluations: Sequence[Evaluation]) -> Outcome:
        """AP and AR of all parts."""
        results = [result for j in evaluations for result in j.results]
        images = [p.truth.id for p in pictures]
        truth = read_json(self._file)
        rows = []
        for part in WHOLEBODY_SIGMAS:
            name = "whole" if part == "wholebody" else part
            rows.append({"part": name, **wholebody_ap(truth, results, images, part)})
        # A lone hand or face is no body, and so none that is wrong.
        with_limbs = [r for r in results if any(r["keypoints"][3 * j + 2] for j in LIMBS)]
        limbs = keypoint_ap(only_keypoints(truth, LIMBS), with_limbs, images)
        rows.append({"part": "limbs", **limbs})
        by_part = {row["part"]: row for row in rows}
        summary = {
            f"{part} AP": by_part[part]["AP"]
            for part in ("whole", "body", "limbs", "face", "lefthand", "righthand")
        }
        summary["whole AR"], summary["limbs AR"] = by_part["whole"]["AR"], limbs["AR"]
        wrong = np.array([j.error for j in evaluations])
        return Outcome(summary, {"by part": rows}, {}, wrong)


def wholebody_keypoints(person: WholeBody) -> dict[str, list[float]]:
    """A person in the fields of WHOLEBODY_FIELDS: x, y, 1 where there is a keypoint, else zeros.

    In COCO's conventions, see `keypoints_of`.
    """
    tables = {name: np.zeros((count, 3)) for name, count in WHOLEBODY_FIELDS.items()}
    if person.body is not None:
        for j in LIMBS:
            tables["keypoints"][j, :2] = person.body.keypoints_2d[BODY.index[COCO_JOINTS[j]]]
            tables["keypoints"][j, 2] = 1
    if person.face is not None:
        landmarks = person.face.keypoints_2d
        tables["face_kpts"][:, :2] = landmarks[list(IBUG68_OF_FACE84)]
        tables["face_kpts"][:, 2] = 1
        for joint, members in _FROM_FACE.items():
            row = tables["keypoints"][COCO_JOINTS.index(joint)]
            row[:2] = landmarks[[FACE84.index[name] for name in members]].mean(axis=0)
            row[2] = 1
    there = tables["keypoints"][:, 2] > 0
    tables["keypoints"][there, :2] -= PIXEL_MIDDLE
    for name, hand in (("lefthand_kpts", person.left_hand), ("righthand_kpts", person.right_hand)):
        if hand is not None:
            tables[name][:, :2] = hand.keypoints_2d[_HAND_ORDER]
            tables[name][:, 2] = 1
    return {name: table.ravel().tolist() for name, table in tables.items()}


def _marks(picture: CocoPicture) -> np.ndarray:
    rows = [np.zeros((0, 2))]
    for annotation in picture.annotations:
        for name in WHOLEBODY_FIELDS:
            points, flag = keypoints_of(annotation, name)
            rows.append(points[flag > 0])
    return np.concatenate(rows)


def _picture_error(picture: CocoPicture, results: list[dict]) -> float:
    limbs, sigmas = list(LIMBS), np.array(BODY_SIGMAS)[list(LIMBS)]
    best = []
    for annotation in picture.annotations:
        points, flag = keypoints_of(annotation)
        labelled = flag[limbs] > 0
        if annotation.get("iscrowd") or not labelled.any():
            continue
        similarities = [
            object_keypoint_similarity(
                keypoints_of(r)[0][limbs], points[limbs], labelled, annotation["area"], sigmas
            )
            for r in results
        ]  # fmt: skip
        best.append(max(similarities, default=0.0))
    return 1 - float(np.mean(best)) if best else float("nan")
