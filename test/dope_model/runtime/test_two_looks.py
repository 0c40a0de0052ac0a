"""Small instances from the first look, large ones from the second."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from random_networks import SMALL, small_checkpoint  # noqa: E402

from dope_model.__main__ import main  # noqa: E402
from dope_model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint  # noqa: E402
from dope_model.detector import WholeBodyDetector  # noqa: E402
from dope_model.network.config import Mode, SecondLook  # noqa: E402
from dope_model.postprocess.candidates import Candidates  # noqa: E402
from dope_model.runtime import load_engine, load_looks  # noqa: E402
from dope_model.runtime.two_looks import TwoLooks  # noqa: E402


def candidates(part: str, sides: list[float], score: float) -> Candidates:
    """One candidate for each longer side of a box, px."""
    count, joints = len(sides), {"body": 13, "face": 84}[part]
    boxes = np.array([[10, 20, 10 + 0.5 * side, 20 + side] for side in sides]).reshape(-1, 4)
    return Candidates(
        part, np.arange(count), np.full(count, score), boxes,
        np.zeros((count, joints, 2)), np.zeros((count, joints, 3)),
    )  # fmt: skip


class Fixed:
    """An engine that finds the same whatever it is shown."""

    description, prefetch = "fixed", None

    def __init__(self, **parts: Candidates) -> None:
        self.parts = parts

    def __call__(self, rgb: np.ndarray) -> dict[str, Candidates]:
        return dict(self.parts)


def test_each_look_gives_what_is_in_its_range():
    # The short side of 150 px becomes 50: up to 20 px of the input are 60 px of the image.
    image = np.zeros((150, 300, 3), np.uint8)
    mode = Mode(min_size=50, max_size=1000, proposals=5, half=False)
    first = Fixed(body=candidates("body", [59, 60, 61], 0.9), face=candidates("face", [500], 0.8))
    second = Fixed(body=candidates("body", [50, 61, 100], 0.4), face=candidates("face", [9], 0.3))
    engine = TwoLooks(first, second, mode, SecondLook(0.5, {"body": 20}))
    found = engine(image)
    body = found["body"]
    np.testing.assert_allclose(body.boxes[:, 3] - body.boxes[:, 1], [59, 60, 61, 100])
    np.testing.assert_allclose(body.scores, [0.9, 0.9, 0.4, 0.4])
    assert body.keypoints_2d.shape == (4, 13, 2) and body.keypoints_3d.shape == (4, 13, 3)
    assert found["face"].scores.tolist() == [0.8]
    assert engine.description == "fixed, second look at 25 px"

    # A long side of 3000 px binds: 1000 px of the input, and so 20 are again 60.
    wide = np.zeros((150, 3000, 3), np.uint8)
    assert len(TwoLooks(first, second, replace(mode, min_size=100), SecondLook(0.5, {"body": 20}))(
        wide)["body"]) == 4  # fmt: skip
    nobody = Fixed(body=candidates("body", [], 0), face=candidates("face", [], 0))
    assert len(TwoLooks(nobody, nobody, mode, SecondLook(0.5, {"body": 20}))(image)["body"]) == 0


@pytest.fixture
def checkpoint():
    made = small_checkpoint()
    made.second_look = SecondLook(0.5, {"body": 100, "hand": 1e6})
    return made


def test_a_checkpoint_with_a_second_look_is_looked_at_twice(checkpoint, tmp_path):
    rgb = np.random.default_rng(5).integers(0, 255, (128, 160, 3), np.uint8)
    half = Mode(min_size=64, max_size=100, proposals=12, half=False, min_box=50)
    both = load_looks("torch", checkpoint, SMALL, "cpu")(rgb)
    first, second = (load_engine("torch", checkpoint, m, "cpu")(rgb) for m in (SMALL, half))
    for part in ("hand", "face"):  # nothing is that large, or may be of any size
        np.testing.assert_array_equal(both[part].scores, first[part].scores)
    sides = [(c["body"].boxes[:, 2:] - c["body"].boxes[:, :2]).max(axis=1) for c in (first, second)]
    kept = [first["body"].scores[sides[0] <= 100], second["body"].scores[sides[1] > 100]]
    assert all(map(len, kept))
    np.testing.assert_array_equal(both["body"].scores, np.concatenate(kept))

    save_checkpoint(checkpoint, tmp_path / "weights.safetensors")
    detector = WholeBodyDetector.load(str(tmp_path / "weights.safetensors"), "cpu", "trained",
                                      "torch")  # fmt: skip
    assert "second look at 64 px" in detector.description
    without = replace(checkpoint, second_look=None)
    assert "second look" not in load_looks("torch", without, SMALL, "cpu").description


def test_pack_favours_small_anchors(checkpoint, tmp_path):
    start, out = (str(tmp_path / f"{name}.safetensors") for name in "ab")
    save_checkpoint(checkpoint, start)
    assert main(["pack", start, "--out", out, "--full", "--favour-small", "1.5"]) == 0
    before, after = (load_checkpoint(file).build(SMALL).rpn for file in (start, out))
    change = after.head.cls_logits.bias - before.head.cls_logits.bias
    (anchors,) = after.anchor_generator.cell_anchors
    sides = (anchors[:, 2:] - anchors[:, :2]).prod(dim=1).sqrt()
    np.testing.assert_allclose(change.detach(), 1.5 * (sides < sides.min() * 1.1), atol=1e-6)
    assert 0 < change.count_nonzero() < len(change)


def test_a_look_proposes_what_counts_in_it():
    """Sizes in px of each look's own input."""
    look, mode = SecondLook(0.5, {"body": 150, "hand": 96}), Mode(400, 1333, 50, True)
    first, second = look.modes(mode, ("body", "hand"))
    assert (first.min_box, first.max_box) == (0, 150)
    assert (second.min_box, second.max_box) == (48, None)
    assert (second.min_size, second.proposals) == (200, 50)
    # Faces of all sizes come from the first look, if none is told.
    first, second = look.modes(mode, ("body", "hand", "face"))
    assert first == mode and second.min_box == 48
    assert look.modes(mode, ("face",)) == [mode, look.mode_after(mode)]
    assert [m.max_box for m in look.modes(mode, ("hand",))] == [96, None]


def test_pack_adds_a_second_look_and_takes_it_away(checkpoint, tmp_path, capsys):
    start, out, again = (str(tmp_path / f"{name}.safetensors") for name in "abc")
    save_checkpoint(replace(checkpoint, second_look=None), start)
    assert load_checkpoint(start).second_look is None
    look = ["--second-look", "0.48", "--largest", "body=150", "--largest", "face=128.5"]
    assert main(["pack", start, "--out", out, *look]) == 0
    made = load_checkpoint(out)
    assert made.second_look == SecondLook(0.48, {"body": 150, "face": 128.5}, 1.0)
    assert {m.proposals for m in made.looks(made.mode)} == {made.mode.proposals}
    capsys.readouterr()
    assert main(["info", out]) == 0
    assert "second look at 0.48 of the size" in (told := capsys.readouterr().out)
    assert "body 150 px, face 128.5 px" in told
    assert main(["pack", start, "--out", out, *look, "--second-proposals", "0.25"]) == 0
    made = load_checkpoint(out)
    assert [m.proposals for m in made.looks(replace(made.mode, proposals=50))] == [50, 12]
    assert [m.proposals for m in made.looks(replace(made.mode, proposals=1))] == [1, 1]
    assert main(["pack", out, "--out", again]) == 0
    assert load_checkpoint(again).second_look == load_checkpoint(out).second_look
    assert main(["pack", out, "--out", again, "--second-look", "0"]) == 0
    assert load_checkpoint(again).second_look is None


@pytest.mark.parametrize(
    ("look", "why"),
    [
        (["--second-look", "1.5", "--largest", "body=9"], "between 0 and 1, not 1.5"),
        (["--second-look", "0.5"], "needs a size above 0"),
        (["--second-look", "0.5", "--largest", "body=-1"], "needs a size above 0"),
        (["--second-look", "0.5", "--largest", "body=nan"], "needs a size above 0"),
        (["--second-look", "0", "--largest", "body=9"], "between 0 and 1, not 0"),
        (["--second-look", "0.5", "--largest", "foot=9"], "a part of body, hand, face, such as"),
        (["--second-look", "0.5", "--largest", "body"], "such as body=150, not 'body'"),
        (["--largest", "body=9"], "belong to --second-look"),
        (["--second-proposals", "0.5"], "belong to --second-look"),
        (["--second-look", "0", "--second-proposals", "0.5"], "between 0 and 1, not 0"),
        (
            ["--second-look", "0.5", "--largest", "body=9", "--second-proposals", "0"],
            "above 0 and at most at 1, not 0",
        ),
        (
            ["--second-look", "0.5", "--largest", "body=9", "--second-proposals", "nan"],
            "above 0 and at most at 1, not nan",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(checkpoint, tmp_path, capsys, look, why):
    save_checkpoint(checkpoint, tmp_path / "a.safetensors")
    out = tmp_path / "b.safetensors"
    assert main(["pack", str(tmp_path / "a.safetensors"), "--out", str(out), *look]) == 1
    assert why in capsys.readouterr().err
    assert not out.exists()


def test_a_file_with_a_senseless_second_look_is_refused(checkpoint, tmp_path):
    object.__setattr__(checkpoint.second_look, "scale", 3)
    save_checkpoint(checkpoint, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="between 0 and 1, not 3"):
        load_checkpoint(tmp_path / "a.safetensors")


def test_export_writes_a_graph_for_each_look(checkpoint, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    save_checkpoint(checkpoint, tmp_path / "net.safetensors")
    out = tmp_path / "graphs"
    arguments = ["export", str(tmp_path / "net.safetensors"), "--mode", "trained"]
    assert main([*arguments, "--size", "96x64", "--out", str(out)]) == 0
    names = ["net-trained-96x64", "net-trained-second-96x64"]
    assert sorted(p.stem for p in out.glob("*.onnx")) == names
    first, second = (onnx.load(out / f"{name}.onnx") for name in names)
    sizes = [_inner_sizes(graph) for graph in (first, second)]
    assert max(sizes[0]) > max(sizes[1])
    described = [json.loads((out / f"{name}.json").read_text()) for name in names]
    assert described[0]["second_look"] == {
        "scale": 0.5, "largest": {"body": 100, "hand": 1e6}, "proposals": 1.0,
    }  # fmt: skip


def _inner_sizes(graph) -> set[int]:
    """Heights of the maps within a graph whose shapes are known."""
    shapes = [v.type.tensor_type.shape.dim for v in graph.graph.value_info]
    return {shape[2].dim_value for shape in shapes if len(shape) == 4}


def test_both_engines_bring_the_next_image():
    image, brought = np.zeros((40, 40, 3), np.uint8), []
    mode, look = Mode(40, 40, 5, False), SecondLook(0.5, {"body": 20})
    first, second = Fixed(), Fixed()
    assert TwoLooks(first, second, mode, look).prefetch is None
    first.prefetch = lambda rgb: brought.append(("first", rgb is image))
    second.prefetch = lambda rgb: brought.append(("second", rgb is image))
    TwoLooks(first, second, mode, look).prefetch(image)
    assert brought == [("first", True), ("second", True)]
    second.description = "other"
    assert "second look at 20 px on other" in TwoLooks(first, second, mode, look).description


def test_an_expert_of_one_part_and_boxes_of_any_shape():
    image = np.zeros((50, 50, 3), np.uint8)
    wide = candidates("body", [30, 90], 0.5)
    wide.boxes = wide.boxes[:, [1, 0, 3, 2]]
    look = SecondLook(0.5, {"body": 40, "face": 40})
    found = TwoLooks(Fixed(body=wide), Fixed(body=wide), Mode(50, 500, 5, False), look)(image)
    assert list(found) == ["body"]
    assert len(found["body"]) == 2
