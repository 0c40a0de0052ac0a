"""Reports: tables and files against what they were made from; predictions that are kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from dope_model.benchmark import predictions, report
from dope_model.benchmark.protocols.protocol import Picture
from dope_model.pictures import read_rgb
from dope_model.poses import PartDetections

ROWS = [
    {"model": "a|b", "instances": 3, "recall": 2 / 3, "PA mm": 12.345, "root m": float("nan")},
    {"model": "c", "instances": 0, "recall": None, "PA mm": np.float32(7.0), "side": 1.0},
]


def test_markdown_table():
    assert report.markdown_table(ROWS).splitlines() == [
        "| model | instances | recall | PA mm | root m | side |",
        "|---|---:|---:|---:|---:|---:|",
        "| a\\|b | 3 | 0.667 | 12.3 |  |  |",
        "| c | 0 |  | 7.0 |  | 1.000 |",
    ]
    assert report.markdown_table([]) == "nothing to show"


def test_json_keeps_all_digits(tmp_path):
    content = {"rows": ROWS, "array": np.arange(3.0), "path": tmp_path, "flag": np.bool_(True)}
    report.write_json(tmp_path / "t.json", content)
    again = json.loads((tmp_path / "t.json").read_text(), parse_constant=pytest.fail)
    assert again["rows"][0]["recall"] == 2 / 3 and again["rows"][0]["root m"] is None
    assert again["array"] == [0, 1, 2] and again["flag"] is True and again["path"] == str(tmp_path)


def test_versions_name_what_is_installed():
    assert report.versions()["numpy"] == np.__version__


def test_plots_show_their_values(tmp_path):
    """A line goes where its points are: the first one up, as the second goes down."""
    pytest.importorskip("matplotlib")
    x = np.linspace(0, 1, 5)
    report.line_plot(tmp_path / "line.png", {"a": (x, x), "b": (x, 1 - x)}, "x", "y", "title")
    rgb = read_rgb(tmp_path / "line.png").astype(int)[:, 400:]
    first, second = (_middle_row(rgb, colour) for colour in ([31, 119, 180], [255, 127, 14]))
    assert first < second


def _middle_row(rgb, colour) -> float:
    """Of the pixels of one of matplotlib's colours."""
    return float(np.nonzero(np.abs(rgb - colour).max(axis=2) < 12)[0].mean())


def _some_detections() -> dict[str, PartDetections]:
    random = np.random.default_rng(0)
    return {
        "body": PartDetections.empty("body", 13),
        "hand": PartDetections(
            "hand", [0.5, 0.9], random.normal(0, 9, (2, 21, 2)), random.normal(0, 1, (2, 21, 3)),
            [True, False], random.random((2, 21)) < 0.5,
        ),
    }  # fmt: skip


def test_detections_are_kept_to_the_last_digit(tmp_path):
    found = _some_detections()
    predictions.save_detections(tmp_path / "a.npz", found)
    again = predictions.load_detections(tmp_path / "a.npz")
    assert set(again) == {"body", "hand"} and len(again["body"]) == 0
    for name in ("scores", "keypoints_2d", "keypoints_3d", "is_left", "trusted"):
        one, other = getattr(found["hand"], name), getattr(again["hand"], name)
        assert one.dtype == other.dtype and (one == other).all()
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


def test_predictions_belong_to_picture_and_weights(monkeypatch, tmp_path):
    pytest.importorskip("torch")
    from random_networks import small_checkpoint

    from dope_model.checkpoint import save_checkpoint

    calls = []

    class Detector:
        description = "made up"
        min_scores: dict = {}

        def find_parts(self, rgb):
            calls.append(rgb[0, 0].tolist())
            return _some_detections()

    monkeypatch.setattr(predictions.WholeBodyDetector, "load", lambda *_: Detector())
    weights, picture = tmp_path / "w.safetensors", tmp_path / "p.png"
    checkpoint = small_checkpoint(("hand",), "mobilenet_v2")
    save_checkpoint(checkpoint, weights)

    def runs() -> int:
        """How often the model ran on the picture."""
        calls.clear()
        finder = predictions.CachedFinder(tmp_path / "kept", str(weights))
        assert len(found_in(finder, picture)["hand"]) == 2
        return len(calls)

    red = np.zeros((4, 4, 3), np.uint8) + np.array([0, 0, 255], np.uint8)
    cv2.imwrite(str(picture), red)
    assert runs() == 1 and calls == [[255, 0, 0]]
    assert runs() == 0
    cv2.imwrite(str(picture), red // 2)
    assert runs() == 1
    assert runs() == 0
    checkpoint.about["data"] = "others"
    save_checkpoint(checkpoint, weights)
    assert runs() == 1
    with pytest.raises(FileNotFoundError, match="nothing.safetensors"):
        predictions.CachedFinder(tmp_path, str(tmp_path / "nothing.safetensors"))
    picture.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="not a picture"):
        runs()


def found_in(finder: predictions.CachedFinder, path: Path) -> dict:
    (found,) = finder.find_all([Picture(path.name, path, None)])
    return found


def test_predictions_belong_to_what_ran(monkeypatch, tmp_path):
    pytest.importorskip("torch")
    from dope_model import runtime

    def key(**changed) -> str:
        return json.dumps(predictions.model_record("dope_lite", **changed))

    monkeypatch.setattr(runtime, "has_vnni", lambda: False)
    monkeypatch.setattr(runtime, "_missing", lambda name: [] if name == "eager" else ["this"])
    on_torch = key(device="cpu")
    assert on_torch == key(device="cpu", engine="eager")
    monkeypatch.setattr(runtime, "_missing", lambda name: [] if name == "openvino" else ["this"])
    assert key(device="cpu") == key(device="cpu", engine="openvino") != on_torch
    with pytest.raises(ValueError, match="unknown engine"):
        key(engine="abacus")

    package = Path(predictions.dope_model.__file__).parent
    copy = shutil.copytree(package, tmp_path / "copy", ignore=shutil.ignore_patterns("*.npz"))
    monkeypatch.setattr(predictions.dope_model, "__file__", str(copy / "__init__.py"))
    for code in ("network/dope.py", "experts/joints.py", "checkpoint.py", "skeleton.py"):
        predictions._code_hash.cache_clear()
        before = predictions.model_record("dope_lite", device="cpu")["code"]
        (copy / code).write_text("# another\n")
        predictions._code_hash.cache_clear()
        assert predictions.model_record("dope_lite", device="cpu")["code"] != before, code
    predictions._code_hash.cache_clear()


def test_weights_of_the_same_name_are_told_apart():
    assert report.short_names(["a/x.safetensors", "dope_lite", "experts:fast"]) == {
        "x": "a/x.safetensors", "dope_lite": "dope_lite", "experts:fast": "experts:fast",
    }  # fmt: skip
    assert list(report.short_names(["a/w.safetensors", "b/w.safetensors", "w"])) == [
        "a/w", "b/w", "w",
    ]  # fmt: skip
    assert list(report.short_names(["1/a/w.safetensors", "2/a/w.safetensors"])) == [
        "1/a/w.safetensors", "2/a/w.safetensors",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="named twice: a, a"):
        report.short_names(["a", "a"])
    assert report.file_name("a/w experts:fast") == "a-w-experts-fast"


def test_benchmarks_run_models_in_the_mode_that_they_are_made_for(monkeypatch, tmp_path):
    asked = []

    def load(*settings):
        asked.append(settings)
        raise ImportError("nothing runs here")

    monkeypatch.setattr(predictions.WholeBodyDetector, "load", load)
    cv2.imwrite(str(tmp_path / "p.png"), np.zeros((4, 4, 3), np.uint8))
    finder = predictions.CachedFinder(tmp_path / "kept", "dope_lite", "cpu", engine="eager")
    with pytest.raises(ImportError):
        found_in(finder, tmp_path / "p.png")
    assert asked == [("dope_lite", "cpu", "auto", "eager")]


def test_predictions_of_guided_experts_belong_to_the_network_too():
    fast, guided = (predictions.model_record(f"experts:{name}") for name in ("fast", "guided"))
    assert guided["weights"] == predictions.model_record("dope_lite", device="cpu")["weights"]
    assert "weights" not in fast and "code network" in guided
