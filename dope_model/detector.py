"""The main entry point: load a model, pass an image, get people.

detector = WholeBodyDetector.load()
people = detector(rgb)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dope_model.camera.rotation import rotate_back, rotate_image
from dope_model.network.config import mode_named
from dope_model.poses import PartDetections, WholeBody
from dope_model.postprocess.assembly import assemble
from dope_model.postprocess.scores import at_least
from dope_model.weights import DEFAULT_MODEL

if TYPE_CHECKING:
    from dope_model.runtime import FirstThatRuns
    from dope_model.runtime.engine import Engine

EXPERTS = "experts"
PartFinder = Callable[[np.ndarray], dict[str, PartDetections]]


def experts_preset(model: str) -> str | None:
    """The preset of the part experts in `model`, "fast" by default; None for another model."""
    name, _, preset = str(model).partition(":")
    return (preset or "fast") if name == EXPERTS else None


@dataclass
class WholeBodyDetector:
    """Finds people in RGB images.

    Attributes:
        find_parts: image (H, W, 3) uint8 to detections by part.
        model: what finds them, in a few words.
        engine: what runs the network, if it is one.
        rotation: degrees, clockwise, by which images are turned before the model sees them: 180 for
            a camera that hangs upside down. May be changed at any time.
        min_scores: by part, the least score that is reported; the model's own to begin with, which
            nine in ten of its detections deserve. May be changed at any time, in place.
    """

    find_parts: PartFinder
    model: str
    engine: Engine | FirstThatRuns | None = None
    rotation: int = 0
    min_scores: dict[str, float] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        model: str = DEFAULT_MODEL,
        device: str = "auto",
        mode: str = "auto",
        engine: str = "auto",
    ) -> WholeBodyDetector:
        """Load a model by name or file.

        Args:
            model: "dope_lite", or the path of a weights file, for a network; "experts" (the same as
                "experts:fast"), "experts:guided" or "experts:thorough" for the ready-made part
                experts.
            device: "auto", "cpu", "cuda" or "cuda:N"; the experts run on the CPU.
            mode: for networks: "auto" (what the weights were made for), "realtime" (400 px, 50
                proposals, FP16), "paper" (800 px, 1000 proposals) or "trained" (as in training).
            engine: "auto" (the fastest that is installed and runs) or a name in
                `dope_model.runtime.KINDS`, for networks; see `dope_model.runtime.load_engine`.

        Raises:
            FileNotFoundError: there is no such weights file.
            ValueError: an unknown mode, engine, device or preset, or a file that is not a model.
            ImportError: a package that the model needs is missing; the text has the command that
                brings it.
        """
        mode_named(mode)  # a wrong name is refused for the experts, too
        preset = experts_preset(model)
        if preset is not None:
            from dope_model.experts import load_experts
            from dope_model.experts.scores import CURVES, probabilities

            experts = load_experts(preset)
            least = {part: curve.min_score for part, curve in CURVES.items()}

            def find(rgb: np.ndarray) -> dict[str, PartDetections]:
                return at_least(probabilities(experts(rgb), rgb.shape), least)

            return cls(find, f"part experts ({preset})", min_scores=least)
        from dope_model.checkpoint import read_checkpoint
        from dope_model.postprocess.fusion import detect_parts
        from dope_model.runtime import load_engine

        checkpoint = read_checkpoint(model)
        run = load_engine(engine, checkpoint, mode_named(mode, checkpoint.mode), device)

        min_scores = {part: curves.min_score for part, curves in checkpoint.curves.items()}

        def find_parts(rgb: np.ndarray) -> dict[str, PartDetections]:
            found = detect_parts(run(rgb), checkpoint.integration, rgb.shape, checkpoint.curves)
            return at_least(found, min_scores)

        return cls(find_parts, str(model), run, min_scores=min_scores)

    @property
    def description(self) -> str:
        """The model and what it runs on now, in one line."""
        return f"{self.model} ({self.engine.description})" if self.engine else self.model

    def close(self) -> None:
        """End what goes on in the background, such as the build of a TensorRT engine."""
        if self.engine:
            self.engine.close()

    def __call__(self, rgb: np.ndarray) -> list[WholeBody]:
        """The people in an RGB image (H, W, 3) uint8, best first, in its pixels and its camera's
        axes.

        Raises:
            ValueError: the image has another shape or type, or no pixels, or `rotation` is none of
                0, 90, 180 and 270.
        """
        found = self.find_parts(rotate_image(checked_image(rgb), self.rotation))
        return assemble(rotate_back(found, self.rotation, rgb.shape))


def checked_image(rgb: np.ndarray) -> np.ndarray:
    """`rgb` itself if it is an image.

    Raises:
        ValueError: it is not (H, W, 3) uint8 with at least one pixel.
    """
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.ndim != 3:
        got = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
        raise ValueError(f"an RGB image is a uint8 array of shape (H, W, 3), not {got}")
    if rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ValueError(f"an RGB image is a uint8 array of shape (H, W, 3), not {rgb.shape}")
    return rgb
