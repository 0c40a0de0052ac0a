"""From the candidates of all parts to their detections, using other parts as evidence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dope_model.poses import PART_SLOTS, PartDetections
from dope_model.postprocess.assembly import owners
from dope_model.postprocess.candidates import Candidates
from dope_model.postprocess.integration import integrate
from dope_model.postprocess.scores import ScoreCurves, calibrated
from dope_model.postprocess.settings import IntegrationSettings


def detect_parts(
    candidates: Mapping[str, Candidates],
    settings: Mapping[str, IntegrationSettings],
    image_shape: tuple[int, ...],
    curves: Mapping[str, ScoreCurves] | None = None,
) -> dict[str, PartDetections]:
    """Detections of all parts, best first, from candidates by part.

    The proposals integration is done for each part (section 3.1). Then scores become probabilities;
    a hand at the wrist of a body, or a face at its head, is more probable than one without.

    Args:
        image_shape: height and width of the image, px, and what may follow. Joints outside it have
            no confidence.
        curves: by part; see `scores.calibrated` for parts without.
    """
    curves = curves or {}
    found = {part: integrate(own, settings[part]) for part, own in candidates.items()}
    told = {}
    if "body" in found:
        bodies = found["body"]
        told["body"] = calibrated(bodies, curves.get("body"), np.zeros(len(bodies)), image_shape)
    scores = scores_of_owners({**found, **told})
    for part in found:
        if part != "body":
            told[part] = calibrated(found[part], curves.get(part), scores[part], image_shape)
    return {part: told[part] for part in found}


def scores_of_owners(found: Mapping[str, PartDetections]) -> dict[str, np.ndarray]:
    """By part but the body, the score of the body that each detection belongs to; 0 without one."""
    scores = {part: np.zeros(len(own)) for part, own in found.items() if part != "body"}
    for slot, body_of in owners(found).items():
        for detection, body in body_of.items():
            scores[PART_SLOTS[slot]][detection] = found["body"].scores[body]
    return scores
