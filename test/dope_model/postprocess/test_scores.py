"""Scores that are probabilities, and the fit of their curves."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from dope_model.poses import PartDetections
from dope_model.postprocess.candidates import Candidates
from dope_model.postprocess.scores import FEATURES, ScoreCurves, features, log_odds
from dope_model.postprocess.settings import IntegrationSettings

pytest.importorskip("scipy")
from dope_model.datasets.labels import PartLabels, Sample  # noqa: E402
from dope_model.training.calibrate_scores import (  # noqa: E402
    LEAST_THRESHOLD,
    calibration_error,
    fit_logistic,
    fit_to_candidates,
    held_out,
    precise_from,
    verdicts,
)


def nobody_in(name: str, side: int) -> Sample:
    return Sample(name, side, side, {"body": PartLabels.empty("body", 13)})


def bodies(count: int, scores, peaks) -> PartDetections:
    points = np.random.default_rng(0).uniform(0, 100, (1, 13, 2)).repeat(count, 0)
    peaks = np.broadcast_to(np.asarray(peaks, float)[:, None], (count, 13))
    return PartDetections("body", scores, points, np.zeros((count, 13, 3)), confidence=peaks)


def test_features_by_hand():
    found = bodies(2, [2.0, 0.5], [0.8, 0.5])
    values = dict(zip(FEATURES, features(found, np.array([0.25, 0])).T, strict=True))
    assert values["sum"] == pytest.approx(np.log([2, 0.5]))
    assert values["half"] == pytest.approx([np.log(4), 0], abs=1e-6)
    assert values["third"] == pytest.approx([np.log(4), 0], abs=1e-6)
    assert values["body"].tolist() == [0.25, 0]
    found.confidence = np.linspace(0.2, 0.8, 13)[None].repeat(2, axis=0)
    values = dict(zip(FEATURES, features(found, np.zeros(2)).T, strict=True))
    # Joints 10 to 13 are four, a third of 13; 7 to 13 the better half.
    assert values["third"][0] == pytest.approx(np.log(0.65 / 0.35))
    peaks = np.linspace(0.5, 0.8, 7)
    assert values["half"][0] == pytest.approx(np.log(peaks / (1 - peaks)).mean())


def test_a_fit_finds_the_curve_that_made_the_data():
    random = np.random.default_rng(1)
    x = random.normal(0, 2, (20000, 2))
    probability = 1 / (1 + np.exp(-(x @ [1.5, -0.7] + 0.5)))
    right = random.random(20000) < probability
    weights, bias = fit_logistic(x, right, np.ones(20000))
    # The second would be negative: a score may not fall where there is more evidence.
    assert weights[1] == 0
    assert weights[0] > 1
    weights, bias = fit_logistic(x * [1, -1], right, np.ones(20000))
    assert weights == pytest.approx([1.5, 0.7], abs=0.1)
    assert bias == pytest.approx(0.5, abs=0.1)


def test_precision_rises_with_the_least_score():
    """Of detections that are right as often as their curve says."""
    random = np.random.default_rng(2)
    values = random.normal(0, 1, (50000, len(FEATURES)))
    curves = ScoreCurves({"sum": 1.2, "half": 2.0}, -0.5)
    scores = curves.scores(values)
    right = random.random(len(scores)) < scores
    assert calibration_error(scores, right) < 0.01
    precision = [right[scores >= least].mean() for least in np.arange(0, 1, 0.1)]
    assert (np.diff(precision) > 0).all()
    least = precise_from(scores, right, np.ones(len(scores)))
    assert right[scores >= least].mean() == pytest.approx(0.9, abs=0.01)
    assert precise_from(scores, right | True, np.ones(len(scores))) == LEAST_THRESHOLD
    assert precise_from(scores, ~right, np.ones(len(scores))) > 0.9


def test_calibration_error_by_hand():
    scores = np.array([0.95, 0.95, 0.05, 0.05])
    right = np.array([True, False, False, False])
    assert calibration_error(scores, right) == pytest.approx((2 * 0.45 + 2 * 0.05) / 4)
    worth = np.array([1, 1, 3, 3.0])
    assert calibration_error(scores, right, worth) == pytest.approx((2 * 0.45 + 6 * 0.05) / 8)
    assert calibration_error(np.zeros(0), np.zeros(0, bool)) != 0


def test_a_joint_is_as_probable_as_its_peak_and_its_detection():
    curves = ScoreCurves(joint_weights=(1.0, 1.0), joint_bias=0.0)
    peaks = np.array([[0.5, 0.9], [0.5, 0.9]])
    confidence = curves.confidence(peaks, np.array([0.5, 0.8]))
    np.testing.assert_allclose(confidence, [[0.5, 0.9], [0.8, 36 / 37]])
    assert log_odds(0.8) == pytest.approx(np.log(4))


def test_curves_survive_the_file():
    curves = ScoreCurves({"sum": 0.5}, -1.0, (0.25, 2.0), -3.0, 0.6)
    assert ScoreCurves.from_dict(curves.to_dict()) == curves
    with pytest.raises(ValueError, match="unknown features of a score: colour"):
        ScoreCurves({"colour": 1.0})


def labels_of(points: np.ndarray, complete: bool = True, ignored=()) -> PartLabels:
    count = len(points)
    return PartLabels(
        "body", points, np.zeros((count, 13, 3)), np.ones((count, 13), bool),
        np.zeros((count, 13), bool), np.ones((count, 13)), np.full(count, -1),
        np.full((count, 3), np.nan), np.ones(count), ignored=np.array(ignored), complete=complete,
    )  # fmt: skip


def person(x: float) -> np.ndarray:
    """Joints (13, 2) in a box of 40 x 120 px at x."""
    return np.random.default_rng(3).uniform(0, 1, (13, 2)) * [40, 120] + [x, 10]


def detections(*poses) -> PartDetections:
    scores = np.linspace(0.9, 0.8, len(poses))
    return PartDetections("body", scores, np.stack(poses), np.zeros((len(poses), 13, 3)))


def test_verdicts():
    """A person, the same once more, one wrong in half of the joints, a lamp, and one of a crowd."""
    half = person(300)
    half[:7] += 60
    found = detections(person(100), person(101), half, person(600), person(900))
    labels = labels_of(np.stack([person(100), person(300)]), ignored=[[890, 0, 960, 200]])
    known, right, joint_known, joint_right = verdicts(found, labels)
    assert known.tolist() == [True, True, True, True, False]
    assert right.tolist() == [True, False, False, False, False]
    assert joint_right[0].all() and not joint_right[3].any()
    assert joint_right[2].tolist() == [False] * 7 + [True] * 6
    assert joint_known[3].all()


def test_of_a_picture_with_some_labels_only_those_people_count():
    found = detections(person(100), person(600))
    known, right, *_ = verdicts(found, labels_of(person(100)[None], complete=False))
    assert known.tolist() == [True, False]
    assert right.tolist() == [True, False]


def test_pictures_are_held_out_by_their_names():
    names = [f"{i}.jpg" for i in range(500)]
    people = [Sample(n, 9, 9, {"body": labels_of(person(0)[None])}) for n in names]
    nobody = [nobody_in(n, 9) for n in names]
    assert 200 < sum(map(held_out, people)) < 300
    assert 70 < sum(map(held_out, nobody)) < 130
    assert held_out(Sample("other/folder/7.jpg", 9, 9, people[7].parts)) == held_out(people[7])


def test_a_fit_tells_people_from_ghosts():
    """People whose joints peak high, people whose pose is wrong, and ghosts with lower peaks."""
    random = np.random.default_rng(4)
    settings = IntegrationSettings(K=10)

    def seen(number: int, kind: str):
        peak = {"right": 0.9, "wrong": 0.7, "ghost": 0.5}[kind] + random.normal(0, 0.08)
        pose = person(100)
        shift = 60.0 if kind == "wrong" else 0.0
        box = np.array([[100, 10, 140, 130.0]])
        candidates = Candidates(
            "body", np.array([0]), np.array([0.8]), box, pose[None] + [0, shift],
            np.zeros((1, 13, 3)), np.full((1, 13), np.clip(peak, 0, 1)),
        )  # fmt: skip
        name = f"{kind}{number}.jpg"
        if kind == "ghost":
            return {"body": candidates}, (300, 300), nobody_in(name, 300)
        sample = Sample(name, 300, 300, {"body": labels_of(pose[None])})
        return {"body": candidates}, (300, 300), sample

    network = SimpleNamespace(
        config=SimpleNamespace(parts={"body": None}), integration={"body": settings}
    )
    people = [seen(i, kind) for i in range(100) for kind in ("right", "wrong")]
    curves, (row,) = fit_to_candidates(network, [people, [seen(i, "ghost") for i in range(200)]])
    assert row["precision"] > 0.85 and row["kept of right"] > 0.8
    assert row["calibration error"] < 0.1 and row["joints' calibration error"] < 0.1
    values = np.zeros((2, len(FEATURES)))
    values[:, FEATURES.index("sum")] = np.log(0.8)
    values[:, FEATURES.index("size")] = np.log(120)
    for name in ("half", "third"):
        values[:, FEATURES.index(name)] = log_odds([0.95, 0.5])
    high, low = curves["body"].scores(values)
    assert high > 0.8 and low < 0.1
    with pytest.raises(ValueError, match="scores of body: pictures are needed where"):
        fit_to_candidates(network, [[seen(i, "right") for i in range(20)]])
