"""What one part says about another, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from test_assembly import FAR, bodies, faces, hands

from dope_model.poses import PartDetections
from dope_model.postprocess.candidates import Candidates
from dope_model.postprocess.fusion import detect_parts
from dope_model.postprocess.scores import ScoreCurves, at_least
from dope_model.postprocess.settings import IntegrationSettings

IMAGE = 2000, 4000
SCORES = {"body": [0.9, 0.8], "hand": [0.5, 0.5, 0.95, 0.5], "face": [0.5, 0.5, 0.7]}


def candidates(detections: PartDetections) -> Candidates:
    """One of each detection; left hands are of the second class."""
    left = detections.is_left
    classes = np.zeros(len(detections), int) if left is None else left.astype(int)
    scores = np.array(SCORES[detections.part][: len(detections)], np.float32)
    return Candidates(
        detections.part, classes, scores, detections.boxes,
        detections.keypoints_2d, detections.keypoints_3d,
    )  # fmt: skip


@pytest.fixture
def found():
    """At the first body's right wrist a hand, on its left one a right hand, which is not its own,
    and two hands elsewhere; a face around its head and two elsewhere."""
    everybody = bodies([(100, 100), (400, 100), (150, 20)], [FAR, (100, 800), (700, 700)])
    all_hands = hands(
        (97, 100), (401, 100), (1500, 50), (2500, 50), left=[False, False, True, True]
    )
    all_faces = faces((130, 0, 170, 40), (1300, 0, 1340, 40), (3300, 0, 3340, 40))
    return {d.part: candidates(d) for d in (everybody, all_hands, all_faces)}


SETTINGS = {part: IntegrationSettings(K=1, th_iou=0.99) for part in SCORES}
# Odds are those of the candidate's score, and four times as high beside a body of score 1.
CURVES = {part: ScoreCurves({"sum": 1.0, "body": np.log(4)}) for part in SCORES}


def x_of(detections: PartDetections) -> list[float]:
    return sorted(detections.keypoints_2d[:, 0, 0].tolist())


def test_who_belongs_to_a_body_is_more_probable(found):
    parts = detect_parts(found, SETTINGS, IMAGE, CURVES)
    hands = dict(zip(parts["hand"].keypoints_2d[:, 0, 0], parts["hand"].scores, strict=True))
    assert set(hands) == {97, 401, 1500, 2500}
    assert hands[401] == hands[2500] == pytest.approx(0.5 / 1.5)
    assert hands[1500] == pytest.approx(0.95 / 1.95)
    body = parts["body"].scores[0]
    assert body == pytest.approx(0.9 / 1.9)
    assert hands[97] == pytest.approx(0.5 * 4**body / (1 + 0.5 * 4**body))
    assert (np.diff(parts["hand"].scores) <= 0).all()
    faces = dict(zip(parts["face"].keypoints_2d[:, 0, 0], parts["face"].scores, strict=True))
    assert faces[130] > faces[1300]


def test_without_bodies_all_are_alone(found):
    del found["body"]
    parts = detect_parts(found, SETTINGS, IMAGE, CURVES)
    assert set(parts) == {"hand", "face"}
    assert sorted(parts["hand"].scores.tolist())[0] == pytest.approx(0.5 / 1.5)


def test_without_curves_a_score_is_the_sum(found):
    parts = detect_parts(found, SETTINGS, IMAGE)
    assert x_of(parts["hand"]) == [97, 401, 1500, 2500]
    assert x_of(parts["face"]) == [130, 1300, 3300]
    assert parts["body"].scores.tolist() == pytest.approx([0.9, 0.8])
    assert parts["face"].trusted.all()


def test_no_joint_outside_the_image_has_confidence(found):
    parts = detect_parts(found, SETTINGS, (2000, 1000, 3))
    in_image = parts["hand"].keypoints_2d[..., 0] <= 1000
    assert in_image.any() and not in_image.all()
    assert (parts["hand"].confidence[~in_image] == 0).all()
    assert (parts["hand"].trusted == in_image).all()


def test_the_least_score_of_each_part(found):
    parts = detect_parts(found, SETTINGS, IMAGE)
    kept = at_least(parts, {"hand": 0.9})
    assert x_of(kept["hand"]) == [1500]
    assert len(kept["face"]) == 3
