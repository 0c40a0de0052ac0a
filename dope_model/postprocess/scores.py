"""Scores as probabilities: that a part is there and its pose right, and that a joint is right.

A logistic curve turns features of a detection into a probability: the sum of its candidates'
scores, the height of its heat maps' peaks, its size, and its body's score. It rises with each.
The curves are fitted on pictures with and without people (`dope_model.training.calibrate_scores`)
and stored with the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from dope_model.poses import PartDetections, inside_image

FEATURES = ("sum", "half", "third", "size", "body")
"""The features of a detection: the logarithm of its candidates' sum of scores, the mean log-odds of
the peaks of the better half of its joints, the log-odds that a third of its joints reach, the
logarithm of its longer side in px, and the score of its body."""
_RANGE = 0.01, 0.99
"""Probabilities are limited to this range before their log-odds are taken."""


@dataclass(frozen=True)
class ScoreCurves:
    """The curves of one part.

    Attributes:
        weights: by name of `FEATURES`, not negative; bias: of a detection's log-odds.
        joint_weights: of the log-odds of a joint's peak and of its detection's score, not negative;
            joint_bias: of a joint's log-odds.
        min_score: lowest reported score, unless the user sets another.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    bias: float = 0.0
    joint_weights: tuple[float, float] = (1.0, 0.0)
    joint_bias: float = 0.0
    min_score: float = 0.0

    def __post_init__(self) -> None:
        unknown = set(self.weights) - set(FEATURES)
        if unknown:
            raise ValueError(f"unknown features of a score: {', '.join(sorted(unknown))}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ScoreCurves:
        """The inverse of `to_dict`."""
        return cls(**{**values, "joint_weights": tuple(values["joint_weights"])})

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Scores (N,), 0 to 1, from `features` (N, F)."""
        return sigmoid(values @ [self.weights.get(name, 0.0) for name in FEATURES] + self.bias)

    def confidence(self, peaks: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Probabilities (N, J) that joints are right, from peaks (N, J) and scores (N,)."""
        joint, detection = self.joint_weights
        return sigmoid(
            joint * log_odds(peaks) + detection * log_odds(scores)[:, None] + self.joint_bias
        )


def features(found: PartDetections, body_scores: np.ndarray) -> np.ndarray:
    """The features (N, F) of detections, in the order of `FEATURES`.

    Args:
        found: from `integrate`: scores are sums, and confidence is the height of heat maps' peaks.
        body_scores: (N,) score of each detection's body; 0 without one.
    """
    # For people who are cut off or half hidden, the other joints are no evidence.
    odds = np.sort(log_odds(found.confidence), axis=1)
    joints = odds.shape[1]
    boxes = found.boxes
    values = {
        "sum": np.log(np.maximum(found.scores, 1e-3)),
        "half": odds[:, joints // 2 :].mean(axis=1),
        "third": odds[:, -(joints // 3)],
        "size": np.log((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=1.0)),
        "body": body_scores,
    }
    return np.stack([values[name] for name in FEATURES], axis=1)


def calibrated(
    found: PartDetections,
    curves: ScoreCurves | None,
    body_scores: np.ndarray,
    image_shape: tuple[int, ...],
) -> PartDetections:
    """Detections of `integrate` with probabilities as scores and confidence, best first.

    Joints outside the image have confidence 0. Without curves a score is the sum, at most 1, and a
    joint's confidence is the height of its heat map's peak.
    """
    if curves is None:
        scores, confidence = np.minimum(found.scores, 1), found.confidence
    else:
        scores = curves.scores(features(found, body_scores))
        confidence = curves.confidence(found.confidence, scores)
    confidence = np.where(inside_image(found.keypoints_2d, image_shape), confidence, 0)
    told = replace(found, scores=scores, confidence=confidence)
    return told.select(np.argsort(-told.scores, kind="stable"))


def at_least(
    found: Mapping[str, PartDetections], min_scores: Mapping[str, float]
) -> dict[str, PartDetections]:
    """The detections with at least their part's lowest score; all of a part without one."""
    return {
        part: own.select(own.scores >= min_scores.get(part, 0.0)) for part, own in found.items()
    }


def log_odds(probability: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) of probabilities, which are kept away from 0 and 1."""
    clipped = np.clip(probability, *_RANGE)
    return np.log(clipped / (1 - clipped))


def sigmoid(log_odds: np.ndarray) -> np.ndarray:
    """The inverse of `log_odds`."""
    return 1 / (1 + np.exp(-log_odds))
