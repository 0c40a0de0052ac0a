"""Partial annotations: made, and completed by experts' detections."""

from __future__ import annotations

import numpy as np
import pytest
from labelled_pictures import face_labels

from dope_model.datasets.labels import LabelSet, PartLabels, Sample
from dope_model.datasets.partial import split_by_part
from dope_model.datasets.pseudo_labels import Confidence, complete_sample
from dope_model.poses import PartDetections


def faces_at(*centres: tuple[float, float], scores: tuple[float, ...] = ()) -> PartDetections:
    labels = face_labels(np.array(centres, float), np.full(len(centres), 20.0))
    return PartDetections(
        "face", np.array(scores or [1.0] * len(centres)), labels.keypoints_2d, labels.keypoints_3d
    )


def sample(**parts: PartLabels) -> Sample:
    return Sample("a.png", 300, 200, parts)


def test_a_part_without_annotation_takes_what_the_expert_is_sure_of():
    found = faces_at((50, 50), (120, 50), (200, 50), scores=(1.7, 0.4, 0.1))
    given = sample(face=PartLabels.empty("face", 84, complete=False))
    for before in (given, sample()):
        face = complete_sample(before, {"face": found}, Confidence(0.6, 0.2)).parts["face"]
        assert face.complete and len(face) == 1
        np.testing.assert_allclose(face.keypoints_2d[0], found.keypoints_2d[0])
        assert face.score.tolist() == [1.0]
        np.testing.assert_allclose(face.ignored, found.boxes[1:2])


def test_sums_of_scores_can_be_asked_for():
    found = faces_at((50, 50), (120, 50), (200, 50), scores=(7.0, 1.7, 0.9))
    face = complete_sample(sample(), {"face": found}, Confidence(6, 1)).parts["face"]
    np.testing.assert_allclose(face.keypoints_2d, found.keypoints_2d[:1])
    np.testing.assert_allclose(face.ignored, found.boxes[1:2])
    assert face.score.tolist() == [1.0]


def test_annotated_instances_stay_and_are_not_doubled():
    given = face_labels(np.array([[50.0, 50.0]]), np.array([22.0]))
    given.complete = False
    found = faces_at((52, 50), (150, 50))
    face = complete_sample(sample(face=given), {"face": found}, Confidence()).parts["face"]
    assert len(face) == 2 and face.complete
    np.testing.assert_allclose(face.keypoints_2d[0], given.keypoints_2d[0])
    np.testing.assert_allclose(face.keypoints_2d[1], found.keypoints_2d[1])


def test_a_complete_annotation_is_not_touched():
    given = sample(face=face_labels(np.array([[50.0, 50.0]]), np.array([22.0])))
    after = complete_sample(given, {"face": faces_at((150, 50))}, Confidence())
    assert after.parts["face"] is given.parts["face"]


def test_confidence_is_checked():
    with pytest.raises(ValueError, match="ignore <= label"):
        Confidence(0.3, 0.5)


def labelled(count: int, hands: int) -> LabelSet:
    samples = []
    for i in range(count):
        hand = PartLabels.empty("hand", 21)
        if i < hands:
            hand = PartLabels(
                "hand", np.ones((1, 21, 2)), np.zeros((1, 21, 3)), np.ones((1, 21)),
                np.ones((1, 21)), np.ones((1, 21)), [-1], np.zeros((1, 3)), [1], [True],
            )  # fmt: skip
        face = face_labels(np.array([[50.0, 50.0]]), np.array([20.0]))
        body = PartLabels(
            "body", np.ones((1, 13, 2)), np.zeros((1, 13, 3)), np.ones((1, 13)),
            np.ones((1, 13)), np.ones((1, 13)), [-1], np.zeros((1, 3)), [1],
        )  # fmt: skip
        samples.append(Sample(f"{i}.png", 100, 100, {"body": body, "hand": hand, "face": face}))
    return LabelSet(samples)


def test_each_set_knows_one_part_and_shares_no_picture():
    sets = split_by_part(labelled(40, hands=20), per_part=6, held_out=10, seed=3)
    assert {name: len(s) for name, s in sets.items()} == {
        "held_out": 10, "hand": 6, "face": 6, "body": 6
    }  # fmt: skip
    files = [s.file for labels in sets.values() for s in labels]
    assert len(files) == len(set(files)) == 28
    for part in ("body", "hand", "face"):
        for one in sets[part]:
            for name, labels in one.parts.items():
                assert labels.complete == (name == part)
                assert (len(labels) > 0) == (name == part)
    assert all(labels.complete for s in sets["held_out"] for labels in s.parts.values())
    again = split_by_part(labelled(40, hands=20), per_part=6, held_out=10, seed=3)
    assert [s.file for s in again["hand"]] == [s.file for s in sets["hand"]]


def test_too_few_pictures_of_a_part_are_named():
    with pytest.raises(ValueError, match="show a hand"):
        split_by_part(labelled(40, hands=3), per_part=6, held_out=10)
    with pytest.raises(ValueError, match="do not make three sets"):
        split_by_part(labelled(20, hands=9), per_part=6, held_out=10)
