"""Part experts from pretrained models: bodies, hands and faces of several people with MediaPipe.

    experts = load_experts("fast")
    detections = experts(rgb)  # {"body": ..., "hand": ..., "face": ...}

`fast` is for live use and needs `pip install ai-edge-litert` and, for the model files alone,
`pip install --no-deps mediapipe==0.10.21`. `guided` also needs what the network needs, and places
the people that the network proposes. `thorough` labels pictures, with more models, which
`python -m dope_model.experts.prepare` brings; `guided` uses its person detectors if they are there.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dope_model.experts.models import MissingModelError
from dope_model.poses import PartDetections

__all__ = ["PRESETS", "Experts", "MissingModelError", "load_experts"]

PRESETS = ("fast", "guided", "thorough")


class Experts(Protocol):
    """The interface of what `load_experts` returns."""

    def __call__(self, rgb: np.ndarray) -> dict[str, PartDetections]:
        """The bodies, hands and faces in a picture.

        Args:
            rgb: (H, W, 3) uint8.

        Returns:
            "body" (13 joints), "hand" (21) and "face" (84) detections, as in dope_model.poses:
            2D in px of the picture, 3D in metres around the part's root. `trusted` marks the
            joints that were seen; the others are guesses.

        Raises:
            ValueError: `rgb` is not such an array.
        """
        ...


def load_experts(preset: str, threads: int = 2) -> Experts:
    """Loads the experts of a preset, "fast", "guided" or "thorough".

    Args:
        threads: CPU threads that a model may use.

    Raises:
        ValueError: there is no such preset.
        MissingModelError: a package or a model is missing; the message has the install command.
    """
    if preset == "fast":
        from dope_model.experts.fast import FastExperts

        return FastExperts(threads)
    if preset == "guided":
        from dope_model.experts.guided import GuidedExperts

        return GuidedExperts(threads)
    if preset == "thorough":
        from dope_model.experts.thorough import ThoroughExperts

        return ThoroughExperts(threads)
    raise ValueError(f"unknown preset {preset!r} of the part experts; known: {', '.join(PRESETS)}")
