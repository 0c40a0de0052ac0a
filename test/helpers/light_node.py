"""dope_node around a detector that costs little, for what is not about the model.

python light_node.py [SECONDS_PER_IMAGE [SECONDS_TO_LOAD]] --ros-args ...
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
from rclpy.executors import SingleThreadedExecutor

from dope_model.poses import PartPose, WholeBody
from dope_model.weights import DEFAULT_MODEL
from dope_ros.node import dope_node


class LightDetector:
    """Finds one person with all parts in every image, and fails on an all-black one.

    Attributes:
        seen: the red of the top-left pixel of each image.
        gate: closed (`clear`), it holds the detector back.
    """

    description = "light detector"

    def __init__(self, seconds: float = 0.0, load_seconds: int = 0) -> None:
        self.seen: list[int] = []
        self.loaded = 0
        self.gate = threading.Event()
        self.gate.set()
        self._seconds, self._load_seconds = seconds, load_seconds
        rng = np.random.default_rng(0)
        joints = {"body": 13, "right_hand": 21, "left_hand": 21, "face": 84}
        scores = {"body": 0.9, "right_hand": 0.6, "left_hand": 0.4, "face": 0.8}
        parts = {}
        for slot, count in joints.items():
            points = rng.normal(0, 0.3, (count, 3)).astype(np.float32)
            pixels = (points[:, :2] / (points[:, 2:] + 4) * 50 + 30).astype(np.float32)
            parts[slot] = PartPose(scores[slot], pixels, points, np.ones(count, bool))
        self._people = [WholeBody(**parts)]

    def load(self, model: str, **_: str) -> LightDetector:
        """In the place of `WholeBodyDetector.load`; knows no weights file."""
        if model != DEFAULT_MODEL:
            raise FileNotFoundError(f"no weights file at {model}")
        in_a_library(self._load_seconds)
        self.loaded += 1
        return self

    def close(self) -> None:
        """As `WholeBodyDetector.close`."""

    def __call__(self, rgb: np.ndarray) -> list[WholeBody]:
        self.seen = [*self.seen[-100:], int(rgb[0, 0, 0])]
        self.gate.wait(30)
        if self._seconds < 1:
            time.sleep(self._seconds)
        else:
            print("at work", flush=True)
            in_a_library(int(self._seconds))
        if not rgb.any():
            raise RuntimeError("an all-black image")
        return self._people


def in_a_library(seconds: int) -> None:
    """Be somewhere where Python handles no signals, as while a graph is compiled."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        ctypes.CDLL(None).usleep(int(left * 1e6))


@contextlib.contextmanager
def spinning(*nodes) -> Iterator[None]:
    """`nodes` in one executor in a thread of this process; destroyed at the end."""
    executor = SingleThreadedExecutor()
    for node in nodes:
        executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join(20)
        for node in nodes:
            node.destroy_node()


if __name__ == "__main__":
    given = [float(word) for word in sys.argv[1 : sys.argv.index("--ros-args")]]
    dope_node.WholeBodyDetector.load = LightDetector(*given).load
    dope_node.main()
