"""The cache of TensorRT engines without TensorRT; and, slow, whether TensorRT takes the graph."""

from __future__ import annotations

import dataclasses
import json
import logging

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
from random_networks import small_checkpoint  # noqa: E402
from test_static_graph import picture  # noqa: E402

from dope_model.__main__ import main  # noqa: E402
from dope_model.checkpoint import save_checkpoint  # noqa: E402
from dope_model.runtime import load_engine  # noqa: E402
from dope_model.runtime.canvas import Canvas  # noqa: E402
from dope_model.runtime.engine import EngineError  # noqa: E402
from dope_model.runtime.export import export_onnx  # noqa: E402
from dope_model.runtime.tensorrt_engine import EngineCache, EngineKey, build_plan  # noqa: E402
from dope_model.runtime.variant import Variant  # noqa: E402

KEY = EngineKey("a1b2", "10.3.0", "Orin sm_87", "FP16")


class Builder:
    """Stands for TensorRT: every build gives another engine."""

    def __init__(self):
        self.builds = 0

    def __call__(self) -> bytes:
        self.builds += 1
        return b"engine\n\x00\xff" + bytes([self.builds]) * 1000


def test_an_engine_is_built_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    build, path = Builder(), tmp_path / "e.engine"
    first = EngineCache(path, KEY).get(build)
    assert EngineCache(path, KEY).get(build) == first
    assert build.builds == 1
    assert "there is none yet" in caplog.text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("field", ["graph", "tensorrt", "gpu", "precision"])
def test_a_foreign_engine_is_built_anew(tmp_path, field, caplog):
    caplog.set_level(logging.INFO)
    build, path = Builder(), tmp_path / "e.engine"
    EngineCache(path, dataclasses.replace(KEY, **{field: "another"})).get(build)
    own = EngineCache(path, KEY).get(build)
    assert build.builds == 2
    assert f"of another {field}" in caplog.text
    assert EngineCache(path, KEY).get(build) == own
    assert build.builds == 2


def flipped(content: bytes) -> bytes:
    return content[:-500] + bytes([content[-500] ^ 1]) + content[-499:]


def other_header(content: bytes) -> bytes:
    magic, _, plan = content.split(b"\n", 2)
    return b"\n".join([magic, json.dumps({"key": {"graph": "a1b2"}}).encode(), plan])


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        other_header,
        lambda content: content[:-10],
        lambda content: content[:20],
        lambda content: b"",
        lambda content: b"ftrt" + content,
        lambda content: content.replace(b'"key"', b'"yek"'),
    ],
)
def test_a_damaged_engine_is_never_loaded(tmp_path, damage):
    build, path = Builder(), tmp_path / "e.engine"
    EngineCache(path, KEY).get(build)
    path.write_bytes(damage(path.read_bytes()))
    again = EngineCache(path, KEY).get(build)
    assert build.builds == 2
    assert again.endswith(b"\x02") and path.read_bytes().endswith(again)


def test_a_build_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "e.engine"
    older = dataclasses.replace(KEY, tensorrt="10.2.0")
    EngineCache(path, older).get(Builder())
    before = path.read_bytes()

    def fail():
        raise EngineError("out of memory")

    with pytest.raises(EngineError, match="out of memory"):
        EngineCache(path, KEY).get(fail)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def no_tensorrt(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)


def test_without_tensorrt_it_says_what_to_install(no_tensorrt, tmp_path, capsys):
    checkpoint = small_checkpoint()
    with pytest.raises(ImportError, match="pip install tensorrt.*Jetson.*python3-libnvinfer"):
        load_engine("tensorrt", checkpoint, checkpoint.mode, "auto")
    weights = tmp_path / "net.safetensors"
    save_checkpoint(checkpoint, weights)
    assert main(["export", str(weights), "--build-only"]) == 1
    assert "pip install tensorrt" in capsys.readouterr().err


def parsed(trt, path):
    """The layers that TensorRT's parser makes of a graph."""
    messages = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(messages).create_network(
        1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    )
    assert trt.OnnxParser(network, messages).parse(path.read_bytes())
    return [network.get_layer(i) for i in range(network.num_layers)]


def assert_bilinear(path, count):
    """A graph names its grid samplers' mode as every TensorRT knows it; up to 11.1 others are taken
    for nearest without a word."""
    onnx = pytest.importorskip("onnx")
    nodes = [n for n in onnx.load(path).graph.node if n.op_type == "GridSample"]
    modes = [a.s for n in nodes for a in n.attribute if a.name == "mode"]
    assert modes == [b"bilinear"] * count


@pytest.mark.parametrize(
    "backbone, pooling",
    [
        ("resnet50", "matrix"),
        ("resnet50", "grid"),
        ("mobilenet_v2_keypoints", None),
        ("mobilenet_v2_keypoints", "grid"),
    ],
)
def test_tensorrt_takes_the_graph(backbone, pooling, tmp_path):
    """TensorRT for RTX builds without a GPU, ahead of time for GPUs that are named."""
    trt = pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx")
    checkpoint = small_checkpoint(backbone=backbone)
    path = tmp_path / "graph.onnx"
    mode = dataclasses.replace(checkpoint.mode, min_box=20, max_box=90)
    export_onnx(checkpoint, mode, Canvas(128, 170), path, Variant(pooling, half=True))

    def for_ampere(config):
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.SM86, 0)

    samplers = [layer for layer in parsed(trt, path) if layer.type == trt.LayerType.GRID_SAMPLE]
    # Coarse and fine maps; matrix products pool the coarse ones where there are few boxes.
    grids = (pooling == "grid") + (backbone == "mobilenet_v2_keypoints")
    assert len(samplers) == grids
    for layer in samplers:
        layer.__class__ = trt.IGridSampleLayer
        assert layer.interpolation_mode == trt.InterpolationMode.LINEAR
    assert_bilinear(path, grids)

    plan = build_plan(trt, path, for_ampere)
    # Half precision: the file is about half as large as the weights.
    weights = sum(t.numel() * 4 for t in checkpoint.state.values())
    assert 0.4 * weights < len(plan) < 0.8 * weights


def test_what_tensorrt_cannot_take_is_named(tmp_path):
    trt = pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx")
    checkpoint = small_checkpoint()
    path = tmp_path / "graph.onnx"
    export_onnx(checkpoint, checkpoint.mode, Canvas(128, 170), path, Variant("op"))
    with pytest.raises(EngineError, match="(?i)cannot take the graph .*roialign"):
        build_plan(trt, path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_tensorrt_gives_about_the_eager_results(tmp_path, monkeypatch):
    pytest.importorskip("tensorrt")
    from test_engines import NO_SCORE, assert_close_candidates, eager

    monkeypatch.setenv("DOPE_CACHE_DIR", str(tmp_path))
    checkpoint = small_checkpoint()
    half = dataclasses.replace(checkpoint.mode, half=True)
    rgb = picture(128, 170)
    for _ in range(2):  # built, and then out of the cache
        engine = load_engine("tensorrt", checkpoint, half, "cuda")
        engine.min_scores = NO_SCORE
        assert_close_candidates(eager(checkpoint, rgb), engine(rgb))
    assert len(list(tmp_path.glob("*.engine"))) == 1
