"""Engines against the eager network, on the same image; and which of them is taken."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
from random_networks import PARTS, SMALL, small_checkpoint  # noqa: E402
from test_static_graph import NO_SCORE, assert_same_candidates, picture  # noqa: E402

from dope_model import runtime  # noqa: E402
from dope_model.network.config import MODES  # noqa: E402
from dope_model.runtime import FirstThatRuns, load_engine, torch_engine  # noqa: E402
from dope_model.runtime.canvas import Canvas, canvases  # noqa: E402
from dope_model.runtime.engine import EngineError, GraphEngine  # noqa: E402
from dope_model.runtime.export import export_onnx  # noqa: E402
from dope_model.runtime.graphs import (  # noqa: E402
    CacheError,
    graph_file,
    graphs_folder,
    make_room,
    weights_digest,
)
from dope_model.runtime.torch_engine import EagerEngine, StaticEngine  # noqa: E402
from dope_model.runtime.variant import FOR_CPU, Variant  # noqa: E402

HEIGHT, WIDTH = 128, 170
CANVAS = Canvas(HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def checkpoint():
    return small_checkpoint()


def eager(checkpoint, rgb):
    """Of an image that is as large as its canvas."""
    return checkpoint.build()(torch.from_numpy(rgb).permute(2, 0, 1), NO_SCORE)


@pytest.mark.parametrize("pooling", ["matrix", "grid", "op"])
def test_the_exported_graph_gives_the_eager_results(checkpoint, tmp_path, pooling):
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "graph.onnx"
    layout = export_onnx(checkpoint, checkpoint.mode, CANVAS, path, Variant(pooling), 1000)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for seed in range(2):
        rgb = picture(HEIGHT, WIDTH, seed)
        (packed,) = session.run(None, {"image": rgb})
        (found,) = layout.unpack(packed, NO_SCORE)
        assert_same_candidates(eager(checkpoint, rgb), found)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "eager"])
def test_engines_give_the_eager_results(checkpoint, name):
    pytest.importorskip(name if name != "eager" else "torch")
    engine = load_engine(name, checkpoint, checkpoint.mode, "cpu")
    engine.min_scores = NO_SCORE
    rgb = picture(HEIGHT, WIDTH)
    assert_same_candidates(eager(checkpoint, rgb), engine(rgb))
    # Of another size: a picture of twice the size has its candidates at twice the places.
    twice = engine(np.repeat(np.repeat(rgb, 2, axis=0), 2, axis=1))
    body, large = engine(rgb)["body"].best_first(), twice["body"].best_first()
    np.testing.assert_allclose(large.boxes[0], 2 * body.boxes[0], atol=4)


def test_a_graph_is_made_once_and_a_damaged_one_anew(tmp_path, monkeypatch):
    checkpoint = small_checkpoint(("body",), backbone="mobilenet_v2")
    monkeypatch.setenv("DOPE_CACHE_DIR", str(tmp_path / "cache"))
    made = []

    def export(checkpoint, mode, canvas, path, variant):
        made.append(canvas)
        path.write_bytes(bytes(5000))

    monkeypatch.setattr("dope_model.runtime.export.export_onnx", export)
    graph = graph_file(checkpoint, SMALL, CANVAS, FOR_CPU)
    assert graph_file(checkpoint, SMALL, CANVAS, FOR_CPU) == graph and len(made) == 1
    graph.write_bytes(bytes(4000))
    assert graph_file(checkpoint, SMALL, CANVAS, FOR_CPU) == graph and len(made) == 2
    # What a killed process left is removed, what another one is writing is not.
    stale, fresh = graph.with_suffix(".new1"), graph.with_suffix(".new2")
    for file in (stale, fresh):
        file.touch()
    os.utime(stale, (time.time() - 7200,) * 2)
    graphs_folder()
    assert not stale.exists() and fresh.exists()
    # The files used least recently make room.
    older = graph.with_name("older.onnx")
    older.write_bytes(bytes(5000))
    os.utime(older, (1, 1))
    make_room(graph.parent, graph, 9000)
    assert graph.exists() and not older.exists()


def test_a_cache_that_cannot_be_written_names_its_variable(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DOPE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(CacheError, match=r"cannot keep graphs in .*file/cache.*set DOPE_CACHE_DIR"):
        graphs_folder()


def test_other_weights_have_another_graph(checkpoint):
    other = small_checkpoint()
    assert weights_digest(other, MODES["paper"]) == weights_digest(checkpoint, MODES["paper"])
    assert weights_digest(other, MODES["paper"]) != weights_digest(other, MODES["realtime"])
    other.state["branches.face.cls_score.bias"][0] += 1
    assert weights_digest(other, MODES["paper"]) != weights_digest(checkpoint, MODES["paper"])


# --- which engine -------------------------------------------------------------------------------


def without(monkeypatch, *packages):
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name in packages else find(name)
    )


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(runtime, "_GPU_FILES", ())


def test_auto_takes_what_is_there(checkpoint, monkeypatch, caplog, no_gpu):
    without(monkeypatch, "openvino", "onnxruntime")
    engine = load_engine("auto", checkpoint, checkpoint.mode, "auto")
    assert "PyTorch float32 on cpu" in engine.description
    assert caplog.text.count("pip install openvino") == 1
    caplog.clear()
    load_engine("torch", checkpoint, checkpoint.mode, "auto")
    assert not caplog.text
    without(monkeypatch, "openvino", "onnxruntime", "torch")
    with pytest.raises(ImportError, match="pip install openvino"):
        load_engine("auto", checkpoint, checkpoint.mode, "auto")


def test_a_gpu_that_pytorch_does_not_see_is_told(checkpoint, monkeypatch, caplog, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("PyTorch sees the GPU here")
    driver = tmp_path / "nv_tegra_release"
    monkeypatch.setattr(runtime, "_GPU_FILES", (driver,))
    load_engine("auto", checkpoint, checkpoint.mode, "auto")
    assert "GPU" not in caplog.text
    driver.touch()
    load_engine("auto", checkpoint, checkpoint.mode, "cpu")  # as it was asked for
    assert "GPU" not in caplog.text
    load_engine("auto", checkpoint, checkpoint.mode, "auto")
    assert "PyTorch does not see it" in caplog.text


def test_a_gpu_without_kernels_leaves_the_cpu(monkeypatch, caplog):
    def no_kernel(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch_engine.torch, "zeros", no_kernel)
    torch_engine._runs_kernels.cache_clear()
    assert [torch_engine.pick_device("auto").type for _ in range(2)] == ["cpu", "cpu"]
    assert caplog.text.count("no kernel image") == 1
    torch_engine._runs_kernels.cache_clear()


def test_what_cannot_run_is_named(checkpoint):
    with pytest.raises(ValueError, match="unknown engine 'tpu'; known: auto, tensorrt, torch"):
        load_engine("tpu", checkpoint, checkpoint.mode, "cpu")
    with pytest.raises(ValueError, match="unknown device 'gpu'; use auto, cpu, cuda or cuda:N"):
        load_engine("auto", checkpoint, checkpoint.mode, "gpu")
    with pytest.raises(ValueError, match="openvino runs on the CPU here, not on 'cuda'"):
        load_engine("openvino", checkpoint, checkpoint.mode, "cuda")
    with pytest.raises(ValueError, match="tensorrt needs an NVIDIA GPU, not device 'cpu'"):
        load_engine("tensorrt", checkpoint, checkpoint.mode, "cpu")


class StandIn(GraphEngine):
    """An engine whose graph gives nothing, or an error."""

    def __init__(self, checkpoint, name="stand-in", error=None, wait=0.0):
        super().__init__(checkpoint, checkpoint.mode)
        self.name, self.error, self.wait = name, error, wait
        self.made, self.running, self.most = [], 0, 0

    @property
    def description(self):
        return self.name

    def make_runner(self, canvas):
        if self.error is not None:
            raise self.error
        self.made.append(canvas)

        def run(image):
            assert image.shape == canvas.shape
            self.running += 1
            self.most = max(self.most, self.running)
            time.sleep(self.wait)
            self.running -= 1
            return np.zeros(self.layout(canvas).size, np.float32)

        return run


def test_fifty_sizes_make_as_many_graphs_as_there_are_canvases(checkpoint):
    engine = StandIn(checkpoint)
    random = np.random.default_rng(0)
    for height, width in random.integers(1, 400, (50, 2)):
        assert not len(engine(np.zeros((height, width, 3), np.uint8))["body"])
    assert len(engine.made) == len(set(engine.made)) <= len(canvases(checkpoint.mode)) == 7


def test_an_engine_may_be_called_from_several_threads(checkpoint):
    engine = FirstThatRuns([("one", lambda: StandIn(checkpoint, wait=0.01))])
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(engine, [np.zeros((64, 64, 3), np.uint8)] * 9))
    assert all(set(each) == set(PARTS) for each in found)
    assert engine._engine.most == 1


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libnvinfer.so.10: cannot open shared object file"),
        OSError("libcudart.so: no such file"),
        TypeError("pybind11::init(): factory function returned nullptr"),
        RuntimeError("CUDA error: device-side assert\nand more"),
        EngineError("no memory left"),
    ],
)
@pytest.mark.parametrize("when", ["made", "run"])
def test_an_engine_that_fails_is_replaced_for_good(checkpoint, caplog, error, when):
    tried = []

    def fails():
        tried.append("fails")
        if when == "made":
            raise error
        return StandIn(checkpoint, "fails", error)

    makers = [("fails", fails), ("works", lambda: StandIn(checkpoint, "works"))]
    engine = FirstThatRuns(makers)
    for _ in range(3):
        assert set(engine(picture(64, 64))) == set(PARTS)
    assert tried == ["fails"] and engine.description == "works"
    (record,) = caplog.records
    assert str(error).splitlines()[0] in record.message
    assert "fails does not run" in record.message and "trying works" in record.message


def test_several_threads_that_meet_a_failure_replace_it_once(checkpoint, caplog):
    together = threading.Barrier(3)

    class Failing(StandIn):
        def __call__(self, rgb):
            together.wait(10)
            raise EngineError("lost")

    makers = [("a", lambda: Failing(checkpoint))]
    makers += [(name, lambda name=name: StandIn(checkpoint, name)) for name in "bc"]
    engine = FirstThatRuns(makers)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(engine, [picture(64, 64)] * 3))
    assert engine.description == "b" and len(caplog.records) == 1


def test_if_none_runs_the_last_one_says_why(checkpoint):
    def fails():
        raise ImportError("not here")

    with pytest.raises(ImportError, match="not here"):
        FirstThatRuns([("a", fails), ("b", fails)])
    broken = FirstThatRuns([("a", lambda: StandIn(checkpoint, error=OSError("disk")))])
    with pytest.raises(EngineError, match="stand-in, images of 128x128 px: OSError: disk"):
        broken(picture(64, 64))


# --- half precision, and GPUs -------------------------------------------------------------------


@pytest.fixture(scope="module", params=["resnet50", "mobilenet_v2_keypoints"])
def half_graph(request, tmp_path_factory):
    checkpoint = small_checkpoint(backbone=request.param)
    path = tmp_path_factory.mktemp("half") / "half.onnx"
    variant = Variant(half=True)
    return path, checkpoint, export_onnx(checkpoint, checkpoint.mode, CANVAS, path, variant, 1000)


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


def test_half_precision_is_close_to_float32(half_graph):
    runtime = pytest.importorskip("onnxruntime")
    path, checkpoint, layout = half_graph
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rgb = picture(HEIGHT, WIDTH)
    (packed,) = session.run(None, {"image": rgb})
    # Random maps have several peaks, of which another one may be the highest.
    share = 1 if checkpoint.config.backbone == "resnet50" else 0.7
    assert_close_candidates(eager(checkpoint, rgb), layout.unpack(packed, NO_SCORE)[0], share)


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
    for height, width in ((HEIGHT, WIDTH), (WIDTH, HEIGHT), (HEIGHT, WIDTH)):
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_what_no_cuda_graph_can_hold_is_an_engine_error(checkpoint, monkeypatch):
    class Synchronising(torch.nn.Module):
        def forward(self, image):
            return image.float().reshape(-1)[: int(image.sum()) + 1]

    engine = StaticEngine(checkpoint, checkpoint.mode, "cuda")
    monkeypatch.setattr(engine, "static_graph", lambda canvas: Synchronising())
    with pytest.raises(EngineError, match="CUDA graph"):
        engine(picture(64, 64))
    assert torch.ones(3, device="cuda").sum() == 3


def test_an_error_of_pytorch_is_an_engine_error(checkpoint, monkeypatch):
    def lost(*_):
        raise RuntimeError("CUDA error: unspecified launch failure\nCompile with ...")

    engine = EagerEngine(checkpoint, checkpoint.mode, "cpu")
    monkeypatch.setattr(engine.networks[0], "forward", lost)
    with pytest.raises(EngineError, match="PyTorch: CUDA error: unspecified launch failure$"):
        engine(picture(64, 64))


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
