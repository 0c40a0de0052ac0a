"""Engines against the eager network, on the same image."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
from random_networks import PARTS, small_checkpoint  # noqa: E402
from test_static_graph import NO_SCORE, assert_same_candidates, picture  # noqa: E402

from dope_model.__main__ import main  # noqa: E402
from dope_model.checkpoint import save_checkpoint  # noqa: E402
from dope_model.network.config import MODES  # noqa: E402
from dope_model.runtime import load_engine  # noqa: E402
from dope_model.runtime.export import export_onnx, weights_digest  # noqa: E402
from dope_model.runtime.static_graph import PackedLayout  # noqa: E402

HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="module")
def checkpoint():
    return small_checkpoint()


def eager(checkpoint, rgb):
    return checkpoint.build()(torch.from_numpy(rgb).permute(2, 0, 1), NO_SCORE)


@pytest.mark.parametrize("pooling", ["matrix", "grid", "op"])
def test_the_exported_graph_gives_the_eager_results(checkpoint, tmp_path, pooling):
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "graph.onnx"
    layout = export_onnx(checkpoint, checkpoint.mode, HEIGHT, WIDTH, path, 1000, pooling)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for seed in range(2):
        rgb = picture(HEIGHT, WIDTH, seed)
        (packed,) = session.run(None, {"image": rgb})
        assert layout.converged(packed)
        assert_same_candidates(eager(checkpoint, rgb), layout.unpack(packed, NO_SCORE))


def test_openvino_gives_the_eager_results(checkpoint):
    pytest.importorskip("openvino")
    engine = load_engine("openvino", checkpoint, checkpoint.mode, "cpu")
    engine.min_scores = NO_SCORE
    for height, width in ((HEIGHT, WIDTH), (130, 101)):
        rgb = picture(height, width)
        assert_same_candidates(eager(checkpoint, rgb), engine(rgb))
    assert "OpenVINO" in engine.description


def test_a_graph_is_made_once_and_a_damaged_one_anew(checkpoint, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setenv("DOPE_CACHE_DIR", str(tmp_path / "cache"))
    rgb = picture(HEIGHT, WIDTH)
    expected = load_engine("openvino", checkpoint, checkpoint.mode, "cpu")(rgb)
    (graph,) = (tmp_path / "cache").glob("*.onnx")
    made = graph.stat().st_mtime_ns
    load_engine("openvino", checkpoint, checkpoint.mode, "cpu")(rgb)
    assert graph.stat().st_mtime_ns == made
    graph.write_bytes(graph.read_bytes()[:5000])
    again = load_engine("openvino", checkpoint, checkpoint.mode, "cpu")(rgb)
    assert np.allclose(again["face"].keypoints_2d, expected["face"].keypoints_2d, atol=1e-3)


def test_other_weights_have_another_graph(checkpoint):
    other = small_checkpoint()
    assert weights_digest(other, MODES["paper"]) == weights_digest(checkpoint, MODES["paper"])
    assert weights_digest(other, MODES["paper"]) != weights_digest(other, MODES["realtime"])
    other.state["branches.face.cls_score.bias"][0] += 1
    assert weights_digest(other, MODES["paper"]) != weights_digest(checkpoint, MODES["paper"])


def test_auto_takes_what_is_there(checkpoint, monkeypatch, caplog):
    if torch.cuda.is_available():
        pytest.skip("on a GPU auto is PyTorch")
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "openvino" else find(name)
    )
    engine = load_engine("auto", checkpoint, checkpoint.mode, "auto")
    assert "PyTorch float32 on cpu" in engine.description
    assert "pip install openvino" in caplog.text


def test_what_cannot_run_is_named(checkpoint):
    with pytest.raises(ValueError, match="unknown engine 'tpu'; known: auto, torch, openvino"):
        load_engine("tpu", checkpoint, checkpoint.mode, "cpu")


def test_the_export_command(checkpoint, tmp_path, capsys):
    import json

    weights = tmp_path / "net.safetensors"
    save_checkpoint(checkpoint, weights)
    arguments = ["export", str(weights), "--size", "160x120", "--out", str(tmp_path / "graphs")]
    assert main(arguments) == 0
    described = json.loads((tmp_path / "graphs/net-realtime-160x120.json").read_text())
    layout = PackedLayout(tuple(tuple(row) for row in described["rows"]))
    assert [row[0] for row in layout.rows] == list(PARTS)
    assert f"{layout.size} values" in capsys.readouterr().out
    assert main([*arguments, "--size", "huge"]) == 1
    assert "WIDTHxHEIGHT" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_half_precision_on_a_gpu_is_close_to_float32(checkpoint):
    rgb = picture(HEIGHT, WIDTH)
    half = dataclasses.replace(checkpoint.mode, half=True)
    engine = load_engine("torch", checkpoint, half, "cuda")
    assert "FP16" in engine.description
    exact = load_engine("torch", checkpoint, checkpoint.mode, "cpu")
    found, expected = engine(rgb)["body"], exact(rgb)["body"]
    best, truth = found.best_first(), expected.best_first()
    assert best.scores[0] == pytest.approx(truth.scores[0], abs=0.02)
