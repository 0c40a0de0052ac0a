"""dope_node around a detector that costs little, for what is not about the model.

python light_node.py [SECONDS_PER_IMAGE] --ros-args ...
"""

from __future__ import annotations

import contextlib
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
    prefetch = None

    def __init__(self, seconds: float = 0.0) -> None:
        self.seen: list[int] = []
        self.loaded = 0
        self.gate = threading.Event()
        self.gate.set()
        self._seconds = seconds
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
        self.loaded += 1
        return self

    def __call__(self, rgb: np.ndarray) -> list[WholeBody]:
        self.seen = [*self.seen[-100:], int(rgb[0, 0, 0])]
        self.gate.wait(30)
        time.sleep(self._seconds)
        if not rgb.any():
            raise RuntimeError("an all-black image")
        return self._people


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
    given = sys.argv[1:2]
    seconds = float(given[0]) if given and given[0] != "--ros-args" else 0.0
    dope_node.WholeBodyDetector.load = LightDetector(seconds).load
    dope_node.main()
