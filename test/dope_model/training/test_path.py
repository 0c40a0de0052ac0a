"""The paper's way as a user walks it: experts, pseudo ground truth, distillation, benchmark."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

torch = pytest.importorskip("torch")

from dope_model.__main__ import main  # noqa: E402
from dope_model.checkpoint import load_checkpoint  # noqa: E402
from dope_model.datasets.labels import LabelSet  # noqa: E402
from dope_model.network.config import Mode  # noqa: E402
from dope_model.sample import CLIP, LABELS  # noqa: E402
from dope_model.skeleton import PARTS  # noqa: E402
from dope_model.training.recipe import recipe_named  # noqa: E402

SETTINGS = (
    "short_side=192", "optimizer=adamw", "learning_rate=0.001", "drops=0.6", "epochs=4",
    "batch_size=4", "accumulate=1", "workers=0", "frozen_stages=25", "warm_up_steps=5",
    "losses.boxes_per_image=32",
)  # fmt: skip


@pytest.fixture
def known_features(monkeypatch) -> None:
    """The recipes on a backbone that knows people: dope_lite's, with fresh RPN and heads."""
    shipped = load_checkpoint("dope_lite").state
    backbone = {k: v for k, v in shipped.items() if k.startswith(("backbone.", "roi_features."))}
    monkeypatch.setattr(
        "dope_model.training.pretrained.convert_backbone", lambda name, package: backbone
    )

    def light(name: str):
        recipe = recipe_named(name)
        mode = Mode(192, 400, 50, False)
        first = replace(recipe.stages[0], backbone="mobilenet_v2_keypoints", mode=mode)
        return replace(recipe, stages=(first, *recipe.stages[1:]))

    monkeypatch.setattr("dope_model.training.recipe.recipe_named", light)


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Frames of the rendered clip: a quarter for each part, of which alone they have labels, and
    one to be judged on, with all."""
    folder, film = tmp_path / "pictures", cv2.VideoCapture(str(CLIP))
    folder.mkdir()
    sets = {name: [] for name in (*PARTS, "all")}
    for i, sample in enumerate(LabelSet.load(LABELS)):
        frame = cv2.resize(film.read()[1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{i}.png"), frame)
        for labels in sample.parts.values():
            labels.keypoints_2d, labels.ignored = labels.keypoints_2d / 2, labels.ignored / 2
        height, width = frame.shape[:2]
        sample = replace(sample, file=f"{i}.png", width=width, height=height)
        name = list(sets)[i % 4]
        sets[name].append(sample if name == "all" else sample.having((name,)))
    for name, samples in sets.items():
        LabelSet(samples).save(tmp_path / f"{name}.npz")
    LabelSet(sets["all"]).save(folder / "labels.npz")
    return folder


@pytest.mark.long
def test_from_three_parts_to_whole_bodies(known_features, pictures, tmp_path):
    changes = [word for setting in SETTINGS for word in ("--set", setting)]
    package = tmp_path / "package.tgz"
    package.touch()
    further = ["--data", f"resnet50={package}", "--device", "cpu", *changes]
    data = {part: f"{tmp_path / part}.npz:{pictures}" for part in PARTS}
    experts = []
    for part in PARTS:
        out = tmp_path / part
        command = ["train", "--recipe", f"paper_{part}", "--data", data[part], "--out", str(out)]
        assert main([*command, *further]) == 0
        expert = out / f"paper_{part}.safetensors"
        assert list(load_checkpoint(expert).curves) == [part], "its scores are probabilities"
        experts += [f"--{part}-expert", str(expert)]
    out = tmp_path / "whole"
    command = ["train", "--recipe", "paper_dope", "--out", str(out), *experts]
    command += [word for part in PARTS for word in ("--data", data[part])]
    assert main([*command, *further, "--set", "train.epochs=1"]) == 0

    student = load_checkpoint(out / "paper_dope.safetensors")
    for part in PARTS:
        expert = load_checkpoint(tmp_path / part / f"paper_{part}.safetensors")
        name = f"branches.{part}.anchor_poses"
        torch.testing.assert_close(student.state[name], expert.state[name])
    found = dict.fromkeys(PARTS, 0)
    for number, own in enumerate(PARTS, 1):
        for sample in LabelSet.load(out / "02_pseudo_labels" / f"further_{number}.npz"):
            for part in PARTS:
                found[part] += len(sample.parts[part]) if part != own else 0
    assert found["body"] > 20 and found["face"] > 20, found

    command = ["benchmark", "rendered", "--data", str(pictures), "--limit", "20"]
    command += ["--model", str(out / "paper_dope.safetensors"), "--device", "cpu"]
    assert main([*command, "--engine", "eager", "--out", str(tmp_path / "report")]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["rows"][0]["body recall"] > 0.5
