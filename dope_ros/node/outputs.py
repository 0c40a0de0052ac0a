"""The node's publishers; each publishes only while it has subscribers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Lock

import numpy as np
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from dope_msgs.msg import WholeBodyPoseArray
from dope_ros.messages.conversions import people_to_message, rgb_to_image
from dope_ros.messages.errors import BadMessageError
from dope_ros.messages.rep155 import HumansPublisher
from dope_ros.messages.transforms import MissingFrameIdError, person_transforms, tf_message_class
from dope_ros.node.qos import RESULTS, TRANSFORMS, overridable
from dope_ros.pipeline import UNKNOWN, Found, Pipeline, StageTimes

# Subscribers acknowledge within 10 ms; one that hangs must not block the node.
_LONGEST_WAIT = Duration(seconds=0.15)


class Outputs:
    """The node's publishers: poses, markers, image_annotated, and on request TF and REP-155.

    Args:
        node: makes the publishers.
        age: the age of a header's stamp, s; None if unknown.
        tell_fault: see `Pipeline`.

    Attributes:
        lock: held while publishing: the message that clears the displays must follow the results.
    """

    def __init__(
        self,
        node: LifecycleNode,
        age: Callable[[Header], float | None],
        tell_fault: Callable[[str, str, BadMessageError], None],
    ) -> None:
        self._node, self._age, self._tell_fault = node, age, tell_fault
        self.lock = Lock()
        create = node.create_lifecycle_publisher
        self._poses = create(WholeBodyPoseArray, "poses", **overridable(RESULTS))
        self._markers = create(MarkerArray, "markers", **overridable(RESULTS))
        self._annotated = create(Image, "image_annotated", **overridable(RESULTS))
        self._transforms: Publisher | None = None
        self._humans: HumansPublisher | None = None

    def create_transforms(self) -> None:
        """Create the publisher of TF frames.

        Raises:
            MissingTfError: tf2_msgs is missing.
        """
        self._transforms = self._node.create_publisher(tf_message_class(), "/tf", TRANSFORMS)

    def destroy_transforms(self) -> None:
        """Undo `create_transforms`."""
        transforms, self._transforms = self._transforms, None
        if transforms is not None:
            self._node.destroy_publisher(transforms)

    def open_humans(self, id_prefix: str) -> None:
        """Publish REP-155's topics from now on."""
        self._humans = HumansPublisher(self._node, id_prefix)

    def close_humans(self) -> None:
        """Remove REP-155's topics."""
        humans, self._humans = self._humans, None
        if humans is not None and self._node.context.ok():
            humans.close()

    def heard(self) -> bool:
        """Whether any output has a subscriber."""
        outputs = (self._poses, self._markers, self._annotated, self._transforms, self._humans)
        return any(map(_heard, outputs))

    def needs_positions(self) -> bool:
        """Whether an output with positions has a subscriber."""
        return any(map(_heard, (self._poses, self._markers, self._transforms)))

    def publish(
        self, pipeline: Pipeline, rgb: np.ndarray, found: Found, stamp: float, times: StageTimes
    ) -> float | None:
        """Publish each output that has subscribers; returns the latency of the first one, s.

        Args:
            stamp: as the tracker was given it, s.
        """
        header, latencies = found.header, []
        if _heard(self._poses):
            with times("message"):
                self._poses.publish(pipeline.poses(found))
            latencies.append(self._age(header))
        if _heard(self._markers):
            with times("markers"):
                self._markers.publish(pipeline.markers(found))
            latencies.append(self._age(header))
        else:
            pipeline.forget_markers()
        if _heard(self._annotated):
            with times("annotate"):
                self._annotated.publish(rgb_to_image(pipeline.annotated(rgb, found), header))
            latencies.append(self._age(header))
        if found.positions not in ("", UNKNOWN) and _heard(self._transforms):
            with times("transforms"):
                self._publish_transforms(found)
            latencies.append(self._age(header))
        if _heard(self._humans):
            with times("rep155"):
                self._humans.publish(found.people, header, found.width, found.height, stamp)
            latencies.append(self._age(header))
        return latencies[0] if latencies else None

    def _publish_transforms(self, found: Found) -> None:
        prefix = self._node.settings.id_prefix
        try:
            transforms = person_transforms(found.people, found.header, prefix)
        except MissingFrameIdError as error:
            self._tell_fault("frame_id", "there are no TF frames", error)
            return
        self._transforms.publish(self._transforms.msg_type(transforms=transforms))

    def publish_nobody(self, header: Header) -> None:
        """Publish empty results, which clear the displays."""
        self._poses.publish(people_to_message([], header, 0, 0))
        clear = Marker(header=header, action=Marker.DELETEALL)
        self._markers.publish(MarkerArray(markers=[clear]))
        if self._humans is not None:
            self._humans.clear(header)

    def wait_until_taken(self) -> None:
        """Wait a moment until the subscribers have received everything: messages in flight are lost
        with their publisher.
        """
        for publisher in (self._poses, self._markers):
            with suppress(RuntimeError):  # a middleware that knows no acknowledgement
                publisher.wait_for_all_acked(_LONGEST_WAIT)


def _heard(output: Publisher | HumansPublisher | None) -> bool:
    return output is not None and output.get_subscription_count() > 0
