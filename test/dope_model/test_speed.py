"""The speed benchmark: how it measures, and what it says."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from random_networks import small_checkpoint  # noqa: E402
from test_static_graph import picture  # noqa: E402
from torch import nn  # noqa: E402

from dope_model.__main__ import main  # noqa: E402
from dope_model.benchmark.speed import (  # noqa: E402
    JOINTS_MERGED,
    PEOPLE,
    REFERENCE,
    Configuration,
    Report,
    Row,
    crowd_candidates,
    in_turn,
    measure_postprocessing,
    measure_stages,
    postprocess,
    random_checkpoint,
    sample_picture,
)
from dope_model.benchmark.speed_report import text  # noqa: E402
from dope_model.checkpoint import save_checkpoint  # noqa: E402
from dope_model.runtime.static_graph import StaticDope  # noqa: E402


def test_functions_run_in_turn():
    order = []
    times = in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 0.0, 3)
    assert order == ["a", "b"] * 4  # the first round is not timed
    assert {name: len(each) for name, each in times.items()} == {"a": 3, "b": 3}


def test_the_counted_work_is_that_of_the_layers():
    """Against a count by hooks: two operations per weight and output position."""
    network = small_checkpoint().build()
    graph = StaticDope(network, 96, 128, pooling="op")
    counted = []

    def count(module, _, output):
        weights = module.weight[0].numel()
        counted.append(2 * weights * output.numel() / 1e9)

    for module in graph.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    graph(torch.from_numpy(picture(96, 128)))
    layers = sum(counted)
    gflop, times = measure_stages(graph, picture(96, 128), 0.0)
    assert list(gflop) == list(times)
    assert gflop["prepare"] == 0 and gflop["pooling"] == 0
    # The suppression's products with a vector come on top.
    extra = sum(gflop.values()) - layers
    boxes = min(1000, 8 * 13 * 15)
    assert extra == pytest.approx(24 * 2 * boxes**2 / 1e9, rel=0.1, abs=1e-3)
    assert min(times.values()) > 0


def test_a_crowd_has_its_people():
    assert postprocess(crowd_candidates(0)) == []
    (person,) = (p for p in postprocess(crowd_candidates(1)) if p.body is not None)
    truth = crowd_candidates(1)["body"].keypoints_2d.mean(axis=0)
    assert np.abs(person.body.keypoints_2d - truth).mean() < 20
    assert len(crowd_candidates(5)["hand"]) == 2 * len(crowd_candidates(5)["face"])


def test_post_processing_is_measured_for_every_way_of_merging_and_number_of_people():
    times = measure_postprocessing(0.0)
    assert list(times) == list(JOINTS_MERGED)
    assert all(list(row) == list(PEOPLE) and min(row.values()) > 0 for row in times.values())


def test_random_weights_keep_the_signal():
    """Weights under which activations vanish or overflow would time special cases."""
    checkpoint = random_checkpoint("resnet50")
    network = checkpoint.build()
    with torch.inference_mode():
        image = torch.from_numpy(sample_picture(96, 128)).permute(2, 0, 1)
        features = network.features(network.prepare(image)[0])
    assert 1e-2 < features.std() < 1e2


def test_the_sample_pictures():
    assert sample_picture(90, 160).shape == (90, 160, 3)
    tiled = sample_picture(360, 640, 2).astype(int)
    assert np.abs(tiled[:180, :320] - tiled[180:, 320:]).mean() < 1


def test_the_report_says_what_was_measured_and_what_not():
    rows = [
        Row(REFERENCE, "PyTorch float32 on cpu", [0.4, 0.2, 0.3], 1.0, 0.5),
        Row("openvino", "OpenVINO float32 on cpu", [0.1], 1 / 3, 0.8),
        # Faster, but it has another post-processing.
        Row("experts", "MediaPipe's models on cpu", [0.02], 1 / 15),
    ]
    stages = {"backbone": 0.1, "proposals": 0.3}
    measured = Configuration(
        "400 px, 50 proposals", rows, {"backbone": 30.0, "proposals": 10.0}, stages,
        {"tensorrt": "no GPU"},
    )  # fmt: skip
    report = Report(
        "random weights of resnet50: poses mean nothing", "a machine", (800, 1280),
        {"float32": 100.0}, [measured], {10: 0.1}, {"openvino": {0: 0.1, 2: 0.1, 18: 0.11}},
        {"mean": {1: 0.001}, "agreed on": {1: 0.002}},
    )  # fmt: skip
    said = text(report)
    assert "random weights" in said
    assert "400 px, 50 proposals: 40.0 GFLOP" in said
    assert f"| {REFERENCE} | PyTorch float32 on cpu | 300 | 1.000 | 50 % | 3 |" in said
    assert "| openvino | OpenVINO float32 on cpu | 100 | 0.333 | 80 % | 1 |" in said
    assert "not measured: tensorrt: no GPU" in said
    assert "| proposals | 10.0 | 300 | 75.0 % |" in said
    assert "| openvino | 100 | 100 | 110 | 1.10 |" in said
    assert "share of a frame (openvino)" in said
    assert "| mean | 1 | 1.00 | 0.99 % |" in said
    assert "| agreed on | 1 | 2.00 | 1.96 % |" in said


def test_the_whole_benchmark(tmp_path, capsys):
    checkpoint = small_checkpoint()
    weights = tmp_path / "small.safetensors"
    save_checkpoint(checkpoint, weights)
    out = tmp_path / "report"
    arguments = [
        "benchmark", "speed", "--model", str(weights), "--mode", "trained", "--size", "160x128",
        "--device", "cpu", "--engines", "eager", "static", "tensorrt", "--seconds", "0.1",
        "--out", str(out),
    ]  # fmt: skip
    assert main(arguments) == 0
    written = json.loads((out / "speed.json").read_text())
    (configuration,) = written["configurations"]
    rows = {row["name"]: row for row in configuration["rows"]}
    assert list(rows) == [REFERENCE, "eager", "static"]
    assert rows[REFERENCE]["ratio"] == 1
    assert "tensorrt" in configuration["missing"]
    assert set(written["proposals"]) == {"10", "25", "50", "100", "200"}
    assert (out / "speed.md").read_text().strip() in capsys.readouterr().out
    assert main([*arguments[:-4], "--size", "wide", "--out", str(out)]) == 1
    assert "WIDTHxHEIGHT" in capsys.readouterr().err
