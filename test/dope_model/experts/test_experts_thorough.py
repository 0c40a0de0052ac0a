"""The `thorough` experts, where their models are prepared, and what needs no models."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dope_model.experts import MissingModelError, load_experts
from dope_model.experts.onnx_models import expected_bin, letterboxed
from dope_model.experts.people import Evidence, is_trusted, may_be_somebody, movenet_region
from dope_model.experts.proposals import Guess
from dope_model.experts.regions import Picture, Region
from dope_model.experts.thorough import inside, upright_box
from dope_model.skeleton import BODY, FACE84


def test_letterboxed_pictures_keep_their_shape():
    picture = np.full((50, 200, 3), 9, np.uint8)
    square, scale = letterboxed(picture, 100)
    assert square.shape == (100, 100, 3)
    assert (square[:25] == 9).all() and not square[25:].any()
    assert scale == pytest.approx([0.5, 0.5])
    square, scale = letterboxed(np.zeros((1, 4000, 3), np.uint8), 100)
    assert square.shape == (100, 100, 3) and scale == pytest.approx([0.025, 1])


def test_expected_bin_by_hand():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [1e-9, 1e-9, 1.0]]))
    assert expected_bin(logits) == pytest.approx([0.75, 2.0], abs=1e-6)
    assert expected_bin(logits + 1000) == pytest.approx([0.75, 2.0], abs=1e-6)


def lying_person() -> np.ndarray:
    """COCO keypoints of a person whose head points right."""
    keypoints = np.zeros((17, 3))
    keypoints[:, :2] = (100, 100)
    keypoints[[5, 6], :2] = (150, 95), (150, 105)  # shoulders
    keypoints[[11, 12], :2] = (100, 95), (100, 105)  # hips
    keypoints[16, :2] = (20, 100)  # an ankle
    keypoints[:, 2] = 0.9
    return keypoints


def test_regions_of_a_person_that_movenet_saw():
    person = lying_person()
    again = movenet_region(person)
    # 1.2 of the 80 px to the ankle is more than 1.9 of the 50 px to the shoulders.
    assert (again.x, again.y, again.size) == pytest.approx((100, 100, 2 * 1.2 * 80))
    region = Guess.of_movenet(person).region()
    assert region.angle == pytest.approx(np.pi / 2)
    assert region.size == pytest.approx(2.5 * 1.15 * 80)
    person[16, 2] = 0.1  # an ankle that is not seen does not count
    assert movenet_region(person).size == pytest.approx(2 * 1.9 * 50)
    # 1.5 of the 50 px to the shoulders is more than 1.15 of what is farthest away.
    assert Guess.of_movenet(person).region().size == pytest.approx(2.5 * 75)


def test_a_guess_needs_a_second_witness():
    sure = {"flag": 0.9, "reproduced": 0.2, "detectors": 0}
    assert is_trusted(
        Evidence(**sure, models_agree=0.5, mirrored=0.8, guess_seen=4, guess_agrees=0.4)
    )
    assert is_trusted(
        Evidence(**sure, models_agree=0.0, mirrored=0.8, guess_seen=9, guess_agrees=0.6)
    )
    # No detector sees it, and the network is sure of too few joints.
    assert not is_trusted(
        Evidence(**sure, models_agree=0.9, mirrored=0.9, guess_seen=3, guess_agrees=0.9)
    )
    alone = Evidence(**sure, models_agree=0.0, mirrored=0.8, guess_seen=9, guess_agrees=0.4)
    assert not is_trusted(alone) and may_be_somebody(alone)
    # Without a body in BlazePose's eyes it is background.
    nobody = Evidence(0.4, 0.9, 0.9, 0.9, 0, 0.9, 13)
    assert not is_trusted(nobody) and not may_be_somebody(nobody)


def test_ignored_boxes_are_cut_to_the_picture():
    picture = Picture(np.zeros((40, 60, 3), np.uint8))
    boxes = [upright_box(Region(0, 0, 20, 1.0)), np.array([70, 0, 90, 10]), np.array([5, 5, 9, 9])]
    assert inside(boxes, picture).tolist() == [[0, 0, 10, 10], [5, 5, 9, 9]]
    assert inside([], picture).shape == (0, 4)


@pytest.fixture(scope="module")
def thorough():
    try:
        return load_experts("thorough")
    except MissingModelError as error:
        pytest.skip(str(error))


def test_the_astronaut(thorough, astronaut):
    found, ignored = thorough.detect_with_ignored(astronaut)
    assert {part: len(detections) for part, detections in found.items()} == {
        "body": 1,
        "hand": 0,
        "face": 1,
    }
    joints, trusted = found["body"].keypoints_2d[0], found["body"].trusted[0]
    head, right, left = (BODY.index[j] for j in ("head", "right_shoulder", "left_shoulder"))
    assert trusted[[head, right, left]].all()
    assert np.linalg.norm(joints[head] - (225, 118)) < 20
    assert np.linalg.norm(joints[right] - (100, 235)) < 40
    assert np.linalg.norm(joints[left] - (310, 250)) < 40
    nose = found["face"].keypoints_2d[0, FACE84.index["nose_bridge_3"]]
    assert np.linalg.norm(nose - (224, 125)) < 8
    for boxes in ignored.values():
        assert boxes.ndim == 2 and boxes.shape[1] == 4
        assert (boxes >= 0).all() and (boxes <= 512).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_four_in_a_row(thorough, astronaut):
    """As large as each other, so that none is a part of another."""
    small = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    found = thorough(np.hstack([small, small[:, ::-1], small, small[:, ::-1]]))
    assert len(found["body"]) >= 3 and len(found["face"]) == 4


def test_nobody_is_found_where_nobody_is(thorough):
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    for picture in (noise, np.zeros((1, 1, 3), np.uint8), np.zeros((2, 40_000, 3), np.uint8)):
        found, ignored = thorough.detect_with_ignored(picture)
        assert not any(len(detections) for detections in found.values())
        assert {part: boxes.shape[1] for part, boxes in ignored.items()} == {
            "body": 4,
            "hand": 4,
            "face": 4,
        }
