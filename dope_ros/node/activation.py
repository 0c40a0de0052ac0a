"""Processing of images from `activate` to `deactivate`, in two threads beside the executor's."""

from __future__ import annotations

import threading
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dope_model.detector import WholeBodyDetector
from dope_model.poses import WholeBody
from dope_ros.messages.camera_info import nanoseconds
from dope_ros.messages.conversions import BadImageError
from dope_ros.node.latest_worker import LatestWorker
from dope_ros.pipeline import Pipeline, StageTimes

if TYPE_CHECKING:
    from dope_ros.node.dope_node import DopeNode

LOG_INTERVAL = 5.0
"""s between two log lines about the same kind of problem."""
WORTH_DECODING_AHEAD = 0.05
"""If decoding takes more than this share of the detector's time, the next image is decoded in
parallel. Otherwise that would waste work on images that a newer one replaces."""

Frame = Image | CompressedImage


class _Incoming:
    """An image on its way to the detector.

    Attributes:
        message: as received.
        times: of its stages so far.
    """

    def __init__(self, message: Frame) -> None:
        self.message = message
        self.times = StageTimes()
        self._rgb: np.ndarray | None = None

    def decoded(self, pipeline: Pipeline) -> np.ndarray:
        """The image (H, W, 3) uint8 RGB, decoded once.

        Raises:
            BadImageError: it cannot be decoded.
        """
        if self._rgb is None:
            with self.times("decode"):
                self._rgb = pipeline.read(self.message)
        return self._rgb


class Activation:
    """The pipeline and its two threads: one decodes the next image, one processes the newest.

    Deactivation does not wait for the current image: the node has another activation then, or none,
    and the image's results are dropped.

    Args:
        detecting: held while the detector works; an image of an earlier activation may still be in
            it.

    Attributes:
        preparing: what the detector is building; empty if nothing.
    """

    def __init__(self, node: DopeNode, pipeline: Pipeline, detecting: threading.Lock) -> None:
        self.pipeline = pipeline
        self.preparing = ""
        self.decoding_share = 0.0  # of the newest image, relative to its detection
        self._node, self._detecting = node, detecting
        self._sizes: set[tuple[int, int]] = set()
        name = node.get_name()
        self._detector = LatestWorker(self._work, f"{name} detector")
        self._decoder = LatestWorker(self._take, f"{name} decoder")

    def offer(self, message: Frame) -> bool:
        """Submit an image; True if one is dropped for it."""
        return self._decoder.offer(message)

    def stop(self) -> int:
        """Accept no more images; returns how many waiting ones are dropped."""
        return self._decoder.stop() + self._detector.stop()

    def _take(self, message: Frame) -> None:
        """Pass an image to the detector, decoded in parallel if that pays. In the decoder's
        thread."""
        incoming = _Incoming(message)
        if self.decoding_share > WORTH_DECODING_AHEAD:
            # The detector's thread will meet the same error and report it.
            with suppress(Exception):
                incoming.decoded(self.pipeline)
        if self._detector.offer(incoming):
            self._node.statistics.skipped("newer image")

    def _work(self, incoming: _Incoming) -> None:
        """Process one image, in the detector's thread."""
        node, pipeline = self._node, self.pipeline
        message, times = incoming.message, incoming.times
        try:
            rgb = incoming.decoded(pipeline)
            stamp = self._tracked_at(message.header)
            place = node.outputs.needs_positions()
            found = pipeline.find(rgb, message, stamp, times, place, detect=self._detect)
            self.decoding_share = times.times["decode"] / max(times.times["detect"], 1e-6)
            with node.outputs.lock:
                # Checked again: meanwhile the displays may have been cleared.
                if node.activation is not self or not node.settings.enabled:
                    ended = node.activation is not self
                    node.statistics.skipped("deactivated" if ended else "disabled")
                    return
                latency = node.outputs.publish(pipeline, rgb, found, stamp, times)
            compressed = isinstance(message, CompressedImage)
            encoding = message.format if compressed else message.encoding
            node.statistics.answered(
                time.monotonic(),
                latency,
                times.times,
                f"{found.width} x {found.height} {encoding}",
                found.positions,
            )
        except BadImageError as error:
            node.statistics.bad(time.monotonic(), error.kind, str(error))
            node.get_logger().warning(
                f"skipped a bad image: {error}", throttle_duration_sec=LOG_INTERVAL
            )
        except Exception as error:  # one image on which the model fails must not end the node
            if node.activation is not self or not node.context.ok():
                node.statistics.skipped("deactivated")
                return
            node.statistics.failed(time.monotonic(), f"{type(error).__name__}: {error}")
            node.get_logger().error(
                "skipped an image on which the detector failed:\n" + traceback.format_exc(),
                throttle_duration_sec=LOG_INTERVAL,
            )

    def _detect(self, detector: WholeBodyDetector, rgb: np.ndarray) -> list[WholeBody]:
        """The people in an image."""
        size = rgb.shape[1::-1]
        if size not in self._sizes:
            self.preparing = f"for images of {size[0]} x {size[1]} px"
        try:
            with self._detecting:
                people = detector(rgb)
        finally:
            self.preparing = ""
        self._sizes.add(size)
        return people

    def _tracked_at(self, header: Header) -> float:
        """The time of an image for tracking, s."""
        return (nanoseconds(header.stamp) or self._node.get_clock().now().nanoseconds) / 1e9
