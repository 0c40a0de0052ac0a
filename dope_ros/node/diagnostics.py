"""What became of the images, and how the node says so on /diagnostics.

    python -m dope_ros.node.diagnostics      prints the values as the table of docs/

`FrameStatistics` counts and measures, knows nothing of topics, and can be asked from any thread.
`camera_status` and `detector_status` turn its summary into diagnostics messages.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

WINDOW = 10.0
"""s of the past that rates, latencies and times are taken over."""

CLOCK_TOLERANCE = 0.1
"""s that an image's stamp may lie in the future before the clocks are said to differ."""

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
"""What the node does with an image, in order; each is timed."""

SKIPPED = ("newer image", "nobody listens", "disabled", "deactivated")
"""Why an image is not worked on."""

SOURCES = {"camera_info": "positions", "depth": "depth", "frame_id": "TF frames"}
"""What comes beside the images, and what they are answered without where it is bad."""

CAMERA_KEYS = {
    "topic": "where the images come from",
    "publishers": "of that topic",
    "image": "size and encoding of the newest image that was worked on",
    "input rate (Hz)": "images that came",
    "last image (s ago)": "since the newest one came",
    "arrival p50 (ms)": "image stamp to arrival at the node, median",
    "arrival p95 (ms)": "the same, 95th percentile",
    "received": "images that came, in all",
    "lost on the way": "images that were published and did not come, or were replaced by newer "
    "ones before the node took them, in all; `unknown` where the middleware does not number them",
    "bad": "images that could not be read, in all",
    "bad: REASON": "the same by reason, for the reasons that occurred",
    "last bad image": "what was wrong with it",
    "positions": "what those of the newest image were worked out from: `camera_info`, `camera_info "
    "and depth`, or `none`; empty while no output needs them",
    **{
        key: meaning
        for source, missing in SOURCES.items()
        for key, meaning in (
            (f"bad {source}", f"images that were answered without {missing} because of it, in all"),
            (f"bad {source}: REASON", "the same by reason, for the reasons that occurred"),
            (f"last bad {source}", "what was wrong with it"),
        )
    },
}
DETECTOR_KEYS = {
    "state": "of the life cycle, or why it rests",
    "model": "the parameter",
    "engine": "the model that was loaded and what it runs on",
    "device": "the parameter",
    "track ids": "`on`, `off`, or why there are none",
    "output rate (Hz)": "images that were answered",
    "latency p50 (ms)": "image stamp to publication, median",
    "latency p95 (ms)": "the same, 95th percentile",
    **{f"{stage} (ms)": f"mean time for: {stage}" for stage in STAGES},
    "answered": "images whose results were published, in all",
    **{f"skipped: {reason}": "images that were not worked on, in all" for reason in SKIPPED},
    "failed": "images on which the model failed, in all",
    "last failure": "its error",
}
"""Every value of the two statuses and what it means."""


class Window:
    """Values of the last `WINDOW` seconds. Times are s of any steady clock."""

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
        """Values per second; of the time since the first one, where that is shorter."""
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


class StageTimes:
    """How long each stage took for one image: `with times("detect"): ...`; s by name in `times`."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.times[stage] = time.perf_counter() - start


@dataclass(frozen=True)
class Summary:
    """What `FrameStatistics` knows at one moment. Times in s; None where there is nothing yet.

    Attributes:
        silent_for: since the newest image came, or since the node was activated.
        arrival, latency: 50th and 95th percentile.
        stages: mean by stage.
        recent_bad, recent_failed: how many in the last `WINDOW`.
        faults, recent_faults, last_fault: of each of `SOURCES`: how many images by kind of
            trouble, how many in the last `WINDOW`, and the newest trouble in full.
        positions: what those of the newest image were worked out from.
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
    """Counts every image exactly once as received, and once as what became of it.

    received = answered + bad + failed + skipped, but for one that is being worked on and one that
    waits. All times are s of a steady clock; latencies may be of another one.
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
        """Forget the recent past, not the counts: the node was activated at `now`."""
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
        """An image came.

        Args:
            latency: from its stamp to its arrival, s; None where it or the clock does not tell.
            publisher, sequence: who published it and the how manieth of that publisher it is,
                where the middleware tells.
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
        """An image is not worked on; one of `SKIPPED`."""
        with self._lock:
            self._skipped[reason] += 1

    def bad(self, now: float, kind: str, text: str) -> None:
        """An image cannot be read: what kind of trouble in a word or two, and in full."""
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
        """Something beside an image is bad, one of `SOURCES`: the image is answered without it."""
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
            latency: from its stamp to the first one, s; None where it or the clock does not tell.
            stages: s by name.
            image: its size and encoding.
            positions: what they were worked out from.
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
        """All of it at `now`."""
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


def camera_status(
    node: str,
    summary: Summary,
    active: bool,
    topic: str,
    publishers: int,
    silent_after: float,
    max_latency: float,
    has_clock: bool = True,
) -> DiagnosticStatus:
    """How the images come in, and what comes beside them: it warns if they are missing, late, bad
    or without a stamp.

    Args:
        node: full name of the node.
        active: whether the node listens.
        silent_after, max_latency: limits, s.
        has_clock: whether the node knows the time; with simulated time it may not.
    """
    troubles = []
    if active and not has_clock:
        troubles.append("use_sim_time is on, but nothing comes on /clock")
    if active and summary.silent_for is not None and summary.silent_for > silent_after:
        troubles.append(
            f"no image for {summary.silent_for:.1f} s on {topic}, "
            + ("which nobody publishes" if not publishers else f"publishers: {publishers}")
        )
    if active and summary.unstamped:
        troubles.append("the images have no stamp")
    if active and summary.arrival is not None:
        median = summary.arrival[0]
        if median > max_latency:
            troubles.append(f"late: images come {median:.2f} s after their stamp")
        if median < -CLOCK_TOLERANCE:
            troubles.append(
                f"image stamps lie {-median:.2f} s in the future: clocks differ, or use_sim_time "
                "is not what it should be"
            )
    if active and summary.recent_bad:
        troubles.append(f"bad images in the last {WINDOW:.0f} s: {summary.recent_bad}")
    faults = {}
    for source in SOURCES:
        if active and summary.recent_faults[source]:
            troubles.append(f"bad {source}: {summary.last_fault[source]}")
        kinds = summary.faults[source]
        faults |= {
            f"bad {source}": sum(kinds.values()),
            **{f"bad {source}: {kind}": count for kind, count in sorted(kinds.items())},
            f"last bad {source}": summary.last_fault[source],
        }
    values = {
        "topic": topic,
        "publishers": publishers,
        "image": summary.image,
        "input rate (Hz)": f"{summary.input_rate:.2f}",
        "last image (s ago)": "" if summary.silent_for is None else f"{summary.silent_for:.1f}",
        "arrival p50 (ms)": _milliseconds(summary.arrival, 0),
        "arrival p95 (ms)": _milliseconds(summary.arrival, 1),
        "received": summary.received,
        "lost on the way": "unknown" if summary.lost is None else summary.lost,
        "bad": sum(summary.bad.values()),
        **{f"bad: {kind}": count for kind, count in sorted(summary.bad.items())},
        "last bad image": summary.last_bad,
        "positions": summary.positions,
        **faults,
    }
    fine = "images come" if active else "not listening"
    return _status(f"{node}: camera", DiagnosticStatus.WARN, troubles, fine, topic, values)


def detector_status(
    node: str,
    summary: Summary,
    state: str,
    resting: str,
    error: str,
    model: str,
    engine: str,
    device: str,
    track_ids: str,
    max_latency: float,
) -> DiagnosticStatus:
    """How the detection goes: it warns when results are late, images fail, or people cannot be
    tracked. An error is a node that cannot be configured, or on which every image fails.

    Args:
        node: full name of the node.
        state: of the life cycle.
        resting: why an active node works on nothing; empty if it does.
        error: why it could not be configured; empty if it could.
        track_ids: "on", "off", or why there are none.
        max_latency: limit, s.
    """
    troubles = []
    level = DiagnosticStatus.WARN
    if error:
        troubles.append(error)
        level = DiagnosticStatus.ERROR
    if state == "active" and summary.recent_failed:
        troubles.append(f"failures in the last {WINDOW:.0f} s: {summary.recent_failed}")
        if not summary.output_rate:
            level = DiagnosticStatus.ERROR
    if state == "active" and summary.latency is not None and summary.latency[1] > max_latency:
        troubles.append(f"late: {summary.latency[1]:.2f} s from image stamp to publication (p95)")
    if track_ids not in ("on", "off"):
        troubles.append(f"people have no track ids: {track_ids}")
    values = {
        "state": f"{state}, {resting}" if resting else state,
        "model": model,
        "engine": engine,
        "device": device,
        "track ids": track_ids,
        "output rate (Hz)": f"{summary.output_rate:.2f}",
        "latency p50 (ms)": _milliseconds(summary.latency, 0),
        "latency p95 (ms)": _milliseconds(summary.latency, 1),
        **{
            f"{stage} (ms)": f"{1000 * summary.stages[stage]:.1f}"
            if stage in summary.stages
            else ""
            for stage in STAGES
        },
        "answered": summary.answered,
        **{f"skipped: {reason}": summary.skipped.get(reason, 0) for reason in SKIPPED},
        "failed": summary.failed,
        "last failure": summary.last_failure,
    }
    return _status(f"{node}: detector", level, troubles, values["state"], engine, values)


def _milliseconds(percentiles: tuple[float, float] | None, which: int) -> str:
    return "" if percentiles is None else f"{1000 * percentiles[which]:.1f}"


def _status(
    name: str,
    level: bytes,
    troubles: list[str],
    fine: str,
    hardware: str,
    values: Mapping[str, object],
) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=level if troubles else DiagnosticStatus.OK,
        name=name,
        message="; ".join(troubles) or fine,
        hardware_id=hardware,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )


def markdown_table() -> str:
    """Every value and its meaning as a table for the README."""
    lines = ["| status | value | |", "|---|---|---|"]
    for status, keys in (("camera", CAMERA_KEYS), ("detector", DETECTOR_KEYS)):
        lines += [f"| {status} | `{key}` | {meaning} |" for key, meaning in keys.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown_table())
