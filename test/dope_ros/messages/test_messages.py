"""Messages: their constants, and people to messages and back."""

import math

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header

from dope_model.poses import PartPose, WholeBody
from dope_model.skeleton import BODY, BODY14, FACE84, HAND
from dope_msgs.msg import Joints, WholeBodyPose, WholeBodyPoseArray
from dope_msgs.msg import PartPose as PartPoseMessage
from dope_ros.messages.conversions import message_to_people, people_to_message

HEADER = Header(stamp=Time(sec=12, nanosec=345), frame_id="camera_optical_frame")


def constants(prefix: str) -> dict[str, int]:
    names = [name for name in dir(Joints) if name.startswith(prefix)]
    return {name: getattr(Joints, name) for name in names}


def test_what_is_sent_has_no_constants_of_joints():
    """Fault 34: `ros2 interface show` printed them four times."""
    for kind in (PartPoseMessage, WholeBodyPose, WholeBodyPoseArray):
        assert not [name for name in dir(kind) if name.startswith(("BODY_", "HAND_", "FACE_"))]


def test_joint_counts_are_those_of_the_skeletons():
    assert len(BODY) == Joints.BODY_JOINTS
    assert len(BODY14) == Joints.BODY_JOINTS_WITH_NECK
    assert len(HAND) == Joints.HAND_JOINTS
    assert len(FACE84) == Joints.FACE_LANDMARKS


@pytest.mark.parametrize(("prefix", "skeleton"), [("BODY_", BODY14), ("HAND_", HAND)])
def test_each_joint_has_a_constant_with_its_index(prefix, skeleton):
    indices = {
        name.removeprefix(prefix).lower(): value
        for name, value in constants(prefix).items()
        if "_JOINTS" not in name
    }
    assert indices == skeleton.index


def test_each_group_of_face_landmarks_has_a_constant_with_its_first_index():
    first = {joint.removesuffix("_0"): j for j, joint in enumerate(FACE84.joints)}
    groups = {joint for joint in first if joint[-1].isalpha()}
    indices = {
        name.removeprefix("FACE_").lower(): value
        for name, value in constants("FACE_").items()
        if name != "FACE_LANDMARKS"
    }
    # The root of the face, the last of the nose bridge's.
    assert indices.pop("nose_tip") == FACE84.root[0] == FACE84.index["nose_bridge_3"]
    assert indices == {group: first[group] for group in groups}


def part(rng: np.random.Generator, joints: int, score: float) -> PartPose:
    return PartPose(
        score,
        rng.uniform(-50, 700, (joints, 2)).astype(np.float32),
        rng.normal(0, 0.3, (joints, 3)).astype(np.float32),
        rng.random(joints) < 0.6,
    )


@pytest.fixture
def people() -> list[WholeBody]:
    rng = np.random.default_rng(5)
    return [
        WholeBody(
            body=part(rng, 13, 0.5),
            right_hand=part(rng, 21, 0.25),
            left_hand=part(rng, 21, 0.75),
            face=part(rng, 84, 0.875),
            track_id=7,
        ),
        WholeBody(face=part(rng, 84, 0.625)),
        WholeBody(body=part(rng, 14, 1.0)),
    ]


def test_message_holds_every_value_in_its_documented_place(people):
    message = people_to_message(people, HEADER, 640, 480)
    assert message.header == HEADER
    assert (message.image_width, message.image_height) == (640, 480)
    assert [person.track_id for person in message.people] == [7, WholeBodyPose.NOT_TRACKED, -1]
    assert [person.score for person in message.people] == [0.5, 0.625, 1.0]

    person = message.people[0]
    u, v = people[0].right_hand.keypoints_2d[Joints.HAND_THUMB_TIP]
    x, y, z = people[0].right_hand.keypoints_3d[Joints.HAND_THUMB_TIP]
    start = Joints.HAND_THUMB_TIP
    assert list(person.right_hand.keypoints_2d[2 * start : 2 * start + 2]) == [u, v]
    assert list(person.right_hand.keypoints_3d[3 * start : 3 * start + 3]) == [x, y, z]
    assert person.right_hand.score == 0.25
    assert person.left_hand.score == 0.75
    assert len(message.people[2].body.keypoints_2d) == 2 * 14


def test_missing_parts_are_empty_and_every_root_is_unknown(people):
    message = people_to_message(people, HEADER, 640, 480)
    missing = message.people[1].body
    assert missing.score == 0
    assert len(missing.keypoints_2d) == len(missing.keypoints_3d) == 0
    for person in message.people:
        for name in ("body", "right_hand", "left_hand", "face"):
            root = getattr(person, name).root
            assert all(math.isnan(value) for value in (root.x, root.y, root.z))


def test_round_trip_over_the_wire(people):
    sent = people_to_message(people, HEADER, 640, 480)
    received = deserialize_message(serialize_message(sent), WholeBodyPoseArray)
    assert received.header == HEADER
    back = message_to_people(received)
    assert [person.track_id for person in back] == [7, -1, -1]
    for before, after in zip(people, back, strict=True):
        assert [slot for slot, _ in before.parts()] == [slot for slot, _ in after.parts()]
        assert after.score == before.score
        for slot, pose in before.parts():
            np.testing.assert_array_equal(getattr(after, slot).keypoints_2d, pose.keypoints_2d)
            np.testing.assert_array_equal(getattr(after, slot).keypoints_3d, pose.keypoints_3d)
            np.testing.assert_array_equal(getattr(after, slot).confidence, pose.confidence)
            assert getattr(after, slot).score == pose.score


def test_nobody_is_an_empty_message_of_the_image():
    message = people_to_message([], HEADER, 640, 480)
    assert message.people == []
    assert message.header == HEADER
    assert message_to_people(message) == []
