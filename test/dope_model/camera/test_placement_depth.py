"""Depth under the joints, in depth images made of simple solids."""

from __future__ import annotations

import numpy as np
import pytest
from people import CAMERA, body_joints

from dope_model.camera.depth import WINDOW, DepthImage, depth_of_root, under_skin
from dope_model.camera.placement import place_people
from dope_model.poses import PartPose, WholeBody
from dope_model.skeleton import BODY, FACE84, HAND

SIZE = (640, 480)
WALL = 6.0

# A person with arms half raised, hips in the origin, m; right is on the left of the picture.
PLACES = {
    "ankle": (0.12, 0.85, 0.05),
    "knee": (0.11, 0.42, -0.05),
    "hip": (0.10, 0.0, 0.0),
    "wrist": (0.55, -0.35, -0.25),
    "elbow": (0.40, -0.30, 0.0),
    "shoulder": (0.19, -0.48, 0.02),
}


def person_joints() -> np.ndarray:
    return body_joints(PLACES, head=(0, -0.72, 0.0))


def balls(joints: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(480, 640) depth of balls around joints before a wall: a ray tracer in a few lines."""
    v, u = np.mgrid[0 : SIZE[1], 0 : SIZE[0]] + 0.5
    ways = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones_like(u)], -1)
    depth = np.full(u.shape, WALL)
    squared = (ways**2).sum(axis=-1)
    for centre, radius in zip(joints, radii, strict=True):
        along = ways @ centre
        inside = along**2 - squared * (centre @ centre - radius**2)
        hit = inside > 0
        nearest = (along - np.sqrt(np.maximum(inside, 0))) / squared
        depth = np.where(hit & (nearest < depth), nearest, depth)
    return depth.astype(np.float32)


def seen(joints: np.ndarray, root, trusted=None) -> PartPose:
    trusted = np.ones(len(joints), bool) if trusted is None else trusted
    return PartPose(0.9, CAMERA.project(joints + root), joints, trusted)


ROOT = np.array([0.2, -0.1, 3.0])


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """A body whose joints lie as deep under its surface as `UNDER_SKIN` says."""
    return balls(person_joints() + ROOT, under_skin(BODY))


def placed_root(person: WholeBody, metres: np.ndarray | None) -> np.ndarray:
    depth = None if metres is None else DepthImage(metres, *SIZE)
    return place_people([person], CAMERA, depth)[0].body.root


def test_depth_corrects_the_distance_of_a_body_whose_size_was_guessed_wrong(scene):
    pose = seen(person_joints(), ROOT)
    too_small = PartPose(0.9, pose.keypoints_2d, 0.85 * pose.keypoints_3d, pose.trusted)
    without = placed_root(WholeBody(body=too_small), None)
    assert without[2] == pytest.approx(0.85 * 3.0, abs=0.01)
    assert np.allclose(placed_root(WholeBody(body=too_small), scene), ROOT, atol=0.03)


def test_holes_of_every_kind_are_no_data(scene):
    pose = WholeBody(body=seen(person_joints(), ROOT))
    expected = placed_root(pose, scene)
    random = np.random.default_rng(1)
    holed = scene.copy()
    for nothing in (0.0, np.nan, np.inf, -1.0):
        holed[random.random(scene.shape) < 0.1] = nothing
    assert np.allclose(placed_root(pose, holed), expected, atol=0.01)
    for nothing in (0.0, np.nan, np.inf, -1.0):
        empty = np.full_like(scene, nothing)
        assert np.allclose(placed_root(pose, empty), placed_root(pose, None))


def test_joints_before_or_behind_which_something_else_is_seen_do_not_count(scene):
    # The wall shows beside both ankles and a wrist; a post stands before an elbow.
    spoiled = scene.copy()
    pose = seen(person_joints(), ROOT)
    for joint, metres in (
        ("right_ankle", WALL),
        ("left_ankle", WALL),
        ("left_wrist", WALL),
        ("right_elbow", 1.2),
    ):
        u, v = pose.keypoints_2d[BODY.index[joint]].astype(int)
        spoiled[v - 20 : v + 21, u - 20 : u + 21] = metres
    assert np.allclose(placed_root(WholeBody(body=pose), spoiled), ROOT, atol=0.03)


def test_guessed_joints_are_not_measured(scene):
    trusted = np.zeros(13, bool)
    trusted[[BODY.index["right_hip"], BODY.index["head"]]] = True
    two = WholeBody(body=seen(person_joints(), ROOT + (0, 0, 0.5), trusted))
    assert np.allclose(placed_root(two, scene), placed_root(two, None))


def test_a_hand_has_its_own_depth_but_not_that_of_something_far_from_its_body(scene):
    hand = np.zeros((21, 3))
    hand[:, 0] = np.linspace(0, 0.16, 21)
    wrist = person_joints()[BODY.index["left_wrist"]] + ROOT
    # The hand is 12 cm nearer than the body's own wrist says.
    true = wrist - (0, 0, 0.12)
    pixels = CAMERA.project(hand + true)
    person = WholeBody(
        body=seen(person_joints(), ROOT), left_hand=PartPose(0.9, pixels, hand, np.ones(21, bool))
    )
    with_hand = np.minimum(scene, balls(hand + true, np.full(21, 0.012)))
    for metres, expected, close in ((with_hand, true, 0.015), (None, wrist, 1e-6)):
        depth = None if metres is None else DepthImage(metres, *SIZE)
        (placed,) = place_people([person], CAMERA, depth)
        assert np.allclose(placed.left_hand.placed_3d[0], expected, atol=close)
    # Only the wall is seen where the hand should be.
    (placed,) = place_people([person], CAMERA, DepthImage(scene, *SIZE))
    wrist = placed.body.placed_3d[BODY.index["left_wrist"]]
    assert np.allclose(placed.left_hand.placed_3d[0], wrist)


def test_depth_alone_places_what_the_closed_form_cannot():
    # All landmarks of the face in one pixel: nothing says how far it is.
    face = PartPose(0.9, np.full((84, 2), 300.5), np.zeros((84, 3)), np.ones(84, bool))
    person = WholeBody(face=face)
    assert place_people([person], CAMERA)[0].face.root is None
    flat = DepthImage(np.full((480, 640), 1.5, np.float32), *SIZE)
    (placed,) = place_people([person], CAMERA, flat)
    x, y = (300.5 - 320) / 500 * 1.5, (300.5 - 240) / 500 * 1.5
    assert np.allclose(placed.face.placed_3d, (x, y, 1.5), atol=1e-3)


def test_the_depth_at_a_pixel_is_the_median_around_it():
    metres = np.full((48, 64), 2.0, np.float32)
    metres[20, 30:33] = 9.0  # 3 of 25
    depth = DepthImage(metres, 64, 48)
    points = np.array([[31.5, 20.5], [0.1, 0.1], [63.9, 47.9], [64.1, 20], [np.nan, 3], [-1, 5]])
    assert np.array_equal(depth.at(points), [2, 2, 2, np.nan, np.nan, np.nan], equal_nan=True)
    metres[:] = 0
    metres[20, 30] = 5.0  # hardly any data
    assert WINDOW**2 // 4 > 1
    assert np.isnan(depth.at(np.array([[30.5, 20.5]]))).all()


def test_the_median_leaves_out_what_is_no_data():
    random = np.random.default_rng(6)
    metres = random.uniform(1, 5, (48, 64)).astype(np.float32)
    for nothing in (0.0, np.nan, np.inf):
        metres[random.random(metres.shape) < 0.15] = nothing
    depth = DepthImage(metres, 64, 48)
    for x, y in random.integers((3, 3), (60, 45), (200, 2)):
        window = metres[y - 2 : y + 3, x - 2 : x + 3]
        data = window[np.isfinite(window) & (window > 0)]
        expected = np.median(data) if len(data) >= 6 else np.nan
        found = depth.at(np.array([[x + 0.5, y + 0.5]]))[0]
        assert np.isclose(found, expected, equal_nan=True)


def test_a_smaller_depth_image_is_read_at_the_same_place():
    metres = np.full((24, 32), 4.0, np.float32)
    metres[:12] = 1.0
    depth = DepthImage(metres, 640, 480)
    assert list(depth.at(np.array([[320.0, 100.0], [320.0, 400.0]]))) == [1.0, 4.0]


@pytest.mark.parametrize("shape", [(480, 640, 1), (0, 640), (480, 480), (640, 480)])
def test_what_is_no_registered_depth_image_is_refused(shape):
    with pytest.raises(ValueError, match="depth image"):
        DepthImage(np.zeros(shape, np.float32), 640, 480)


def test_each_joint_has_its_depth_under_the_skin():
    body = dict(zip(BODY.joints, under_skin(BODY), strict=True))
    assert body["right_hip"] == body["left_hip"] > body["head"] > body["left_wrist"] > 0
    hand = dict(zip(HAND.joints, under_skin(HAND), strict=True))
    assert hand["wrist"] > hand["thumb_cmc"] > hand["index_tip"] > 0
    assert not under_skin(FACE84).any()


def test_too_few_opinions_say_nothing():
    flat = DepthImage(np.full((480, 640), 2.0, np.float32), *SIZE)
    points = np.full((13, 2), 200.0)
    for count, known in ((2, False), (3, True)):
        trusted = np.arange(13) < count
        found = depth_of_root(points, np.zeros(13), trusted, BODY, flat)
        assert (found is not None) == known
