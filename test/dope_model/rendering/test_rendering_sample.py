"""The film that is shipped, and its truth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dope_model.datasets.labels import LabelSet, Visibility
from dope_model.sample import CLIP, LABELS
from dope_model.skeleton import BODY


@pytest.fixture(scope="module")
def samples():
    return LabelSet.load(LABELS).samples


def test_film_has_one_labelled_frame_after_the_other(samples):
    assert CLIP.stat().st_size < 2_000_000
    film = cv2.VideoCapture(str(CLIP))
    frames = 0
    while True:
        there, frame = film.read()
        if not there:
            break
        assert frame.shape[:2] == (samples[frames].height, samples[frames].width)
        frames += 1
    assert frames == len(samples) == 250
    assert film.get(cv2.CAP_PROP_FPS) == 25


def test_truth_projects_and_moves_steadily(samples):
    previous = {}
    for sample in samples:
        labels = sample.parts["body"]
        points = labels.keypoints_3d.astype(float) + labels.root[:, None]
        pixels = sample.intrinsics.project(points)
        assert np.abs(pixels - labels.keypoints_2d).max() < 0.01
        for person, joints in zip(labels.person, points, strict=True):
            if person in previous:
                step = np.linalg.norm(joints - previous[person], axis=1)
                # 0.16 m in 40 ms is 4 m/s: the foot of somebody who walks briskly.
                assert step.max() < 0.16
            previous[person] = joints
    assert set(previous) == {0, 1}


def test_people_cross(samples):
    """The second person passes before the first and hides joints of the first."""
    both = [s.parts["body"] for s in samples if len(s.parts["body"]) == 2]
    shoulder = BODY.index["right_shoulder"]
    order = [
        np.sign(np.diff(labels.keypoints_2d[np.argsort(labels.person), shoulder, 0])[0])
        for labels in both
    ]
    assert order[0] > 0 and order[-1] < 0
    hidden = [(labels.visibility == Visibility.OCCLUDED_BY_OTHER).any() for labels in both]
    assert sum(hidden) > 10
