"""REP-155's topics. hri_msgs is no ROS package of PyPI: classes with its fields stand in for it."""

import sys
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.validate_topic_name import validate_topic_name
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from dope_model.poses import PartPose, WholeBody
from dope_model.skeleton import BODY, BODY14
from dope_model.tracking.tracker import MEMORY
from dope_ros.messages import rep155
from dope_ros.messages.rep155 import (
    SKELETON_2D,
    HumansPublisher,
    MissingHriMessagesError,
    skeleton_2d,
)

HEADER = Header(stamp=Time(sec=3), frame_id="camera_optical_frame")
IMAGE = (HEADER, 640, 480, 3.0)


@dataclass
class IdsList:
    header: Header = field(default_factory=Header)
    ids: list = field(default_factory=list)


@dataclass
class NormalizedPointOfInterest2D:
    x: float = 0.0
    y: float = 0.0
    c: float = 0.0


@dataclass
class NormalizedRegionOfInterest2D:
    header: Header = field(default_factory=Header)
    xmin: float = 0.0
    ymin: float = 0.0
    xmax: float = 0.0
    ymax: float = 0.0
    c: float = 0.0


@dataclass
class Skeleton2D:
    # As the .msg of hri_msgs 2.0 has them.
    NOSE, NECK, RIGHT_SHOULDER, RIGHT_ELBOW, RIGHT_WRIST, LEFT_SHOULDER = range(6)
    LEFT_ELBOW, LEFT_WRIST, RIGHT_HIP, RIGHT_KNEE, RIGHT_ANKLE, LEFT_HIP = range(6, 12)
    LEFT_KNEE, LEFT_ANKLE, LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR = range(12, 18)
    header: Header = field(default_factory=Header)
    skeleton: list = field(default_factory=list)


class FakeNode:
    """Keeps what is published by topic; makes no topic that ROS would refuse."""

    def __init__(self):
        self.topics: dict[str, FakePublisher] = {}
        self.log: list[tuple[str, object]] = []
        self.destroying = True
        self.triggered: list[FakeGuard] = []
        self.warnings: list[str] = []

    def create_publisher(self, kind: type, topic: str, depth: int) -> "FakePublisher":
        validate_topic_name(topic)
        assert topic not in self.topics
        self.topics[topic] = FakePublisher(self, kind, topic)
        return self.topics[topic]

    def create_subscription(self, kind: type, topic: str, callback, depth: int):
        self.heard = callback
        return callback

    def destroy_subscription(self, subscription) -> None:
        assert subscription == self.heard

    def get_fully_qualified_name(self) -> str:
        return "/front/dope_node"

    def get_logger(self):
        return self

    def warning(self, text: str, throttle_duration_sec: float) -> None:
        self.warnings.append(text)

    def create_guard_condition(self, callback) -> "FakeGuard":
        return FakeGuard(self, callback)

    def destroy_guard_condition(self, guard: "FakeGuard") -> None:
        guard.callback = None

    def destroy_publisher(self, publisher: "FakePublisher") -> None:
        assert self.destroying, "not in the executor's thread"
        if publisher.topic == "/humans/bodies/tracked":
            assert not publisher.under_way, "DDS loses this message"
        del self.topics[publisher.topic]


@dataclass
class FakeGuard:
    """Calls back when `trigger` is called, unless that is for `spin` to do."""

    node: FakeNode
    callback: object

    def trigger(self) -> None:
        self.node.triggered.append(self)
        if self.node.destroying:
            self.node.triggered.pop().callback()


@dataclass
class FakePublisher:
    node: FakeNode
    kind: type
    topic: str
    listeners: int = 0
    under_way: bool = False

    def get_subscription_count(self) -> int:
        assert self.topic in self.node.topics, "asked after it was destroyed"
        return self.listeners

    def publish(self, message) -> None:
        assert type(message) is self.kind
        assert self.topic in self.node.topics, "published after it was destroyed"
        self.node.log.append((self.topic, message))
        self.under_way = True

    def wait_for_all_acked(self, timeout: Duration) -> bool:
        assert timeout.nanoseconds > 0, "for ever"
        self.under_way = False
        return True


def messages_module(monkeypatch, *names: type) -> None:
    parent, messages = ModuleType("hri_msgs"), ModuleType("hri_msgs.msg")
    for kind in names:
        setattr(messages, kind.__name__, kind)
    parent.msg = messages
    monkeypatch.setitem(sys.modules, "hri_msgs", parent)
    monkeypatch.setitem(sys.modules, "hri_msgs.msg", messages)


@pytest.fixture
def hri(monkeypatch):
    messages_module(
        monkeypatch, IdsList, NormalizedPointOfInterest2D, NormalizedRegionOfInterest2D, Skeleton2D
    )


def person(track_id: int, x: float = 100.0, face: bool = False, joints: int = 13) -> WholeBody:
    points = np.stack([x + 10.0 * np.arange(joints), 50 + 20.0 * np.arange(joints)], axis=1)
    body = PartPose(0.75, points, np.zeros((joints, 3)), np.full(joints, 0.625))
    landmarks = np.stack([300 + np.arange(84.0), np.full(84, 70.0)], axis=1)
    part = PartPose(0.75, landmarks, np.zeros((84, 3)), np.full(84, 0.5)) if face else None
    return WholeBody(body=body, face=part, track_id=track_id)


def by_topic(node: FakeNode) -> dict[str, object]:
    return dict(node.log)


def test_keypoints_stand_where_the_message_says(hri):
    constants = {name: value for name, value in vars(Skeleton2D).items() if name.isupper()}
    assert len(constants) == len(SKELETON_2D) == 18
    assert {name.lower(): index for name, index in constants.items()} == {
        name: index for index, name in enumerate(SKELETON_2D)
    }
    node = FakeNode()
    HumansPublisher(node, "p").publish([person(3, face=True)], *IMAGE)
    message = by_topic(node)["/humans/bodies/p3/skeleton2d"]
    assert message.header == HEADER
    assert len(message.skeleton) == 18

    def at(name: str) -> tuple[float, float, float]:
        point = message.skeleton[constants[name]]
        return point.x * 640, point.y * 480, point.c

    knee = BODY.index["left_knee"]
    assert at("LEFT_KNEE") == pytest.approx((100 + 10 * knee, 50 + 20 * knee, 0.625))
    right, left = BODY.index["right_shoulder"], BODY.index["left_shoulder"]
    middle = (right + left) / 2
    assert at("NECK") == pytest.approx((100 + 10 * middle, 50 + 20 * middle, 0.625))
    # Of the face: tip of the nose 46; right eye 52 to 57, left 58 to 63; outline 0 to 32.
    assert at("NOSE") == pytest.approx((346, 70, 0.5))
    assert at("RIGHT_EYE") == pytest.approx((354.5, 70, 0.5))
    assert at("LEFT_EYE") == pytest.approx((360.5, 70, 0.5))
    assert at("RIGHT_EAR") == pytest.approx((300, 70, 0.5))
    assert at("LEFT_EAR") == pytest.approx((332, 70, 0.5))


def test_what_is_not_known_has_no_confidence(hri):
    points, confidence = skeleton_2d(person(1))
    unknown = {"nose", "left_eye", "right_eye", "left_ear", "right_ear"}
    for name, point, trust in zip(SKELETON_2D, points, confidence, strict=True):
        assert (trust == 0.0) == (name in unknown)
        assert np.isnan(point).all() == (name in unknown)
    guessed = person(1)
    guessed.body.confidence[BODY.index["left_shoulder"]] = 0.25
    _, confidence = skeleton_2d(guessed)
    shoulder, neck = SKELETON_2D.index("left_shoulder"), SKELETON_2D.index("neck")
    assert confidence[shoulder] == confidence[neck] == 0.25
    points, _ = skeleton_2d(person(1, joints=14))
    assert points[neck][0] == 100 + 10 * BODY14.index["neck"]

    node = FakeNode()
    HumansPublisher(node, "p").publish([person(1, x=-60.0)], *IMAGE)
    skeleton = by_topic(node)["/humans/bodies/p1/skeleton2d"].skeleton
    assert all(0 <= value <= 1 for point in skeleton for value in (point.x, point.y, point.c))
    outside = skeleton[SKELETON_2D.index("right_ankle")]  # at -60, 50
    assert (outside.x, outside.c) == (0.0, 0.0)


def test_region_of_interest(hri):
    node = FakeNode()
    HumansPublisher(node, "p").publish([person(1, x=-20.0)], *IMAGE)
    region = by_topic(node)["/humans/bodies/p1/roi"]
    assert region.header == HEADER
    found = (region.xmin, region.ymin, region.xmax, region.ymax, region.c)
    # -20 to 100 across, the left of it cut off; 50 to 290 down.
    assert found == pytest.approx((0, 50 / 480, 100 / 640, 290 / 480, 0.75))


def test_older_messages_have_the_region_in_pixels(monkeypatch):
    messages_module(monkeypatch, IdsList, NormalizedPointOfInterest2D, Skeleton2D)
    node = FakeNode()
    HumansPublisher(node, "p").publish([person(1, x=-20.5)], *IMAGE)
    region = by_topic(node)["/humans/bodies/p1/roi"]
    assert isinstance(region, RegionOfInterest)
    found = (region.x_offset, region.y_offset, region.width, region.height)
    assert found == (0, 50, 100, 240)


TRACKED = "/humans/bodies/tracked"
ALL_LISTS = {TRACKED, "/humans/bodies/tracked_by_node"}


def topics_of(*ids: str) -> set[str]:
    return {f"/humans/bodies/{one}/{name}" for one in ids for name in ("roi", "skeleton2d")}


def test_bodies_come_and_go(hri):
    node = FakeNode()
    humans = HumansPublisher(node, "p")
    assert set(node.topics) == ALL_LISTS
    face_only = WholeBody(face=person(0, face=True).face, track_id=9)
    humans.publish([person(1), person(2, 200), person(-1, 300), face_only], HEADER, 640, 480, 3.0)
    assert by_topic(node)[TRACKED] == IdsList(HEADER, ["p1", "p2"])
    assert set(node.topics) == topics_of("p1", "p2") | ALL_LISTS

    # Missed, but not yet forgotten by the tracker.
    node.log.clear()
    humans.publish([person(2, 210)], HEADER, 640, 480, 3.0 + MEMORY)
    assert by_topic(node)[TRACKED].ids == ["p2"]
    assert {topic for topic, _ in node.log} == topics_of("p2") | ALL_LISTS
    assert len(node.log) == 4
    assert set(node.topics) == topics_of("p1", "p2") | ALL_LISTS

    kept = dict(node.topics)
    humans.publish([person(1), person(2)], HEADER, 640, 480, 4.6)  # p1 is back in time
    assert all(node.topics[topic] is publisher for topic, publisher in kept.items())
    humans.publish([person(2)], HEADER, 640, 480, 5.5)
    humans.publish([person(2)], HEADER, 640, 480, 4.6 + MEMORY + 0.1)
    assert set(node.topics) == topics_of("p2") | ALL_LISTS

    humans.clear(HEADER)
    assert node.log[-1] == (TRACKED, IdsList(HEADER, []))
    assert set(node.topics) == ALL_LISTS
    humans.publish([person(1)], HEADER, 640, 480, 7.0)  # back again
    humans.close()
    assert node.log[-1] == (TRACKED, IdsList(ids=[]))
    assert node.topics == {}


def test_topics_go_in_the_executors_thread(hri):
    """rclpy's executor dies when another thread destroys a publisher whose events it waits for."""
    node = FakeNode()
    humans = HumansPublisher(node, "p")
    humans.publish([person(1), person(2)], *IMAGE)
    node.destroying = False  # as in the detector's thread
    humans.publish([person(2)], HEADER, 640, 480, 30.0)
    node.topics["/humans/bodies/p1/roi"].listeners = 1
    assert humans.get_subscription_count() == 0
    humans.clear(HEADER)
    assert set(node.topics) == topics_of("p1", "p2") | ALL_LISTS
    node.destroying = True
    for guard in node.triggered:
        guard.callback()
    assert set(node.topics) == ALL_LISTS

    humans.publish([person(3)], HEADER, 640, 480, 31.0)
    node.destroying = False
    humans.publish([], HEADER, 640, 480, 60.0)
    node.destroying = True
    humans.close()  # spins no more
    assert node.topics == {}


@pytest.mark.parametrize("length", [0.0, 0.3, 1.0, 20.0])
def test_a_recording_that_starts_again_keeps_nobody_for_ever(hri, length):
    node = FakeNode()
    humans = HumansPublisher(node, "p")
    for track_id in range(1, 5):  # the tracker takes everybody for somebody new
        humans.publish([person(track_id)], HEADER, 640, 480, 100.0)
        humans.publish([person(track_id)], HEADER, 640, 480, 100.0 + length)
    assert set(node.topics) == topics_of("p4") | ALL_LISTS


def test_the_people_of_two_nodes_have_names_of_their_own(hri):
    for prefix in ("front_", "rear_"):
        node = FakeNode()
        HumansPublisher(node, prefix).publish([person(1)], *IMAGE)
        assert set(node.topics) == topics_of(f"{prefix}1") | ALL_LISTS
        assert by_topic(node)[TRACKED].ids == [f"{prefix}1"]


def test_several_nodes_publish_one_list(hri, monkeypatch):
    """Fault 18: each took the other's people off the list, as libhri believes the last message."""
    now = [100.0]
    monkeypatch.setattr(rep155.time, "monotonic", lambda: now[0])
    node = FakeNode()
    humans = HumansPublisher(node, "front_")
    others = Header(frame_id="/rear/dope_node")
    node.heard(IdsList(others, ["rear_1", "rear_2"]))
    node.heard(IdsList(Header(frame_id="/front/dope_node"), ["front_9"]))  # its own
    humans.publish([person(1)], *IMAGE)
    told = by_topic(node)
    assert told[TRACKED].ids == ["front_1", "rear_1", "rear_2"]
    # What it tells the others is its own list, or people would never go.
    own = told["/humans/bodies/tracked_by_node"]
    assert own.ids == ["front_1"] and own.header.frame_id == "/front/dope_node"
    assert own.header.stamp == HEADER.stamp
    node.heard(IdsList(others, ["rear_2"]))
    humans.clear(HEADER)
    assert node.log[-1] == (TRACKED, IdsList(HEADER, ["rear_2"]))
    now[0] += 6.0  # the other one died
    humans.publish([], *IMAGE)
    assert node.log[-1] == (TRACKED, IdsList(HEADER, []))
    assert not node.warnings
    node.heard(IdsList(others, ["front_1"]))
    (warning,) = node.warnings
    assert "/rear/dope_node names bodies front_1" in warning and "'id_prefix'" in warning


def test_listeners_of_every_topic_count(hri):
    node = FakeNode()
    humans = HumansPublisher(node, "p")
    assert humans.get_subscription_count() == 0
    humans.publish([person(1), person(2)], *IMAGE)
    node.topics["/humans/bodies/tracked"].listeners = 2
    node.topics["/humans/bodies/p1/roi"].listeners = 1
    assert humans.get_subscription_count() == 3
    humans.publish([person(2)], HEADER, 640, 480, 30.0)
    assert humans.get_subscription_count() == 2


def test_without_hri_msgs_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "hri_msgs", None)
    with pytest.raises(MissingHriMessagesError, match="apt install ros-.ROS_DISTRO-hri-msgs"):
        HumansPublisher(FakeNode(), "p")
