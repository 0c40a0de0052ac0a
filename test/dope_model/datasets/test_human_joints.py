"""People's 2D joints and the experts' bodies of the same picture become one set of labels."""

from __future__ import annotations

import numpy as np
import pytest

from dope_model.datasets.human_joints import with_human_joints
from dope_model.datasets.labels import PartLabels, Sample
from dope_model.skeleton import BODY

STANDING = np.array(
    [(40, 190), (60, 190), (42, 150), (58, 150), (42, 110), (58, 110), (20, 110), (80, 110),
     (25, 85), (75, 85), (35, 60), (65, 60), (50, 40)], float
)  # fmt: skip


def sample_with(*bodies: np.ndarray) -> Sample:
    count = len(bodies)
    labels = PartLabels(
        "body", np.array(bodies).reshape(-1, 13, 2), np.ones((count, 13, 3)),
        np.ones((count, 13)), np.ones((count, 13)), np.ones((count, 13)), np.full(count, -1),
        np.full((count, 3), np.nan), np.full(count, 0.9),
    )  # fmt: skip
    return Sample("a.png", 200, 200, {"body": labels})


def test_joints_that_agree_take_the_peoples_place_and_the_experts_3d():
    human = STANDING + 2
    body = with_human_joints(sample_with(STANDING), human, np.ones(13, bool)).parts["body"]
    head = BODY.index["head"]
    assert len(body) == 1 and body.valid_2d.all() and body.valid_3d.all()
    np.testing.assert_allclose(np.delete(body.keypoints_2d[0], head, 0), np.delete(human, head, 0))
    np.testing.assert_allclose(body.keypoints_2d[0, head], STANDING[head])
    np.testing.assert_allclose(body.keypoints_3d, 1)


def test_a_disputed_joint_is_not_learned_from():
    human = STANDING.copy()
    human[6] += (60, 0)  # the right wrist on the wrong side
    body = with_human_joints(sample_with(STANDING), human, np.ones(13, bool)).parts["body"]
    assert np.flatnonzero(~body.valid_2d[0]).tolist() == [6]
    assert np.flatnonzero(~body.valid_3d[0]).tolist() == [6]


def test_a_joint_that_people_did_not_mark_stays_the_experts():
    marked = np.ones(13, bool)
    marked[0] = False
    sample = sample_with(STANDING)
    body = with_human_joints(sample, STANDING + 2, marked).parts["body"]
    np.testing.assert_allclose(body.keypoints_2d[0, 0], STANDING[0])
    assert body.valid_2d[0, 0]
    np.testing.assert_allclose(sample.parts["body"].keypoints_2d[0], STANDING)  # not changed


def test_a_person_whom_the_experts_missed_is_added_without_3d():
    marked = np.arange(13) < 10
    other = STANDING + (100, 0)
    body = with_human_joints(sample_with(other), STANDING, marked).parts["body"]
    assert len(body) == 2
    np.testing.assert_allclose(body.keypoints_2d[0], other)
    np.testing.assert_allclose(body.keypoints_2d[1, marked], STANDING[marked])
    assert body.valid_2d[1].tolist() == marked.tolist() and not body.valid_3d[1].any()


def test_left_and_right_confused_makes_the_region_ignored():
    swapped = STANDING[list(BODY.swap)]
    body = with_human_joints(sample_with(STANDING), swapped, np.ones(13, bool)).parts["body"]
    assert len(body) == 0
    assert [20, 40, 80, 190] in body.ignored.tolist()


@pytest.mark.parametrize("marked", [0, 5])
def test_too_few_marks_change_nothing(marked):
    sample = sample_with(STANDING)
    assert with_human_joints(sample, STANDING + 50, np.arange(13) < marked) is sample
