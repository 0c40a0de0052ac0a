"""The array classes refuse what does not fit and count people right."""

from __future__ import annotations

import numpy as np
import pytest

from dope_model.poses import PartDetections, PartPose, WholeBody


def detections(count=3, **changes) -> PartDetections:
    values = {
        "part": "hand",
        "scores": np.arange(count),
        "keypoints_2d": np.random.default_rng(0).uniform(0, 100, (count, 21, 2)),
        "keypoints_3d": np.random.default_rng(1).normal(size=(count, 21, 3)),
        "is_left": np.arange(count) % 2 == 0,
    }
    return PartDetections(**(values | changes))


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"scores has shape \(2,\), not \(3,\)"):
        detections(scores=np.zeros(2))
    with pytest.raises(ValueError, match="keypoints_3d"):
        detections(keypoints_3d=np.zeros((3, 21, 2)))
    with pytest.raises(ValueError, match="only to hands"):
        detections(is_left=None)
    with pytest.raises(ValueError, match="no skeleton for part 'face' with 21"):
        detections(part="face", is_left=None)


def test_select_and_boxes():
    found = detections()
    picked = found.select(np.array([2, 0]))
    assert picked.scores.tolist() == [2, 0]
    assert (picked.keypoints_2d[0] == found.keypoints_2d[2]).all()
    assert picked.is_left.tolist() == [True, True]
    assert (picked.boxes[0, :2] == found.keypoints_2d[2].min(axis=0)).all()
    assert len(found.select(found.scores > 9)) == 0


def test_pose_is_relative_to_its_root():
    pose = detections().poses()[1]
    assert np.allclose(pose.keypoints_3d[0], 0)
    assert pose.trusted.all()


def test_a_person_scores_as_its_body_or_its_best_part():
    def part(score, joints):
        return PartPose(score, np.zeros((joints, 2)), np.zeros((joints, 3)), np.ones(joints, bool))

    assert WholeBody(body=part(0.4, 13), face=part(0.9, 84)).score == 0.4
    assert WholeBody(left_hand=part(0.3, 21), face=part(0.9, 84)).score == 0.9
    with pytest.raises(ValueError, match="at least one part"):
        WholeBody()
    written = WholeBody(left_hand=part(0.25, 21)).to_dict()
    assert set(written) == {"track_id", "score", "left_hand"}
    assert written["left_hand"]["score"] == 0.25
    assert np.shape(written["left_hand"]["keypoints_3d"]) == (21, 3)
