"""The whole of section 3.2, small: experts, pseudo ground truth, distillation, one table."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from dope_model.__main__ import main  # noqa: E402
from dope_model.checkpoint import load_checkpoint  # noqa: E402
from dope_model.datasets.conversions import LSP_JOINTS  # noqa: E402
from dope_model.datasets.labels import LabelSet, Visibility  # noqa: E402
from dope_model.sample import CLIP, LABELS  # noqa: E402
from dope_model.skeleton import BODY, PARTS  # noqa: E402
from dope_model.training.close_ups import close_ups  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Every frame of the shipped film as a picture, and two of them as a Leeds Sports Pose."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "lspet").mkdir()
    film, samples = cv2.VideoCapture(str(CLIP)), []
    for i, sample in enumerate(LabelSet.load(LABELS)):
        frame = cv2.resize(film.read()[1], None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{i}.png"), frame)
        for labels in sample.parts.values():
            labels.keypoints_2d = labels.keypoints_2d / 4
        height, width = frame.shape[:2]
        samples.append(replace(sample, file=f"{i}.png", width=width, height=height))
    LabelSet(samples).save(folder / "labels.npz")
    joints = np.zeros((2, 14, 3))
    for row, i in enumerate((100, 150)):
        cv2.imwrite(str(folder / f"lspet/{i}.png"), cv2.imread(str(folder / f"{i}.png")))
        for j, name in enumerate(LSP_JOINTS[:12]):
            joints[row, j, :2] = samples[i].parts["body"].keypoints_2d[0, BODY.index[name]]
        joints[row, :12, 2] = 1
    np.savez(folder / "lspet/joints.npz", names=["100.png", "150.png"], joints=joints,
             joint_names=LSP_JOINTS)  # fmt: skip
    return folder


def test_a_study_from_labels_to_table_and_again(data, capsys):
    settings = ["per_part=70", "held_out=10", "expert_epochs=1", "epochs=1",
                "training.width=64", "training.height=64", "training.workers=0",
                "training.losses.boxes_per_image=12", "training.warm_up_steps=4",
                "training.losses.expert_boxes=4", "training.batch_size=8", "training.memory_gb=0",
                "training.frozen_stages=0", "confidence.label=0.5", "heatmap_epochs=0", "size=64",
                "close_ups=3", "bound=true"]  # fmt: skip
    arguments = ["distillation-study", str(data / "labels.npz"), str(data), "--device", "cpu",
                 "--backbone", "mobilenet_v2", "--lspet", str(data / "lspet"),
                 "--out", str(data / "out")]  # fmt: skip
    for setting in settings:
        arguments += ["--set", setting]
    assert main(arguments) == 0
    assert "distillation loss" in capsys.readouterr().out
    out = data / "out" / "seed 0"
    rows = json.loads((out / "table.json").read_text())["rows"]
    assert len(rows) == 7
    experts, whole = rows[:3], rows[3:]
    assert [set(r) for r in experts[1:]] == [
        {"network", *(f"{of}{part} {what}" for of in ("", "close ") for what in ("recall", "PCK"))}
        for part in ("hand", "face")
    ]
    for row in whole:
        assert len(row) == 13
        assert all(0 <= value <= 1 for name, value in row.items() if name != "network")

    terms = {}
    for name in ("body expert", "partial", "pseudo", "distilled", "bound"):
        lines = (out / name / "losses.jsonl").read_text().splitlines()
        assert len(lines) == (8 if name == "body expert" else 26)
        terms[name] = set(json.loads(lines[-1]))
    distilled = {f"{part}/distilled {what}" for part in PARTS for what in ("class", "pose")}
    assert terms["distilled"] - terms["pseudo"] == distilled
    assert terms["bound"] == terms["pseudo"]
    all_labels = {sample.file: sample for sample in LabelSet.load(data / "labels.npz")}
    for part in PARTS:
        before, after = (LabelSet.load(out / f"{part}{name}.npz") for name in ("", " completed"))
        for a, b in zip(before, after, strict=True):
            assert all(labels.complete == (name == part) for name, labels in a.parts.items())
            assert all(labels.complete for labels in b.parts.values())
            np.testing.assert_array_equal(a.parts[part].keypoints_2d, b.parts[part].keypoints_2d)
        for sample in LabelSet.load(out / f"{part} ground truth.npz"):
            for name, truth in all_labels[sample.file].parts.items():
                np.testing.assert_array_equal(sample.parts[name].keypoints_2d, truth.keypoints_2d)

    written = (out / "distilled" / "weights.safetensors").stat().st_mtime_ns
    assert main(arguments) == 0
    assert (out / "distilled" / "weights.safetensors").stat().st_mtime_ns == written
    assert json.loads((out / "table.json").read_text())["rows"] == rows


@pytest.mark.long
def test_heat_maps_come_first_where_they_are_asked_for(data, capsys):
    settings = ["per_part=60", "held_out=2", "expert_epochs=1", "epochs=1", "heatmap_epochs=1",
                "heatmaps.batch_size=15", "size=64", "heatmaps.width=64",
                "heatmaps.height=64"]  # fmt: skip
    for name in ("width=64", "height=64", "losses.boxes_per_image=4", "losses.expert_boxes=2"):
        settings.append(f"training.{name}")
    settings += ["training.workers=0", "heatmaps.workers=0", "heatmaps.optimizer=adamw",
                 "heatmaps.learning_rate=0.01", "heatmaps.warm_up_steps=0",
                 "training.learning_rate=0.00001", "training.batch_size=8",
                 "bound=false", "close_ups=0"]  # fmt: skip
    arguments = ["distillation-study", str(data / "labels.npz"), str(data), "--device", "cpu",
                 "--backbone", "mobilenet_v2_keypoints", "--out",
                 str(data / "heatmaps")]  # fmt: skip
    for setting in settings:
        arguments += ["--set", setting]
    assert main(arguments) == 0
    out = data / "heatmaps" / "seed 0"
    for name, count in (("face expert", 4), ("partial", 12), ("completed", 12)):
        lines = (out / f"{name} heat maps" / "losses.jsonl").read_text().splitlines()
        assert len(lines) == count
        assert {term for term in json.loads(lines[-1]) if "/" in term} == {
            f"{part}/heatmaps" for part in (("face",) if "face" in name else PARTS)
        }
    weights = {
        name: load_checkpoint(out / file).state
        for name, file in (
            ("start", "start whole.safetensors"),
            ("maps", "completed heat maps/weights.safetensors"),
            ("pseudo", "pseudo/weights.safetensors"),
            ("distilled", "distilled/weights.safetensors"),
        )
    }
    # The second stage, at a rate of nearly nothing, goes on from the first.
    for name in ("pseudo", "distilled"):
        from_maps, from_start = (
            sum(
                float((weights[name][key] - weights[of][key]).abs().sum()) for key in _maps(weights)
            )
            for of in ("maps", "start")
        )
        assert from_maps < 0.2 * from_start

    assert main([*arguments, "--set", "heatmaps.memory_gb=1"]) == 0  # that changes nothing
    with_others = [a if a != "size=64" else "size=96" for a in arguments]
    assert main(with_others) == 1
    assert "holds a study with other settings (size)" in capsys.readouterr().err


def _maps(weights: dict) -> list[str]:
    """The learned tensors of the layers above the backbone's blocks, in which maps are."""
    return [k for k in weights["start"] if "backbone" in k and k.endswith("weight")
            and "blocks" not in k]  # fmt: skip


def test_close_ups_show_one_instance_large(data, tmp_path):
    labels = LabelSet.load(data / "labels.npz")
    made = close_ups(labels, data, "face", 4, 160, tmp_path / "faces")
    assert [s.file for s in made] == [f"{i:05}.jpg" for i in range(4)]
    read = LabelSet.load(tmp_path / "faces" / "labels.npz")
    by_content = {}
    for sample in read:
        image = cv2.imread(str(tmp_path / "faces" / sample.file))
        assert image.shape == (160, 160, 3) and (sample.width, sample.height) == (160, 160)
        assert list(sample.parts) == ["face"]
        faces = sample.parts["face"]
        middles = (faces.keypoints_2d.max(axis=1) + faces.keypoints_2d.min(axis=1)) / 2
        assert (abs(middles - 80) <= 40.5).all(axis=1).any()
        inside = ((faces.keypoints_2d >= 0) & (faces.keypoints_2d < 160)).all(axis=-1)
        assert ((faces.visibility == Visibility.VISIBLE) == (inside & faces.valid_2d)).all()
        by_content[sample.file] = image
    # What lies under a landmark is what lay under it in the picture.
    for original, sample in zip(labels, read, strict=False):
        whole = cv2.imread(str(data / original.file)).astype(float)
        truth, close = original.parts["face"], sample.parts["face"]
        differences = [
            np.abs(
                _pixels(whole, truth.keypoints_2d[i])
                - _pixels(by_content[sample.file].astype(float), close.keypoints_2d[0])
            ).mean()
            for i in range(len(truth))
        ]
        assert min(differences) < 8
        size, original_size = (
            np.ptp(points, axis=0).max()
            for points in (
                close.keypoints_2d[0],
                truth.keypoints_2d[np.argmin(differences)],
            )
        )
        # A third of the side, or three times as large, as no pixel becomes larger.
        assert size == pytest.approx(min(0.35 * 160, 3 * original_size), rel=0.03)


def _pixels(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Bilinear values (N, 3) at points (N, 2) whose integers are pixels' corners."""
    x, y = (points - 0.5).astype(np.float32).T
    return cv2.remap(image.astype(np.float32), x[None], y[None], cv2.INTER_LINEAR)[0]
