"""The speed benchmark: how it measures, and what it says."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from random_networks import small_checkpoint  # noqa: E402

from dope_model.__main__ import main  # noqa: E402
from dope_model.benchmark.speed import (  # noqa: E402
    in_turn,
    measure,
    part_checkpoint,
    random_checkpoint,
)
from dope_model.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from dope_model.detector import WholeBodyDetector  # noqa: E402
from dope_model.sample import sample_picture  # noqa: E402


def test_functions_run_in_turn():
    order = []
    times = in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 0.0, 3)
    assert order == ["a", "b"] * 4  # the first round is not timed
    assert {name: len(each) for name, each in times.items()} == {"a": 3, "b": 3}


def test_random_weights_keep_the_signal():
    """Weights under which activations vanish or overflow would time special cases."""
    checkpoint = random_checkpoint("resnet50")
    network = checkpoint.build()
    with torch.inference_mode():
        image = torch.from_numpy(sample_picture(96, 128)).permute(2, 0, 1)
        features = network.features(network.prepare(image)[0])
    assert 1e-2 < features.coarse.std() < 1e2


def test_the_sample_pictures():
    assert sample_picture(90, 160).shape == (90, 160, 3)
    tiled = sample_picture(360, 640, 2).astype(int)
    assert np.abs(tiled[:180, :320] - tiled[180:, 320:]).mean() < 1


def test_ratios_are_those_of_the_medians(monkeypatch):
    clock = iter(np.cumsum([0.0, *[0, 4, 0, 1, 0, 8, 0, 2] * 3, 0]))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    seen = []
    rows = {("a", "x"): seen.append, ("b", "y"): seen.append}
    image, crowd = np.zeros(1), np.ones(1)
    slow, fast = measure(rows, image, crowd, 0.0)
    assert (slow["median ms"], fast["median ms"]) == (4000, 1000)
    assert (slow["ratio"], fast["ratio"]) == (1, 0.25)
    assert slow["crowded"] == fast["crowded"] == 2 and slow["rounds"] == 3
    assert [int(each[0]) for each in seen[:4]] == [0, 0, 1, 1]


def test_a_part_is_cut_out_of_the_default_model(tmp_path):
    """It finds what the whole network finds of that part."""
    # With a second scale, the sizes of the other parts decide which boxes are proposed in it.
    checkpoint = replace(load_checkpoint("dope_lite"), coarse_scale=None)
    found = []
    for each in (checkpoint, part_checkpoint(checkpoint, "body")):
        save_checkpoint(each, tmp_path / "net.safetensors")
        detector = WholeBodyDetector.load(
            str(tmp_path / "net.safetensors"), "cpu", "trained", "eager"
        )
        found.append(detector.find_parts(sample_picture(240, 320)))
    whole, body = found
    assert set(body) == {"body"} < set(whole) and len(body["body"]) > 0
    np.testing.assert_allclose(body["body"].keypoints_2d, whole["body"].keypoints_2d, atol=0.01)


def test_the_whole_benchmark(tmp_path, capsys):
    weights = tmp_path / "small.safetensors"
    save_checkpoint(small_checkpoint(("body", "hand")), weights)
    out = tmp_path / "report"
    arguments = [
        "benchmark", "speed", "--model", str(weights), "--mode", "trained", "--size", "96x64",
        "--device", "cpu", "--engine", "eager", "torch", "--engine", "tensorrt", "--parts",
        "--seconds", "0.1", "--out", str(out),
    ]  # fmt: skip
    assert main(arguments) == 0
    written = json.loads((out / "speed.json").read_text())
    assert [row["model"] for row in written["rows"]] == ["small", "small, a network per part"]
    assert written["rows"][0]["ratio"] == 1 and written["rows"][1]["ratio"] > 0
    assert set(written["missing"]) == {"small, tensorrt", "small, a network per part, tensorrt"}
    text = (out / "speed.md").read_text()
    assert "| small | " in text and "not measured: small, tensorrt: " in text
    assert text.strip() in capsys.readouterr().out
    assert main([*arguments[:-4], "--size", "wide", "--out", str(out)]) == 1
    assert "WIDTHxHEIGHT" in capsys.readouterr().err


def test_nothing_that_runs_is_an_error(tmp_path, capsys):
    arguments = ["benchmark", "speed", "--model", "nowhere.safetensors", "--engine", "eager"]
    assert main([*arguments, "--size", "64x64", "--out", str(tmp_path)]) == 1
    assert "nowhere.safetensors" in capsys.readouterr().err
