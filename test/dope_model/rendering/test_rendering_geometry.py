"""Geometry of rendering that needs neither the body model nor a graphics card."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("scipy")

from hypothesis import given, settings
from hypothesis import strategies as st

from dope_model.camera.placement import Intrinsics
from dope_model.datasets.labels import Visibility
from dope_model.rendering.body import rotation_between
from dope_model.rendering.camera import Camera
from dope_model.rendering.collision import segment_distance
from dope_model.rendering.hands import FINGER_LIMITS, GESTURES, sample_fingers
from dope_model.rendering.labels import visibility
from dope_model.rendering.limbs import ArmAngles, two_bones
from dope_model.rendering.meshes import Topology, box, revolved
from dope_model.rendering.places import Occupied, sample_place
from dope_model.rendering.renderer import FAR, NEAR, Frame

seeds = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(seeds)
def test_clip_matrix_agrees_with_the_intrinsics(seed):
    random = np.random.default_rng(seed)
    eye, at = random.uniform(-2, 2, 3), random.uniform(-2, 2, 3) + [0, 0, 6]
    camera = Camera.looking(eye, at, random.uniform(-20, 20), random.uniform(30, 100), 320, 240)
    points = at + random.normal(0, 0.5, (5, 3))
    optical = camera.to_optical(points)
    pixels = camera.intrinsics.project(optical)
    clip = np.c_[points, np.ones(5)] @ camera.clip_matrix(NEAR, FAR).T
    screen = (clip[:, :2] / clip[:, 3:] * [1, -1] + 1) / 2 * [320, 240]
    front = optical[:, 2] > NEAR
    assert np.allclose(screen[front], pixels[front], atol=1e-6)
    assert np.allclose(camera.to_optical(eye), 0, atol=1e-9)


def test_camera_keeps_up_up_and_the_persons_left_on_the_right():
    camera = Camera.looking(np.array([0, 1.0, 3]), np.array([0, 1.0, 0]), 0, 60, 640, 480)
    up, left = camera.to_optical(np.array([[0, 1.5, 0], [0.5, 1, 0]]))
    assert np.allclose(up, [0, -0.5, 3]) and np.allclose(left, [0.5, 0, 3])


@settings(deadline=None)
@given(seeds)
def test_two_bones_reach_the_target(seed):
    random = np.random.default_rng(seed)
    first, second = random.uniform(0.2, 0.5, 2)
    way = random.normal(0, 1, 3)
    reach = random.uniform(abs(first - second) * 1.1 + 0.02, (first + second) * 0.99)
    target = way / np.linalg.norm(way) * reach
    one, two = two_bones(np.zeros(3), target, first, second, random.normal(0, 1, 3))
    assert np.allclose(one * first + two * second, target, atol=1e-6)
    assert np.allclose([np.linalg.norm(one), np.linalg.norm(two)], 1)


@settings(deadline=None)
@given(seeds)
def test_rotation_between_turns_one_direction_into_the_other(seed):
    random = np.random.default_rng(seed)
    start, end = random.normal(0, 1, (2, 3))
    turn = rotation_between(start, end)
    assert np.allclose(turn @ turn.T, np.eye(3))
    assert np.allclose(turn @ start / np.linalg.norm(start), end / np.linalg.norm(end))
    assert np.allclose(rotation_between(start, -start) @ start, -start)


@settings(max_examples=50, deadline=None)
@given(seeds)
def test_segment_distance_is_the_least_of_many_points(seed):
    random = np.random.default_rng(seed)
    a, b, c, d = random.normal(0, 1, (4, 3))
    steps = np.linspace(0, 1, 101)[:, None]
    one, other = a + steps * (b - a), c + steps * (d - c)
    sampled = np.linalg.norm(one[:, None] - other[None], axis=-1).min()
    exact = segment_distance(*(p[None] for p in (a, b, c, d)))[0]
    assert exact <= sampled + 1e-9
    assert exact > sampled - 0.03


@settings(deadline=None)
@given(seeds, st.sampled_from([None, *GESTURES]))
def test_fingers_stay_within_limits(seed, gesture):
    fingers = sample_fingers(np.random.default_rng(seed), gesture)
    assert (fingers.flexion >= FINGER_LIMITS[:, 0]).all()
    assert (fingers.flexion <= FINGER_LIMITS[:, 1]).all()


def test_arm_reaching_backward_is_not_raised():
    assert ArmAngles(160, -60, 0, 0, 0).limited().elevation == 50
    assert ArmAngles(160, 90, 0, 200, 0).limited().elbow == 145


def test_box_normals_point_outward():
    mesh = box((-1, -1, -1), (1, 1, 1), np.zeros((2, 2, 3), np.uint8))
    normals = mesh.topology.normals(mesh.vertices)
    assert (np.einsum("vi,vi->v", normals, mesh.vertices) > 0.9).all()
    outline = np.array([(0.5, -1.0), (1.0, 0.0), (0.5, 1.0)])
    mesh = revolved(outline, np.zeros((2, 2, 3), np.uint8))
    middle = slice(17, 34)
    assert (np.einsum("vi,vi->v", mesh.topology.normals(mesh.vertices), mesh.vertices)[middle]
            > 0.9).all()  # fmt: skip


def test_corners_keep_triangles_and_texture():
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    uv_triangles = np.array([[0, 1, 2], [3, 2, 1]])
    uv = np.random.default_rng(0).random((4, 2)).astype(np.float32)
    vertex, texel, indices = Topology(triangles, uv_triangles, uv).corners
    assert (vertex[indices] == triangles).all()
    assert np.allclose(texel[indices], uv[uv_triangles])


def test_visibility_tells_who_hides_a_joint():
    camera = Camera(np.eye(3), np.zeros(3), Intrinsics(100, 100, 50, 50), 100, 100)
    person = np.zeros((100, 100), np.uint8)
    depth = np.full((100, 100), 50.0, np.float32)
    segment = np.zeros((100, 100), np.uint8)
    person[:, :30], depth[:, :30], segment[:, :30] = 1, 1.99, 1  # own head, at the joint
    person[:, 30:50], depth[:, 30:50], segment[:, 30:50] = 1, 1.5, 4  # own hand before it
    person[:, 50:70], depth[:, 50:70] = 2, 1.0  # somebody else before it
    depth[:, 70:80] = 1.0  # a thing before it
    person[:, 80:90], depth[:, 80:90] = 2, 5.0  # somebody else behind it
    frame = Frame(np.zeros((100, 100, 3)), person, segment, depth)
    columns = np.array([10, 40, 60, 75, 85, 150])
    points = np.stack([(columns + 0.5 - 50) / 50, np.zeros(6), np.full(6, 2.0)], 1)
    joints = np.concatenate([points, np.tile(points[:1], (78, 1))])
    seen = visibility("face", None, joints, 1, 1.0, camera, frame)
    assert seen[:6].tolist() == [
        Visibility.VISIBLE, Visibility.OCCLUDED_BY_SELF, Visibility.OCCLUDED_BY_OTHER,
        Visibility.OCCLUDED_BY_OTHER, Visibility.VISIBLE, Visibility.OUTSIDE_FRAME,
    ]  # fmt: skip


def test_pictures_become_backdrops_with_a_floor_that_catches_shadows(tmp_path):
    path = tmp_path / "wall.png"
    cv2.imwrite(str(path), np.full((50, 90, 3), (10, 120, 200), np.uint8))
    camera = Camera.looking(np.array([0, 1.0, 3]), np.array([0, 1.0, 0]), 0, 60, 160, 120)
    nobody = Occupied(np.zeros((1, 2)), np.ones(1))
    kinds = {"picture": 0}
    for seed in range(12):
        random = np.random.default_rng(seed)
        place = sample_place(random, camera, nobody, 1.8, [path])
        kinds[place.kind] = kinds.get(place.kind, 0) + 1
        assert place.behind.shape == (120, 160, 3)
        if place.kind == "picture":
            assert (place.behind == (200, 120, 10)).all()
            assert [mesh.finish.backdrop for mesh in place.meshes] == [True]
    assert 2 <= kinds["picture"] <= 10
    path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="wall.png"):
        for seed in range(12):
            sample_place(np.random.default_rng(seed), camera, nobody, 1.8, [path])


def test_furniture_keeps_off_people():
    people = Occupied(np.array([[0.0, 0], [1.5, 1]]), np.array([0.6, 0.5]))
    turn = np.eye(3)
    assert not people.free(np.array([0.3, -0.2]), np.array([1, 0.2]), turn)
    assert people.free(np.array([0.7, -0.9]), np.array([1.2, -0.4]), turn)
    # Seen in axes turned by a quarter, the same ground is elsewhere.
    quarter = np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]])
    assert people.free(np.array([1.2, 0.8]), np.array([1.8, 1.2]), quarter)
