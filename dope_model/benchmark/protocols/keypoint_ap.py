"""Average precision over object keypoint similarity (OKS), by pycocotools."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dope_model.datasets.coco import WHOLEBODY_FIELDS
from dope_model.hints import pip_install

# COCO-WholeBody's constants, keypoint by keypoint: Jin et al., "Whole-body human pose estimation in
# the wild" (ECCV 2020).
BODY_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
    0.087, 0.087, 0.089, 0.089,
)  # fmt: skip
FOOT_SIGMAS = (0.068, 0.066, 0.066, 0.092, 0.094, 0.094)
FACE_SIGMAS = (
    0.042, 0.043, 0.044, 0.043, 0.040, 0.035, 0.031, 0.025, 0.020, 0.023, 0.029, 0.032, 0.037,
    0.038, 0.043, 0.041, 0.045, 0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011, 0.011, 0.013,
    0.015, 0.009, 0.007, 0.007, 0.007, 0.012, 0.009, 0.008, 0.016, 0.010, 0.017, 0.011, 0.009,
    0.011, 0.009, 0.007, 0.013, 0.008, 0.011, 0.012, 0.010, 0.034, 0.008, 0.008, 0.009, 0.008,
    0.008, 0.007, 0.010, 0.008, 0.009, 0.009, 0.009, 0.007, 0.007, 0.008, 0.011, 0.008, 0.008,
    0.008, 0.010, 0.008,
)  # fmt: skip
HAND_SIGMAS = (
    0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024, 0.022, 0.026,
    0.017, 0.021, 0.021, 0.032, 0.020, 0.019, 0.022, 0.031,
)  # fmt: skip
WHOLEBODY_SIGMAS = {
    "body": BODY_SIGMAS,
    "foot": FOOT_SIGMAS,
    "face": FACE_SIGMAS,
    "lefthand": HAND_SIGMAS,
    "righthand": HAND_SIGMAS,
    "wholebody": BODY_SIGMAS + FOOT_SIGMAS + FACE_SIGMAS + HAND_SIGMAS + HAND_SIGMAS,
}


_FIELDS_OF_PART = {
    "body": ("keypoints",),
    "foot": ("foot_kpts",),
    "face": ("face_kpts",),
    "lefthand": ("lefthand_kpts",),
    "righthand": ("righthand_kpts",),
    "wholebody": tuple(WHOLEBODY_FIELDS),
}

NOTHING_FOUND = {"AP": 0.0, "AP50": 0.0, "AP75": 0.0, "AR": 0.0}


def require_coco_tools() -> None:
    """Call this before a long run that ends in AP.

    Raises:
        ImportError: pycocotools is missing; says what brings it.
    """
    try:
        import pycocotools.cocoeval  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"average precision needs pycocotools ({error}): {pip_install('pycocotools')}"
        ) from error


def object_keypoint_similarity(
    predicted: np.ndarray, truth: np.ndarray, labelled: np.ndarray, area: float, sigmas: np.ndarray
) -> float:
    """OKS of one person: mean over the labelled keypoints of exp(-d^2 / (2 area (2 sigma)^2)).

    Source: https://cocodataset.org/#keypoints-eval.

    Args:
        predicted, truth: (K, 2) px; labelled: (K,) bool; sigmas: (K,); area: of the person, px^2.
    """
    if not labelled.any():
        return 0.0
    squared = ((predicted - truth) ** 2).sum(axis=1)
    exponent = squared / (2 * (area + np.spacing(1)) * (2 * np.asarray(sigmas)) ** 2)
    return float(np.exp(-exponent[labelled]).mean())


def keypoint_ap(
    truth: dict, results: list[dict], images: Iterable[int], sigmas: Sequence[float] = BODY_SIGMAS
) -> dict[str, float]:
    """AP and AR of people's keypoints, by pycocotools.

    Args:
        truth: the content of a COCO annotations file.
        results: COCO's results: image_id, category_id, score, and keypoints (x, y, v each).
        images: ids of the pictures to evaluate.
        sigmas: the constant of each keypoint.
    """
    if not results:
        return dict(NOTHING_FOUND)
    with contextlib.redirect_stdout(io.StringIO()):
        return _summary(_evaluation(truth, results, images, sigmas))


def _evaluation(
    truth: dict, results: list[dict], images: Iterable[int], sigmas: Sequence[float]
) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        # loadRes refuses an empty list.
        found = coco.loadRes(copy.deepcopy(results)) if results else COCO()
        evaluation = COCOeval(coco, found, "keypoints")
    evaluation.params.imgIds = sorted(images)
    evaluation.params.catIds = [1]
    evaluation.params.kpt_oks_sigmas = np.array(sigmas)
    return evaluation


@dataclass(frozen=True)
class Matches:
    """All detections of a set of pictures, and its people.

    Attributes:
        scores: (N,) of the detections; heights: (N,) of their keypoints' boxes, px.
        right: by least OKS (N,) bool, whether each has a person of its own.
        ignored: (N,) bool, matched to a crowd or to somebody without keypoints.
        people: their number; true_heights: (people,) of their boxes, px.
        true_scores: (people,) of the detection that matches each with OKS 0.5; 0 without one.
    """

    scores: np.ndarray
    heights: np.ndarray
    right: dict[float, np.ndarray]
    ignored: np.ndarray
    true_heights: np.ndarray
    true_scores: np.ndarray

    @property
    def people(self) -> int:
        return len(self.true_heights)

    def of(self, which: np.ndarray) -> Matches:
        """Some of the detections."""
        right = {oks: own[which] for oks, own in self.right.items()}
        return replace(
            self, scores=self.scores[which], heights=self.heights[which], right=right,
            ignored=self.ignored[which],
        )  # fmt: skip


def keypoint_matches(
    truth: dict, results: list[dict], images: Iterable[int], sigmas: Sequence[float] = BODY_SIGMAS
) -> Matches:
    """Which result is which person, by pycocotools; arguments as of `keypoint_ap`."""
    levels = (0.5, 0.75)
    evaluation = _evaluation(truth, results, images, sigmas)
    evaluation.params.iouThrs = np.array(levels)
    evaluation.params.areaRng = evaluation.params.areaRng[:1]
    evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
    evaluation.params.maxDets = [max(len(results), 1)]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
    scores, heights, right, ignored, true_heights, true_scores = [], [], [], [], [], []
    for own in evaluation.evalImgs:
        if own is None:
            continue
        scores += own["dtScores"]
        heights += [evaluation.cocoDt.anns[i]["bbox"][3] for i in own["dtIds"]]
        right.append(own["dtMatches"] > 0)
        ignored.append(np.asarray(own["dtIgnore"][0], bool))
        score_of = dict(zip(own["dtIds"], own["dtScores"], strict=True))
        for person, match, skipped in zip(
            own["gtIds"], own["gtMatches"][0], own["gtIgnore"], strict=True
        ):
            if not skipped:
                true_heights.append(evaluation.cocoGt.anns[person]["bbox"][3])
                true_scores.append(score_of.get(int(match), 0.0))
    matched = np.concatenate([np.zeros((2, 0), bool), *right], axis=1)
    return Matches(
        np.array(scores), np.array(heights), dict(zip(levels, matched, strict=True)),
        np.concatenate([np.zeros(0, bool), *ignored]), np.array(true_heights),
        np.array(true_scores),
    )  # fmt: skip


def wholebody_ap(
    truth: dict, results: list[dict], images: Iterable[int], part: str
) -> dict[str, float]:
    """AP and AR of one of WHOLEBODY_SIGMAS' parts with COCO-WholeBody's constants.

    The part's keypoints take the place of the body's, which gives the numbers of COCO-WholeBody's
    own tool, xtcocotools. A result without any keypoint of the part is left out, as it does.

    Args:
        truth: the content of COCO-WholeBody's annotations file.
        results: image_id, category_id, score and the fields of WHOLEBODY_FIELDS.
    """
    fields = _FIELDS_OF_PART[part]

    def with_keypoints(items: Iterable[dict]) -> list[dict]:
        changed = []
        for item in items:
            keypoints = [number for name in fields for number in item[name]]
            count = sum(flag > 0 for flag in keypoints[2::3])
            kept = {k: v for k, v in item.items() if k not in WHOLEBODY_FIELDS}
            changed.append({**kept, "keypoints": keypoints, "num_keypoints": count})
        return changed

    truth = {**truth, "annotations": with_keypoints(truth["annotations"])}
    results = [r for r in with_keypoints(results) if r["num_keypoints"]]
    return keypoint_ap(truth, results, images, WHOLEBODY_SIGMAS[part])


def only_keypoints(content: dict, kept: Sequence[int]) -> dict:
    """A COCO annotations file's content without labels of other keypoints than some."""
    annotations = []
    for annotation in content["annotations"]:
        table = np.array(annotation["keypoints"], float).reshape(-1, 3)
        table[[j for j in range(len(table)) if j not in kept]] = 0
        annotations.append({
            **annotation, "keypoints": table.ravel().tolist(),
            "num_keypoints": int((table[:, 2] > 0).sum()),
        })  # fmt: skip
    return {**content, "annotations": annotations}


def _summary(evaluation) -> dict[str, float]:
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    stats = evaluation.stats
    # -1 says that there was nothing to find.
    values = [float(stats[k]) if stats[k] >= 0 else float("nan") for k in (0, 1, 2, 5)]
    return dict(zip(("AP", "AP50", "AP75", "AR"), values, strict=True))
