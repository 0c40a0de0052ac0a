"""The whole of section 3.2, small: experts, pseudo ground truth, distillation, one table."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from dope_model.__main__ import main  # noqa: E402
from dope_model.datasets.labels import LabelSet  # noqa: E402
from dope_model.sample import CLIP, LABELS  # noqa: E402
from dope_model.skeleton import PARTS  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Every frame of the shipped film as a picture."""
    folder = tmp_path_factory.mktemp("study")
    film, samples = cv2.VideoCapture(str(CLIP)), []
    for i, sample in enumerate(LabelSet.load(LABELS)):
        frame = cv2.resize(film.read()[1], None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{i}.png"), frame)
        for labels in sample.parts.values():
            labels.keypoints_2d = labels.keypoints_2d / 4
        height, width = frame.shape[:2]
        samples.append(replace(sample, file=f"{i}.png", width=width, height=height))
    LabelSet(samples).save(folder / "labels.npz")
    return folder


def command(data, out, *more: str) -> list[str]:
    return ["distillation-study", str(data / "labels.npz"), str(data), "--device", "cpu",
            "--held-out", "10", "--size", "64", "--out", str(out), *more]  # fmt: skip


def losses(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


def test_a_study_from_labels_to_table_and_again(data, capsys):
    arguments = command(data, out := data / "out", "--per-part", "70", "--backbone", "mobilenet_v2")
    for setting in ("epochs=1", "width=64", "height=64", "losses.boxes_per_image=12",
                    "warm_up_steps=4", "losses.expert_boxes=4", "batch_size=8", "memory_gb=0",
                    "frozen_stages=0"):  # fmt: skip
        arguments += ["--set", setting]
    assert main(arguments) == 0
    assert "c_distilled" in capsys.readouterr().out
    report = json.loads((out / "report.json").read_text())
    assert report["pictures"] == 10
    rows = {row["model"]: row for row in report["rows"]}
    networks = ("a_partial", "b_pseudo", "c_distilled", "bound")
    assert list(rows) == [*(f"{part}_expert" for part in PARTS), *networks]
    for name, row in rows.items():
        judged = {part for part in PARTS if f"{part} recall" in row}
        assert judged == ({name.partition("_")[0]} if name.endswith("expert") else set(PARTS))
        assert all(0 <= row[f"{part} recall"] <= 1 for part in judged)

    terms = {}
    for name in ("body_expert", *networks):
        told = losses(out / name / "02_train")
        assert len(told) == (8 if name == "body_expert" else 26)
        terms[name] = set(told[-1])
    distilled = {f"{part}/distilled {what}" for part in PARTS for what in ("class", "pose")}
    assert terms["c_distilled"] - terms["b_pseudo"] == distilled
    assert terms["bound"] == terms["b_pseudo"] == terms["a_partial"]
    held_out = {s.file for s in LabelSet.load(out / "held_out" / "labels.npz")}
    all_labels = {sample.file: sample for sample in LabelSet.load(data / "labels.npz")}
    for part in PARTS:
        before, after = (LabelSet.load(out / f"{part}{name}.npz") for name in ("", " completed"))
        assert not held_out & {str(data / sample.file) for sample in before}
        for a, b in zip(before, after, strict=True):
            assert all(labels.complete == (name == part) for name, labels in a.parts.items())
            assert all(labels.complete for labels in b.parts.values())
            np.testing.assert_array_equal(a.parts[part].keypoints_2d, b.parts[part].keypoints_2d)
        true = LabelSet.load(out / f"{part} ground truth.npz")
        assert {sample.file for sample in true} == {sample.file for sample in before}
        for sample in true:
            for name, truth in all_labels[sample.file].parts.items():
                np.testing.assert_array_equal(sample.parts[name].keypoints_2d, truth.keypoints_2d)

    state = out / "c_distilled" / "02_train" / "state.pt"
    written = state.stat().st_mtime_ns
    assert main(arguments) == 0
    assert state.stat().st_mtime_ns == written
    assert json.loads((out / "report.json").read_text())["rows"] == report["rows"]
    assert main([*arguments, "--set", "epochs=2"]) == 1
    assert "was begun with other settings (epochs)" in capsys.readouterr().err
    assert main([*arguments, "--per-part", "60"]) == 1
    assert "a study of other numbers of pictures" in capsys.readouterr().err


@pytest.mark.long
def test_heat_maps_come_first_where_the_network_has_them(data):
    arguments = command(data, out := data / "heatmaps", "--per-part", "60")
    for setting in ("epochs=1", "width=64", "height=64", "losses.boxes_per_image=4", "workers=0",
                    "losses.expert_boxes=2", "heatmaps.batch_size=15",
                    "train.batch_size=8"):  # fmt: skip
        arguments += ["--set", setting]
    assert main(arguments) == 0
    for name, count in (("face_expert", 4), ("a_partial", 12), ("c_distilled", 12)):
        told = losses(out / name / "02_heatmaps")
        assert len(told) == count
        assert {term for term in told[-1] if "/" in term} == {
            f"{part}/heatmaps" for part in (("face",) if "face" in name else PARTS)
        }
        assert losses(out / name / "03_train")
