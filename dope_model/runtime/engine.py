"""What all engines share: an image onto a canvas, candidates back from it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from dope_model.checkpoint import Checkpoint
from dope_model.errors import Failure
from dope_model.network.config import Mode
from dope_model.postprocess.candidates import Candidates
from dope_model.runtime.canvas import Canvas, canvas_for
from dope_model.runtime.packed import PackedLayout
from dope_model.runtime.scales import candidates_that_count

GraphRunner = Callable[[np.ndarray], np.ndarray]
"""An RGB image (H, W, 3) uint8 of a canvas's size to the packed candidates, see `PackedLayout`."""


class EngineError(Failure):
    """An installed engine cannot make or run its graph; the text says why."""


class Engine(ABC):
    """Runs a checkpoint's network: `engine(rgb)` gives candidates by part.

    It may be called from several threads, which take turns.

    Args:
        mode: of the first scale; the checkpoint may have a second one.
    """

    def __init__(self, checkpoint: Checkpoint, mode: Mode) -> None:
        self.checkpoint, self.mode = checkpoint, mode
        self.modes = checkpoint.scale_modes(mode)
        self.min_scores = checkpoint.min_candidate_scores()
        self._lock = threading.Lock()

    @property
    @abstractmethod
    def description(self) -> str:
        """The engine, its precision and its device, in one line."""

    def close(self) -> None:  # noqa: B027
        """End what goes on in the background; here that is nothing."""

    @abstractmethod
    def look(self, image: np.ndarray, canvas: Canvas) -> list[dict[str, Candidates]]:
        """For each scale the candidates by part, of an image of the canvas's size.

        Raises:
            EngineError: the engine fails.
        """

    def __call__(self, rgb: np.ndarray) -> dict[str, Candidates]:
        """Candidates of an image (H, W, 3) uint8, by part, in its pixels.

        Raises:
            EngineError: the engine fails.
        """
        height, width = rgb.shape[:2]
        canvas = canvas_for(height, width, self.mode)
        image = canvas.fit(rgb)
        with self._lock:
            looks = self.look(image, canvas)
        found = candidates_that_count(looks, self.checkpoint.coarse_scale)
        return {part: canvas.back(own, height, width) for part, own in found.items()}


class GraphEngine(Engine):
    """An engine that runs a graph, one for each canvas."""

    def __init__(self, checkpoint: Checkpoint, mode: Mode) -> None:
        super().__init__(checkpoint, mode)
        self._runners: dict[Canvas, GraphRunner] = {}

    @abstractmethod
    def make_runner(self, canvas: Canvas) -> GraphRunner:
        """The graph for a canvas, ready to run; other packages raise their own errors."""

    def layout(self, canvas: Canvas) -> PackedLayout:
        """Of the graph's output."""
        return PackedLayout.of(self.checkpoint.config, self.modes, (canvas.height, canvas.width))

    def look(self, image: np.ndarray, canvas: Canvas) -> list[dict[str, Candidates]]:
        try:
            if canvas not in self._runners:
                self._runners[canvas] = self.make_runner(canvas)
            packed = self._runners[canvas](image)
        except (EngineError, FileNotFoundError, ImportError):
            raise
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            why = (str(error).splitlines() or [""])[0]
            raise EngineError(
                f"{self.description}, images of {canvas.name} px: {type(error).__name__}: {why}"
            ) from error
        return self.layout(canvas).unpack(packed, self.min_scores)
