"""How fast the node is from image message to pose message, over a real ROS graph:

    python -m dope_ros.tools.benchmark_node --model dope_lite experts --seconds 20 --out report/

Starts dope_node as a process of its own, on a ROS domain of its own. For each image size it first
sends one image at a time, which gives the latency without a queue and the time of one frame; then
twice as many images as the node can work on, of which half must be dropped, and the latency must
stay under two frame times, as the node takes the newest image only. What the node itself needs,
beside the detector, comes from the times it reports in its diagnostics.

A latency runs from the moment the image is published to the moment its poses have come in.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dope_model.benchmark.runner import add_model_argument
from dope_model.weights import DEFAULT_MODEL
from dope_ros.tools.demo import Processes, free_domain_id, isolated_environment, node_command

SIZES = {"VGA": (640, 480), "1080p": (1920, 1080)}
LOADING = 600.0
"""s until the first result: a TensorRT engine may have to be built."""
ANSWER = 60.0
"""s until the result of one image."""
SETTLING = 1.0
"""s for what is still under way at the end of a part to come in."""
DETECT = "detect (ms)"
"""The detector's share, among the values of the node's diagnostics."""


class NodeFailedError(RuntimeError):
    """The node ended, or gave no result; the text has its last lines."""


@dataclass(frozen=True)
class Latencies:
    """Of the images that were answered; ms.

    Attributes:
        sent, answered: images.
        rate: results per second.
    """

    sent: int
    answered: int
    rate: float
    p50: float
    p90: float
    p99: float
    longest: float

    @property
    def dropped_share(self) -> float:
        return 1 - self.answered / self.sent if self.sent else 0.0


@dataclass(frozen=True)
class SizeResult:
    """One image size.

    Attributes:
        alone: one image at a time.
        flooded: at `input_rate`, twice what the node can do.
        input_rate: images per second.
        stages: ms, mean of what the node reports of its stages in the part "alone".
        overhead: ms, median latency alone less the detector's time; None without diagnostics.
    """

    name: str
    width: int
    height: int
    alone: Latencies
    flooded: Latencies
    input_rate: float
    stages: dict[str, float]
    overhead: float | None

    @property
    def in_time(self) -> bool:
        """Whether 95 of 100 flooded latencies are under two frame times; by p90 and p99."""
        return self.flooded.p90 < 2 * self.alone.p50


def latencies_of(sent: dict[int, float], received: dict[int, float], seconds: float) -> Latencies:
    """Statistics of images by their stamps.

    Args:
        sent, received: when each went out and its result came in, s of one clock.
        seconds: in which they were sent.
    """
    answered = [stamp for stamp in sent if stamp in received]
    values = np.array([1e3 * (received[stamp] - sent[stamp]) for stamp in answered])
    if not len(values):
        nothing = float("nan")
        return Latencies(len(sent), 0, 0.0, nothing, nothing, nothing, nothing)
    p50, p90, p99 = (float(np.percentile(values, p)) for p in (50, 90, 99))
    rate = len(values) / seconds
    return Latencies(len(sent), len(values), rate, p50, p90, p99, float(values.max()))


class Sender:
    """This process's node: it publishes images and notes when the poses come in."""

    def __init__(self, namespace: str) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import Image

        from dope_msgs.msg import WholeBodyPoseArray

        self.node = rclpy.create_node("benchmark", namespace=namespace)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        as_cameras_do = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._images = self.node.create_publisher(Image, "image", as_cameras_do)
        self.node.create_subscription(WholeBodyPoseArray, "poses", self._on_poses, 100)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.sent: dict[int, float] = {}
        self.received: dict[int, float] = {}
        self.people = 0
        self.stages: dict[str, float] = {}
        self._stamp = 0

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()

    def _on_poses(self, message) -> None:
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self.received[stamp] = time.perf_counter()
        self.people = len(message.people)

    def _on_diagnostics(self, message) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            if DETECT in values:
                self.stages = {
                    key.removesuffix(" (ms)"): float(value)
                    for key, value in values.items()
                    if key.endswith(" (ms)") and " p" not in key and value
                }

    def publish(self, message) -> int:
        """Send an image now; its stamp."""
        now = self.node.get_clock().now().nanoseconds
        self._stamp = max(now, self._stamp + 1)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(self._stamp, 10**9)
        self.sent[self._stamp] = time.perf_counter()
        self._images.publish(message)
        return self._stamp

    def spin_until(self, condition: Callable[[], object], seconds: float) -> bool:
        """Take in what comes until `condition` holds; False if it does not in time."""
        end = time.perf_counter() + seconds
        while not condition():
            left = end - time.perf_counter()
            if left <= 0:
                return False
            self._executor.spin_once(timeout_sec=min(left, 0.02))
        return True

    def forget(self) -> None:
        """Start a new part."""
        self.sent, self.received = {}, {}


def send_alone(sender: Sender, message, seconds: float) -> Latencies:
    """One image at a time: the next one goes out when the poses of the last have come."""
    sender.forget()
    start = time.perf_counter()
    while time.perf_counter() - start < seconds or not sender.received:
        stamp = sender.publish(message)
        # Best effort: one that is lost is not waited for as long as the first one.
        sender.spin_until(lambda stamp=stamp: stamp in sender.received, ANSWER)
        if time.perf_counter() - start > max(2 * seconds, ANSWER):
            break
    return latencies_of(sender.sent, sender.received, time.perf_counter() - start)


def send_at(sender: Sender, message, rate: float, seconds: float) -> Latencies:
    """So many images per second, whether they are answered or not."""
    sender.forget()
    start = time.perf_counter()
    number = 0
    while time.perf_counter() - start < seconds:
        sender.publish(message)
        number += 1
        due = start + number / rate
        sender.spin_until(lambda due=due: time.perf_counter() >= due, 1 / rate)
    spent = time.perf_counter() - start
    last = max(sender.sent)
    sender.spin_until(lambda: last in sender.received, SETTLING + 2 / rate)
    return latencies_of(sender.sent, sender.received, spent)


def measure(
    command: Sequence[str],
    picture: Callable[[int, int], np.ndarray],
    sizes: dict[str, tuple[int, int]],
    seconds: float,
    log_dir: Path,
) -> tuple[list[SizeResult], int]:
    """Start the node and measure it; ROS's environment is set for this process, too.

    Args:
        command: that starts the node, in the namespace /dope.
        picture: width and height to (H, W, 3) uint8 RGB.
        seconds: for each of the two parts of each size.

    Returns:
        The results, and how many people the node found in the last picture.

    Raises:
        NodeFailedError: it ended, or answers nothing.
    """
    environment = isolated_environment(free_domain_id(), log_dir)
    os.environ.update(environment)
    import rclpy
    from std_msgs.msg import Header

    from dope_ros.messages.conversions import rgb_to_image

    rclpy.init()
    sender = Sender("/dope")
    try:
        with Processes(environment, log_dir) as processes:
            processes.start("dope_node", list(command))
            results = []
            for name, (width, height) in sizes.items():
                message = rgb_to_image(picture(width, height), Header(frame_id="camera"))
                _wait_for_node(sender, message, processes)
                alone = send_alone(sender, message, seconds)
                _diagnostics_settle(sender)
                stages = dict(sender.stages)
                if not alone.answered:
                    raise _failed(processes, "gives no results")
                rate = 2e3 / alone.p50
                flooded = send_at(sender, message, rate, seconds)
                detect = stages.get("detect")
                overhead = None if detect is None else alone.p50 - detect
                results.append(
                    SizeResult(name, width, height, alone, flooded, rate, stages, overhead)
                )
            return results, sender.people
    finally:
        sender.close()
        rclpy.try_shutdown()


def _wait_for_node(sender: Sender, message, processes: Processes) -> None:
    """Until the poses of an image of this size have come: the model is loaded, a graph made."""
    sender.forget()
    end = time.perf_counter() + LOADING
    while time.perf_counter() < end:
        sender.publish(message)
        if sender.spin_until(lambda: sender.received, 1.0):
            # What was sent meanwhile is worked on, too.
            sender.spin_until(lambda: False, SETTLING)
            return
        if processes.exit_code("dope_node") is not None:
            raise _failed(processes, f"ended with exit code {processes.exit_code('dope_node')}")
    raise _failed(processes, f"gave no result within {LOADING:.0f} s")


def _diagnostics_settle(sender: Sender) -> None:
    """Until the diagnostics that follow the last image have come; they do so every second."""
    before, sender.stages = sender.stages, {}
    if not sender.spin_until(lambda: sender.stages, 2.5):
        sender.stages = before


def _failed(processes: Processes, what: str) -> NodeFailedError:
    return NodeFailedError(
        f"dope_node {what}. Its last lines:\n{processes.last_lines('dope_node')}"
    )


def text(results: Sequence[SizeResult], model: str, people: int) -> str:
    """The results in Markdown."""
    lines = [
        f"# Node: {model}, {people} people in the picture",
        "",
        "| images | part | in Hz | out Hz | p50 ms | p90 ms | p99 ms | longest ms | dropped |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for part, latencies, rate in (
            ("one at a time", result.alone, result.alone.rate),
            ("twice the rate", result.flooded, result.input_rate),
        ):
            lines.append(
                f"| {result.name} | {part} | {rate:.1f} | {latencies.rate:.1f} | "
                f"{latencies.p50:.1f} | {latencies.p90:.1f} | {latencies.p99:.1f} | "
                f"{latencies.longest:.1f} | {100 * latencies.dropped_share:.0f} % |"
            )
    lines.append("")
    for result in results:
        kept = "under" if result.in_time else "NOT under"
        lines.append(
            f"- {result.name}: at twice the rate 9 of 10 latencies are {kept} two frame times "
            f"({result.flooded.p90:.1f} of {2 * result.alone.p50:.1f} ms)."
        )
        if result.overhead is not None:
            stages = ", ".join(f"{stage} {value:.1f} ms" for stage, value in result.stages.items())
            lines.append(
                f"- {result.name}: beside the detector {result.overhead:.1f} ms, "
                f"{100 * result.overhead / result.alone.p50:.1f} % of the latency; the node's "
                f"stages: {stages}."
            )
    return "\n".join(lines)


def sample_picture(width: int, height: int) -> np.ndarray:
    """Two rendered people."""
    from dope_model.sample import sample_picture as sample

    return sample(height, width)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dope_ros.tools.benchmark_node", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_model_argument(parser)
    parser.add_argument("--device", default="auto", help="parameter of dope_node (%(default)s)")
    parser.add_argument("--mode", default="realtime", help="likewise")
    parser.add_argument("--engine", default="auto", help="likewise")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--seconds", type=float, default=20.0, help="for each part (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    options = parser.parse_args(arguments)
    log_dir = options.out / "log"
    log_dir.mkdir(parents=True, exist_ok=True)
    sizes = {name: SIZES[name] for name in options.sizes}
    reports, content = [], []
    for model in dict.fromkeys(options.model or [DEFAULT_MODEL]):
        wanted = {"model": model, **{n: getattr(options, n) for n in ("device", "mode", "engine")}}
        command = node_command("dope_node", {**wanted, "exit_if_start_fails": True})
        try:
            results, people = measure(command, sample_picture, sizes, options.seconds, log_dir)
        except NodeFailedError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        reports.append(text(results, model, people))
        content.append({"model": wanted, "sizes": [asdict(r) for r in results]})
        print(reports[-1])
    (options.out / "node.md").write_text("\n\n".join(reports) + "\n")
    (options.out / "node.json").write_text(json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
