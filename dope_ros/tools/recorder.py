"""recorder: writes `poses` and `image_annotated` to a folder for some seconds, and sums them up.

    poses.jsonl          one line per message: stamp, image size, people with all keypoints
    annotated_0001.png   every picture_interval seconds
    people.png           the last of these beside its people in 3D
    summary.json         what was found, at what rate and latency; the stamps of the pictures

Exit code 0 if people were found, 1 if not.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import Image
from tqdm import tqdm

from dope_model.drawing import draw_people_3d
from dope_model.pictures import write_picture
from dope_model.poses import PART_SLOTS
from dope_msgs.msg import WholeBodyPoseArray
from dope_ros.messages.conversions import image_to_rgb, message_to_people
from dope_ros.node import parameters
from dope_ros.node.qos import RESULTS
from dope_ros.settings import ParameterError, Setting

RECORDER = (
    Setting("out", "out", "Folder for the annotated pictures and poses.jsonl."),
    Setting(
        "seconds",
        15.0,
        "How long to record, counted from the first poses.",
        minimum=0.1,
        maximum=86400.0,
        unit="s",
    ),
    Setting(
        "patience",
        120.0,
        "How long to wait for the first poses.",
        minimum=1.0,
        maximum=3600.0,
        unit="s",
    ),
    Setting(
        "picture_interval",
        1.0,
        "Time between two annotated pictures that are kept.",
        minimum=0.0,
        maximum=3600.0,
        unit="s",
    ),
)


def message_to_dict(message: WholeBodyPoseArray) -> dict:
    """A message as plain lists and numbers; px and m. Parts that were not found are left out."""
    stamp = message.header.stamp
    return {
        "stamp": {"sec": stamp.sec, "nanosec": stamp.nanosec},
        "frame_id": message.header.frame_id,
        "image_width": message.image_width,
        "image_height": message.image_height,
        "people": [person.to_dict() for person in message_to_people(message)],
    }


class Statistics:
    """What was found in the messages so far, at what rate and latency."""

    def __init__(self) -> None:
        self.messages = 0
        self.people = 0
        self.scores: dict[str, list[float]] = {slot: [] for slot in PART_SLOTS}
        self.latencies: list[float] = []
        self._times: list[float] = []

    def add(self, people: Iterable[dict], received: float, latency: float | None) -> None:
        """Count one message.

        Args:
            people: as in `message_to_dict`.
            received: when it came, s of any steady clock.
            latency: from the image's stamp to the publication, s; None where it is not known.
        """
        self.messages += 1
        self._times.append(received)
        if latency is not None:
            self.latencies.append(latency)
        for person in people:
            self.people += 1
            for slot in PART_SLOTS:
                if slot in person:
                    self.scores[slot].append(person[slot]["score"])

    @property
    def rate(self) -> float | None:
        """Messages per second; None for fewer than two."""
        if len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return None
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])

    def to_dict(self) -> dict:
        """The summary; times in seconds."""
        p50, p95 = np.percentile(self.latencies, (50, 95)) if self.latencies else (None, None)
        return {
            "messages": self.messages,
            "people_per_message": self.people / self.messages if self.messages else 0.0,
            "rate_hz": self.rate,
            "latency_p50": None if p50 is None else float(p50),
            "latency_p95": None if p95 is None else float(p95),
            "parts": {
                slot: {
                    "found": len(scores),
                    "mean_score": float(np.mean(scores)) if scores else None,
                }
                for slot, scores in self.scores.items()
            },
        }

    def table(self) -> str:
        """The summary for people to read."""
        summary = self.to_dict()
        lines = [
            f"{self.messages} images, {summary['people_per_message']:.2f} people per image",
            f"{'':12}{'found':>8}{'per image':>12}{'mean score':>12}",
        ]
        for slot, part in summary["parts"].items():
            score = f"{part['mean_score']:12.2f}" if part["found"] else f"{'-':>12}"
            per_image = part["found"] / max(self.messages, 1)
            name = slot.replace("_", " ")
            lines.append(f"{name:12}{part['found']:8d}{per_image:12.2f}{score}")
        if self.rate is not None:
            lines.append(f"rate        {self.rate:.1f} messages per second")
        if self.latencies:
            lines.append(
                f"latency     {1000 * summary['latency_p50']:.0f} ms (p50), "
                f"{1000 * summary['latency_p95']:.0f} ms (p95), image stamp to publication"
            )
        return "\n".join(lines)


class Recorder(Node):
    """Writes what it hears to the folder `out`. Earlier recordings there are replaced.

    Raises:
        ParameterError: a parameter is wrong; the text names it.
    """

    def __init__(self) -> None:
        super().__init__("recorder", automatically_declare_parameters_from_overrides=True)
        self.settings = parameters.declare(self, RECORDER)
        self.statistics = Statistics()
        self.pictures: dict[str, dict] = {}
        self.first_poses: float | None = None

        self._out = Path(self.settings.out)
        self._out.mkdir(parents=True, exist_ok=True)
        old_files = (self._out / "summary.json", self._out / "people.png")
        for old in [*self._out.glob("annotated_[0-9]*.png"), *old_files]:
            old.unlink(missing_ok=True)
        self._lines = (self._out / "poses.jsonl").open("w")
        self._next_picture = -math.inf
        self._recent: deque[WholeBodyPoseArray] = deque(maxlen=50)
        self._shown: tuple[Time, np.ndarray] | None = None
        self.create_subscription(WholeBodyPoseArray, "poses", self._on_poses, RESULTS)
        self.create_subscription(Image, "image_annotated", self._on_picture, RESULTS)

    def _on_poses(self, message: WholeBodyPoseArray, info: dict) -> None:
        now = time.monotonic()
        if self.first_poses is None:
            self.first_poses = now
        self._recent.append(message)
        line = message_to_dict(message)
        self._lines.write(json.dumps(line) + "\n")
        # When the node published the message, ns since the epoch; not every middleware tells.
        published = info["source_timestamp"]
        stamp = message.header.stamp
        latency = (published - (stamp.sec * 10**9 + stamp.nanosec)) / 1e9 if published else None
        self.statistics.add(line["people"], now, latency)

    def _on_picture(self, message: Image) -> None:
        now = time.monotonic()
        if now < self._next_picture:
            return
        self._next_picture = now + self.settings.picture_interval
        name = f"annotated_{len(self.pictures) + 1:04d}.png"
        rgb, stamp = image_to_rgb(message), message.header.stamp
        write_picture(self._out / name, rgb)
        self._shown = stamp, rgb
        self.pictures[name] = {"sec": stamp.sec, "nanosec": stamp.nanosec}

    def finish(self) -> None:
        """Write the summary and close the files."""
        self._lines.close()
        summary = self.statistics.to_dict() | {"pictures": self.pictures}
        (self._out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        if self._shown is not None:
            self._write_in_3d(*self._shown)

    def _write_in_3d(self, stamp: Time, rgb: np.ndarray) -> None:
        for message in self._recent:
            if message.header.stamp == stamp:
                size = rgb.shape[1::-1]
                solid = draw_people_3d(message_to_people(message), size, size)
                write_picture(self._out / "people.png", np.hstack([rgb, solid]))


def _record(recorder: Recorder) -> None:
    """Spin until the time is over or nothing came for too long."""
    settings = recorder.settings
    started = time.monotonic()
    with tqdm(
        total=settings.seconds,
        desc="waiting for poses",
        bar_format="{desc:18} {bar:30} {n:.0f}/{total:.0f} s{postfix}",
        file=sys.stdout,
        mininterval=0.5,
    ) as bar:
        while rclpy.ok():
            rclpy.spin_once(recorder, timeout_sec=0.2)
            now = time.monotonic()
            if recorder.first_poses is None:
                bar.set_postfix_str(f"waited {now - started:.0f} s", refresh=False)
                bar.update(0)
                if now - started > settings.patience:
                    break
                continue
            elapsed = min(now - recorder.first_poses, settings.seconds)
            bar.set_description_str("recording", refresh=False)
            bar.set_postfix_str(f"{recorder.statistics.messages} messages", refresh=False)
            bar.update(elapsed - bar.n)
            if elapsed >= settings.seconds:
                break


def main() -> None:
    """Record, print the table, and exit with 0 if people were found."""
    rclpy.init()
    try:
        recorder = Recorder()
    except (ParameterError, OSError) as error:
        rclpy.logging.get_logger("recorder").fatal(f"cannot start: {error}")
        sys.exit(1)
    interrupted = False
    try:
        _record(recorder)
    except (KeyboardInterrupt, ExternalShutdownException):
        interrupted = True
    recorder.finish()
    rclpy.try_shutdown()

    statistics = recorder.statistics
    if not statistics.messages:
        reason = "stopped before" if interrupted else f"{recorder.settings.patience:.0f} s without"
        print(f"{reason} any message on poses")
        sys.exit(1)
    print(statistics.table())
    if not statistics.people:
        print("no people were found in any image")
        sys.exit(1)


if __name__ == "__main__":
    main()
