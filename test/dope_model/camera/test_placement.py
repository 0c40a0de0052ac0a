"""Placement in front of a camera, against projections of known points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dope_model.benchmark.placement import FISHEYE, PINHOLE, WIDE, placed_errors
from dope_model.camera.placement import Intrinsics, place_people, place_root
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


def test_joints_without_a_ray_do_not_count():
    joints = np.random.default_rng(4).uniform(-0.5, 0.5, (13, 3))
    root = np.array([0.3, 0.1, 3.0])
    seen = CAMERA.project(joints + root)
    seen[[2, 7]] = np.nan
    assert np.allclose(place_root(seen, joints, CAMERA), root, atol=1e-6)
    assert place_root(np.full((13, 2), np.nan), joints, CAMERA) is None


def test_a_measured_depth_leaves_only_the_sides():
    joints = np.random.default_rng(5).uniform(-0.5, 0.5, (13, 3))
    root = np.array([0.3, 0.1, 3.0])
    seen = CAMERA.project(joints + root)
    assert np.allclose(place_root(seen, joints, CAMERA, depth=3.0), root, atol=1e-6)
    # By hand: one joint at the root, on the ray (0.25, -0.1), 4 m away.
    pixel = np.array([[300 + 520 * 0.25, 250 - 530 * 0.1]])
    assert np.allclose(place_root(pixel, np.zeros((1, 3)), CAMERA, depth=4.0), (1.0, -0.4, 4.0))
    assert place_root(pixel, np.zeros((1, 3)), CAMERA, depth=-1.0) is None


def test_noise_moves_people_by_about_what_it_does_to_their_height_in_pixels():
    # 4 px of the 260 that a person of 1.5 m has at 3 m are 1.5 %, 4.6 cm; the joints average.
    exact = placed_errors(PINHOLE, PINHOLE, 3.0, 0.0, count=60)
    noisy = placed_errors(PINHOLE, PINHOLE, 3.0, 4.0, count=60)
    assert exact.max() < 1e-6
    assert 0.005 < np.median(noisy) < 0.05


def test_a_lens_that_is_honoured_costs_nothing_and_one_that_is_not_does():
    for camera in (WIDE, FISHEYE):
        assert placed_errors(camera, camera, 3.0, 0.0, count=40).max() < 1e-3
    assert np.median(placed_errors(WIDE, PINHOLE, 3.0, 0.0, count=40)) > 0.05


def test_assumed_camera_sees_its_field_of_view():
    camera = Intrinsics.assumed(640, 480, 90.0)
    assert camera.fx == pytest.approx(320)
    assert camera.project(np.array([1.0, 0, 1.0]))[0] == pytest.approx(640)


def placed_parts(person: WholeBody) -> dict[str, np.ndarray]:
    (placed,) = place_people([person], CAMERA)
    return {slot: pose.placed_3d for slot, pose in placed.parts()}


def test_hands_and_face_hang_on_the_body():
    random = np.random.default_rng(3)
    root = np.array([0.2, 0.1, 3.0])

    def pose(joints: int) -> PartPose:
        points = random.uniform(-0.4, 0.4, (joints, 3))
        seen = CAMERA.project(points + root)
        return PartPose(0.9, seen, points, np.ones(joints, bool))

    person = WholeBody(pose(13), pose(21), pose(21), pose(84))
    slots = placed_parts(person)
    assert np.allclose(slots["body"], person.body.keypoints_3d + root, atol=1e-6)
    assert np.allclose(slots["right_hand"][0], slots["body"][6])
    assert np.allclose(slots["left_hand"][0], slots["body"][7])
    ears = slots["face"][[0, 32]].mean(axis=0)  # where the outline begins and ends
    assert np.allclose(ears, slots["body"][12])
    hand_shape = person.left_hand.keypoints_3d - person.left_hand.keypoints_3d[0]
    assert np.allclose(slots["left_hand"] - slots["left_hand"][0], hand_shape)

    assert place_people([person], CAMERA)[0].track_id == person.track_id
    alone = WholeBody(face=person.face)
    assert np.allclose(placed_parts(alone)["face"], person.face.keypoints_3d + root, atol=1e-6)
