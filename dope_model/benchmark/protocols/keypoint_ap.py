"""Average precision over object keypoint similarity (OKS), by pycocotools."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterable, Sequence

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
    truth: dict,
    results: list[dict],
    images: Iterable[int],
    sigmas: Sequence[float] = BODY_SIGMAS,
) -> dict[str, float]:
    """AP and AR of people's keypoints, by pycocotools.

    Args:
        truth: the content of a COCO annotations file.
        results: COCO's results: image_id, category_id, score, and keypoints (x, y, v each).
        images: ids of the pictures to judge.
        sigmas: the constant of each keypoint.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not results:
        return dict(NOTHING_FOUND)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), "keypoints")
        evaluation.params.imgIds = sorted(images)
        evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        return _summary(evaluation)


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


def _summary(evaluation) -> dict[str, float]:
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    stats = evaluation.stats
    # -1 says that there was nothing to find.
    values = [float(stats[k]) if stats[k] >= 0 else float("nan") for k in (0, 1, 2, 5)]
    return dict(zip(("AP", "AP50", "AP75", "AR"), values, strict=True))
