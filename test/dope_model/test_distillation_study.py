"""The whole of section 3.2, small: experts, pseudo ground truth, distillation, one table."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from dope_model.__main__ import main  # noqa: E402
from dope_model.datasets.conversions import LSP_JOINTS  # noqa: E402
from dope_model.datasets.labels import LabelSet  # noqa: E402
from dope_model.rendering.sample import CLIP, LABELS  # noqa: E402
from dope_model.skeleton import BODY, PARTS  # noqa: E402


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


@pytest.mark.slow
def test_a_study_from_labels_to_table_and_again(data, capsys):
    settings = ["per_part=70", "held_out=10", "expert_epochs=1", "epochs=1",
                "training.width=96", "training.height=96", "training.workers=0",
                "training.losses.boxes_per_image=12", "training.warm_up_steps=4",
                "training.losses.expert_boxes=4", "confidence.label=0.5"]  # fmt: skip
    arguments = ["distillation-study", str(data / "labels.npz"), str(data), "--device", "cpu",
                 "--lspet", str(data / "lspet"), "--out", str(data / "out")]  # fmt: skip
    for setting in settings:
        arguments += ["--set", setting]
    assert main(arguments) == 0
    assert "distillation loss" in capsys.readouterr().out
    out = data / "out" / "seed 0"
    rows = json.loads((out / "table.json").read_text())["rows"]
    assert len(rows) == 6
    experts, whole = rows[:3], rows[3:]
    assert [set(r) for r in experts[1:]] == [
        {"network", f"{part} recall", f"{part} PCK"} for part in ("hand", "face")
    ]
    for row in whole:
        assert len(row) == 9
        assert all(0 <= value <= 1 for name, value in row.items() if name != "network")

    terms = {}
    for name in ("body expert", "partial", "pseudo", "distilled"):
        lines = (out / name / "losses.jsonl").read_text().splitlines()
        assert len(lines) == (8 if name == "body expert" else 26)
        terms[name] = set(json.loads(lines[-1]))
    distilled = {f"{part}/distilled {what}" for part in PARTS for what in ("class", "pose")}
    assert terms["distilled"] - terms["pseudo"] == distilled
    for part in PARTS:
        before, after = (LabelSet.load(out / f"{part}{name}.npz") for name in ("", " completed"))
        for a, b in zip(before, after, strict=True):
            assert all(labels.complete == (name == part) for name, labels in a.parts.items())
            assert all(labels.complete for labels in b.parts.values())
            np.testing.assert_array_equal(a.parts[part].keypoints_2d, b.parts[part].keypoints_2d)

    written = (out / "distilled" / "weights.safetensors").stat().st_mtime_ns
    assert main(arguments) == 0
    assert (out / "distilled" / "weights.safetensors").stat().st_mtime_ns == written
    assert json.loads((out / "table.json").read_text())["rows"] == rows
