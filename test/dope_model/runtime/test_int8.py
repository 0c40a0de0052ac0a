"""INT8: what is rounded how, what is compared, and where it is taken."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from random_networks import small_checkpoint  # noqa: E402
from test_static_graph import picture  # noqa: E402

from dope_model.__main__ import main  # noqa: E402
from dope_model.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from dope_model.network.backbone import float_layers_of  # noqa: E402
from dope_model.network.config import MODES  # noqa: E402
from dope_model.poses import PartDetections  # noqa: E402
from dope_model.runtime import int8, int8_allowed, load_engine, picked, processor  # noqa: E402
from dope_model.runtime.int8 import compare, fit, measure_ranges, quantise  # noqa: E402
from dope_model.runtime.torch_engine import EagerEngine  # noqa: E402
from dope_model.training.averaging import mean_of  # noqa: E402
from dope_model.training.stages import Int8  # noqa: E402


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


def measured(checkpoint, pictures, max_loss):
    stage = Int8(name="int8", data="pictures", mode=MODES["realtime"], max_loss=max_loss)
    return stage.make(SimpleNamespace(inputs={"pictures": pictures}), checkpoint, None)


def test_what_int8_lacks_is_named(weights_and_pictures, tmp_path):
    pytest.importorskip("openvino")
    checkpoint, _, _ = weights_and_pictures
    with pytest.raises(ValueError, match="a recipe with the stage Int8"):
        load_engine("int8", checkpoint, checkpoint.mode, "cpu")
    with pytest.raises(ValueError, match="needs 10 pictures or more"):
        measured(checkpoint, tmp_path, 10)


@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, 2.0), (0.0, 6.0), (0.3, 4.0), (-3.0, -1.0), (0, 0)]
)
def test_zero_is_one_of_the_256_steps(low, high):
    first, last = int8._with_exact_zero(low, high)
    step = (last - first) / 255
    assert first <= low + 1e-9 and last >= high - 1e-9
    assert step <= max(high, 0, high - low, -low) / 254 + 1e-8
    assert -first / step == pytest.approx(round(-first / step), abs=1e-6)


def one_convolution(weights, groups=1):
    """A graph of one convolution, whose weights have the name that a network's have."""
    openvino = pytest.importorskip("openvino")
    from openvino import opset13 as ops

    image = ops.parameter([1, 4, 3, 5], np.float32)
    constant = ops.constant(weights)
    constant.set_friendly_name("network.backbone.one.weight")
    arguments = [1, 1], [1, 1], [1, 1], [1, 1]
    if groups == 1:
        result = ops.convolution(image, constant, *arguments)
    else:
        shape = [groups, weights.shape[0] // groups, *weights.shape[1:]]
        result = ops.group_convolution(image, ops.reshape(constant, shape, False), *arguments)
    return openvino.Model([result], [image])


@pytest.mark.parametrize("flags", ["avx2 avx512_vnni", "avx2"])
@pytest.mark.parametrize("groups", [1, 4])
def test_a_convolution_in_eight_bits(groups, flags, tmp_path, monkeypatch):
    """As PyTorch computes it from rounded values; weights of half the range without VNNI."""
    openvino = pytest.importorskip("openvino")
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"flags : fpu {flags} fma\n")
    monkeypatch.setattr(processor, "_PROCESSOR", cpuinfo)
    random = np.random.default_rng(1)
    weights = random.normal(size=(8, 4 // groups, 3, 3)).astype(np.float32)
    image = random.uniform(-2, 3, (1, 4, 3, 5)).astype(np.float32)
    model = one_convolution(weights, groups)
    low, high = -1.0, 1.55  # steps of 0.01, and what lies outside is cut off
    quantise(model, {"backbone.one": (low, high)})
    run = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = run(image)[0]

    seen = np.round(np.clip(image, low, high) / 0.01) * 0.01
    steps = 127 if "vnni" in flags else 64
    unit = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / steps
    rounded = np.round(weights / unit) * unit
    expected = torch.nn.functional.conv2d(
        torch.from_numpy(seen).float(), torch.from_numpy(rounded).float(), padding=1, groups=groups
    ).numpy()
    exact = torch.nn.functional.conv2d(
        torch.from_numpy(image), torch.from_numpy(weights), padding=1, groups=groups
    ).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.abs(found - exact).max() > 0.02


def test_ranges_of_another_network_are_refused():
    model = one_convolution(np.ones((8, 4, 3, 3), np.float32))
    with pytest.raises(ValueError, match=r"such as backbone\.two: measure"):
        quantise(model, {"backbone.one": (0, 1), "backbone.two": (0, 1)})


@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v2_keypoints"])
def test_ranges_are_what_convolutions_see(backbone, tmp_path, monkeypatch):
    """As hooks see it in PyTorch; box coordinates, the finest and what the backbone names stay in
    float."""
    pytest.importorskip("openvino")
    monkeypatch.setenv("DOPE_CACHE_DIR", str(tmp_path))
    checkpoint = small_checkpoint(("body",), backbone)
    images = [picture(128, 170, seed) for seed in range(2)]
    ranges = measure_ranges(checkpoint, checkpoint.mode, images)

    engine = EagerEngine(checkpoint, checkpoint.mode, "cpu")
    seen: dict[str, list[tuple[float, float]]] = {}
    convolutions = {
        name: module
        for name, module in engine.networks[0].named_modules()
        if isinstance(module, torch.nn.Conv2d)
    }
    for name, module in convolutions.items():
        if type(module).forward is torch.nn.Conv2d.forward:  # of what it is given, nothing more
            module.register_forward_pre_hook(
                lambda _, given, name=name: seen.setdefault(name, []).append(
                    (given[0].min().item(), given[0].max().item())
                )
            )
    for image in images:
        engine(image)
    compared = 0
    for name, (low, high) in ranges.items():
        if name in seen and not name.startswith("roi_features"):  # of which the graph has more
            least, greatest = zip(*seen[name], strict=True)
            size = max(map(abs, (*least, *greatest)))
            assert (low, high) == pytest.approx((min(least), max(greatest)), abs=2e-3 * size), name
            compared += 1
    assert compared > 40

    in_float = set(convolutions) - set(ranges)
    layers = tuple(f"backbone.{name}" for name in float_layers_of(engine.networks[0].backbone))
    assert {n for n in convolutions if n.startswith(layers)} <= in_float
    assert {"rpn.head.cls_logits", "rpn.head.bbox_pred"} <= in_float
    assert next(iter(convolutions)) in in_float
    assert len(in_float) < len(convolutions) / (2 if layers else 4)


def test_every_layer_that_stays_in_float_is_there():
    network = small_checkpoint(("body",), "mobilenet_v2_keypoints").build().backbone
    names = [name for name, _ in network.named_parameters()]
    for layer in float_layers_of(network):
        assert any(name.startswith(layer) for name in names), layer


def test_auto_is_int8_where_that_is_faster_and_allowed(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "_PROCESSOR", cpuinfo)
    plain = small_checkpoint(("body",), "mobilenet_v2")
    made = replace(plain, input_ranges={"backbone.one": (0.0, 1.0)})
    realtime, paper = MODES["realtime"], MODES["paper"]

    def engine(checkpoint, mode) -> str:
        return picked("auto", "cpu", int8_allowed(checkpoint, mode))[0]

    assert engine(made, realtime) == "openvino"  # nothing known of the processor
    cpuinfo.write_text("flags : fpu avx2 avx_vnni\n")
    assert [engine(made, realtime), engine(made, paper)] == ["int8", "openvino"]
    assert engine(plain, realtime) == "openvino"
    assert picked("openvino", "cpu", True)[0] == "openvino"
    cpuinfo.write_text("Features : fp asimd asimddp\n")
    assert engine(made, realtime) == "openvino"  # exact there, its speed not known


def test_ranges_go_with_the_weights_and_no_further(tmp_path):
    checkpoint = small_checkpoint(("body",), "mobilenet_v2")
    checkpoint.input_ranges = {"backbone.one": (-0.5, 1.25)}
    save_checkpoint(checkpoint, tmp_path / "net.safetensors")
    loaded = load_checkpoint(tmp_path / "net.safetensors")
    assert loaded.input_ranges == {"backbone.one": (-0.5, 1.25)}
    assert mean_of([loaded, loaded]).input_ranges == {}


def test_int8_is_packed_only_within_the_bound(weights_and_pictures, tmp_path, monkeypatch, capsys):
    pytest.importorskip("openvino")
    monkeypatch.setenv("DOPE_CACHE_DIR", str(tmp_path / "cache"))
    checkpoint, _, pictures = weights_and_pictures
    packed = tmp_path / "packed.safetensors"
    with pytest.raises(ValueError, match="INT8 changes more than -1 %"):
        measured(checkpoint, pictures, -1)
    save_checkpoint(measured(checkpoint, pictures, 100), packed)
    assert "% of the joints" in capsys.readouterr().out
    assert main(["info", str(packed)]) == 0
    assert "convolutions in eight bits" in capsys.readouterr().out

    rough = load_engine("int8", load_checkpoint(packed), MODES["realtime"], "cpu")
    exact = load_engine("openvino", checkpoint, MODES["realtime"], "cpu")
    rgb = picture(120, 128, 40)  # of another size than those that were measured
    expected, found = exact(rgb)["body"], rough(rgb)["body"]
    assert "INT8" in rough.description
    # Quantised indeed, and yet of the same kind.
    assert not np.array_equal(expected.scores, found.scores)
    assert found.scores.max() == pytest.approx(expected.scores.max(), abs=0.2)
