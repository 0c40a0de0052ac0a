"""The `guided` experts: where they search, whom they believe, and a real picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dope_model.experts import MissingModelError
from dope_model.experts.bodies import BodyPasses, pose_of_joints
from dope_model.experts.guided import GuidedExperts, passes_agree
from dope_model.experts.joints import HAND_POINTS, hand_from_mediapipe, hand_to_mediapipe
from dope_model.experts.proposals import Guess, NetworkProposals, region_of_face
from dope_model.skeleton import BODY, FACE84


def guess(**places: tuple[float, float]) -> Guess:
    """All joints at (100, 100), and seen, but for those that are named."""
    joints = np.full((len(BODY), 2), 100.0)
    for joint, place in places.items():
        joints[BODY.index[joint]] = place
    return Guess(joints, np.ones(len(BODY), bool))


def leaning() -> Guess:
    """Mid-hip (100, 100), mid-shoulder (140, 70): a torso of 50 px."""
    return guess(
        right_shoulder=(134, 62), left_shoulder=(146, 78), right_hip=(97, 96), left_hip=(103, 104)
    )


def test_the_region_of_a_body_by_hand():
    body = leaning()
    region = body.region()
    assert (region.x, region.y) == pytest.approx((100, 100))
    assert region.size == pytest.approx(2.5 * 1.5 * 50)
    # The head is 40 px right of the hips and 30 above.
    assert np.degrees(region.angle) == pytest.approx(53.13, abs=0.01)
    assert region.from_image(np.array([140.0, 70.0])) == pytest.approx(
        [0.5, 0.5 - 50 / region.size]
    )
    body.joints[BODY.index["left_ankle"]] = (100, 200)
    assert body.region().size == pytest.approx(2.5 * 1.15 * 100)
    body.seen[BODY.index["left_ankle"]] = False
    assert body.region().size == pytest.approx(2.5 * 1.5 * 50)


def test_upside_down_bodies_are_seen_upright():
    body = guess(right_shoulder=(110, 150), left_shoulder=(90, 150))
    assert abs(body.region().angle) == pytest.approx(np.pi)
    assert abs(body.tight_region().angle) == pytest.approx(np.pi)
    # 1.9 of the 50 px to the shoulders on either side.
    assert body.tight_region().size == pytest.approx(2 * 1.9 * 50)


def test_a_body_without_extent_has_a_region():
    region = guess().region()
    assert (region.size, region.angle) == (2.5 * 6, 0)


def test_the_box_of_a_guess_is_that_of_its_seen_joints():
    body = leaning()
    assert body.box.tolist() == [97, 62, 146, 104]
    body.seen[BODY.index["left_shoulder"]] = False
    assert body.box.tolist() == [97, 62, 134, 104]


JOINTS = np.random.default_rng(0).uniform(0, 100, (13, 2))


def passes(score: float = 0.9, apart: float = 0.0) -> BodyPasses:
    pose = pose_of_joints(JOINTS, np.zeros((13, 3)), np.ones(13, bool))
    return BodyPasses(pose, pose, replace(pose, score=score, points=pose.points + apart))


def test_passes_agree_where_all_are_sure_and_two_are_alike():
    assert passes().reproduced == pytest.approx(1)
    guess = Guess(JOINTS, np.arange(13) < 2)
    assert passes_agree(passes(), guess)
    assert not passes_agree(passes(score=0.5), guess)
    assert passes_agree(passes(apart=3), guess) and not passes_agree(passes(apart=40), guess)
    assert not passes_agree(passes(), Guess(JOINTS, np.zeros(13, bool)))
    assert np.allclose(passes(apart=4).mean.points, passes().mean.points + 2)


def test_passes_on_somebody_else_do_not_count():
    half = JOINTS + np.where(np.arange(13) < 6, 0, 50)[:, None]
    most = JOINTS + np.where(np.arange(13) < 5, 0, 50)[:, None]
    seen = np.ones(13, bool)
    # The joints spread over nearly 100 px: 50 px are far more than a tenth of that.
    assert Guess(half, seen).agreement(JOINTS) == pytest.approx(6 / 13)
    assert passes_agree(passes(), Guess(half, seen)) and not passes_agree(
        passes(), Guess(most, seen)
    )


def test_what_is_known_of_a_pose_from_joints_alone():
    joints = np.random.default_rng(1).uniform(0, 100, (13, 2))
    pose = pose_of_joints(joints, np.zeros((13, 3)), np.arange(13) < 5)
    assert (pose.points[[15, 17, 19, 21]] == joints[BODY.index["left_wrist"]]).all()
    assert (pose.points[[24]] == joints[BODY.index["right_hip"]]).all()
    assert (pose.points[:11] == joints[BODY.index["head"]]).all()
    assert pose.visibility[[28, 27, 0]].tolist() == [1, 1, 0]


def test_hand_points_there_and_back():
    points = np.arange(42.0).reshape(21, 2)
    assert (hand_to_mediapipe(hand_from_mediapipe(points)) == points).all()
    assert hand_to_mediapipe(points)[HAND_POINTS[3]].tolist() == points[3].tolist()


def test_the_region_of_a_turned_face():
    landmarks = np.full((len(FACE84), 2), 50.0)
    for name, place in (("right_eye", (50, 40)), ("left_eye", (50, 60))):
        landmarks[[i for i, joint in enumerate(FACE84.joints) if joint.startswith(f"{name}_")]] = (
            place
        )
    assert np.degrees(region_of_face(landmarks).angle) == pytest.approx(90)


@pytest.fixture(scope="module")
def guided():
    try:
        return GuidedExperts(engine="eager")
    except MissingModelError as error:
        pytest.skip(str(error))


def test_the_astronaut(guided, astronaut):
    found = guided(astronaut)
    assert {part: len(detections) for part, detections in found.items()} == {
        "body": 1,
        "hand": 0,  # her hands are not in the picture
        "face": 1,
    }
    joints, trusted = found["body"].keypoints_2d[0], found["body"].trusted[0]
    for joint, place, tolerance in (
        ("head", (225, 118), 20),
        ("right_shoulder", (100, 235), 40),
        ("left_shoulder", (310, 250), 40),
    ):
        assert trusted[BODY.index[joint]]
        assert np.linalg.norm(joints[BODY.index[joint]] - place) < tolerance
    nose = found["face"].keypoints_2d[0, FACE84.index["nose_bridge_3"]]
    assert np.linalg.norm(nose - (224, 125)) < 8


def test_nobody_is_found_where_nobody_is(guided):
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    assert not any(len(detections) for detections in guided(noise).values())


def test_missing_packages_of_the_network_are_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingModelError, match="pip install openvino"):
        NetworkProposals()
