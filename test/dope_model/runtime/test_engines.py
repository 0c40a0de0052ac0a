"""Engines against the eager network, on the same image."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
from random_networks import PARTS, small_checkpoint  # noqa: E402
from test_static_graph import NO_SCORE, assert_same_candidates, picture  # noqa: E402

from dope_model import runtime  # noqa: E402
from dope_model.__main__ import main  # noqa: E402
from dope_model.checkpoint import save_checkpoint  # noqa: E402
from dope_model.network.config import MODES  # noqa: E402
from dope_model.runtime import load_engine  # noqa: E402
from dope_model.runtime.export import Variant, export_onnx, weights_digest  # noqa: E402
from dope_model.runtime.graph_engine import (  # noqa: E402
    CANDIDATES,
    EngineError,
    GraphEngine,
    WithFallback,
)
from dope_model.runtime.static_graph import PackedLayout  # noqa: E402
from dope_model.runtime.torch_engine import EagerEngine, StaticEngine, capture  # noqa: E402
from dope_model.runtime.uploads import Uploads  # noqa: E402

HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="module")
def checkpoint():
    return small_checkpoint()


def raised(error, *_):
    raise error


def eager(checkpoint, rgb):
    return checkpoint.build()(torch.from_numpy(rgb).permute(2, 0, 1), NO_SCORE)


@pytest.mark.parametrize("pooling", ["matrix", "grid", "op"])
def test_the_exported_graph_gives_the_eager_results(checkpoint, tmp_path, pooling):
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "graph.onnx"
    variant = Variant(pooling, candidates=1000)
    layout = export_onnx(checkpoint, checkpoint.mode, HEIGHT, WIDTH, path, variant)
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


def test_a_graph_is_made_once_and_a_damaged_one_anew(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    checkpoint = small_checkpoint(backbone="mobilenet_v2")
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
    assert caplog.text.count("pip install openvino") == 1
    caplog.clear()
    load_engine("torch", checkpoint, checkpoint.mode, "auto")
    assert not caplog.text


def test_pictures_of_many_sizes_get_no_graphs(checkpoint):
    engine = load_engine("eager", checkpoint, checkpoint.mode, "auto")
    assert isinstance(engine, EagerEngine)  # on a GPU too
    engine.min_scores = NO_SCORE
    for height, width in ((HEIGHT, WIDTH), (WIDTH, HEIGHT)):
        rgb = picture(height, width)
        assert_same_candidates(eager(checkpoint, rgb), engine(rgb))


def test_a_gpu_that_pytorch_does_not_see_is_told(checkpoint, monkeypatch, caplog, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("PyTorch sees the GPU here")
    driver = tmp_path / "nv_tegra_release"
    monkeypatch.setattr(runtime, "_NVIDIA_FILES", (driver,))
    load_engine("auto", checkpoint, checkpoint.mode, "auto")
    assert "NVIDIA" not in caplog.text
    driver.touch()
    load_engine("auto", checkpoint, checkpoint.mode, "cpu")  # as it was asked for
    assert "NVIDIA" not in caplog.text
    load_engine("auto", checkpoint, checkpoint.mode, "auto")
    assert f"PyTorch {torch.__version__} does not see" in caplog.text


def test_what_cannot_run_is_named(checkpoint):
    with pytest.raises(ValueError, match="unknown engine 'tpu'; known: auto, torch, eager, open"):
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


def test_the_static_graph_on_the_cpu_gives_the_eager_results(checkpoint):
    engine = StaticEngine(checkpoint, checkpoint.mode, "cpu")
    engine.min_scores = NO_SCORE
    rgb = picture(HEIGHT, WIDTH, 4)
    assert_same_candidates(eager(checkpoint, rgb), engine(rgb))
    assert not engine.unfinished
    assert "static graph on cpu" in engine.description


def test_an_eager_engine_gives_the_results_of_the_plain_network(checkpoint):
    """Folded batch norms and channels_last are another way to the same numbers."""
    engine = EagerEngine(checkpoint, checkpoint.mode, "cpu")
    engine.min_scores = NO_SCORE
    rgb = picture(HEIGHT, WIDTH, 5)
    assert_same_candidates(eager(checkpoint, rgb), engine(rgb))


def test_an_image_whose_suppression_does_not_end_is_done_again(checkpoint, monkeypatch, caplog):
    monkeypatch.setattr("dope_model.runtime.static_graph.NMS_ROUNDS", 1)
    engine = StaticEngine(checkpoint, checkpoint.mode, "cpu")
    engine.min_scores = NO_SCORE
    for seed in (6, 7):
        rgb = picture(HEIGHT, WIDTH, seed)
        run, layout = engine.runner(HEIGHT, WIDTH)
        assert not layout.converged(run(rgb))
        assert_same_candidates(eager(checkpoint, rgb), engine(rgb))
    assert engine.unfinished == 2
    assert len([r for r in caplog.records if "done again" in r.message]) == 1


class CountingEngine(GraphEngine):
    """An engine whose graph gives a fixed output, or an error."""

    def __init__(self, checkpoint, fails=False):
        super().__init__(checkpoint, checkpoint.mode)
        self.made, self.fails = [], fails

    @property
    def description(self):
        return "counting"

    def make_runner(self, height, width):
        if self.fails:
            raise EngineError("no memory left")
        self.made.append((height, width))
        layout = PackedLayout.for_images(
            self.checkpoint.config, self.mode, height, width, CANDIDATES
        )
        packed = np.zeros(layout.size, np.float32)
        packed[0] = 1
        return lambda rgb: packed

    def make_eager(self):
        raise AssertionError("the graph came to its end")


def test_the_graphs_of_the_last_sizes_are_kept(checkpoint):
    engine = CountingEngine(checkpoint)
    sizes = [(64, 64), (64, 80), (64, 96), (64, 112)]
    for size in [*sizes, sizes[0], (80, 80), sizes[0], sizes[1]]:
        assert not len(engine(picture(*size))["body"])
    assert engine.made == [*sizes, (80, 80), sizes[1]]


def test_an_engine_that_fails_is_replaced_for_good(checkpoint, caplog):
    others = []

    def make_other():
        others.append(CountingEngine(checkpoint))
        return others[-1]

    engine = WithFallback(CountingEngine(checkpoint, fails=True), make_other)
    for _ in range(2):
        assert set(engine(picture(64, 64))) == set(PARTS)
    assert len(others) == 1
    assert [r.message for r in caplog.records] == ["counting: no memory left; from now on counting"]
    # Whatever other packages raise while a graph is made.
    for error in (OSError(28, "no space left"), RuntimeError("no kernel"), TypeError("external")):
        failing = CountingEngine(checkpoint)
        failing.make_runner = partial(raised, error)
        engine = WithFallback(failing, make_other)
        assert set(engine(picture(64, 64))) == set(PARTS)
        assert str(error) in caplog.records[-1].message
    broken = WithFallback(
        CountingEngine(checkpoint, fails=True), lambda: CountingEngine(checkpoint, fails=True)
    )
    with pytest.raises(EngineError, match="no memory left"):
        broken(picture(64, 64))


@pytest.fixture(scope="module", params=["resnet50", "mobilenet_v2_keypoints"])
def half_graph(request, tmp_path_factory):
    checkpoint = small_checkpoint(backbone=request.param)
    path = tmp_path_factory.mktemp("half") / "half.onnx"
    return path, checkpoint, export_onnx(
        checkpoint, checkpoint.mode, HEIGHT, WIDTH, path, Variant(half=True, candidates=1000)
    )  # fmt: skip


def test_half_precision_is_where_it_is_safe(half_graph):
    """What TensorRT gets: FP16 where the work is, float32 where the precision is."""
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(half_graph[0]))
    graph = model.graph
    types = {v.name: v.type.tensor_type.elem_type for v in [*graph.value_info, *graph.input]}
    types |= {i.name: i.data_type for i in graph.initializer}
    half, exact, byte = (getattr(onnx.TensorProto, name) for name in ("FLOAT16", "FLOAT", "UINT8"))
    used = {node.op_type for node in graph.node}
    # TensorRT has none of the first two, and no Transpose of bytes.
    assert not used & {"RoiAlign", "NonMaxSuppression", "NonZero"}
    assert {"Conv", "TopK", "Softmax", "Exp"} <= used
    for node in graph.node:
        first = types[node.input[0]]
        if node.op_type == "Conv":
            assert first == half
        if node.op_type in ("TopK", "Softmax", "Exp", "Greater"):
            assert first == exact, node.name
        if node.op_type != "Cast":
            assert first != byte, node.name
    # The image; a pyramid's sums are of halves.
    assert next(types[n.input[0]] for n in graph.node if n.op_type == "Resize") == exact


def test_half_precision_is_close_to_float32(half_graph):
    runtime = pytest.importorskip("onnxruntime")
    path, checkpoint, layout = half_graph
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rgb = picture(HEIGHT, WIDTH)
    (packed,) = session.run(None, {"image": rgb})
    # Random maps have several peaks, of which another one may be the highest.
    share = 1 if checkpoint.config.backbone == "resnet50" else 0.7
    assert_close_candidates(eager(checkpoint, rgb), layout.unpack(packed, NO_SCORE), share)


def assert_close_candidates(exact, half, share=1.0):
    """The documented error of FP16, of a share of the candidates; proposals of nearly the same
    score may change places."""
    for part in PARTS:
        a, b = exact[part], half[part]
        boxes, classes, wanted, poses_2d, wanted_3d = (
            np.asarray(values)
            for values in (a.boxes, a.classes, a.scores, a.keypoints_2d, a.keypoints_3d)
        )
        apart = np.abs(boxes[:, None] - b.boxes[None]).max(axis=-1)
        apart[classes[:, None] != b.classes[None]] = np.inf
        partner = apart.argmin(axis=1)
        near = apart[np.arange(len(partner)), partner] < 0.5
        assert near.mean() > 0.8
        scores, poses = b.scores[partner], b.keypoints_2d[partner]
        assert np.quantile(np.abs(scores - wanted)[near], share) < 0.01
        assert np.quantile(np.abs(poses - poses_2d)[near], share) < 1
        poses_3d = b.keypoints_3d[partner]
        assert np.quantile(np.abs(poses_3d - wanted_3d)[near], share) < 0.01


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_cuda_graph_gives_the_eager_results(checkpoint):
    """In float32, image after image and size after size."""
    engine = StaticEngine(checkpoint, checkpoint.mode, "cuda")
    engine.min_scores = NO_SCORE
    for height, width in ((HEIGHT, WIDTH), (130, 101), (HEIGHT, WIDTH)):
        for seed in range(2):
            rgb = picture(height, width, seed)
            assert_close_candidates(eager(checkpoint, rgb), engine(rgb))
    assert "CUDA graph" in engine.description


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_cuda_graph_in_half_precision_is_close_to_float32(checkpoint):
    half = dataclasses.replace(checkpoint.mode, half=True)
    engine = StaticEngine(checkpoint, half, "cuda")
    engine.min_scores = NO_SCORE
    rgb = picture(HEIGHT, WIDTH)
    assert_close_candidates(eager(checkpoint, rgb), engine(rgb))


DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    ),
]


@pytest.mark.parametrize("device", DEVICES)
def test_an_image_that_was_begun_is_taken_once_and_any_other_is_brought(device):
    uploads = Uploads(torch.device(device))
    sent, send = [], uploads._send
    uploads._send = lambda rgb: sent.append(rgb) or send(rgb)
    first, second, third = (picture(6, 8 + n) for n in range(3))
    uploads.begin(first)
    uploads.begin(second)  # newer: the first one waits no longer
    for rgb in (third, second, second, first):
        taken = uploads.take(rgb)
        assert taken.device.type == device
        np.testing.assert_array_equal(taken.cpu().numpy(), rgb)
    assert [id(rgb) for rgb in sent] == [id(x) for x in (first, second, third, second, first)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_prefetched_images_give_the_same_results():
    checkpoint = small_checkpoint()
    engine = StaticEngine(checkpoint, checkpoint.mode, "cuda")
    images = [picture(HEIGHT, WIDTH), picture(HEIGHT, WIDTH)[::-1].copy()]
    expected = [engine(rgb) for rgb in images]
    for rgb, wanted in zip(images, expected, strict=True):
        engine.prefetch(rgb)
        assert_close_candidates(wanted, engine(rgb))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_what_no_cuda_graph_can_hold_is_reported():
    class Synchronising(torch.nn.Module):
        def forward(self, image):
            return image.float().reshape(-1)[: int(image.sum()) + 1]

    with pytest.raises(EngineError, match="no CUDA graph could be captured"):
        capture(Synchronising(), (8, 8, 3), torch.device("cuda"), Uploads(torch.device("cuda")))
    assert torch.ones(3, device="cuda").sum() == 3


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
