"""An engine whose graphs take minutes to build, and another one that answers meanwhile."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dope_model.postprocess.candidates import Candidates
from dope_model.runtime.canvas import Canvas, canvas_for
from dope_model.runtime.engine import Engine, EngineError

if TYPE_CHECKING:
    from dope_model.runtime import FirstThatRuns

log = logging.getLogger(__name__)

PATIENCE = 3.0
"""s that an image waits for its canvas's graph, which may only have to be loaded."""


class WhileBuilding(Engine):
    """Builds an engine's graphs in a thread, canvas by canvas; until then another one answers.

    Args:
        built: has `build(canvas, cancelled)`, which returns when the graph for a canvas can be
            loaded within a moment, and raises EngineError if it cannot be built, or when the event
            `cancelled` is set.
        make_other: makes the other engine, if it is needed.
    """

    def __init__(
        self, built: Engine, make_other: Callable[[], Engine | FirstThatRuns],
        patience: float = PATIENCE,
    ) -> None:  # fmt: skip
        super().__init__(built.checkpoint, built.mode)
        self._built, self._make_other, self._patience = built, make_other, patience
        self._other: Engine | FirstThatRuns | None = None
        self._ready: set[Canvas] = set()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._cancelled = threading.Event()
        atexit.register(self.close)

    @property
    def description(self) -> str:
        """That of the engine in use, and what is built."""
        if self._thread is None or self._other is None:
            return self._built.description
        return f"{self._other.description}; building {self._built.description}"

    def close(self) -> None:
        """Cancel a build."""
        self._cancelled.set()

    def look(self, image: np.ndarray, canvas: Canvas) -> list[dict[str, Candidates]]:
        return self._built.look(image, canvas)

    def __call__(self, rgb: np.ndarray) -> dict[str, Candidates]:
        canvas = canvas_for(*rgb.shape[:2], self.mode)
        with self._lock:
            ready = self._is_ready(canvas)
            if not ready and self._other is None:
                self._other = self._make_other()
                log.info("%s", self.description)
        return (self._built if ready else self._other)(rgb)

    def _is_ready(self, canvas: Canvas) -> bool:
        """Whether the graph for a canvas is there; if not, it is being built.

        Raises:
            EngineError: one could not be built.
        """
        if canvas not in self._ready and self._thread is None and self._error is None:
            thread = self._thread = threading.Thread(
                target=self._build, args=(canvas,), name="build engine", daemon=True
            )
            thread.start()
            thread.join(self._patience)
        if self._error is not None:
            raise EngineError(str(self._error)) from self._error
        return canvas in self._ready

    def _build(self, canvas: Canvas) -> None:
        try:
            self._built.build(canvas, self._cancelled)
            self._ready.add(canvas)
        except Exception as error:  # told at the next image
            self._error = error
        self._thread = None
