"""What is shown of the people who were found."""

from types import SimpleNamespace

import numpy as np
import pytest

from dope_model.drawing import draw_people
from dope_model.poses import PartPose, WholeBody
from dope_ros.filtering import annotated, chosen_parts
from dope_ros.settings import DOPE_NODE


def settings(**changes) -> SimpleNamespace:
    return SimpleNamespace(**({s.name: s.default for s in DOPE_NODE} | changes))


def part(score: float, joints: int) -> PartPose:
    points = np.random.default_rng(joints).uniform(20, 80, (joints, 3)).astype(np.float32)
    return PartPose(score, points[:, :2], points, np.ones(joints, bool))


PEOPLE = [
    WholeBody(body=part(0.9, 13), face=part(0.3, 84), track_id=4),
    WholeBody(body=part(0.2, 13), right_hand=part(0.5, 21)),
    WholeBody(left_hand=part(0.1, 21)),
]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [["body", "face"], ["body", "right_hand"], ["left_hand"]]),
        ({"bodies": False}, [["face"], ["right_hand"], ["left_hand"]]),
        ({"hands": False}, [["body", "face"], ["body"]]),
        ({"faces": False}, [["body"], ["body", "right_hand"], ["left_hand"]]),
        ({"min_body_score": 0.3}, [["body", "face"], ["right_hand"], ["left_hand"]]),
        ({"min_hand_score": 0.5}, [["body", "face"], ["body", "right_hand"]]),
        ({"min_face_score": 0.31}, [["body"], ["body", "right_hand"], ["left_hand"]]),
        ({"bodies": False, "hands": False, "faces": False}, []),
    ],
)
def test_parts_are_left_out_by_switch_and_score(changes, expected):
    kept = chosen_parts(PEOPLE, settings(**changes))
    assert [[slot for slot, _ in person.parts()] for person in kept] == expected


def test_who_is_left_keeps_the_track_and_gets_the_score_of_what_is_left():
    first, second = chosen_parts(PEOPLE, settings(min_body_score=0.5, min_hand_score=0.5))
    assert (first.track_id, first.score) == (4, 0.9)
    assert (second.track_id, second.score) == (-1, 0.5)


def test_the_picture_is_the_image_with_the_poses():
    rgb = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    np.testing.assert_array_equal(annotated(rgb, PEOPLE, settings()), draw_people(rgb, PEOPLE))
    larger = settings(annotated_max_side=200)
    np.testing.assert_array_equal(annotated(rgb, PEOPLE, larger), draw_people(rgb, PEOPLE))


def test_a_black_background_shows_nothing_of_the_image():
    rgb = np.full((90, 120, 3), 200, np.uint8)
    black = settings(annotated_background="black")
    picture = annotated(rgb, PEOPLE, black)
    np.testing.assert_array_equal(picture, draw_people(np.zeros_like(rgb), PEOPLE))
    assert not annotated(rgb, [], black).any()


def test_a_smaller_picture_has_the_poses_at_the_same_places():
    rgb = np.zeros((90, 121, 3), np.uint8)
    picture = annotated(rgb, PEOPLE[:1], settings(annotated_max_side=61))
    assert picture.shape == (45, 61, 3)

    def middle(image: np.ndarray) -> np.ndarray:
        rows, columns = np.nonzero(image.any(axis=2))
        return np.array([columns.mean() / image.shape[1], rows.mean() / image.shape[0]])

    whole = draw_people(rgb, PEOPLE[:1])
    np.testing.assert_allclose(middle(picture), middle(whole), atol=0.02)
    # The caller's people are as they were.
    assert PEOPLE[0].body.keypoints_2d.max() > 62
