"""Statistics of the images. Nothing here knows topics."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

WINDOW = 10.0
"""Rates, latencies and times are over this many past seconds."""

STAGES = (
    "decode",
    "detect",
    "track",
    "place",
    "message",
    "markers",
    "annotate",
    "transforms",
    "rep155",
)
"""The stages of processing an image, in order; each is timed."""

SKIPPED = ("newer image", "nobody listens", "disabled", "deactivated")
"""Reasons for not processing an image."""

SOURCES = {
    "camera_info": "positions",
    "depth": "depth",
    "frame_id": "TF frames",
    "value range": "contrast",
}
"""Problems of images that are answered nevertheless, and what their answer lacks."""


class Window:
    """Values of the last `WINDOW` seconds. Times are s of any monotonic clock."""

    def __init__(self) -> None:
        self._values: deque[tuple[float, float]] = deque()
        self._since: float | None = None

    def add(self, now: float, value: float) -> None:
        if self._since is None:
            self._since = now
        self._values.append((now, value))
        self._forget(now)

    def values(self, now: float) -> list[float]:
        self._forget(now)
        return [value for _, value in self._values]

    def rate(self, now: float) -> float:
        """Values per second, since the first value if that is later than the window's start."""
        self._forget(now)
        if self._since is None or now <= self._since:
            return 0.0
        if now - self._since < WINDOW:
            intervals = max(1, len(self._values) - 1)  # the first value is where they begin
            return intervals / (now - self._since) if self._values else 0.0
        return len(self._values) / WINDOW

    def _forget(self, now: float) -> None:
        while self._values and self._values[0][0] < now - WINDOW:
            self._values.popleft()


@dataclass(frozen=True)
class Summary:
    """The state of `FrameStatistics` at one moment. Times in s; None if there is no value yet.

    Attributes:
        silent_for: since the newest image, or since the node was activated.
        arrival, latency: 50th and 95th percentile.
        stages: mean by stage.
        recent_bad, recent_failed: number in the last `WINDOW`.
        faults, recent_faults, last_fault: for each of `SOURCES`: number of images by kind of
            problem, number in the last `WINDOW`, and the newest problem in full.
        positions: what the positions of the newest image were computed from.
    """

    received: int
    answered: int
    failed: int
    lost: int | None
    bad: Mapping[str, int]
    skipped: Mapping[str, int]
    input_rate: float
    output_rate: float
    silent_for: float | None
    arrival: tuple[float, float] | None
    latency: tuple[float, float] | None
    stages: Mapping[str, float]
    recent_bad: int
    recent_failed: int
    unstamped: bool
    faults: Mapping[str, Mapping[str, int]]
    recent_faults: Mapping[str, int]
    last_fault: Mapping[str, str]
    positions: str = ""
    image: str = ""
    last_bad: str = ""
    last_failure: str = ""


@dataclass
class FrameStatistics:
    """Counts every image once as received, and once by its outcome.

    received = answered + bad + failed + skipped, apart from one image that is being processed and
    one that waits. All times are s of a monotonic clock; latencies may be of another one.
    """

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _counts: Counter = field(default_factory=Counter)
    _bad: Counter = field(default_factory=Counter)
    _skipped: Counter = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._lost: int | None = None
        self._sequences: dict[bytes, int] = {}
        self._image = self._last_bad = self._last_failure = self._positions = ""
        self._faults: dict[str, Counter] = {source: Counter() for source in SOURCES}
        self._last_fault = dict.fromkeys(SOURCES, "")
        self.restart_windows(None)

    def restart_windows(self, now: float | None) -> None:
        """Reset the windows but not the counts: the node was activated at `now`."""
        with self._lock:
            self._arrivals, self._answers = Window(), Window()
            self._arrival, self._latency = Window(), Window()
            self._recent_bad, self._recent_failed = Window(), Window()
            self._recent_faults = {source: Window() for source in SOURCES}
            self._stages = {stage: Window() for stage in STAGES}
            self._last_arrival = now
            self._unstamped = False
            self._sequences = {}

    def received(
        self,
        now: float,
        latency: float | None,
        publisher: bytes | None = None,
        sequence: int | None = None,
        unstamped: bool = False,
    ) -> None:
        """An image was received.

        Args:
            latency: from its stamp to its arrival, s; None if unknown.
            publisher, sequence: its publisher and the publisher's sequence number, if the
                middleware has them.
            unstamped: whether it has no stamp.
        """
        with self._lock:
            self._counts["received"] += 1
            self._arrivals.add(now, 0.0)
            self._last_arrival = now
            self._unstamped = unstamped
            if latency is not None:
                self._arrival.add(now, latency)
            if publisher is None or sequence is None:
                return
            self._lost = self._lost or 0
            before = self._sequences.get(publisher)
            if before is not None:
                self._lost += max(sequence - before - 1, 0)
            elif len(self._sequences) > 15:  # cameras that came and went
                self._sequences.clear()
            self._sequences[publisher] = sequence

    def skipped(self, reason: str) -> None:
        """An image is not processed, for one of the reasons `SKIPPED`."""
        with self._lock:
            self._skipped[reason] += 1

    def bad(self, now: float, kind: str, text: str) -> None:
        """An image cannot be read: the kind of problem in a word or two, and in full."""
        with self._lock:
            self._bad[kind] += 1
            self._recent_bad.add(now, 0.0)
            self._last_bad = text

    def failed(self, now: float, text: str) -> None:
        """The model failed on an image."""
        with self._lock:
            self._counts["failed"] += 1
            self._recent_failed.add(now, 0.0)
            self._last_failure = text

    def fault(self, now: float, source: str, kind: str, text: str) -> None:
        """An input beside the image, one of `SOURCES`, is bad: the image is answered without it."""
        with self._lock:
            self._faults[source][kind] += 1
            self._recent_faults[source].add(now, 0.0)
            self._last_fault[source] = text

    def answered(
        self,
        now: float,
        latency: float | None,
        stages: Mapping[str, float],
        image: str,
        positions: str = "",
    ) -> None:
        """Results of an image were published.

        Args:
            latency: from its stamp to the first result, s; None if unknown.
            stages: s by name.
            image: its size and encoding.
            positions: what they were computed from.
        """
        with self._lock:
            self._counts["answered"] += 1
            self._answers.add(now, 0.0)
            self._image, self._positions = image, positions
            if latency is not None:
                self._latency.add(now, latency)
            for stage, seconds in stages.items():
                self._stages[stage].add(now, seconds)

    def summary(self, now: float) -> Summary:
        """All statistics at `now`."""
        with self._lock:
            times = {stage: window.values(now) for stage, window in self._stages.items()}
            return Summary(
                received=self._counts["received"],
                answered=self._counts["answered"],
                failed=self._counts["failed"],
                lost=self._lost,
                bad=dict(self._bad),
                skipped=dict(self._skipped),
                input_rate=self._arrivals.rate(now),
                output_rate=self._answers.rate(now),
                silent_for=None if self._last_arrival is None else now - self._last_arrival,
                arrival=_percentiles(self._arrival.values(now)),
                latency=_percentiles(self._latency.values(now)),
                stages={stage: float(np.mean(s)) for stage, s in times.items() if s},
                recent_bad=len(self._recent_bad.values(now)),
                recent_failed=len(self._recent_failed.values(now)),
                unstamped=self._unstamped,
                faults={source: dict(kinds) for source, kinds in self._faults.items()},
                recent_faults={
                    source: len(faults.values(now))
                    for source, faults in self._recent_faults.items()
                },
                last_fault=dict(self._last_fault),
                positions=self._positions,
                image=self._image,
                last_bad=self._last_bad,
                last_failure=self._last_failure,
            )


def _percentiles(values: list[float]) -> tuple[float, float] | None:
    if not values:
        return None
    p50, p95 = np.percentile(values, (50, 95))
    return float(p50), float(p95)
