"""What all engines share that run the static graph: one graph per size of image."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dope_model.checkpoint import Checkpoint
from dope_model.errors import Failure
from dope_model.network.config import Mode
from dope_model.postprocess.candidates import Candidates
from dope_model.runtime.static_graph import PackedLayout

if TYPE_CHECKING:
    from dope_model.runtime import Engine

log = logging.getLogger(__name__)

CANDIDATES = 256
"""Of each part that leave the graph."""
KEPT_SIZES = 4
"""Graphs that are kept ready; the one that was used least recently makes room."""

GraphRunner = Callable[[np.ndarray], np.ndarray]
"""An RGB image (H, W, 3) uint8 of one size to the packed candidates, see `PackedLayout`."""
PartCandidatesFinder = Callable[[np.ndarray], dict[str, Candidates]]


class EngineError(Failure):
    """An engine that is installed cannot make or run its graph; the text says why."""


class GraphEngine(ABC):
    """Runs a checkpoint's static graph: `engine(rgb)` gives candidates by part.

    An image on which the graph's non-maximum suppression does not come to its end, which the graph
    says itself, is done again by the eager network.
    """

    prefetch: Callable[[np.ndarray], None] | None = None
    """See `Engine.prefetch`."""

    def __init__(self, checkpoint: Checkpoint, mode: Mode) -> None:
        self.checkpoint, self.mode = checkpoint, mode
        self.min_scores = checkpoint.min_candidate_scores()
        self.unfinished = 0
        """Images that were done again."""
        self._runners: OrderedDict[tuple[int, int], tuple[GraphRunner, PackedLayout]] = (
            OrderedDict()
        )
        self._eager: PartCandidatesFinder | None = None
        self._told_of_lost_candidates = False

    @property
    @abstractmethod
    def description(self) -> str:
        """The engine, its precision and its device, in one line."""

    @abstractmethod
    def make_runner(self, height: int, width: int) -> GraphRunner:
        """The graph for images of one size, ready to run.

        Raises:
            EngineError: it cannot be made.
        """

    @abstractmethod
    def make_eager(self) -> PartCandidatesFinder:
        """The eager network on this engine's device, in its precision."""

    def runner(self, height: int, width: int) -> tuple[GraphRunner, PackedLayout]:
        """The graph for images of one size, made if need be, and the layout of its output."""
        size = height, width
        if size not in self._runners:
            while len(self._runners) >= KEPT_SIZES:
                self._runners.popitem(last=False)
            layout = PackedLayout.for_images(
                self.checkpoint.config, self.mode, height, width, CANDIDATES
            )
            self._runners[size] = self._made(height, width), layout
        self._runners.move_to_end(size)
        return self._runners[size]

    def _made(self, height: int, width: int) -> GraphRunner:
        """`make_runner`, of which whatever fails in other packages is an EngineError."""
        try:
            return self.make_runner(height, width)
        except (EngineError, FileNotFoundError):
            raise
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise EngineError(
                f"no graph for images of {width} x {height} px: {type(error).__name__}: {error}"
            ) from error

    def __call__(self, rgb: np.ndarray) -> dict[str, Candidates]:
        """Candidates of an image (H, W, 3) uint8, by part, in its pixels."""
        run, layout = self.runner(*rgb.shape[:2])
        packed = run(rgb)
        if not layout.converged(packed):
            return self._again(rgb)
        found = layout.unpack(packed, self.min_scores)
        self._tell_of_lost_candidates(found)
        return found

    def _again(self, rgb: np.ndarray) -> dict[str, Candidates]:
        self.unfinished += 1
        if self._eager is None:
            log.warning(
                "the boxes of an image overlap in a chain too long for the graph; such images are "
                "done again, slower, by the eager network"
            )
            self._eager = self.make_eager()
            self._eager.min_scores = self.min_scores
        return self._eager(rgb)

    def _tell_of_lost_candidates(self, found: dict[str, Candidates]) -> None:
        if self._told_of_lost_candidates:
            return
        for part, candidates in found.items():
            possible = self.mode.proposals * self.checkpoint.config.parts[part].anchor_poses
            if len(candidates) == CANDIDATES < possible:
                self._told_of_lost_candidates = True
                log.info(
                    "an image has %d or more candidates of part %s; the best %d are looked at",
                    CANDIDATES, part, CANDIDATES,
                )  # fmt: skip


class WithFallback:
    """An engine that is replaced for good by another when it cannot make or run its graph."""

    def __init__(self, engine: GraphEngine, make_other: Callable[[], Engine]) -> None:
        self._engine: Engine = engine
        self._make_other: Callable[[], Engine] | None = make_other

    @property
    def description(self) -> str:
        """That of the engine in use."""
        return self._engine.description

    @property
    def prefetch(self) -> Callable[[np.ndarray], None] | None:
        """That of the engine in use."""
        return self._engine.prefetch

    def __call__(self, rgb: np.ndarray) -> dict[str, Candidates]:
        """Candidates of an image (H, W, 3) uint8, by part, in its pixels."""
        try:
            return self._engine(rgb)
        except EngineError as error:
            if self._make_other is None:
                raise
            other, self._make_other = self._make_other(), None
            log.warning("%s: %s; from now on %s", self.description, error, other.description)
            self._engine = other
            return other(rgb)
