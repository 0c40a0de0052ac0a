"""Roots in poses and TF frames, by geometry worked out by hand."""

import sys

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from people import CAMERA, body_joints
from std_msgs.msg import Header

from dope_model.camera.placement import place_people
from dope_model.poses import PartPose, WholeBody
from dope_model.skeleton import BODY, HAND
from dope_ros.messages.conversions import people_to_message
from dope_ros.messages.transforms import (
    MissingFrameIdError,
    MissingTfError,
    body_axes,
    person_transforms,
    quaternion,
    tf_message_class,
)

HEADER = Header(stamp=Time(sec=3), frame_id="camera_optical_frame")

# Facing the camera: the person's left is on the right of the image, y points down.
FACING = {
    "ankle": (0.1, 0.9, 0.0),
    "knee": (0.1, 0.45, 0.0),
    "hip": (0.1, 0.0, 0.0),
    "wrist": (0.6, -0.3, 0.0),
    "elbow": (0.4, -0.4, 0.0),
    "shoulder": (0.2, -0.5, 0.0),
}


def joints() -> np.ndarray:
    return body_joints(FACING, head=(0, -0.75, 0))


def person(root, track_id: int, hand: bool = False) -> WholeBody:
    def seen(points):
        return PartPose(0.9, CAMERA.project(points + root), points, np.ones(len(points), bool))

    fingers = np.random.default_rng(1).normal(0, 0.05, (len(HAND), 3))
    parts = {"right_hand": seen(fingers - fingers[0])} if hand else {}
    return WholeBody(body=seen(joints()), track_id=track_id, **parts)


def turned(vector, rotation) -> np.ndarray:
    """A vector turned by a quaternion message, by Rodrigues' formula."""
    axis, w = np.array([rotation.x, rotation.y, rotation.z]), rotation.w
    vector = np.asarray(vector, float)
    return vector + 2 * np.cross(axis, np.cross(axis, vector) + w * vector)


def test_someone_who_faces_the_camera():
    placed = place_people([person((0.3, -0.2, 4.0), 7)], CAMERA)
    (transform,) = person_transforms(placed, HEADER, "p")
    assert isinstance(transform, TransformStamped)
    assert (transform.header, transform.child_frame_id) == (HEADER, "body_p7")
    place = transform.transform.translation
    assert (place.x, place.y, place.z) == pytest.approx((0.3, -0.2, 4.0), abs=1e-4)
    rotation = transform.transform.rotation
    # Forward is towards the camera, the person's left to the right of the image, up is up.
    assert turned((1, 0, 0), rotation) == pytest.approx((0, 0, -1), abs=1e-6)
    assert turned((0, 1, 0), rotation) == pytest.approx((1, 0, 0), abs=1e-6)
    assert turned((0, 0, 1), rotation) == pytest.approx((0, -1, 0), abs=1e-6)


def test_frames_turn_with_the_person():
    random = np.random.default_rng(4)
    for _ in range(20):
        turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
        turn *= np.sign(np.linalg.det(turn))
        axes = body_axes(joints() @ turn.T, BODY.index)
        facing = np.array([[0, 1, 0], [0, 0, -1], [-1, 0, 0]], float)
        np.testing.assert_allclose(axes, turn @ facing, atol=1e-9)
        assert np.linalg.det(axes) == pytest.approx(1)


def test_quaternions_turn_as_their_matrices_do():
    random = np.random.default_rng(5)
    for _ in range(50):
        matrix, _ = np.linalg.qr(random.normal(size=(3, 3)))
        matrix *= np.sign(np.linalg.det(matrix))
        x, y, z, w = quaternion(matrix)
        assert w >= 0 and x * x + y * y + z * z + w * w == pytest.approx(1)
        rotation = type("Rotation", (), {"x": x, "y": y, "z": z, "w": w})
        for vector in np.eye(3):
            np.testing.assert_allclose(turned(vector, rotation), matrix @ vector, atol=1e-9)
    assert list(quaternion(np.eye(3))) == pytest.approx([0, 0, 0, 1])


def test_only_tracked_people_with_a_place_and_a_trunk_have_a_frame():
    nowhere = WholeBody(
        body=PartPose(0.9, np.full((13, 2), 9.0), joints(), np.ones(13, bool)), track_id=2
    )
    people = [person((0, 0, 3.0), -1), nowhere, person((1, 0, 3.0), 4)]
    placed = place_people(people, CAMERA)
    assert [t.child_frame_id for t in person_transforms(placed, HEADER, "p")] == ["body_p4"]
    (renamed,) = person_transforms(placed, HEADER, "rear_")
    assert renamed.child_frame_id == "body_rear_4"
    assert body_axes(np.zeros((13, 3)), BODY.index) is None
    flat = joints()
    flat[:, 0] = 0  # no width: no side is forward
    assert body_axes(flat, BODY.index) is None


def test_images_of_no_frame_are_refused():
    placed = place_people([person((0, 0, 3.0), 1)], CAMERA)
    with pytest.raises(MissingFrameIdError, match="no frame_id"):
        person_transforms(placed, Header(stamp=Time(sec=3)), "p")


def test_roots_are_written_where_they_are_known():
    people = [
        person((0.3, -0.2, 4.0), 1, hand=True),
        WholeBody(body=PartPose(0.9, np.full((13, 2), 9.0), joints(), np.ones(13, bool))),
    ]
    message = people_to_message(place_people(people, CAMERA), HEADER, 640, 480)
    root = message.people[0].body.root
    assert (root.x, root.y, root.z) == pytest.approx((0.3, -0.2, 4.0), abs=1e-4)
    wrist = message.people[0].right_hand.root
    assert (wrist.x, wrist.y, wrist.z) == pytest.approx((-0.3, -0.5, 4.0), abs=1e-4)
    for part in (message.people[0].face, message.people[1].body):
        assert np.isnan([part.root.x, part.root.y, part.root.z]).all()


def test_without_tf2_msgs_it_says_what_to_install(monkeypatch):
    # Whole, as another test may have imported a stand-in for its inside.
    for name in ("tf2_msgs", "tf2_msgs.msg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingTfError, match="apt install ros-.ROS_DISTRO-tf2-msgs"):
        tf_message_class()
