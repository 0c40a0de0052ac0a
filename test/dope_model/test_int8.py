"""INT8: what is compared, and that no graph is kept which loses more than was allowed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
from random_networks import small_checkpoint  # noqa: E402
from test_static_graph import picture  # noqa: E402

from dope_model.__main__ import main  # noqa: E402
from dope_model.benchmark.predictions import model_record  # noqa: E402
from dope_model.checkpoint import save_checkpoint  # noqa: E402
from dope_model.network.backbone import float_layers_of  # noqa: E402
from dope_model.network.config import MODES  # noqa: E402
from dope_model.poses import PartDetections  # noqa: E402
from dope_model.runtime import int8, load_engine  # noqa: E402
from dope_model.runtime.export import GraphCache  # noqa: E402
from dope_model.runtime.int8 import (  # noqa: E402
    FOR_INT8,
    compare,
    fit,
    float_operations,
    fold_constants,
)


def detections(poses_2d, scores=None, depth=0.0):
    poses_2d = np.asarray(poses_2d, np.float32)
    poses_3d = np.concatenate([poses_2d, np.full((*poses_2d.shape[:2], 1), depth)], axis=2)
    scores = np.ones(len(poses_2d)) if scores is None else scores
    return PartDetections("body", scores, poses_2d, poses_3d)


def body(left, top):
    """13 joints in a box of 100 px."""
    return np.stack([left + np.linspace(0, 100, 13), top + np.linspace(0, 60, 13)], axis=1)


def test_equal_detections_share_all_joints():
    two = detections([body(0, 0), body(300, 0)])
    distances = []
    assert compare(two, two, distances) == (26, 52)
    assert distances == [0, 0]


def test_joints_that_moved_and_detections_that_came_or_went_are_counted():
    moved = body(0, 0)
    moved[:3] += 6  # more than 5 % of 100 px
    moved[5] += 3
    expected = detections([body(0, 0), body(300, 0)])
    found = detections([body(900, 900), moved, body(0, 500)], depth=0.5)
    distances = []
    assert compare(expected, found, distances) == (10, 13 * 5)
    assert len(distances) == 1 and distances[0] > 0.5


def test_each_detection_is_paired_once():
    expected, found = detections([body(0, 0)]), detections([body(0, 0), body(1, 1)])
    assert compare(expected, found, []) == (13, 39)


def test_weak_detections_do_not_count():
    nobody = PartDetections.empty("body", 13)
    assert compare(detections([body(0, 0)], [0.2]), nobody, []) == (0, 0)


def test_pictures_are_scaled_and_cut_to_size():
    rgb = np.zeros((100, 300, 3), np.uint8)
    rgb[:, 100:200] = 255
    fitted = fit(rgb, 50, 50)
    assert fitted.shape == (50, 50, 3)
    assert fitted.min() == 255
    assert (fit(rgb, 100, 300) == rgb).all()


@pytest.fixture(scope="module")
def weights_and_pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    checkpoint = small_checkpoint(("body",), "mobilenet_v2")
    weights = folder / "net.safetensors"
    save_checkpoint(checkpoint, weights)
    pictures = folder / "pictures"
    pictures.mkdir()
    for seed in range(12):
        cv2.imwrite(str(pictures / f"{seed:02d}.png"), picture(96, 128, seed))
    return checkpoint, weights, pictures


def test_what_int8_lacks_is_named(weights_and_pictures, tmp_path, capsys):
    _, weights, pictures = weights_and_pictures
    command = ["export", str(weights), "--int8"]
    assert main(command) == 1
    assert "--calibration FOLDER and --max-loss" in capsys.readouterr().err
    assert main([*command, "--calibration", str(tmp_path / "no"), "--max-loss", "1"]) == 1
    assert "there is no folder" in capsys.readouterr().err


def test_an_engine_without_its_graph_says_how_to_make_it(weights_and_pictures):
    pytest.importorskip("openvino")
    checkpoint = weights_and_pictures[0]
    engine = load_engine("int8", checkpoint, checkpoint.mode, "cpu")
    with pytest.raises(FileNotFoundError, match="export WEIGHTS --int8 --size 80x60"):
        engine(picture(60, 80))


@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v2_keypoints"])
def test_only_what_a_convolution_sees_is_quantised(backbone, tmp_path, monkeypatch):
    openvino = pytest.importorskip("openvino")
    monkeypatch.setenv("DOPE_CACHE_DIR", str(tmp_path))
    checkpoint = small_checkpoint(("body",), backbone)
    graph = GraphCache(checkpoint, checkpoint.mode).graph(96, 128, FOR_INT8)
    model = openvino.Core().read_model(graph)
    layers = float_layers_of(checkpoint.build().backbone)
    operations, in_float = model.get_ordered_ops(), set(float_operations(model, layers))

    seen: set[str] = set()
    for operation in reversed(operations):
        followers = [
            port.get_node() for out in operation.outputs() for port in out.get_target_inputs()
        ]
        if any(
            follower.get_friendly_name() in seen or follower.get_type_name().endswith("Convolution")
            for follower in followers
        ):
            seen.add(operation.get_friendly_name())
    last = {o.get_friendly_name() for o in operations if o.get_type_name() == "Convolution"} - seen
    quantised = {
        o.get_friendly_name(): o.get_type_name()
        for o in operations
        if o.get_friendly_name() not in in_float and o.get_type_name() not in ("Constant", "Result")
    }
    assert set(quantised) - {"Parameter"} <= seen | last
    # Boxes are told from scores, and then pooled and seen by a convolution, too.
    assert not {"TopK", "Exp", "ROIAlign", "Gather", "Floor"} & set(quantised.values())
    convolutions = [o for o in operations if o.get_type_name().endswith("Convolution")]
    kept = [o for o in convolutions if o.get_friendly_name() in in_float]
    first = convolutions[0].get_friendly_name()
    assert first in [o.get_friendly_name() for o in kept]
    assert len(kept) < len(convolutions) / (2 if layers else 4)
    names = {weights_name(convolution) for convolution in kept}
    wanted = {n for n in checkpoint.state if n.removeprefix("backbone.").startswith(layers)}
    assert not layers or names >= {f"network.{n}" for n in wanted if checkpoint.state[n].ndim == 4}


def weights_name(convolution) -> str:
    weights = convolution.input_value(1).get_node()
    if weights.get_type_name() == "Reshape":  # by groups
        weights = weights.input_value(0).get_node()
    return weights.get_friendly_name()


def test_every_layer_that_stays_in_float_is_there():
    network = small_checkpoint(("body",), "mobilenet_v2_keypoints").build().backbone
    names = [name for name, _ in network.named_parameters()]
    for layer in float_layers_of(network):
        assert any(name.startswith(layer) for name in names), layer


def test_biases_are_seen_once_constants_are_folded(weights_and_pictures, tmp_path, monkeypatch):
    """NNCF knows a bias by a constant that is added to a convolution's output."""
    openvino = pytest.importorskip("openvino")
    monkeypatch.setenv("DOPE_CACHE_DIR", str(tmp_path))
    checkpoint = weights_and_pictures[0]
    graph = GraphCache(checkpoint, checkpoint.mode).graph(96, 128, FOR_INT8)
    model = openvino.Core().read_model(graph)
    image = picture(96, 128, 3)

    def biases() -> int:
        added = [o for o in model.get_ordered_ops() if o.get_type_name() == "Add"]
        pairs = [[value.get_node().get_type_name() for value in o.input_values()] for o in added]
        return sum(b == "Constant" and a.endswith("Convolution") for a, b in pairs)

    def run() -> np.ndarray:
        return openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(image)[0]

    before = run()
    assert biases() == 0
    fold_constants(model)
    convolutions = sum(o.get_type_name().endswith("Convolution") for o in model.get_ordered_ops())
    assert biases() == convolutions
    np.testing.assert_allclose(run(), before, rtol=1e-4, atol=1e-4)


def test_a_graph_of_another_kind_of_processor_is_not_taken(
    weights_and_pictures, tmp_path, monkeypatch
):
    """Where sums of two products are cut off at 16 bits, weights have half of the range."""
    checkpoint = weights_and_pictures[0]
    graphs = GraphCache(checkpoint, checkpoint.mode)
    processor, paths = tmp_path / "cpuinfo", []
    monkeypatch.setattr(int8, "_PROCESSOR", processor)
    paths.append(int8.int8_path(graphs, 96, 128))  # not known
    for flags in ("fpu sse4_2 avx2 fma", "fpu avx2 avx_vnni", "fp asimd asimddp"):
        processor.write_text(f"processor : 0\nflags : {flags}\n")
        paths.append(int8.int8_path(graphs, 96, 128))
    unknown, old, new, arm = paths
    assert unknown == old != new == arm


@pytest.mark.slow
def test_int8_is_kept_only_within_the_bound(weights_and_pictures, tmp_path, monkeypatch, capsys):
    pytest.importorskip("nncf")
    pytest.importorskip("openvino")
    monkeypatch.setenv("DOPE_CACHE_DIR", str(tmp_path))
    checkpoint, weights, pictures = weights_and_pictures
    command = [
        "export", str(weights), "--int8", "--size", "128x96", "--calibration", str(pictures),
    ]  # fmt: skip
    assert main([*command, "--max-loss", "-1"]) == 1
    assert "INT8 was not taken: it changes" in capsys.readouterr().err
    assert not list(tmp_path.glob("*int8*"))
    assert main([*command, "--max-loss", "100"]) == 0
    assert "% of the joints" in capsys.readouterr().out
    key = model_record(str(weights), "realtime", "int8", "cpu")
    assert key == model_record(str(weights), "realtime", "int8", "cpu")
    (pictures / "00.png").write_bytes((pictures / "02.png").read_bytes())
    assert main([*command, "--max-loss", "100"]) == 0
    assert key != model_record(str(weights), "realtime", "int8", "cpu")  # calibrated anew

    mode = MODES["realtime"]
    exact = load_engine("openvino", checkpoint, mode, "cpu")
    rough = load_engine("int8", checkpoint, mode, "cpu")
    rgb = picture(96, 128, 40)
    expected, found = exact(rgb)["body"], rough(rgb)["body"]
    assert "INT8" in rough.description
    # Quantised indeed, and yet of the same kind.
    assert not np.array_equal(expected.scores, found.scores)
    assert found.scores.max() == pytest.approx(expected.scores.max(), abs=0.2)

    (model,) = tmp_path.glob("*.xml")
    model.with_suffix(".bin").write_bytes(b"damaged")
    with pytest.raises(FileNotFoundError, match="no INT8 graph"):
        load_engine("int8", checkpoint, mode, "cpu")(rgb)
