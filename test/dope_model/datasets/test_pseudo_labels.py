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
    found = faces_at((50, 50), (120, 50), (200, 50), scores=(0.95, 0.4, 0.1))
    given = sample(face=PartLabels.empty("face", 84, complete=False))
    for before in (given, sample()):
        face = complete_sample(before, {"face": found}, Confidence()).parts["face"]
        assert face.complete and len(face) == 1
        np.testing.assert_allclose(face.keypoints_2d[0], found.keypoints_2d[0])
        assert face.score.tolist() == pytest.approx([0.95])
        np.testing.assert_allclose(face.ignored, found.boxes[1:2])


def test_annotated_instances_stay_and_are_not_doubled():
    given = face_labels(np.array([[50.0, 50.0]]), np.array([22.0]))
    given.complete = False
    found = faces_at((52, 50), (150, 50))
    face = complete_sample(sample(face=given), {"face": found}, Confidence()).parts["face"]
    assert len(face) == 2 and face.complete
    np.testing.assert_allclose(face.keypoints_2d[0], given.keypoints_2d[0])
    np.testing.assert_allclose(face.keypoints_2d[1], found.keypoints_2d[1])


def test_a_complete_annotation_gets_no_further_instance():
    given = sample(face=face_labels(np.array([[50.0, 50.0]]), np.array([22.0])))
    after = complete_sample(given, {"face": faces_at((150, 50))}, Confidence()).parts["face"]
    assert len(after) == 1
    np.testing.assert_array_equal(after.keypoints_2d, given.parts["face"].keypoints_2d)


@pytest.mark.parametrize("complete", [True, False])
def test_missing_joints_of_an_annotated_instance_come_from_its_estimates(complete):
    """Equation 1: 2D of the joints that are not annotated and 3D of all, by the mean of two
    estimates, weighted by their scores; not by another person's, nor by one that is not sure."""
    given = face_labels(np.array([[50.0, 50.0]]), np.array([20.0]))
    given.complete = complete
    given.valid_3d[:] = False
    given.valid_2d[0, 40:] = False
    given.keypoints_2d[0, 40:] = 0
    found = faces_at((52, 50), (54, 50), (58, 50), (150, 50), scores=(1.0, 0.95, 0.5, 1.0))
    found.confidence[:, 83] = 0.2
    face = complete_sample(sample(face=given), {"face": found}, Confidence()).parts["face"]
    assert len(face) == (1 if complete else 2)
    shares = np.array([1, 0.95]) / 1.95
    mean_2d = np.einsum("m,mjd->jd", shares, found.keypoints_2d[:2])
    centred = found.keypoints_3d - found.keypoints_3d[:, [46]]
    mean_3d = np.einsum("m,mjd->jd", shares, centred[:2])
    np.testing.assert_array_equal(face.keypoints_2d[0, :40], given.keypoints_2d[0, :40])
    np.testing.assert_allclose(face.keypoints_2d[0, 40:83], mean_2d[40:83], atol=1e-3)
    np.testing.assert_allclose(face.keypoints_3d[0, :83], mean_3d[:83], atol=1e-5)
    assert face.valid_2d[0].tolist() == face.valid_3d[0].tolist() == [True] * 83 + [False]


def test_a_hand_is_not_completed_by_the_other_hand():
    points = np.random.default_rng(0).uniform(50, 90, (1, 21, 2))
    given = PartLabels(
        "hand", points, np.zeros((1, 21, 3)), np.ones((1, 21)), np.zeros((1, 21)),
        np.zeros((1, 21)), [-1], np.zeros((1, 3)), [1], [True],
    )  # fmt: skip
    for is_left in (True, False):
        found = PartDetections("hand", [1.0], points, np.ones((1, 21, 3)), [is_left])
        hand = complete_sample(sample(hand=given), {"hand": found}, Confidence()).parts["hand"]
        assert hand.valid_3d.all() == is_left and hand.valid_3d.any() == is_left


def test_confidence_is_checked():
    for label, ignore in ((0.3, 0.5), (6, 1)):
        with pytest.raises(ValueError, match="scores are probabilities: 0 <= ignore <= label <= 1"):
            Confidence(label, ignore)


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
