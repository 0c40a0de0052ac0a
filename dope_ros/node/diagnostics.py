"""The node's messages on /diagnostics.

    python -m dope_ros.node.diagnostics      prints the values as the table of docs/

`camera_status` and `detector_status` turn the summary of `statistics` into diagnostics messages.
"""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from dope_ros.node.statistics import SKIPPED, SOURCES, STAGES, WINDOW, Summary

CLOCK_TOLERANCE = 0.1
"""An image whose stamp is farther than this in the future, s, means that the clocks differ."""

CAMERA_KEYS = {
    "topic": "where the images come from",
    "publishers": "number of publishers of that topic",
    "image": "size and encoding of the newest processed image",
    "input rate (Hz)": "images received per second",
    "last image (s ago)": "time since the newest image",
    "arrival p50 (ms)": "image stamp to arrival at the node, median",
    "arrival p95 (ms)": "the same, 95th percentile",
    "received": "images received, in total",
    "lost on the way": "images that were published but not received, or were replaced by newer "
    "ones before the node took them, in total; `unknown` if the middleware does not number them",
    "bad": "images that could not be read, in total",
    "bad: REASON": "the same by reason, for reasons that occurred",
    "last bad image": "what was wrong with it",
    "positions": "what the positions of the newest image were computed from: `camera_info`, "
    "`camera_info and depth`, or `none`; empty while no output needs them",
    **{
        key: meaning
        for source, missing in SOURCES.items()
        for key, meaning in (
            (f"bad {source}", f"images answered without {missing} because of it, in total"),
            (f"bad {source}: REASON", "the same by reason, for reasons that occurred"),
            (f"last bad {source}", "what was wrong with it"),
        )
    },
}
DETECTOR_KEYS = {
    "state": "state of the life cycle, what is being prepared, and why an active node rests",
    "model": "the parameter",
    "engine": "the loaded model and what it runs on",
    "device": "the parameter",
    "track ids": "`on`, `off`, or why there are none",
    "output rate (Hz)": "images answered per second",
    "latency p50 (ms)": "image stamp to publication, median",
    "latency p95 (ms)": "the same, 95th percentile",
    **{f"{stage} (ms)": f"mean time of this stage: {stage}" for stage in STAGES},
    "answered": "images whose results were published, in total",
    **{f"skipped: {reason}": "images skipped for this reason, in total" for reason in SKIPPED},
    "failed": "images on which the model failed, in total",
    "last failure": "its error",
}
"""Every value of the two statuses and its meaning."""


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
    """The status of the images and the inputs beside them: a warning if they are missing, late,
    bad or without a stamp.

    Args:
        node: full name of the node.
        active: whether the node listens.
        silent_after, max_latency: limits, s.
        has_clock: whether the node knows the time; false before the first simulated time.
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
                "is wrong"
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
    preparing: str = "",
    same_name: bool = False,
) -> DiagnosticStatus:
    """The status of the detection: a warning if results are late, images fail, or people cannot be
    tracked; an error if the node cannot be configured or every image fails.

    Args:
        node: full name of the node.
        state: of the life cycle.
        resting: why an active node processes nothing; empty if it does.
        error: why the node could not be configured; empty if it could.
        track_ids: "on", "off", or why there are none.
        max_latency: limit, s.
        preparing: what is being loaded or built; empty if nothing.
        same_name: whether another node has the same name and namespace.
    """
    troubles = []
    level = DiagnosticStatus.WARN
    if same_name:
        troubles.append("another node has this name: every result is published twice")
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
        "state": ", ".join(filter(None, (state, preparing and f"preparing {preparing}", resting))),
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
