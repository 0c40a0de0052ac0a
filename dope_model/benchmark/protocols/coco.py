"""COCO keypoints: people in everyday pictures, and false detections in pictures without people."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dope_model.benchmark.conditions import CONDITIONS, in_original_pixels
from dope_model.benchmark.protocols.keypoint_ap import (
    Matches,
    keypoint_ap,
    keypoint_matches,
    only_keypoints,
    require_coco_tools,
)
from dope_model.benchmark.protocols.pck import share
from dope_model.benchmark.protocols.protocol import Curve, Found, Outcome, Picture, Protocol
from dope_model.datasets.coco import PIXEL_MIDDLE, CocoPicture, keypoints_of, read_coco_folder
from dope_model.datasets.conversions import COCO_JOINTS
from dope_model.datasets.files import read_json
from dope_model.pictures import pictures_in
from dope_model.poses import WholeBody
from dope_model.postprocess.assembly import assemble
from dope_model.postprocess.scores import at_least
from dope_model.skeleton import BODY, FACE84, PARTS

EVALUATED = tuple(
    j for j, name in enumerate(COCO_JOINTS) if name in BODY.index or name == "nose"
)  # fmt: skip
NOSE_TIP = FACE84.index["nose_bridge_3"]
HEIGHTS = (0, 30, 60, 100, 160, 240, np.inf)
"""Limits of the groups of people by the height of their box, px."""
PRECISION = 0.9
_BINS = 10
_PERSON = 1


@dataclass(frozen=True)
class Truth:
    """A picture of COCO; without `picture`, one without people."""

    picture: CocoPicture | None
    condition: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether it has no people at all."""
        return self.picture is None or not self.picture.annotations


@dataclass(frozen=True)
class Evaluation:
    """COCO's results of a picture, all bodies, and how many of each part reach their threshold."""

    results: list[dict]
    told: dict[str, int]


class Coco(Protocol):
    """Recall, precision, AP on COCO's keypoints, and false detections without people.

    --data is COCO's folder (annotations/person_keypoints_val2017.json and val2017/), or a folder of
    pictures with keypoints in COCO's format: one .json file in it, or FOLDER_keypoints.json beside
    it. Needs pycocotools.
    """

    name = "coco"
    title = "COCO keypoints: people in everyday pictures, and pictures without people"
    everything = True
    notes = f"""
Object keypoint similarity (OKS) over the 12 limb joints and the nose, which is that of the body's
face, or else its head; matching, crowds and average precision (AP) are pycocotools'. Recall and
precision are those at the model's own thresholds, over all of COCO's pictures, those without
people too. `recall at P {PRECISION}` is the highest recall of any threshold at which precision is
{PRECISION} or more, at OKS 0.5. `nobody: body` is the share of pictures without people in which a
body is found; these are COCO's without any annotation and those of --nobody. The calibration error
is that of the bodies' scores as probabilities of OKS 0.5.
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Pictures without people, and changed ones."""
        parser.add_argument(
            "--nobody", type=Path, metavar="FOLDER", help="of further pictures without people"
        )
        parser.add_argument(
            "--conditions", action="store_true",
            help="also on changed pictures, which takes seven times as long: "
            + ", ".join(CONDITIONS),
        )  # fmt: skip

    def load(self, options: argparse.Namespace) -> list[Picture]:
        """COCO's pictures, those of nobody, and the changed ones of COCO."""
        require_coco_tools()
        self._file, pictures = read_coco_folder(options.data)
        pictures = sorted(pictures, key=lambda p: p.id)[: options.limit]
        loaded = [Picture(p.path.name, p.path, Truth(p), marks=_marks(p)) for p in pictures]
        if options.nobody:
            loaded += [
                Picture(f"nobody/{path.name}", path, Truth(None))
                for path in pictures_in(options.nobody)[: options.limit]
            ]
        if options.conditions:
            loaded += [
                Picture(f"{condition}/{p.path.name}", p.path, Truth(p, condition), None, _marks(p),
                        condition)
                for condition in CONDITIONS
                for p in pictures
            ]  # fmt: skip
        return loaded

    def limited(self, pictures: list[Picture], count: int | None) -> list[Picture]:
        """All of them: `load` limits each kind."""
        return pictures

    def evaluate(self, picture: Picture, found: Found) -> Evaluation:
        """All bodies as COCO's results; hands and faces as the model's thresholds have them."""
        truth: Truth = picture.truth
        if truth.picture is None:
            told = at_least(found, self.min_scores)
            return Evaluation([], {part: len(told.get(part, ())) for part in PARTS})
        shape = truth.picture.height, truth.picture.width
        found = in_original_pixels(found, truth.condition, shape)
        told = at_least(found, self.min_scores)
        # Of the rest only bodies are evaluated at every threshold.
        bodies = {**told, "body": found["body"]} if "body" in found else told
        results = [
            {"image_id": truth.picture.id, "category_id": _PERSON, "score": person.score,
             "keypoints": coco_keypoints(person)}
            for person in assemble(bodies)
            if person.body is not None
        ]  # fmt: skip
        return Evaluation(results, {part: len(told.get(part, ())) for part in PARTS})

    def summarise(self, pictures: Sequence[Picture], evaluations: Sequence[Evaluation]) -> Outcome:
        """The numbers of the unchanged pictures, and those of each condition."""
        content = only_keypoints(read_json(self._file), EVALUATED)
        least = self.min_scores.get("body", 0.0)

        def of(condition: str) -> tuple[list[dict], list[int]]:
            chosen = [
                (p.truth.picture.id, j.results)
                for p, j in zip(pictures, evaluations, strict=True)
                if p.truth.picture is not None and p.truth.condition == condition
            ]
            return [r for _, results in chosen for r in results], [i for i, _ in chosen]

        results, images = of("")
        matches = keypoint_matches(content, results, images)
        empty = [
            j.told
            for p, j in zip(pictures, evaluations, strict=True)
            if p.truth.is_empty and not p.truth.condition
        ]
        told = [r for r in results if r["score"] >= least]
        summary = {
            **_recall_and_precision(matches, least),
            "AP": keypoint_ap(content, told, images)["AP"],
            f"recall at P {PRECISION}": recall_at_precision(matches, PRECISION),
            "calibration error": _calibration_error(matches),
            **{
                f"nobody: {part}": share(sum(e[part] > 0 for e in empty), len(empty))
                for part in PARTS
            },
        }
        rows: dict[str, list[dict[str, Any]]] = {}
        rows["by height of the person"] = _by_height(matches, least)
        rows["in pictures without people"] = [
            {"part": part, "pictures": len(empty), "with one": sum(e[part] > 0 for e in empty),
             "in all": sum(e[part] for e in empty)}
            for part in PARTS
        ]  # fmt: skip
        changed = dict.fromkeys(p.truth.condition for p in pictures)
        if len(changed) > 1:
            rows["by condition"] = [
                {"condition": name or "unchanged",
                 **_recall_and_precision(keypoint_matches(content, *of(name)), least)}
                for name in changed
            ]  # fmt: skip
        rows["scores as probabilities"] = _reliability(matches)
        errors = [_picture_error(p, j, least) for p, j in zip(pictures, evaluations, strict=True)]
        return Outcome(summary, rows, _curves(matches), np.array(errors))


def coco_keypoints(person: WholeBody) -> list[float]:
    """A person's body in COCO's 17 keypoints, x, y and 1 each; 0 for what is not evaluated."""
    table = np.zeros((len(COCO_JOINTS), 3))
    for j in EVALUATED:
        name = COCO_JOINTS[j]
        if name in BODY.index:
            table[j, :2] = person.body.keypoints_2d[BODY.index[name]]
        elif person.face is not None:
            table[j, :2] = person.face.keypoints_2d[NOSE_TIP]
        else:
            table[j, :2] = person.body.keypoints_2d[BODY.index["head"]]
        table[j, 2] = 1
        table[j, :2] -= PIXEL_MIDDLE
    # pycocotools takes a result's box from all of its keypoints.
    table[table[:, 2] == 0, :2] = table[EVALUATED[0], :2]
    return table.ravel().tolist()


def recall_at_precision(matches: Matches, least: float) -> float:
    """The highest recall of any threshold at which precision is `least` or more."""
    recall, precision = _curve(matches)
    good = precision >= least
    return float(recall[good].max()) if good.any() else 0.0


def _curve(matches: Matches) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision at OKS 0.5 with the best 1, 2, ... detections."""
    evaluated = matches.of(~matches.ignored)
    right = np.cumsum(evaluated.right[0.5][np.argsort(-evaluated.scores, kind="stable")])
    number = np.arange(1, len(right) + 1)
    return right / max(matches.people, 1), right / number


def _recall_and_precision(matches: Matches, least: float) -> dict[str, float]:
    told = matches.of((matches.scores >= least) & ~matches.ignored)
    values = {}
    for oks, name in ((0.5, ""), (0.75, " 0.75")):
        right = told.right[oks].sum()
        values[f"recall{name}"] = share(right, matches.people)
        values[f"precision{name}"] = share(right, len(told.scores))
    return values


def _by_height(matches: Matches, least: float) -> list[dict]:
    rows = []
    told = matches.of((matches.scores >= least) & ~matches.ignored)
    for low, high in zip(HEIGHTS[:-1], HEIGHTS[1:], strict=True):
        people = (matches.true_heights >= low) & (matches.true_heights < high)
        seen = matches.true_scores[people] >= least
        own = (told.heights >= low) & (told.heights < high)
        rows.append({
            "height": f"{low:g} to {high:g} px" if np.isfinite(high) else f"from {low:g} px",
            "people": int(people.sum()), "recall": share(seen.sum(), people.sum()),
            "told": int(own.sum()), "precision": share(told.right[0.5][own].sum(), own.sum()),
        })  # fmt: skip
    return rows


def _reliability(matches: Matches) -> list[dict]:
    evaluated = matches.of(~matches.ignored)
    number = np.minimum((evaluated.scores * _BINS).astype(int), _BINS - 1)
    rows = []
    for k in range(_BINS):
        own = number == k
        rows.append({
            "score": f"{k / _BINS:.1f} to {(k + 1) / _BINS:.1f}", "bodies": int(own.sum()),
            "mean score": share(evaluated.scores[own].sum(), own.sum()),
            "right": share(evaluated.right[0.5][own].sum(), own.sum()),
        })  # fmt: skip
    return rows


def _calibration_error(matches: Matches) -> float:
    rows = [row for row in _reliability(matches) if row["bodies"]]
    total = sum(row["bodies"] for row in rows)
    return share(sum(abs(r["right"] - r["mean score"]) * r["bodies"] for r in rows), total)


def _curves(matches: Matches) -> dict[str, Curve]:
    recall, precision = _curve(matches)
    rows = [row for row in _reliability(matches) if row["bodies"]]
    return {
        "Precision and recall of bodies, OKS 0.5": Curve(recall, precision, "recall", "precision"),
        "Reliability of bodies' scores": Curve(
            np.array([r["mean score"] for r in rows]), np.array([r["right"] for r in rows]),
            "mean score", "share that is right",
        ),
    }  # fmt: skip


def _marks(picture: CocoPicture) -> np.ndarray:
    rows = [np.zeros((0, 2))]
    for annotation in picture.annotations:
        points, flag = keypoints_of(annotation)
        rows.append(points[flag > 0])
    return np.concatenate(rows)


def _picture_error(picture: Picture, evaluation: Evaluation, least: float) -> float:
    """The highest score of a body in pictures without people; NaN in others."""
    if picture.truth.condition:
        return float("nan")
    if picture.truth.is_empty:
        return float(evaluation.told["body"]) or float("nan")
    told = sum(r["score"] >= least for r in evaluation.results)
    people = sum(a["num_keypoints"] > 0 for a in picture.truth.picture.annotations)
    return abs(people - told) or float("nan")
