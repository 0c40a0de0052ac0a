"""The node on a real ROS graph: as a process with the real model, and with a stand-in detector."""

import math
import threading
import time

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

import dope_ros.node
from dope_model.detector import WholeBodyDetector
from dope_model.drawing import draw_people
from dope_model.placement import Intrinsics, place_people
from dope_model.poses import PART_SLOTS, PartPose, WholeBody
from dope_msgs.msg import WholeBodyPoseArray
from dope_ros.conversions import image_to_rgb, rgb_to_image
from dope_ros.demo_camera import AS_CAMERAS_DO
from dope_ros.node import DopeNode, above_score


def image_at(rgb: np.ndarray, seconds: int) -> Image:
    return rgb_to_image(rgb, Header(stamp=Time(sec=seconds, nanosec=7), frame_id="left_camera"))


@pytest.fixture(scope="module")
def expected(astronaut) -> list[WholeBody]:
    """What the detector says when it is called directly."""
    people = WholeBodyDetector.load("experts")(astronaut)
    assert people, "the model finds nobody in the astronaut picture"
    return people


def test_the_node_process_publishes_what_the_detector_finds(graph, start, astronaut, expected):
    process = start("dope_node", "-r", f"__ns:={graph.node.get_namespace()}")
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    assert graph.publish_until(camera, image_at(astronaut, 100), lambda: poses), process.output()

    message = poses[0]
    assert message.header == Header(stamp=Time(sec=100, nanosec=7), frame_id="left_camera")
    assert (message.image_width, message.image_height) == (512, 512)
    assert len(message.people) == len(expected)
    found = 0
    for sent, person in zip(message.people, expected, strict=True):
        assert sent.track_id == person.track_id
        assert sent.score == pytest.approx(person.score, abs=1e-4)
        for slot in PART_SLOTS:
            part, pose = getattr(sent, slot), getattr(person, slot)
            assert all(math.isnan(value) for value in (part.root.x, part.root.y, part.root.z))
            if pose is None:
                assert part.score == 0
                assert len(part.keypoints_2d) == len(part.keypoints_3d) == 0
                continue
            found += 1
            assert list(part.trusted) == pose.trusted.tolist()
            assert part.score == pytest.approx(pose.score, abs=1e-4)
            np.testing.assert_allclose(
                np.reshape(part.keypoints_2d, (-1, 2)), pose.keypoints_2d, atol=0.05
            )
            np.testing.assert_allclose(
                np.reshape(part.keypoints_3d, (-1, 3)), pose.keypoints_3d, atol=1e-3
            )
    assert found >= 2
    assert not all(message.people[0].body.trusted), "the astronaut's legs are a guess"

    # Someone who comes late gets markers and pictures too, of images from then on.
    markers, _ = graph.listen(MarkerArray, "markers")
    pictures, _ = graph.listen(Image, "image_annotated")
    later = image_at(astronaut, 200)
    assert graph.publish_until(camera, later, lambda: markers and pictures), process.output()
    np.testing.assert_array_equal(image_to_rgb(pictures[0]), draw_people(astronaut, expected))
    assert pictures[0].header == later.header
    ((_, placed),) = place_people(expected[:1], Intrinsics.assumed(512, 512, 60.0))
    joints = {m.ns: m for m in markers[0].markers if m.id == 0 and m.ns.endswith("/joints")}
    assert set(joints) == {f"{slot}/joints" for slot in placed}
    for slot, points in placed.items():
        marker = joints[f"{slot}/joints"]
        assert marker.header == later.header
        drawn = points[getattr(expected[0], slot).trusted]
        np.testing.assert_allclose([(p.x, p.y, p.z) for p in marker.points], drawn, atol=1e-3)

    assert process.stop() == 0, process.output()


def test_the_node_process_survives_bad_images(graph, start, astronaut):
    process = start("dope_node", "-r", f"__ns:={graph.node.get_namespace()}")
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    truncated = image_at(astronaut, 1)
    truncated.data = truncated.data[:1000]
    unknown = image_at(astronaut, 2)
    unknown.encoding = "rgb9"

    assert graph.publish_until(
        camera, truncated, lambda: "skipped a bad image" in process.output()
    ), process.output()
    assert "there are 1000 bytes of data" in process.output()
    empty = Image(encoding="rgb8")
    for bad in (Image(), unknown, empty):
        camera.publish(bad)
        graph.spin_for(0.2)
    assert poses == []
    assert graph.publish_until(camera, image_at(astronaut, 4), lambda: poses), process.output()
    assert poses[0].header.stamp.sec == 4
    assert process.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("-p", "modle:=experts"), "'modle'"),
        (("-p", "min_score:=1.5"), "'min_score'"),
        (("-p", "model:=3"), "'model'"),
        (("-p", "mode:=fast"), "'mode'"),
        (("-p", "model:=/no/such/weights.safetensors"), "/no/such/weights.safetensors"),
        (("-p", "model:=experts:best"), "experts:best"),
    ],
)
def test_the_node_process_refuses_a_wrong_parameter_by_name(start, arguments, named):
    process = start("dope_node", *arguments)
    assert process.process.wait(60) == 1
    assert "cannot start" in process.output()
    assert named in process.output()
    assert "Traceback" not in process.output()


def test_the_node_process_refuses_an_unknown_key_of_its_file(start, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("/**:\n  ros__parameters:\n    min_score: 0.5\n    max_poeple: 3\n")
    process = start("dope_node", "--params-file", str(config))
    assert process.process.wait(60) == 1
    assert "unknown parameter 'max_poeple'" in process.output()


class StandIn:
    """Finds one person whose head is where the image is brightest; fails on an all-black image."""

    description = "stand-in"

    def __init__(self):
        self.seen: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, rgb: np.ndarray) -> list[WholeBody]:
        self.seen.append(int(rgb[0, 0, 0]))
        self.gate.wait(30)
        if not rgb.any():
            raise RuntimeError("an all-black image")
        joints = np.random.default_rng(0).normal(0, 0.3, (13, 3)).astype(np.float32)
        pixels = (joints[:, :2] / (joints[:, 2:] + 4) * 50 + 30).astype(np.float32)
        return [WholeBody(body=PartPose(0.5, pixels, joints, np.ones(13, bool)))]


@pytest.fixture
def stand_in(graph, monkeypatch):
    """The real node, in a thread of this process, around a `StandIn`: (node, detector)."""
    detector = StandIn()
    monkeypatch.setattr(
        dope_ros.node.WholeBodyDetector, "load", classmethod(lambda *_, **__: detector)
    )
    node = DopeNode(namespace=graph.node.get_namespace())
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    yield node, detector
    detector.gate.set()
    executor.shutdown()
    thread.join(10)
    node.destroy_node()


def grey(level: int) -> np.ndarray:
    return np.full((48, 64, 3), level, np.uint8)


def test_markers_and_pictures_are_made_only_while_someone_listens(graph, stand_in, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        dope_ros.node,
        "draw_people",
        lambda rgb, people: drawn.append(1) or draw_people(rgb, people),
    )
    built = []
    build = dope_ros.node.PersonMarkers.build
    monkeypatch.setattr(
        dope_ros.node.PersonMarkers, "build", lambda *args: built.append(1) or build(*args)
    )
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    image = image_at(grey(9), 1)

    assert graph.publish_until(camera, image, lambda: len(poses) >= 3)
    assert not drawn and not built

    pictures, picture_subscription = graph.listen(Image, "image_annotated")
    assert graph.publish_until(camera, image, lambda: pictures)
    assert drawn and not built
    markers, marker_subscription = graph.listen(MarkerArray, "markers")
    assert graph.publish_until(camera, image, lambda: markers)
    assert {marker.action for marker in markers[0].markers} == {Marker.ADD}

    graph.node.destroy_subscription(picture_subscription)
    graph.node.destroy_subscription(marker_subscription)
    node, _ = stand_in
    assert graph.spin_until(
        lambda: not node.count_subscribers("markers") + node.count_subscribers("image_annotated")
    )
    graph.spin_for(0.5)
    before = len(drawn), len(built), len(poses)
    assert graph.publish_until(camera, image, lambda: len(poses) >= before[2] + 3)
    assert (len(drawn), len(built)) == before[:2]


def test_a_detector_that_fails_on_one_image_does_not_end_the_node(graph, stand_in):
    node, detector = stand_in
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    assert graph.publish_until(camera, image_at(grey(0), 1), lambda: node.failed_images)
    assert graph.publish_until(camera, image_at(grey(5), 2), lambda: poses)
    assert poses[0].header.stamp.sec == 2
    assert node.bad_images == 0


def test_only_the_newest_image_waits(graph, stand_in):
    _, detector = stand_in
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    detector.gate.clear()
    assert graph.publish_until(camera, image_at(grey(1), 1), lambda: detector.seen)
    for level in range(2, 12):
        camera.publish(image_at(grey(level), level))
        time.sleep(0.05)
    detector.gate.set()
    assert graph.spin_until(lambda: 11 in detector.seen, 10)
    assert detector.seen == [1, 11]


def test_topics_have_the_promised_quality_of_service(graph, stand_in):
    node, _ = stand_in
    namespace = graph.node.get_namespace()
    (image,) = node.get_subscriptions_info_by_topic(f"{namespace}/image")
    assert image.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    for topic in ("poses", "markers", "image_annotated"):
        (info,) = node.get_publishers_info_by_topic(f"{namespace}/{topic}")
        assert info.qos_profile.reliability == ReliabilityPolicy.RELIABLE


def test_parts_below_the_score_are_left_out():
    def part(score: float, joints: int) -> PartPose:
        zeros = np.zeros((joints, 3), np.float32)
        return PartPose(score, zeros[:, :2], zeros, np.ones(joints, bool))

    people = [
        WholeBody(body=part(0.9, 13), face=part(0.3, 84), track_id=4),
        WholeBody(body=part(0.2, 13), right_hand=part(0.5, 21)),
        WholeBody(left_hand=part(0.1, 21)),
    ]
    kept = above_score(people, 0.5)
    assert [[slot for slot, _ in person.parts()] for person in kept] == [["body"], ["right_hand"]]
    assert [person.track_id for person in kept] == [4, -1]
    assert [person.score for person in kept] == [0.9, 0.5]
    assert len(above_score(people, 0.0)) == 3
