"""3D Menpo: the 3D-aware 2D error of facial landmarks (equation 4) and its cumulative curve.

Source: DOPE, section 4.1; Deng et al., "The Menpo benchmark for multi-pose 2D and 3D facial
landmark localisation and tracking" (IJCV 2019).
"""

from __future__ import annotations

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
from dope_model.datasets.menpo import read_menpo
from dope_model.poses import PartDetections, boxes_around

PCK_2D = 0.05
LIMIT = 0.1
"""Errors above this are failures."""
LEAST_IOU = 0.1


@dataclass(frozen=True)
class Evaluation:
    """Equation 4 of a frame, landmarks' errors (84,) in shares of the box's longer side, and the
    number of detected faces."""

    error: float
    flat: np.ndarray
    detected: int


class Menpo(Protocol):
    """The 3DA-2D error of equation 4 on the videos of 3D Menpo, its cumulative curve, and 2D-PCK.

    --data is a folder with a folder of landmarks per video (.ljson or .pts, one per frame) and the
    videos or their frames.
    """

    name = "menpo"
    title = "3D Menpo: facial landmarks"
    notes = f"""
3DA-2D error: root mean square distance of the 84 landmarks over the diagonal of their tight box
(equation 4). AUC: area under the share of frames over the error, up to {LIMIT} (and up to half of
it beside). PCK 2D: share of landmarks within 5 % of the longer side of the tight box. The face in a
frame is the detection with the largest IoU (at least {LEAST_IOU}) of tight boxes; a missed face is
a failure at every threshold, and all its landmarks are wrong. Precision is a lower bound: one face
of a frame is labelled.
"""

    def load(self, options) -> list[Picture]:
        """All annotated frames."""
        return [
            Picture(
                f"{f.video}/{f.number:06d}", f.path, f.landmarks, f.frame, marks=f.landmarks
            )
            for f in read_menpo(options.data)
        ]  # fmt: skip

    def evaluate(self, picture: Picture, found: Found) -> Evaluation:
        """The error of the detection that lies where the face is."""
        truth = picture.truth
        faces = found.get("face") or PartDetections.empty("face", len(truth))
        pairs = best_pairs(box_ious(faces.boxes, boxes_around(truth)[None]), LEAST_IOU)
        pose = faces.keypoints_2d[pairs[0]].astype(float) if 0 in pairs else None
        everything = np.ones(len(truth), bool)
        side = max(tight_box_side(truth, everything), 1e-6)
        flat = distances(pose, truth, everything) / side
        return Evaluation(normalised_error(pose, truth), flat, len(faces))

    def summarise(self, pictures: Sequence[Picture], evaluations: Sequence[Evaluation]) -> Outcome:
        """Areas, failures and PCK over all frames."""
        errors = np.array([j.error for j in evaluations])
        flat = np.stack([j.flat for j in evaluations])
        found = np.isfinite(errors)
        summary = {
            f"AUC {LIMIT} %": 100 * cumulative_auc(errors, LIMIT),
            f"AUC {LIMIT / 2} %": 100 * cumulative_auc(errors, LIMIT / 2),
            "PCK 2D@0.05 %": 100 * pck(flat, PCK_2D),
            "failures %": 100 * float((errors > LIMIT).mean()),
            "recall %": 100 * float(found.mean()),
            "precision %": 100 * share(found.sum(), sum(j.detected for j in evaluations)),
            "median error of found": float(np.median(errors[found])) if found.any() else np.nan,
        }
        videos: dict[str, list[float]] = {}
        for picture, error in zip(pictures, errors, strict=True):
            videos.setdefault(picture.name.rpartition("/")[0], []).append(error)
        rows = [
            {"video": video, "frames": len(some),
             f"AUC {LIMIT} %": 100 * cumulative_auc(np.array(some), LIMIT)}
            for video, some in videos.items()
        ]  # fmt: skip
        thresholds = np.linspace(0, LIMIT, 101)
        flat_thresholds = np.linspace(0, 0.2, 41)
        curves = {
            "3D Menpo": Curve(
                thresholds, pck_curve(errors, thresholds), "3DA-2D error", "share of frames"
            ),
            "3D Menpo, 2D": Curve(
                flat_thresholds, pck_curve(flat, flat_thresholds),
                "threshold / longer side of the box", "PCK 2D",
            ),
        }  # fmt: skip
        return Outcome(summary, {"by video": rows}, curves, np.minimum(errors, 1.0))


def normalised_error(predicted: np.ndarray | None, truth: np.ndarray) -> float:
    """Root mean square distance of landmarks (N, 2) over the diagonal of the truth's tight box.

    Infinite for a face that was missed.
    """
    if predicted is None:
        return float("inf")
    truth = np.asarray(truth, float)
    diagonal = np.linalg.norm(np.ptp(truth, axis=0))
    return float(np.linalg.norm(truth - predicted) / (np.sqrt(len(truth)) * diagonal))


def cumulative_auc(errors: np.ndarray, limit: float) -> float:
    """Area under the share of faces over their error up to `limit`, as a share of `limit`."""
    thresholds = np.linspace(0, limit, 1001)
    return area_under_curve(thresholds, pck_curve(errors, thresholds))
