"""Part experts from pretrained models: bodies, hands and faces of several people with MediaPipe.

    experts = load_experts("fast")
    detections = experts(rgb)  # {"body": ..., "hand": ..., "face": ...}

`fast` is for live use and needs `pip install ai-edge-litert` and, for the model files alone,
`pip install --no-deps mediapipe==0.10.21`. `guided` also needs what the network needs, and places
the people that the network proposes. `thorough` labels pictures, with more models, which
`python -m dope_model.experts.prepare` brings; `guided` uses its person detectors if they are there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np

from dope_model.experts.models import MissingModelError
from dope_model.poses import PartDetections

__all__ = ["PRESETS", "MissingModelError", "load_experts"]

PartFinder = Callable[[np.ndarray], dict[str, PartDetections]]
PRESETS = ("fast", "guided", "thorough")


def load_experts(preset: str, threads: int = 2) -> PartFinder:
    """The experts of a preset, "fast", "guided" or "thorough": from pictures (H, W, 3) uint8 to
    detections by part. `trusted` marks the joints that were seen; the others are guesses.

    Args:
        threads: CPU threads that a model may use.

    Raises:
        ValueError: there is no such preset.
        MissingModelError: a package or a model is missing; the message has the install command.
    """
    if preset not in PRESETS:
        known = ", ".join(PRESETS)
        raise ValueError(f"unknown preset {preset!r} of the part experts; known: {known}")
    module = importlib.import_module(f"dope_model.experts.{preset}")
    return getattr(module, f"{preset.capitalize()}Experts")(threads)
