"""Metrics against scipy, hand-computed values, and a benchmark of made-up detections."""

from __future__ import annotations

import json
import re
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dope_model.__main__ import main
from dope_model.benchmark import metrics, predictions
from dope_model.benchmark.protocols.rendered import (
    PCK_SHARE,
    InstanceResult,
    Rendered,
    evaluate,
    groups_of,
    pck_curve,
    recall_curve,
    statistics,
)
from dope_model.camera.placement import Intrinsics
from dope_model.datasets.labels import LabelSet, PartLabels, Sample, Visibility
from dope_model.pictures import read_rgb
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
    result = evaluate(sample, {"body": found})["body"]
    row = statistics(result.instances, result.wrong)
    assert row["recall"] == row["precision"] == row["PCK"] == 1
    assert row["MPJPE mm"] < 1e-3 and row["PA mm"] < 1e-3 and row["root m"] < 1e-3
    assert [i.truncated for i in result.instances] == [False, True]
    outcome = Rendered().summarise([], [{"body": result}])
    assert outcome.summary["body recall"] == outcome.summary["body precision"] == 1
    whole = outcome.rows["body"][0]
    assert whole["group"] == "all" and whole["instances"] == 2 and whole["precision"] == 1


def test_missed_wrong_and_ignored_detections():
    sample, pixels = _sample(np.random.default_rng(2))
    relative = sample.parts["body"].keypoints_3d
    # All joints but the hips, which are the root, are 50 mm off.
    off = relative[:1] + np.where(np.isin(np.arange(13), BODY.root), 0, 1)[:, None] * [
        0.03,
        0,
        0.04,
    ]
    nobody = np.full((1, 13, 2), 600.0) + np.arange(13)[:, None]
    ignored = np.full((1, 13, 2), 20.0) + np.arange(13)[:, None]
    found = PartDetections(
        "body",
        [0.9, 0.8, 0.7],
        np.concatenate([pixels[:1] + [0, 3], nobody, ignored]),
        np.concatenate([off, relative[:1], relative[:1]]),
    )
    result = evaluate(sample, {"body": found})["body"]
    row = statistics(result.instances, result.wrong)
    assert row["recall"] == 0.5 and row["precision"] == 0.5
    assert np.isclose(row["MPJPE mm"], 50 * 11 / 13, atol=1e-3)
    assert 0 < row["PA mm"] < row["MPJPE mm"]


def test_only_what_is_labelled_is_judged():
    sample, pixels = _sample(np.random.default_rng(7))
    labels = sample.parts["body"]
    pixels = pixels + [0, 3]
    found = PartDetections("body", np.ones(2), pixels, 2 * labels.keypoints_3d)
    whole = evaluate(sample, {"body": found})["body"]

    # 2D alone: zeros stand where 3D is not known.
    labels.valid_3d = np.zeros((2, 13), bool)
    labels.keypoints_3d = np.zeros((2, 13, 3))
    flat = evaluate(sample, {"body": found})["body"]
    for one, other in zip(whole.instances, flat.instances, strict=True):
        assert other.pck == one.pck > 0 and one.mpjpe > 0.1
        assert all(np.isnan([other.mpjpe, other.pa_mpjpe, other.absolute, other.root_error]))

    # A trunk of which a hip is missing is no scale, wherever its label lies.
    labels.valid_2d[0, BODY.index["left_hip"]] = False
    labels.keypoints_2d = labels.keypoints_2d.copy()
    labels.keypoints_2d[0, BODY.index["left_hip"]] = 0
    first, second = evaluate(sample, {"body": found})["body"].instances
    assert first.found and np.isnan(first.pck) and np.isnan(first.scale)
    assert second.pck == whole.instances[1].pck
    assert statistics([first, second], 0)["PCK"] == second.pck
    np.testing.assert_array_equal(
        pck_curve([first, second], np.array([0.1, 0.5])),
        pck_curve([second], np.array([0.1, 0.5])),
    )

    # Labels that do not tell what can be seen.
    labels.visibility = np.full((2, 13), Visibility.UNKNOWN)
    assert [i.found for i in evaluate(sample, {"body": found})["body"].instances] == [True, True]

    # Where not everybody is labelled, nobody knows what is wrong.
    labels.complete = False
    more = PartDetections(
        "body", np.ones(3), np.concatenate([pixels, pixels[:1] + 200]), np.zeros((3, 13, 3))
    )
    result = evaluate(sample, {"body": more})["body"]
    row = statistics(result.instances, result.wrong)
    assert row["recall"] == 1 and np.isnan(row["precision"])


def test_absolute_error_is_that_of_the_placed_pose():
    """A pose that is right but too small by a tenth is placed too near by a tenth."""
    sample, pixels = _sample(np.random.default_rng(3))
    labels = sample.parts["body"]
    found = PartDetections("body", np.ones(2), pixels, 0.9 * labels.keypoints_3d)
    for instance in evaluate(sample, {"body": found})["body"].instances:
        root = labels.root[instance.person]
        assert np.isclose(instance.root_error, 0.1 * np.linalg.norm(root), rtol=1e-3)
        points = (labels.keypoints_3d[instance.person] + root)[4 * instance.person :]
        expected = 0.1 * np.linalg.norm(points, axis=1).mean()
        assert np.isclose(instance.absolute, expected, rtol=1e-3)


def test_3d_is_compared_relative_to_the_root():
    """A detector whose 3D has its origin elsewhere is not worse for it."""
    sample, pixels = _sample(np.random.default_rng(4))
    relative = sample.parts["body"].keypoints_3d
    found = PartDetections("body", np.ones(2), pixels, relative + [0.5, 0.2, -0.3])
    row = statistics(evaluate(sample, {"body": found})["body"].instances, 0)
    assert row["MPJPE mm"] < 1e-3


def test_bodies_with_a_neck_are_compared_without_it():
    sample, pixels = _sample(np.random.default_rng(5))
    relative = sample.parts["body"].keypoints_3d
    neck = np.zeros((2, 1, 2)), np.zeros((2, 1, 3))
    found = PartDetections(
        "body", np.ones(2), np.concatenate([pixels, neck[0]], 1),
        np.concatenate([relative, neck[1]], 1),
    )  # fmt: skip
    row = statistics(evaluate(sample, {"body": found})["body"].instances, 0)
    assert row["recall"] == row["PCK"] == 1 and row["MPJPE mm"] < 1e-3 and row["root m"] < 1e-3
    assert found.keypoints_2d.shape[1] == 14


def test_groups_share_out_all_instances():
    sample, pixels = _sample(np.random.default_rng(6))
    labels = sample.parts["body"]
    labels.visibility[0, 6:10] = Visibility.OCCLUDED_BY_OTHER
    instances = evaluate(sample, {})["body"].instances
    assert [i.found for i in instances] == [False, False]
    assert np.isclose(instances[0].hidden_share, 4 / 13) and instances[1].hidden_share == 0
    groups = groups_of("body", instances)
    names = list(groups)
    for kind in (names[:3], names[3:6], names[6:9], names[9:]):
        assert sum(len(groups[name]) for name in kind) == 2
    assert groups["over 30 % behind others"] == instances[:1]
    assert groups["cut by the frame"] == instances[1:]


def test_curves_agree_with_the_table():
    sample, pixels = _sample(np.random.default_rng(7))
    relative = sample.parts["body"].keypoints_3d
    random = np.random.default_rng(8)
    found = PartDetections(
        "body", np.ones(1), pixels[:1] + random.normal(0, 6, (1, 13, 2)),
        relative[:1] + random.normal(0, 0.05, (1, 13, 3)),
    )  # fmt: skip
    instances = evaluate(sample, {"body": found})["body"].instances
    row = statistics(instances, 0)
    at = np.array([0.0, PCK_SHARE["body"], 10.0])
    assert np.allclose(pck_curve(instances, at), [0, row["PCK"], 1])
    error = row["PA mm"] / 1e3
    assert np.allclose(recall_curve(instances, np.array([error * 0.99, error * 1.01])), [0, 0.5])
    assert np.isnan(pck_curve(instances[1:], at)).all()


def test_worst_pictures_have_large_people_missed_or_far_off():
    def result(size, found, error=float("nan"), visible=1.0):
        return InstanceResult("body", 0, size, visible, 0.0, False, found, pa_mpjpe=error)

    worst_first = [
        result(300, False), result(150, False), result(90, True, 0.1),
        result(150, False, visible=0.1), result(90, True, 0.01),
    ]  # fmt: skip
    errors = [instance.error for instance in worst_first]
    assert errors == sorted(errors, reverse=True) and errors[0] == 1
    # Without 3D labels nobody who was found is far off.
    assert result(90, True).error == 0


class _CountingDetector:
    """Finds the people of each picture of a folder as they are labelled, a little off."""

    description = "a made-up detector"
    min_scores: dict = {}

    def __init__(self, samples, folder, shift: float) -> None:
        self.known = {read_rgb(folder / s.file).tobytes(): s for s in samples}
        self.shift, self.calls = shift, 0

    def find_parts(self, rgb):
        self.calls += 1
        labels = self.known[rgb.tobytes()].parts["body"]
        return {
            "body": PartDetections(
                "body", np.ones(2), labels.keypoints_2d + self.shift, labels.keypoints_3d
            )
        }


@pytest.fixture
def rendered_folder(tmp_path):
    """Three labelled pictures of noise, as `render` lays them out."""
    folder = tmp_path / "rendered"
    (folder / "images").mkdir(parents=True)
    samples = []
    for number in range(3):
        random = np.random.default_rng(number)
        sample, _ = _sample(random)
        sample.file = f"images/{number:06d}.png"
        noise = random.integers(0, 255, (48, 64, 3), np.uint8)
        picture = cv2.resize(noise, (640, 480), interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(folder / sample.file), picture)
        samples.append(sample)
    LabelSet(samples, {"source": "noise"}).save(folder / "labels.npz")
    return folder


def _run(folder, out, *arguments) -> int:
    if "matplotlib" not in sys.modules:
        pytest.importorskip("matplotlib")
    return main(["benchmark", "rendered", "--data", str(folder), "--out", str(out), *arguments])


def test_report_of_two_models_goes_on_where_it_was(monkeypatch, tmp_path, rendered_folder):
    samples = LabelSet.load(rendered_folder / "labels.npz").samples
    detectors = {
        "experts:fast": _CountingDetector(samples, rendered_folder, 0.0),
        "experts:thorough": _CountingDetector(samples, rendered_folder, 500.0),
    }
    monkeypatch.setattr(
        predictions.WholeBodyDetector, "load", lambda model, *others: detectors[model]
    )
    out = tmp_path / "report"

    def run(*arguments) -> list[int]:
        """The pictures that each model looked at."""
        for detector in detectors.values():
            detector.calls = 0
        models = [word for model in detectors for word in ("--model", model)]
        assert _run(rendered_folder, out, *models, *arguments) == 0
        return [detector.calls for detector in detectors.values()]

    assert run("--limit", "2") == [2, 2]
    assert run() == [1, 1]
    assert run() == [0, 0]
    next(out.glob("predictions/*/*.npz")).unlink()
    assert sum(run()) == 1

    content = json.loads((out / "report.json").read_text())
    assert content["pictures"] == 3 and "numpy" in content["versions"]
    good, bad = content["rows"]
    assert good["body recall"] == good["body precision"] == 1
    assert bad["body recall"] == bad["body precision"] == 0 and bad["body PCK"] is None
    finer = content["finer"]["body"]
    assert [(row["group"], row["model"]) for row in finer[:2]] == [
        ("all", "experts:fast"), ("all", "experts:thorough")
    ]  # fmt: skip
    assert finer[0]["instances"] == 6
    assert content["models"]["experts:fast"]["description"] == "a made-up detector"
    text = (out / "report.md").read_text()
    named = re.findall(r"!\[.*\]\((.*)\)", text)
    assert len(named) == len(content["curves"]["experts:fast"]) == 2
    for name in (*named, "worst_experts-thorough.png"):
        assert read_rgb(out / name).size


def test_models_are_named_once(tmp_path, rendered_folder, capsys):
    assert _run(rendered_folder, tmp_path, "--model", "experts", "experts") == 1
    assert "named twice" in capsys.readouterr().err


def test_the_mode_is_chosen_and_no_option_is_guessed(tmp_path, rendered_folder, capsys):
    pytest.importorskip("torch")
    from random_networks import small_checkpoint

    from dope_model.checkpoint import save_checkpoint

    save_checkpoint(small_checkpoint(), tmp_path / "net.safetensors")
    arguments = ["--device", "cpu", "--limit", "1", "--model", str(tmp_path / "net.safetensors")]
    used = {}
    for mode in ("trained", "realtime"):
        out = tmp_path / mode
        assert _run(rendered_folder, out, *arguments, "--mode", mode) == 0
        (record,) = json.loads((out / "report.json").read_text())["models"].values()
        used[mode] = record["mode"]
    assert used == {"trained": "trained", "realtime": "realtime"}
    with pytest.raises(SystemExit):
        _run(rendered_folder, tmp_path / "none", *arguments, "--mod", "paper")
    assert "--mod" in capsys.readouterr().err


def test_without_matplotlib_plots_ask_for_it(monkeypatch, tmp_path, rendered_folder, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert _run(rendered_folder, tmp_path, "--model", "experts") == 1
    assert "pip install matplotlib" in capsys.readouterr().err


def test_a_folder_without_labels_is_named(tmp_path, capsys):
    assert _run(tmp_path, tmp_path / "out") == 1
    assert f"no labels file at {tmp_path}" in capsys.readouterr().err
