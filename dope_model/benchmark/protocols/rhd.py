"""RenderedHand (RHD): AUC of 3D-PCK, after normalising scale and translation, and 2D-PCK of hands.

Source: DOPE, section 4.1; Zimmermann and Brox, "Learning to estimate 3D hand pose from single RGB
images" (ICCV 2017), whose successors report the area between 20 and 50 mm.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dope_model.benchmark.protocols.pck import (
    area_under_curve,
    best_pairs,
    distances,
    pck,
    pck_curve,
    share,
    tight_box_side,
)
from dope_model.benchmark.protocols.protocol import Curve, Found, Outcome, Picture, Protocol
from dope_model.boxes import box_ious
from dope_model.datasets.rhd import RhdHand, prominent_hand, read_rhd
from dope_model.poses import PartDetections, boxes_around
from dope_model.skeleton import HAND

AUC_RANGE = (0.020, 0.050)
"""m"""
REFERENCE_BONE = (HAND.index["middle_mcp"], HAND.index["middle_pip"])
"""The bone whose length is 1 in the poses of Zimmermann and Brox."""
PCK_2D = 0.1
LEAST_IOU = 0.1


@dataclass(frozen=True)
class Evaluation:
    """Of the evaluated hands: errors (hands, 21), NaN and infinity as in `pck.distances`.

    `scaled` m after the best scale and `by_bone` m after the reference bone's, `flat` in shares of
    the tight box's longer side; `side_right` is NaN where the hand was missed. `right` is
    the number of detections where the picture has a hand, evaluated or not, `detected` that of all.
    """

    scaled: np.ndarray
    by_bone: np.ndarray
    flat: np.ndarray
    found: np.ndarray
    side_right: np.ndarray
    right: int
    detected: int


@dataclass(frozen=True)
class Hands:
    """The hands to evaluate in a picture, and all hands with a visible joint."""

    evaluated: list[RhdHand]
    visible: list[RhdHand]


class Rhd(Protocol):
    """AUC of 3D-PCK between 20 and 50 mm after normalising scale and translation, and 2D-PCK.

    --data is the folder RHD_published_v2; read are evaluation/color, evaluation/mask and
    evaluation/anno_evaluation.pickle.
    """

    name = "rhd"
    title = "RenderedHand: hands in 2D and 3D"
    notes = """
AUC: area under the share of joints (PCK3D) over the threshold, 20 to 50 mm as in the works that
the paper compares with (0 to 50 mm beside it), after moving the predicted wrist onto the true one
and scaling by the factor that fits best; `AUC by bone` scales so that the middle finger's first
bone is as long as the true one instead. PCK 2D: share of joints within 10 % of the longer side of
the hand's tight box. One hand per picture is evaluated, the one that covers more of the mask, or
with --hands all every hand with a visible joint. The detection with the largest IoU (at least 0.1)
of tight boxes belongs to the hand, whichever side it claims; joints of missed hands are wrong.
Precision: share of the detections that belong to a hand with a visible joint.
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--hands", default="prominent", choices=("prominent", "all"),
            help="the hand that covers more of each picture, or all with a visible joint",
        )  # fmt: skip

    def load(self, options) -> list[Picture]:
        """The pictures of the evaluation part with the hands to evaluate."""
        pictures = []
        for picture in read_rhd(options.data, "evaluation"):
            visible = [hand for hand in picture.hands if hand.visible.any()]
            evaluated = visible if options.hands == "all" else [prominent_hand(picture)]
            if evaluated:
                marks = np.concatenate([hand.keypoints_2d for hand in evaluated])
                truth = Hands(evaluated, visible)
                pictures.append(Picture(picture.path.name, picture.path, truth, marks=marks))
        return pictures

    def evaluate(self, picture: Picture, found: Found) -> Evaluation:
        """Errors of the detections that lie where the hands are."""
        truth: Hands = picture.truth
        detections = found.get("hand") or PartDetections.empty("hand", 21)
        hands, pairs = truth.evaluated, _paired(detections, truth.evaluated)
        rows = [_evaluate_hand(hand, detections, pairs.get(k)) for k, hand in enumerate(hands)]
        columns = (np.array(column) for column in zip(*rows, strict=True))
        return Evaluation(*columns, len(_paired(detections, truth.visible)), len(detections))

    def summarise(self, pictures: Sequence[Picture], evaluations: Sequence[Evaluation]) -> Outcome:
        """Areas and PCK over all evaluated hands."""
        scaled, by_bone, flat = (
            np.concatenate([getattr(j, name) for j in evaluations])
            for name in ("scaled", "by_bone", "flat")
        )
        found = np.concatenate([j.found for j in evaluations])
        sides = np.concatenate([j.side_right for j in evaluations])
        right = sides[np.isfinite(sides)]
        summary = {
            "AUC 20 to 50 mm %": 100 * pck_auc(scaled, *AUC_RANGE),
            "AUC by bone 20 to 50 mm %": 100 * pck_auc(by_bone, *AUC_RANGE),
            "AUC 0 to 50 mm %": 100 * pck_auc(scaled, 0.0, AUC_RANGE[1]),
            "PCK 2D@0.1 %": 100 * pck(flat, PCK_2D),
            "recall %": 100 * float(found.mean()),
            "precision %": 100
            * share(sum(j.right for j in evaluations), sum(j.detected for j in evaluations)),
            "side right %": 100 * float(right.mean()) if len(right) else float("nan"),
            "median of found mm": 1e3 * float(np.median(scaled[found]))
            if found.any() else float("nan"),
            "hands": len(found),
        }  # fmt: skip
        thresholds = np.linspace(0, 0.05, 101)
        flat_thresholds = np.linspace(0, 0.3, 61)
        curves = {
            "RenderedHand, 3D": Curve(
                1e3 * thresholds, pck_curve(scaled, thresholds), "threshold, mm", "PCK3D"
            ),
            "RenderedHand, 2D": Curve(
                flat_thresholds, pck_curve(flat, flat_thresholds),
                "threshold / longer side of the box", "PCK 2D",
            ),
        }  # fmt: skip
        wrong = np.array([min(float(np.nanmean(j.scaled)), 1.0) for j in evaluations])
        return Outcome(summary, {}, curves, wrong)


def _paired(detections: PartDetections, hands: list[RhdHand]) -> dict[int, int]:
    """Hand to detection, by the IoU of tight boxes."""
    if not hands:
        return {}
    boxes = boxes_around(np.stack([hand.keypoints_2d for hand in hands]))
    return best_pairs(box_ious(detections.boxes, boxes), LEAST_IOU)


def _evaluate_hand(hand: RhdHand, detections: PartDetections, match: int | None):
    everything = np.ones(len(hand.keypoints_2d), bool)
    side = max(tight_box_side(hand.keypoints_2d, everything), 1e-6)
    if match is None:
        missed = distances(None, hand.keypoints_3d, everything)
        return missed, missed, missed, False, float("nan")
    pose = detections.keypoints_3d[match].astype(float)
    return (
        distances(without_scale(pose, hand.keypoints_3d), hand.keypoints_3d, everything),
        distances(with_true_reference_bone(pose, hand.keypoints_3d), hand.keypoints_3d, everything),
        distances(detections.keypoints_2d[match], hand.keypoints_2d, everything) / side,
        True,
        float(detections.is_left[match] == hand.is_left),
    )


def without_scale(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A pose (J, 3) with its wrist on the true one and the scale that fits best, least squares."""
    moved, wanted = predicted - predicted[0], truth - truth[0]
    spread = (moved**2).sum()
    scale = (moved * wanted).sum() / spread if spread > 1e-18 else 0.0
    return scale * moved + truth[0]


def with_true_reference_bone(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A pose (J, 3) with its wrist on the true one, and its reference bone as long as the truth's.

    This is how Zimmermann and Brox take the scale out.
    """
    a, b = REFERENCE_BONE
    own = max(float(np.linalg.norm(predicted[a] - predicted[b])), 1e-9)
    scale = np.linalg.norm(truth[a] - truth[b]) / own
    return scale * (predicted - predicted[0]) + truth[0]


def pck_auc(errors: np.ndarray, low: float, high: float) -> float:
    """Area under the PCK between two thresholds, as a share of the range; infinite errors miss."""
    thresholds = np.linspace(low, high, 100)
    return area_under_curve(thresholds, pck_curve(errors, thresholds))
