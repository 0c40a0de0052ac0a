"""Metrics against scipy, hand-computed values, and a benchmark of made-up detections."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dope_model.benchmark import metrics
from dope_model.benchmark.rendered import judge, summarise, table
from dope_model.datasets.labels import PartLabels, Sample, Visibility
from dope_model.placement import Intrinsics
from dope_model.poses import PartDetections
from dope_model.skeleton import BODY

seeds = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(seeds)
def test_procrustes_agrees_with_scipy(seed):
    procrustes = pytest.importorskip("scipy.spatial").procrustes
    random = np.random.default_rng(seed)
    truth = random.normal(0, 1, (13, 3))
    predicted = truth + random.normal(0, 0.2, (13, 3))
    aligned = metrics.procrustes_align(predicted, truth)
    # scipy gives the same residual on unit-norm, centred poses; noise this small needs no mirror.
    _, _, disparity = procrustes(truth, predicted)
    spread = ((truth - truth.mean(axis=0)) ** 2).sum()
    assert np.isclose(((aligned - truth) ** 2).sum() / spread, disparity)


@settings(deadline=None)
@given(seeds, st.floats(0.2, 5))
def test_aligned_error_ignores_similarity_transforms(seed, scale):
    Rotation = pytest.importorskip("scipy.spatial.transform").Rotation
    random = np.random.default_rng(seed)
    truth = random.normal(0, 1, (21, 3))
    turn = Rotation.from_rotvec(random.normal(0, 1, 3)).as_matrix()
    moved = scale * truth @ turn.T + random.normal(0, 3, 3)
    counted = np.ones(21, bool)
    assert metrics.pa_mpjpe(moved, truth, counted) < 1e-9
    mirrored = truth * [-1, 1, 1]
    assert metrics.pa_mpjpe(mirrored, truth, counted) > 0.01


def test_hand_computed_values():
    truth = np.zeros((2, 2))
    predicted = np.array([[3.0, 4.0], [0, 0]])
    counted = np.array([True, True])
    assert metrics.mpjpe(predicted, truth, counted) == 2.5
    # 5 px of 50 px is one spread: exp(-1/2) for one joint, 1 for the other.
    assert np.isclose(
        metrics.keypoint_similarity(predicted, truth, counted, 50), (np.exp(-0.5) + 1) / 2
    )
    assert metrics.instance_size(np.array([[0, 0], [3, 7.0]]), counted) == 7


def test_best_scores_choose_first_and_each_truth_is_taken_once():
    similarities = np.array([[0.9, 0.8], [0.95, 0.3], [0.9, 0.9]])
    assert metrics.match_instances(similarities, np.array([0.5, 0.9, 0.1])) == [(1, 0), (0, 1)]
    assert metrics.match_instances(np.full((2, 1), 0.1), np.ones(2)) == []


def _sample(random) -> tuple[Sample, np.ndarray]:
    """Two people 3 m away, the second one's legs cut off by the frame."""
    intrinsics = Intrinsics(500, 500, 320, 240)
    shape = random.normal(0, 0.3, (2, 13, 3)) * [1, 2, 0.5]
    roots = np.array([[-0.6, 0, 3.0], [0.7, 0.1, 3.2]])
    relative = BODY.centred(shape)
    points = relative + roots[:, None]
    pixels = intrinsics.project(points)
    visibility = np.full((2, 13), Visibility.VISIBLE)
    visibility[1, :4] = Visibility.OUTSIDE_FRAME
    labels = PartLabels(
        "body", pixels, relative, np.ones((2, 13), bool), np.ones((2, 13), bool), visibility,
        np.arange(2), roots, np.ones(2), ignored=np.array([[0, 0, 40, 40]]),
    )  # fmt: skip
    return Sample("a.jpg", 640, 480, {"body": labels}, intrinsics), pixels


def test_perfect_detections_score_perfectly():
    sample, pixels = _sample(np.random.default_rng(1))
    labels = sample.parts["body"]
    found = PartDetections("body", np.ones(2), pixels, labels.keypoints_3d)
    result = judge(sample, {"body": found})["body"]
    row = summarise(result.instances, result.wrong)
    assert row["recall"] == row["precision"] == row["PCK"] == 1
    assert row["MPJPE mm"] < 1e-3 and row["PA mm"] < 1e-3 and row["root m"] < 1e-3
    assert [i.truncated for i in result.instances] == [False, True]
    assert "**body**" in table({"body": result})


def test_missed_wrong_and_ignored_detections():
    sample, pixels = _sample(np.random.default_rng(2))
    relative = sample.parts["body"].keypoints_3d
    nobody = np.full((1, 13, 2), 600.0) + np.arange(13)[:, None]
    ignored = np.full((1, 13, 2), 20.0) + np.arange(13)[:, None]
    found = PartDetections(
        "body",
        [0.9, 0.8, 0.7],
        np.concatenate([pixels[:1] + [0, 3], nobody, ignored]),
        np.concatenate([relative[:1] + [0.03, 0, 0.04], relative[:1], relative[:1]]),
    )
    result = judge(sample, {"body": found})["body"]
    row = summarise(result.instances, result.wrong)
    assert row["recall"] == 0.5 and row["precision"] == 0.5
    assert np.isclose(row["MPJPE mm"], 50, atol=1e-3) and row["PA mm"] < 1e-3
