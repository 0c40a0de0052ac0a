"""Placement in front of a camera, against projections of known points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dope_model.placement import Intrinsics, place_people, place_root
from dope_model.poses import PartPose, WholeBody

CAMERA = Intrinsics(520.0, 530.0, 300.0, 250.0)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.floats(-2, 2), st.floats(-1, 1), st.floats(0.8, 12))
def test_the_root_of_a_projected_pose_is_found(seed, x, y, z):
    joints = np.random.default_rng(seed).uniform(-0.5, 0.5, (13, 3))
    root = np.array([x, y, z])
    found = place_root(CAMERA.project(joints + root), joints, CAMERA)
    assert np.allclose(found, root, atol=1e-6)


def test_projection_by_hand():
    u, v = CAMERA.project(np.array([0.5, -0.2, 2.0]))
    assert (u, v) == pytest.approx((300 + 520 * 0.25, 250 - 530 * 0.1))


def test_joints_that_are_not_trusted_do_not_count():
    joints = np.random.default_rng(1).uniform(-0.5, 0.5, (13, 3))
    root = np.array([0.3, 0.1, 3.0])
    seen = CAMERA.project(joints + root)
    seen[:4] += 500
    trusted = np.arange(13) >= 4
    assert np.allclose(place_root(seen, joints, CAMERA, trusted), root, atol=1e-6)
    assert not np.allclose(place_root(seen, joints, CAMERA), root, atol=0.1)


def test_what_cannot_be_placed_is_none():
    same_pixel = np.full((13, 2), 100.0)
    assert place_root(same_pixel, np.zeros((13, 3)), CAMERA) is None
    joints = np.random.default_rng(2).uniform(-0.5, 0.5, (13, 3))
    behind = CAMERA.project(joints + [0, 0, -3.0])
    assert place_root(behind, joints, CAMERA) is None


def test_assumed_camera_sees_its_field_of_view():
    camera = Intrinsics.assumed(640, 480, 90.0)
    assert camera.fx == pytest.approx(320)
    assert camera.project(np.array([1.0, 0, 1.0]))[0] == pytest.approx(640)


def test_hands_and_face_hang_on_the_body():
    random = np.random.default_rng(3)
    root = np.array([0.2, 0.1, 3.0])

    def pose(joints: int) -> PartPose:
        points = random.uniform(-0.4, 0.4, (joints, 3))
        seen = CAMERA.project(points + root)
        return PartPose(0.9, seen, points, np.ones(joints, bool))

    person = WholeBody(pose(13), pose(21), pose(21), pose(84))
    ((_, slots),) = place_people([person], CAMERA)
    assert np.allclose(slots["body"], person.body.keypoints_3d + root, atol=1e-6)
    assert np.allclose(slots["right_hand"][0], slots["body"][6])
    assert np.allclose(slots["left_hand"][0], slots["body"][7])
    assert np.allclose(slots["face"].mean(axis=0), slots["body"][12])
    hand_shape = person.left_hand.keypoints_3d - person.left_hand.keypoints_3d[0]
    assert np.allclose(slots["left_hand"] - slots["left_hand"][0], hand_shape)

    alone = WholeBody(face=person.face)
    ((_, slots),) = place_people([alone], CAMERA)
    assert np.allclose(slots["face"], person.face.keypoints_3d + root, atol=1e-6)
