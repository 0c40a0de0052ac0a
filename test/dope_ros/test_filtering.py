"""What is shown of the people who were found."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import skimage.data

from dope_model.drawing import blur_faces, draw_people
from dope_model.poses import PartPose, WholeBody
from dope_model.skeleton import BODY
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


SIDE = 200


def textured() -> np.ndarray:
    """An image full of detail."""
    return np.random.default_rng(1).integers(0, 255, (SIDE, SIDE, 3), np.uint8)


def with_face(centre, radius: float) -> WholeBody:
    """A face whose outline is a circle."""
    points = np.zeros((84, 3), np.float32)
    angles = np.linspace(0, 2 * np.pi, 84)
    points[:, 0] = centre[0] + radius * np.cos(angles)
    points[:, 1] = centre[1] + radius * np.sin(angles)
    return WholeBody(face=PartPose(0.9, points[:, :2], points, np.zeros(84)))


def with_body(shoulders: float, neck: float, head=(100, 60)) -> WholeBody:
    """A body whose head is `neck` px over shoulders of a width; no face was found."""
    points = np.full((13, 3), 400, np.float32)
    points[BODY.index["head"]] = (*head, 0)
    points[BODY.index["left_shoulder"]] = (head[0] + shoulders / 2, head[1] + neck, 0)
    points[BODY.index["right_shoulder"]] = (head[0] - shoulders / 2, head[1] + neck, 0)
    return WholeBody(body=PartPose(0.9, points[:, :2], points, np.ones(13)))


def detail(picture: np.ndarray, where: np.ndarray) -> float:
    """Mean difference of neighbouring pixels in a region."""
    steps = np.abs(np.diff(picture.astype(int), axis=1)).mean(axis=2)
    return float(steps[where[:, 1:]].mean())


def circle(centre, radius: float) -> np.ndarray:
    v, u = np.mgrid[:SIDE, :SIDE] + 0.5
    return np.hypot(u - centre[0], v - centre[1]) < radius


@pytest.mark.parametrize(
    ("person", "centre", "covered", "most"),
    [
        (with_face((90, 80), 24), (90, 80), 33, 39),  # landmarks, and half as far beyond them
        (with_body(60, 30), (100, 60), 28, 33),
        (with_body(4, 40), (100, 60), 26, 31),  # from the side
        (with_face((3, 5), 24), (3, 5), 33, 39),  # cut off by the image's corner
        (with_body(60, 30, (100, 195)), (100, 195), 28, 33),
    ],
    ids=["face", "head", "head from the side", "face at the corner", "head at the edge"],
)
def test_faces_are_blurred_and_nothing_else(person, centre, covered, most):
    rgb = textured()
    picture = blur_faces(rgb, [person])
    inside, around = circle(centre, covered), circle(centre, most)
    assert detail(picture, inside) < 0.15 * detail(rgb, inside)
    assert (picture != rgb)[inside].mean() > 0.9
    np.testing.assert_array_equal(picture[~around], rgb[~around])
    np.testing.assert_array_equal(rgb, textured())  # the caller's image is as it was


def test_a_real_face_cannot_be_found_again_by_its_look():
    """The nearest match of an astronaut's face, as it was, is elsewhere in the blurred photo."""
    photo = skimage.data.astronaut()
    face = photo[75:165, 180:270]
    picture = blur_faces(photo, [with_face((224, 120), 45)])

    def likeness(image: np.ndarray) -> float:
        patch = image[75:165, 180:270]
        edges = [cv2.Laplacian(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
                 for p in (patch, face)]  # fmt: skip
        return float(np.corrcoef(edges[0].ravel(), edges[1].ravel())[0, 1])

    assert likeness(photo) > 0.99
    assert abs(likeness(picture)) < 0.1


def test_the_blurred_picture_has_the_poses_and_may_be_smaller():
    rgb, person = textured(), with_face((90, 80), 24)
    blurred = settings(annotated_background="blurred")
    expected = draw_people(blur_faces(rgb, [person]), [person])
    np.testing.assert_array_equal(annotated(rgb, [person], blurred), expected)
    small = annotated(
        rgb, [person], settings(annotated_background="blurred", annotated_max_side=100)
    )
    plain = annotated(rgb, [person], settings(annotated_max_side=100))
    changed = (small != plain).any(axis=2)
    assert changed[circle((45, 40), 15)[:100, :100]].mean() > 0.8
    assert not changed[~circle((45, 40), 20)[:100, :100]].any()


def test_a_hand_alone_has_no_face():
    rgb = textured()
    np.testing.assert_array_equal(blur_faces(rgb, PEOPLE[2:]), rgb)


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
