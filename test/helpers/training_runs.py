"""Small training runs that the tests share."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from dope_model.datasets.labels import LabelSet  # noqa: E402
from dope_model.network.config import Mode  # noqa: E402
from dope_model.training.anchor_poses import fit_anchor_poses  # noqa: E402
from dope_model.training.augmentation import NO_AUGMENTATION  # noqa: E402
from dope_model.training.fresh import fresh_checkpoint  # noqa: E402
from dope_model.training.loop import Trainer  # noqa: E402
from dope_model.training.settings import TrainingSettings  # noqa: E402
from dope_model.training.step import LossSettings  # noqa: E402

SETTINGS = TrainingSettings(
    epochs=4, batch_size=2, learning_rate=0.004, warm_up_steps=4, width=96, height=96, workers=0,
    losses=LossSettings(boxes_per_image=24), augmentation=replace(NO_AUGMENTATION, flip=0.5),
)  # fmt: skip
MODE = Mode(96, 200, 20, False)


def fresh(rings, seed=0, backbone="mobilenet_v2"):
    anchors = {"face": fit_anchor_poses("face", LabelSet.load(rings.labels), 2)}
    return fresh_checkpoint(anchors, backbone, MODE, seed=seed)


def trainer(rings, folder, settings=SETTINGS, **more) -> Trainer:
    return Trainer(fresh(rings), [rings], settings, folder, torch.device("cpu"), **more)


def recorded(run: Trainer, batches: int | None) -> list[dict]:
    losses: list[dict] = []
    run.run(batches, lambda _, values: losses.append(values))
    return losses
