"""The recorder: what it counts, what it writes, and its exit code."""

import json
import math
from array import array

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dope_msgs.msg import PartPose, WholeBodyPose, WholeBodyPoseArray
from dope_ros.messages.conversions import rgb_to_image
from dope_ros.node.qos import RESULTS
from dope_ros.tools.recorder import Statistics, message_to_dict

UNKNOWN = Point(x=math.nan, y=math.nan, z=math.nan)


def hand_of_someone() -> WholeBodyPoseArray:
    hand = PartPose(
        score=0.5,
        keypoints_2d=array("f", range(42)),
        keypoints_3d=array("f", range(63)),
        confidence=[0.25 if j == 4 else 0.75 for j in range(21)],
        trusted=[j != 4 for j in range(21)],
        root=UNKNOWN,
    )
    person = WholeBodyPose(track_id=3, score=0.5, left_hand=hand)
    return WholeBodyPoseArray(
        header=Header(stamp=Time(sec=5, nanosec=6), frame_id="camera"),
        image_width=640,
        image_height=480,
        people=[person],
    )


def test_a_message_as_json():
    line = json.loads(json.dumps(message_to_dict(hand_of_someone())))
    (person,) = line.pop("people")
    assert line == {
        "stamp": {"sec": 5, "nanosec": 6},
        "frame_id": "camera",
        "image_width": 640,
        "image_height": 480,
    }
    assert set(person) == {"track_id", "score", "left_hand"}
    hand = person["left_hand"]
    assert hand["keypoints_2d"][1] == [2, 3]
    assert hand["keypoints_3d"][20] == [60, 61, 62]
    assert hand["confidence"][3:5] == [0.75, 0.25]
    assert [j for j, trusted in enumerate(hand["trusted"]) if not trusted] == [4]
    assert hand["root"] is None


def test_a_known_root_is_kept():
    message = hand_of_someone()
    message.people[0].left_hand.root = Point(x=1.0, y=2.0, z=3.0)
    assert message_to_dict(message)["people"][0]["left_hand"]["root"] == [1, 2, 3]


def test_statistics():
    statistics = Statistics()
    body, face = {"body": {"score": 0.8}}, {"face": {"score": 0.5}}
    statistics.add([body, body | face], received=10.0, latency=0.1)
    statistics.add([], received=10.5, latency=0.3)
    statistics.add([{"body": {"score": 0.2}}], received=11.0, latency=0.2)
    summary = statistics.to_dict()
    assert summary["messages"] == 3
    assert summary["people_per_message"] == 1.0
    assert summary["rate_hz"] == 2.0
    assert summary["latency_p50"] == pytest.approx(0.2)
    assert summary["latency_p95"] == pytest.approx(0.29)
    assert summary["parts"]["body"] == {"found": 3, "mean_score": pytest.approx(0.6)}
    assert summary["parts"]["face"] == {"found": 1, "mean_score": 0.5}
    assert summary["parts"]["left_hand"] == {"found": 0, "mean_score": None}
    assert "200 ms (p50)" in statistics.table()


def test_statistics_of_little():
    assert Statistics().to_dict()["rate_hz"] is None
    one = Statistics()
    one.add([], received=1.0, latency=None)
    assert one.to_dict()["rate_hz"] is None
    assert one.to_dict()["latency_p50"] is None
    assert "1 images, 0.00 people" in one.table()


def test_a_recording(graph, start, tmp_path):
    (tmp_path / "annotated_0009.png").write_text("of an earlier recording")
    (tmp_path / "notes.txt").write_text("not of a recording")
    process = start(
        "recorder",
        *("-r", f"__ns:={graph.node.get_namespace()}", "-p", f"out:={tmp_path}"),
        *("-p", "seconds:=1.5", "-p", "picture_interval:=0.0"),
    )
    poses = graph.node.create_publisher(WholeBodyPoseArray, "poses", RESULTS)
    pictures = graph.node.create_publisher(Image, "image_annotated", RESULTS)
    assert graph.spin_until(
        lambda: poses.get_subscription_count() and pictures.get_subscription_count()
    )
    rgb = np.zeros((20, 30, 3), np.uint8)
    rgb[:, :10] = (200, 100, 50)
    message = hand_of_someone()
    pictures.publish(rgb_to_image(rgb, message.header))
    while process.process.poll() is None:
        poses.publish(message)
        graph.spin_for(0.1)
    assert process.process.returncode == 0, process.output()

    lines = (tmp_path / "poses.jsonl").read_text().splitlines()
    assert len(lines) >= 2
    assert all(json.loads(line) == message_to_dict(message) for line in lines)
    bgr = cv2.imread(str(tmp_path / "annotated_0001.png"))
    np.testing.assert_array_equal(bgr[..., ::-1], rgb)
    together = cv2.imread(str(tmp_path / "people.png"))
    assert together.shape == (20, 60, 3)
    np.testing.assert_array_equal(together[:, :30], bgr)
    assert not (tmp_path / "annotated_0009.png").exists()
    assert (tmp_path / "notes.txt").exists()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["messages"] == len(lines)
    assert summary["parts"]["left_hand"] == {"found": len(lines), "mean_score": 0.5}
    assert summary["pictures"] == {"annotated_0001.png": {"sec": 5, "nanosec": 6}}


def test_no_messages_or_nobody_is_a_failure(graph, start, tmp_path):
    silent = start("recorder", "-p", f"out:={tmp_path / 'a'}", "-p", "patience:=1.0")
    assert silent.process.wait(30) == 1
    assert "1 s without any message" in silent.output()

    process = start(
        "recorder",
        *("-r", f"__ns:={graph.node.get_namespace()}"),
        *("-p", f"out:={tmp_path / 'b'}", "-p", "seconds:=0.5"),
    )
    poses = graph.node.create_publisher(WholeBodyPoseArray, "poses", RESULTS)
    while process.process.poll() is None:
        poses.publish(WholeBodyPoseArray())
        graph.spin_for(0.1)
    assert process.process.returncode == 1
    assert "no people were found" in process.output()
