"""What one part says about another, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_assembly import FAR, bodies, faces, hands

from dope_model.poses import PartDetections
from dope_model.postprocess.candidates import Candidates
from dope_model.postprocess.fusion import detect_parts
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


def settings(**th_alone: float) -> dict[str, IntegrationSettings]:
    return {
        part: IntegrationSettings(K=1, th_iou=0.99, th_alone=th_alone.get(part, 0.0))
        for part in SCORES
    }


def x_of(detections: PartDetections) -> list[float]:
    return sorted(detections.keypoints_2d[:, 0, 0].tolist())


def test_who_is_alone_has_to_be_surer(found):
    parts = detect_parts(found, settings(hand=0.9, face=0.6), IMAGE)
    assert x_of(parts["hand"]) == [97, 1500]
    assert parts["hand"].scores.max() == pytest.approx(0.95)
    assert x_of(parts["face"]) == [130, 3300]
    assert len(parts["body"]) == 2


def test_nobody_is_asked_by_default(found):
    parts = detect_parts(found, settings(), IMAGE)
    assert x_of(parts["hand"]) == [97, 401, 1500, 2500]
    assert x_of(parts["face"]) == [130, 1300, 3300]


def test_without_bodies_all_are_alone(found):
    del found["body"]
    parts = detect_parts(found, settings(hand=0.9), IMAGE)
    assert set(parts) == {"hand", "face"}
    assert x_of(parts["hand"]) == [1500]
    assert len(parts["face"]) == 3


def test_a_body_that_is_not_told_has_no_hands(found):
    chosen = settings(hand=0.9)
    chosen["body"] = IntegrationSettings(K=1, th_iou=0.99, th_persondetect=0.95)
    assert x_of(detect_parts(found, chosen, IMAGE)["hand"]) == [1500]


def test_no_joint_outside_the_image_is_vouched_for(found):
    parts = detect_parts(found, settings(), (2000, 1000, 3))
    in_image = parts["hand"].keypoints_2d[..., 0] <= 1000
    assert in_image.any() and not in_image.all()
    assert (parts["hand"].trusted == in_image).all()
    assert detect_parts(found, settings(), IMAGE)["hand"].trusted.all()


def test_bodies_and_lone_parts_need_joints_that_are_seen(found):
    """At the edge of the image: of the second body one joint lies inside, of its hand, too."""
    chosen = settings()
    chosen = {part: replace(own, min_trusted=2) for part, own in chosen.items()}
    everywhere = detect_parts(found, settings(), IMAGE)
    inside = detect_parts(found, chosen, IMAGE)
    for part, poses in everywhere.items():
        assert len(inside[part]) == len(poses)
    narrow = (2000, 1000, 3)
    seen = {p: d.trusted.sum(axis=1) for p, d in detect_parts(found, settings(), narrow).items()}
    kept = detect_parts(found, chosen, narrow)
    assert (seen["face"] < 2).any()
    assert len(kept["face"]) == (seen["face"] >= 2).sum()
    assert (kept["body"].trusted.sum(axis=1) >= 2).all()
