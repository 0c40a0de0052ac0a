"""The node for a long time: nothing grows, and no image gets lost without being counted."""

import itertools
import os
from array import array
from pathlib import Path

import numpy as np
import pytest
from camera_help import grey, header_at, image_at
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from visualization_msgs.msg import MarkerArray

from dope_msgs.msg import WholeBodyPoseArray
from dope_ros.node.statistics import SKIPPED

IMAGES = 20_000
WARM_UP = 2_000
SIZES = [(64, 48), *((64 + 2 * n, 48 + 2 * (7 * n % 50)) for n in range(1, 50))]
BYTES_PER_PIXEL = {
    "rgb8": 3, "bgr8": 3, "mono8": 1, "rgba8": 4, "bgra8": 4, "mono16": 2, "rgb16": 6,
    "bayer_rggb8": 1, "yuv422": 2, "nv12": 1, "8UC3": 3,
}  # fmt: skip
PAUSE = 0.002
"""s between two images, for the node to work on a part of them."""


def images() -> list[Image]:
    """One image of each size, of all encodings."""
    made = []
    random = np.random.default_rng(0)
    for (width, height), encoding in zip(SIZES, itertools.cycle(BYTES_PER_PIXEL), strict=False):
        step = width * BYTES_PER_PIXEL[encoding]
        rows = height * 3 // 2 if encoding == "nv12" else height
        message = Image(width=width, height=height, encoding=encoding, step=step)
        message.data = array("B", random.integers(1, 256, rows * step, np.uint8).tobytes())
        made.append(message)
    return made


def malformed(message: Image, number: int) -> Image:
    """The image with one of several faults."""
    fields = {name: getattr(message, name) for name in message.get_fields_and_field_types()}
    faults = (
        {"step": 0},
        {"encoding": "rgb9"},
        {"width": 0},
        {"data": message.data[:-1]},
        {"data": message.data + array("B", [0])},
        {"height": 2**32 - 1},
        {"width": 8, "height": 8, "step": 24, "encoding": "rgb8", "data": array("B", bytes(192))},
    )
    return Image(**(fields | faults[number % len(faults)]))


class Held:
    """What a process holds."""

    def __init__(self, pid: int):
        self._folder = Path("/proc", str(pid))

    def memory(self) -> int:
        """Resident, bytes."""
        pages = int((self._folder / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def handles(self) -> tuple[int, int]:
        """Open files, and threads."""
        return len(os.listdir(self._folder / "fd")), len(os.listdir(self._folder / "task"))


@pytest.mark.long
def test_twenty_thousand_images(graph, start):
    namespace = graph.node.get_namespace()
    process = start(
        "light_node",
        *("-r", f"__ns:={namespace}", "-p", "silent_after:=60.0", "-p", "use_depth:=true"),
    )
    held = Held(process.process.pid)
    camera = graph.node.create_publisher(
        Image, "image", QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
    )
    # The first size's, beside every tenth image; most of the others are too far away in time.
    info = CameraInfo(width=64, height=48, k=[60.0, 0.0, 31.5, 0.0, 60.0, 23.5, 0.0, 0.0, 1.0])
    depth = Image(height=48, width=64, encoding="16UC1", step=128)
    depth.data = array("B", bytes([0, 16]) * 64 * 48)
    beside = [
        (graph.node.create_publisher(type(message), topic, 10), message)
        for topic, message in (("camera_info", info), ("depth", depth))
    ]
    heard = dict.fromkeys(("poses", "markers", "image_annotated"), 0)
    counts: dict[str, str] = {}

    def listen(kind: type, topic: str) -> None:
        def hear(_) -> None:
            heard[topic] += 1

        graph.node.create_subscription(kind, topic, hear, 10)

    def hear_diagnostics(message: DiagnosticArray) -> None:
        counts.update({p.key: p.value for status in message.status for p in status.values})

    listen(WholeBodyPoseArray, "poses")
    listen(MarkerArray, "markers")
    listen(Image, "image_annotated")
    graph.node.create_subscription(DiagnosticArray, "/diagnostics", hear_diagnostics, 10)
    assert graph.spin_until(lambda: camera.get_subscription_count()), process.output()
    # Nobody knows of what was published before the first one that came.
    first = image_at(grey(9), 1)
    came = graph.publish_until(camera, first, lambda: counts.get("received", "0") != "0")
    assert came, process.output()
    graph.spin_for(1.5)
    before = int(counts["received"])

    good, black = images(), image_at(grey(0), 1)
    bad = [malformed(good[number % len(good)], number) for number in range(35)]
    memory = []
    for number in range(1, IMAGES + 1):
        message = good[number % len(good)]
        if number % 20 == 10:
            message = bad[number // 20 % len(bad)]
        elif number % 100 == 99:
            message = black
        message.header = header_at(1 + number / 30)
        if number % 10 == 0:
            for publisher, one in beside:
                one.header = message.header
                publisher.publish(one)
        camera.publish(message)
        graph.spin_for(PAUSE)
        if number == WARM_UP:
            handles = held.handles()
        if number >= WARM_UP and number % 500 == 0:
            memory.append(held.memory())

    # The last ones one by one: what is lost at the very end leaves no gap by which to tell.
    published = before + IMAGES
    for _ in range(3):
        camera.publish(image_at(grey(9), 1 + IMAGES / 30))
        published += 1
        graph.spin_for(1.0)
    counts.clear()
    assert graph.spin_until(lambda: counts)

    skipped = sum(int(counts[f"skipped: {reason}"]) for reason in SKIPPED)
    became = {name: int(counts[name]) for name in ("answered", "bad", "failed")}
    # For `pytest -s`.
    print(f"\n{published} images: {became}, skipped {skipped}, lost {counts['lost on the way']}")
    print(f"memory {memory[0]} to {max(memory)} bytes, files and threads {handles}")
    assert int(counts["received"]) == sum(became.values()) + skipped
    if counts["lost on the way"] != "unknown":
        assert int(counts["received"]) + int(counts["lost on the way"]) == published
    assert all(became.values())
    assert counts["positions"].startswith("camera_info")
    assert heard["poses"] <= became["answered"]
    assert min(heard.values()) > WARM_UP
    assert max(memory) < 1.05 * memory[0]
    assert held.handles() == handles
    assert process.stop() == 0, process.output()
