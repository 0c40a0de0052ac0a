"""Anchors, overlaps and suppression of the experts' detectors, against values by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dope_model.boxes import box_ious
from dope_model.experts.ssd import (
    SsdDetections,
    anchor_centres,
    non_maximum_suppression,
    weighted_suppression,
)


def random_boxes(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 100, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(1, 60, (count, 2))], axis=1)


@pytest.mark.parametrize(
    "resolution, layers, count",
    [
        (224, ((8, 2), (16, 2), (32, 6)), 2254),
        (192, ((4, 1),), 2304),
        (128, ((8, 2), (16, 6)), 896),
        (192, ((8, 2), (16, 6)), 2016),
    ],
)
def test_as_many_anchors_as_the_models_have_outputs(resolution, layers, count):
    centres = anchor_centres(resolution, layers)
    assert centres.shape == (count, 2)
    assert (centres > 0).all() and (centres < 1).all()


def test_anchors_by_hand():
    centres = anchor_centres(16, ((8, 2), (16, 1)))
    assert centres.tolist() == [
        [0.25, 0.25], [0.25, 0.25], [0.75, 0.25], [0.75, 0.25],
        [0.25, 0.75], [0.25, 0.75], [0.75, 0.75], [0.75, 0.75],
        [0.5, 0.5],
    ]  # fmt: skip


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(0, 20), st.floats(0.1, 0.9))
def test_suppression_keeps_the_best_of_what_overlaps(seed, count, overlap):
    boxes = random_boxes(seed, count)
    scores = np.random.default_rng(seed).permutation(count) / 20.0
    kept = non_maximum_suppression(scores, boxes, overlap)
    ious = box_ious(boxes, boxes)
    assert all(ious[a, b] <= overlap for a in kept for b in kept if a != b)
    for gone in set(range(count)) - set(kept.tolist()):
        assert any(ious[gone, k] > overlap and scores[k] > scores[gone] for k in kept)


def test_weighted_suppression_by_hand():
    detections = SsdDetections(
        np.array([0.3, 0.9, 0.5]),
        np.array([[2.0, 0, 12, 10], [0, 0, 10, 10], [50, 50, 60, 60]]),
        np.array([[[4.0, 4.0]], [[0.0, 0.0]], [[7.0, 7.0]]]),
    )
    joined = weighted_suppression(detections, 0.3)
    assert joined.scores.tolist() == [0.9, 0.5]
    assert joined.boxes == pytest.approx(np.array([[0.5, 0, 10.5, 10], [50, 50, 60, 60]]))
    assert joined.points == pytest.approx(np.array([[[1.0, 1.0]], [[7.0, 7.0]]]))


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(0, 20))
def test_weighted_suppression_does_not_depend_on_the_order(seed, count):
    rng = np.random.default_rng(seed)
    detections = SsdDetections(
        rng.permutation(count) / 20 + 0.01,
        random_boxes(seed, count),
        rng.normal(size=(count, 2, 2)),
    )
    shuffled = detections.select(rng.permutation(count))
    one, other = weighted_suppression(detections, 0.3), weighted_suppression(shuffled, 0.3)
    assert np.allclose(one.boxes, other.boxes) and np.allclose(one.points, other.points)
    assert np.allclose(one.scores, np.sort(one.scores)[::-1])
