"""The experts' scores as probabilities, on the same scale as the network's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dope_model.poses import PartDetections, inside_image
from dope_model.postprocess.scores import log_odds, sigmoid


@dataclass(frozen=True)
class ExpertCurve:
    """What an expert's score is worth.

    Attributes:
        slope, bias: of the log-odds that a detection is right over those of its score.
        trusted, guessed: share of its joints that are right, of those that it trusts and of others
            in the picture.
        min_score: the default threshold, from which on nine in ten detections are right.
    """

    slope: float
    bias: float
    trusted: float
    guessed: float
    min_score: float = 0.0


CURVES = {
    # Logistic fits on 71 bodies of `fast` and 103 of `guided` in 253 pictures with and without
    # people, labelled by people; OKS 0.5. Right were 0.89 and 0.82 of all, from the threshold on
    # 0.93 and 0.90; 0.88 and 0.84 of the trusted joints, 0.57 and 0.44 of the others.
    "body": ExpertCurve(1.0, -0.45, 0.86, 0.5, 0.7),
    # Seven in eight hands were right on everyday pictures, nearly all with a score of 0.93 to 0.99.
    "hand": ExpertCurve(1.0, -1.5, 0.9, 0.5),
    # No face was wrong among 35, nor in 330 pictures without people.
    "face": ExpertCurve(1.0, 0.0, 0.95, 0.5),
}


def probabilities(
    found: Mapping[str, PartDetections], shape: tuple[int, ...]
) -> dict[str, PartDetections]:
    """Detections of experts, which trust a joint or not, in a picture of height and width `shape`,
    with probabilities for scores and confidence."""
    told = {}
    for part, own in found.items():
        curve = CURVES[part]
        scores = sigmoid(curve.slope * log_odds(own.scores) + curve.bias)
        confidence = np.where(own.trusted, curve.trusted, curve.guessed)
        confidence[~inside_image(own.keypoints_2d, shape)] = 0
        told[part] = replace(own, scores=scores, confidence=confidence)
    return told
