"""The node on a real ROS graph: as a process with the real model, and with a stand-in detector."""

import math
import time

import numpy as np
import pytest
from camera_help import header_at, image_at
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from dope_model.camera.placement import Intrinsics, place_people
from dope_model.detector import WholeBodyDetector
from dope_model.drawing import draw_people
from dope_model.poses import PART_SLOTS, WholeBody
from dope_msgs.msg import WholeBodyPoseArray
from dope_ros.messages.conversions import image_to_rgb
from dope_ros.tools.demo_camera import AS_CAMERAS_DO


@pytest.fixture(scope="module")
def expected(astronaut) -> list[WholeBody]:
    """What the detector says when it is called directly."""
    people = WholeBodyDetector.load()(astronaut)
    assert people, "the model finds nobody in the astronaut picture"
    return people


def test_the_node_process_publishes_what_the_detector_finds(graph, start, astronaut, expected):
    process = start("dope_node", "-r", f"__ns:={graph.node.get_namespace()}")
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    assert graph.publish_until(camera, image_at(astronaut, 100), lambda: poses), process.output()

    message = poses[0]
    assert message.header == header_at(100)
    assert (message.image_width, message.image_height) == (512, 512)
    assert len(message.people) == len(expected)
    assert [person.track_id for person in message.people] == list(range(1, len(expected) + 1))
    found = 0
    for sent, person in zip(message.people, expected, strict=True):
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
    # An image from before may still have been at work.
    assert graph.publish_until(
        camera,
        later,
        lambda: all(
            heard and heard[-1].header == later.header
            for heard in ([m for array in markers for m in array.markers], pictures, poses)
        ),
    ), process.output()
    np.testing.assert_array_equal(image_to_rgb(pictures[-1]), draw_people(astronaut, expected))
    (placed,) = place_people(expected[:1], Intrinsics.assumed(512, 512, 60.0))
    number = poses[-1].people[0].track_id
    joints = {m.ns: m for m in markers[-1].markers if m.id == number and m.ns.endswith("/joints")}
    assert set(joints) == {f"{slot}/joints" for slot, _ in placed.parts()}
    for slot, pose in placed.parts():
        marker = joints[f"{slot}/joints"]
        assert marker.header == later.header
        drawn = pose.placed_3d[pose.trusted]
        np.testing.assert_allclose([(p.x, p.y, p.z) for p in marker.points], drawn, atol=1e-3)

    assert process.stop() == 0, process.output()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("-p", "modle:=experts"), "'modle'"),
        (("-p", "min_hand_score:=1.5"), "'min_hand_score'"),
        (("-p", "annotated_background:=white"), "'annotated_background'"),
        (("-p", "image_transport:=theora"), "'image_transport'"),
        (("-p", "model:=3"), "'model'"),
        (("-p", "mode:=fast"), "'mode'"),
    ],
)
def test_the_node_process_refuses_a_wrong_parameter_by_name(start, arguments, named):
    process = start("dope_node", *arguments)
    assert process.process.wait(60) == 1
    assert "cannot start" in process.output()
    assert named in process.output()
    assert "Traceback" not in process.output()


def test_an_unknown_key_is_refused_in_the_nodes_section_and_left_in_that_of_all(start, tmp_path):
    """Fault 15: a file with another node's parameters, or with quality of service, ended it."""
    config = tmp_path / "mine.yaml"
    of_all = """/**:
  ros__parameters:
    faces: false
    another_nodes: {max_poeple: 3}
    qos_overrides: {/poses: {publisher: {depth: 7}}}
"""
    config.write_text(of_all + "dope_node:\n  ros__parameters:\n    max_poeple: 3\n")
    process = start("light_node", "--params-file", str(config))
    assert process.process.wait(60) == 1
    assert "unknown parameter 'max_poeple'" in process.output()

    config.write_text(of_all + "other:\n  ros__parameters:\n    max_poeple: 3\n")
    process = start("light_node", "--params-file", str(config))
    end = time.monotonic() + 60
    while "active; waiting" not in process.output() and time.monotonic() < end:
        time.sleep(0.1)
    assert "ignored parameters" in process.output()
    assert "another_nodes.max_poeple" in process.output()
    assert "qos_overrides" not in process.output()
    assert process.stop() == 0


def test_topics_have_the_promised_quality_of_service(graph, stand_in):
    node, _ = stand_in
    namespace = graph.node.get_namespace()
    (image,) = node.get_subscriptions_info_by_topic(f"{namespace}/image")
    assert image.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    for topic in ("poses", "markers", "image_annotated"):
        (info,) = node.get_publishers_info_by_topic(f"{namespace}/{topic}")
        assert info.qos_profile.reliability == ReliabilityPolicy.RELIABLE
