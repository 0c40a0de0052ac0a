"""People on the topics of REP-155 (ROS for human-robot interaction), for nodes that use libhri.

/humans/bodies/tracked             hri_msgs/IdsList        who is seen
/humans/bodies/<id>/skeleton2d     hri_msgs/Skeleton2D     18 keypoints
/humans/bodies/<id>/roi            hri_msgs/NormalizedRegionOfInterest2D

REP-155 knows one list of tracked bodies, and libhri takes each message for all of it. Several nodes
therefore tell each other their own lists, on /humans/bodies/tracked_by_node (the frame_id is the
node's name), and each publishes them together.

Where hri_msgs is older than NormalizedRegionOfInterest2D (0.8), `roi` is a
sensor_msgs/RegionOfInterest in pixels. The TF frames body_<id> come from `transforms`.
hri_msgs is imported only when `HumansPublisher` is made.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.duration import Duration
from std_msgs.msg import Header

from dope_model.poses import PartPose, WholeBody, boxes_around
from dope_model.skeleton import FACE84
from dope_model.tracking.tracker import MEMORY
from dope_ros.messages.transforms import body_id

if TYPE_CHECKING:
    from rclpy.node import Node

NAMESPACE = "/humans/bodies"
OWN_LISTS = f"{NAMESPACE}/tracked_by_node"

_OTHERS_MEMORY = 5.0
"""s after which the list of a node that says nothing more is forgotten: some models are slow."""

# libhri subscribes with the system's default QoS; with a depth of 1 nothing queues.
_DEPTH = 1
# Subscribers acknowledge within 10 ms; one that hangs must not block the node.
_LONGEST_WAIT = Duration(seconds=0.15)

# In the order of hri_msgs/Skeleton2D (OpenPose's), by the names of our joints. Eyes, ears and nose
# come from the face.
SKELETON_2D = (
    "nose", "neck",
    "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "left_eye", "right_eye", "left_ear", "right_ear",
)  # fmt: skip

_FACE_POINTS = {
    "nose": ["nose_bridge_3"],
    "right_eye": [f"right_eye_{k}" for k in range(6)],
    "left_eye": [f"left_eye_{k}" for k in range(6)],
    # The outline of the face begins and ends before the ears.
    "right_ear": ["contour_0"],
    "left_ear": ["contour_32"],
}


class MissingHriMessagesError(ImportError):
    """hri_msgs is missing; the text says how to get it."""


def hri_messages() -> Any:
    """The module hri_msgs.msg.

    Raises:
        MissingHriMessagesError: hri_msgs is not installed.
    """
    try:
        import hri_msgs.msg
    except ImportError as error:
        raise MissingHriMessagesError(
            f"REP-155 topics need hri_msgs ({error}): apt install ros-$ROS_DISTRO-hri-msgs; it is "
            "not among the ROS packages on PyPI"
        ) from error
    return hri_msgs.msg


class HumansPublisher:
    """Publishes tracked people on REP-155's topics; creates and removes the topics of each person.

    Only bodies are published; people without a track id are left out. A person who is missed for a
    moment leaves `tracked`, but keeps the topics for as long as the tracker keeps the id.

    Args:
        node: makes the publishers, and has them destroyed in its executor's thread, by
            `create_guard_condition(callback)`.
        id_prefix: the parameter; people are p1, p2, ... with "p".

    Raises:
        MissingHriMessagesError: hri_msgs is not installed.
    """

    def __init__(self, node: Node, id_prefix: str) -> None:
        self._messages = hri_messages()
        self._node = node
        self._id_prefix = id_prefix
        self._normalized = hasattr(self._messages, "NormalizedRegionOfInterest2D")
        if self._normalized:
            self._region_type = self._messages.NormalizedRegionOfInterest2D
        else:
            from sensor_msgs.msg import RegionOfInterest

            self._region_type = RegionOfInterest
        self._tracked = node.create_publisher(
            self._messages.IdsList, f"{NAMESPACE}/tracked", _DEPTH
        )
        self._own = node.create_publisher(self._messages.IdsList, OWN_LISTS, _DEPTH)
        self._name = node.get_fully_qualified_name()
        self._others: dict[str, tuple[float, list[str]]] = {}
        self._others_lists = node.create_subscription(
            self._messages.IdsList, OWN_LISTS, self._hear_others, 10
        )
        self._bodies: dict[str, tuple[Any, Any]] = {}
        self._last_seen: dict[str, float] = {}
        # One thread may ask for listeners while another one publishes.
        self._lock = Lock()
        # An executor that spins cannot bear that another thread destroys what it waits for.
        self._left: deque[Any] = deque()
        self._leave = node.create_guard_condition(self._destroy_left)

    def get_subscription_count(self) -> int:
        """How many listen to any of the topics."""
        with self._lock:
            publishers = [self._tracked, *(one for pair in self._bodies.values() for one in pair)]
            return sum(publisher.get_subscription_count() for publisher in publishers)

    def publish(
        self, people: Sequence[WholeBody], header: Header, width: int, height: int, stamp: float
    ) -> None:
        """Publish the people of one image, `width` x `height` px; those who left are taken down.

        Args:
            stamp: as the tracker was given it, s.
        """
        bodies = {
            body_id(self._id_prefix, person.track_id): person
            for person in people
            if person.track_id >= 0 and person.body is not None
        }
        with self._lock:
            for absent in set(self._bodies) - set(bodies):
                # If time stops or goes back, no track would expire.
                if not 0 < stamp - self._last_seen[absent] <= MEMORY:
                    self._take_down(absent)
            self._last_seen.update(dict.fromkeys(bodies, stamp))
            for number in bodies:
                if number not in self._bodies:
                    self._bodies[number] = (
                        self._publisher(self._messages.Skeleton2D, number, "skeleton2d"),
                        self._publisher(self._region_type, number, "roi"),
                    )
        # After the publishers exist, so subscribers that learn of a person find the topics.
        self._publish_lists(list(bodies), header)
        for number, person in bodies.items():
            skeleton, region = self._bodies[number]
            skeleton.publish(self._skeleton(person, header, width, height))
            region.publish(self._region(person.body, header, width, height))

    def clear(self, header: Header) -> None:
        """Publish that nobody is tracked, and remove everybody's topics."""
        self._publish_lists([], header)
        with self._lock:
            for number in list(self._bodies):
                self._take_down(number)

    def close(self) -> None:
        """As `clear`, and the end of it all; for the executor's thread."""
        self.clear(Header())
        # A message that is still under way is lost together with its publisher.
        with suppress(RuntimeError):  # a middleware that knows no acknowledgement
            for publisher in (self._tracked, self._own):
                publisher.wait_for_all_acked(_LONGEST_WAIT)
        self._node.destroy_subscription(self._others_lists)
        self._node.destroy_publisher(self._own)
        self._node.destroy_publisher(self._tracked)
        self._node.destroy_guard_condition(self._leave)
        self._destroy_left()

    def _hear_others(self, message: Any) -> None:
        """Another node's list, or this one's."""
        name = message.header.frame_id
        if name == self._name:
            return
        self._others[name] = time.monotonic(), list(message.ids)
        if any(re.fullmatch(rf"{self._id_prefix}\d+", one) for one in message.ids):
            self._node.get_logger().warning(
                f"{name} names bodies {self._id_prefix}1, ... as well: each node needs an "
                "'id_prefix' of its own",
                throttle_duration_sec=5.0,
            )

    def _publish_lists(self, own: list[str], header: Header) -> None:
        """This node's list, and those of all nodes together."""
        mine = Header(stamp=header.stamp, frame_id=self._name)
        self._own.publish(self._messages.IdsList(header=mine, ids=own))
        now = time.monotonic()
        lists = [ids for heard, ids in self._others.copy().values() if now - heard < _OTHERS_MEMORY]
        everybody = list(dict.fromkeys(own + [one for ids in lists for one in ids]))
        self._tracked.publish(self._messages.IdsList(header=header, ids=everybody))

    def _publisher(self, kind: type, number: str, name: str) -> Any:
        return self._node.create_publisher(kind, f"{NAMESPACE}/{number}/{name}", _DEPTH)

    def _take_down(self, number: str) -> None:
        del self._last_seen[number]
        self._left.extend(self._bodies.pop(number))
        self._leave.trigger()

    def _destroy_left(self) -> None:
        while self._left:
            self._node.destroy_publisher(self._left.popleft())

    def _skeleton(self, person: WholeBody, header: Header, width: int, height: int) -> Any:
        points, confidence = skeleton_2d(person)
        places = points / (width, height)
        inside = ((places >= 0) & (places <= 1)).all(axis=1)  # False for NaN
        confidence = np.where(inside, confidence, 0.0)
        # The message allows nothing outside of the image.
        places = np.clip(np.nan_to_num(places), 0, 1)
        return self._messages.Skeleton2D(
            header=header,
            skeleton=[
                self._messages.NormalizedPointOfInterest2D(x=float(x), y=float(y), c=float(c))
                for (x, y), c in zip(places, confidence, strict=True)
            ],
        )

    def _region(self, body: PartPose, header: Header, width: int, height: int) -> Any:
        size = (width, height, width, height)
        box = np.clip(boxes_around(body.keypoints_2d), 0, size)
        if self._normalized:
            xmin, ymin, xmax, ymax = map(float, box / size)
            return self._region_type(
                header=header, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax, c=float(body.score)
            )
        left, top = map(int, np.floor(box[:2]))
        right, bottom = map(int, np.ceil(box[2:]))
        return self._region_type(
            x_offset=left, y_offset=top, width=right - left, height=bottom - top
        )


def skeleton_2d(person: WholeBody) -> tuple[np.ndarray, np.ndarray]:
    """A person with a body as the keypoints of hri_msgs/Skeleton2D.

    The neck is the middle of the shoulders where the model does not know it. Nose, eyes and ears
    are of the face; without a face nose and eyes are not known.

    Returns:
        (18, 2) px, NaN where not known; (18,) confidence of the keypoint, of the least certain of
        its joints; 0 where it is not known.
    """
    points = np.full((len(SKELETON_2D), 2), np.nan)
    confidence = np.zeros(len(SKELETON_2D))
    index = person.skeleton("body").index
    for place, name in enumerate(SKELETON_2D):
        if name in index:
            pose, joints = person.body, [index[name]]
        elif name == "neck":
            pose, joints = person.body, [index["right_shoulder"], index["left_shoulder"]]
        elif person.face is not None:
            pose, joints = person.face, [FACE84.index[one] for one in _FACE_POINTS[name]]
        else:
            continue
        points[place] = pose.keypoints_2d[joints].mean(axis=0)
        confidence[place] = pose.confidence[joints].min()
    return points, confidence
