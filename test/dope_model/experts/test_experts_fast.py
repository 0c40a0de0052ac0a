"""The `fast` experts on a real picture, and on pictures of nothing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import dope_model.experts.models as models
from dope_model.experts import MissingModelError, load_experts
from dope_model.skeleton import BODY, FACE84

RIGHT_SHOULDER, LEFT_SHOULDER = BODY.index["right_shoulder"], BODY.index["left_shoulder"]
HEAD = BODY.index["head"]


@pytest.fixture(scope="module")
def fast():
    try:
        return load_experts("fast")
    except MissingModelError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def found(fast, astronaut):
    return fast(astronaut)


def test_the_astronaut_has_one_body_and_one_face(found):
    assert {part: len(detections) for part, detections in found.items()} == {
        "body": 1,
        "hand": 0,  # her hands are not in the picture
        "face": 1,
    }
    for part, detections in found.items():
        assert detections.part == part
        assert ((detections.scores >= 0) & (detections.scores <= 1)).all()


def test_the_face_is_where_a_person_would_put_it(found):
    """Places read off the picture, px."""
    face = found["face"].keypoints_2d[0]
    landmark = FACE84.index
    by_hand = {
        "right_eye": (face[52:58].mean(axis=0), (203, 101), 6),
        "left_eye": (face[58:64].mean(axis=0), (246, 103), 6),
        "nose": (face[landmark["nose_bridge_3"]], (224, 125), 8),
        "right corner of the mouth": (face[landmark["outer_lips_0"]], (203, 140), 8),
        "left corner of the mouth": (face[landmark["outer_lips_6"]], (245, 142), 8),
        "chin": (face[landmark["contour_16"]], (222, 181), 10),
    }
    for name, (place, expected, tolerance) in by_hand.items():
        assert np.linalg.norm(place - expected) < tolerance, name
    assert found["face"].trusted.all()


def test_the_face_has_the_size_of_a_face_and_looks_at_us(found):
    face = found["face"].keypoints_3d[0]
    assert np.allclose(face[FACE84.index["nose_bridge_3"]], 0, atol=1e-6)
    assert 0.12 < np.linalg.norm(face[0] - face[32]) < 0.18
    assert face[32, 0] - face[0, 0] > 0.1  # her left is on our right
    assert face[16, 1] > 0.03  # the chin is lower than the nose
    assert (face[[0, 32], 2] > 0.05).all()  # the ears are behind it


def test_the_body_is_where_a_person_would_put_it(found):
    body = found["body"]
    joints, trusted = body.keypoints_2d[0], body.trusted[0]
    assert trusted[[RIGHT_SHOULDER, LEFT_SHOULDER, HEAD]].all()
    assert np.linalg.norm(joints[HEAD] - (225, 118)) < 20
    # The suit is wide: its shoulders are known to within the width of an arm.
    assert np.linalg.norm(joints[RIGHT_SHOULDER] - (100, 235)) < 40
    assert np.linalg.norm(joints[LEFT_SHOULDER] - (310, 250)) < 40


def test_joints_outside_the_picture_are_not_trusted(found):
    body = found["body"]
    for joint in ("right_knee", "left_knee", "right_ankle", "left_ankle"):
        assert not body.trusted[0, BODY.index[joint]]
        assert body.keypoints_2d[0, BODY.index[joint], 1] > 480


def test_the_body_is_upright_and_faces_us_in_3d(found):
    body = found["body"].keypoints_3d[0]
    assert np.allclose(BODY.root_of(body), 0, atol=1e-6)
    assert body[HEAD, 1] < -0.4  # y points down
    assert 0.2 < body[LEFT_SHOULDER, 0] - body[RIGHT_SHOULDER, 0] < 0.6


def test_the_mirrored_picture_gives_the_mirrored_person(fast, astronaut, found):
    mirrored = fast(np.ascontiguousarray(astronaut[:, ::-1]))
    for part, skeleton, limit in (("body", BODY, 20), ("face", FACE84, 8)):
        assert len(mirrored[part]) == 1
        swap = list(skeleton.swap)
        back = mirrored[part].keypoints_2d[0, swap] * (-1, 1) + (astronaut.shape[1], 0)
        trusted = found[part].trusted[0] & mirrored[part].trusted[0, swap]
        assert trusted.sum() >= 4
        apart = np.linalg.norm(back - found[part].keypoints_2d[0], axis=1)
        assert apart[trusted].max() < limit
        back_3d = mirrored[part].keypoints_3d[0, swap] * (-1, 1, 1)
        # Invented limbs may differ; those that were seen agree to the arm's width.
        assert np.abs(back_3d - found[part].keypoints_3d[0])[trusted][:, :2].max() < 0.08


def test_two_people_of_different_sizes(fast, astronaut):
    small = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    both = np.full((512, 800, 3), 128, np.uint8)
    both[:, :512] = astronaut
    both[200:456, 528:784] = small
    detections = fast(both)
    noses = detections["face"].keypoints_2d[:, FACE84.index["nose_bridge_3"]]
    heads = detections["body"].keypoints_2d[:, HEAD]
    for places, in_one, tolerance in ((noses, (224, 125), 10), (heads, (225, 118), 25)):
        assert len(places) == 2
        places = places[np.argsort(places[:, 0])]
        assert np.linalg.norm(places[0] - in_one) < tolerance
        assert np.linalg.norm(places[1] - np.array(in_one) / 2 - (528, 200)) < tolerance / 2 + 4


def test_a_larger_picture_gives_the_same_person(fast, astronaut, found):
    large = cv2.resize(astronaut, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
    face = fast(large)["face"]
    assert len(face) == 1
    assert np.abs(face.keypoints_2d[0] / 4 - found["face"].keypoints_2d[0]).max() < 3


def pictures_of_nothing() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    blobs = cv2.resize(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), (640, 480))
    return {
        "noise": rng.integers(0, 256, (480, 640, 3), dtype=np.uint8),
        "blobs": blobs,
        "black": np.zeros((480, 640, 3), np.uint8),
        "white": np.full((480, 640, 3), 255, np.uint8),
        "one pixel": np.zeros((1, 1, 3), np.uint8),
        "a row": rng.integers(0, 256, (1, 40_000, 3), dtype=np.uint8),
        "a column": rng.integers(0, 256, (40_000, 2, 3), dtype=np.uint8),
    }


@pytest.mark.parametrize("name", pictures_of_nothing())
def test_nobody_is_found_where_nobody_is(fast, name):
    for part, joints in (("body", 13), ("hand", 21), ("face", 84)):
        detections = fast(pictures_of_nothing()[name])[part]
        assert len(detections) == 0
        assert detections.keypoints_2d.shape == (0, joints, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((48, 64, 3), np.float32),
        np.zeros((0, 64, 3), np.uint8),
    ],
)
def test_wrong_pictures_are_refused(fast, wrong):
    with pytest.raises(ValueError, match="picture"):
        fast(wrong)


def test_unknown_presets_are_refused():
    with pytest.raises(ValueError, match="'quick'.*fast, guided, thorough"):
        load_experts("quick")


def test_missing_models_name_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingModelError, match="pip install --no-deps mediapipe==0.10.21"):
        models.mediapipe_model("pose_detection/pose_detection")
    monkeypatch.setenv("DOPE_MODELS_DIR", str(tmp_path))
    with pytest.raises(MissingModelError, match="python -m dope_model.experts.prepare"):
        models.prepared_model(models.THUNDER)


def test_a_mediapipe_without_models_is_named(monkeypatch, tmp_path):
    class Found:
        submodule_search_locations = [str(tmp_path)]

    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: Found)
    with pytest.raises(MissingModelError, match="newer releases carry no models"):
        models.mediapipe_model("pose_detection/pose_detection")
