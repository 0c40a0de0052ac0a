"""Table 1 of the paper on your own data: the benefit of distillation.

Completely labelled pictures are split into three sets with the labels of one part each. A part
expert is trained on each, and then the whole-body network: (a) on the partial annotations, where
what is not annotated is background; (b) with the experts' pseudo ground truth; (c) with the
distillation loss as well; and on the true labels of all parts, which (b) could reach with perfect
experts. All are evaluated on the same held-out pictures.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dope_model.benchmark.protocols.rendered import Rendered
from dope_model.benchmark.runner import run_protocol
from dope_model.datasets.labels import LabelSet
from dope_model.datasets.partial import split_by_part
from dope_model.datasets.pseudo_labels import Confidence, complete_labels
from dope_model.errors import Failure
from dope_model.network.config import TRAINED, Mode
from dope_model.skeleton import PARTS
from dope_model.training.anchor_poses import PAPER_CLASSES
from dope_model.training.augmentation import Augmentation
from dope_model.training.data import Source
from dope_model.training.recipe import LABELS_FILE, Input, Recipe, RecipeRun
from dope_model.training.settings import TrainingSettings
from dope_model.training.stages import Fresh, Stage, Train
from dope_model.training.step import LossSettings

WITH_HEATMAPS = "mobilenet_v2_keypoints"

# Small inputs and MoveNet's layers frozen, for two cores: three seeds take a day.
_BASE = TrainingSettings(
    optimizer="adamw", weight_decay=0.01, frozen_stages=22, averaging=0.97, workers=0, memory_gb=4
)
_TRAINING = replace(
    _BASE, batch_size=16, width=192, height=192, learning_rate=5e-4, warm_up_steps=30,
    losses=LossSettings(boxes_per_image=16, positive_share=0.75, regression=5),
    augmentation=Augmentation(scale=(0.5, 1.6), centred=0.7, centred_size=(0.15, 0.85)),
)  # fmt: skip
_HEATMAPS = replace(
    _BASE, epochs=8, batch_size=32, width=96, height=96, learning_rate=0.002, drops=(0.7, 0.92),
    warm_up_steps=50, open_gates=True,
    augmentation=Augmentation(scale=(0.5, 2.2), centred=1, centred_size=(0.2, 0.8)),
)  # fmt: skip


@dataclass(frozen=True)
class Study:
    """A study in a folder; finished steps are not repeated.

    Attributes:
        labels, images: completely labelled pictures.
        package: with the backbone's weights, see `training.pretrained`; None: random ones.
        per_part, held_out: pictures in each part's set, and for the evaluation.
        size: shorter side of the pictures that experts complete and of the evaluation, px.
        seed: of the split and of all trainings.
        changes: of settings, "NAME=VALUE" or "STAGE.NAME=VALUE" with the stages heatmaps and train.
    """

    labels: Path
    images: Path
    out: Path
    device: torch.device
    backbone: str = WITH_HEATMAPS
    package: Path | None = None
    per_part: int = 800
    held_out: int = 200
    size: int = 256
    seed: int = 0
    changes: Sequence[str] = ()

    def run(self) -> None:
        """Make all steps; print the table and write the report.

        Raises:
            ValueError: the folder holds a study with other settings.
            Failure: a training was stopped.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        sets = self._split()
        experts = {
            part: self._train(f"{part}_expert", {part: sets[part]}, epochs=4) for part in PARTS
        }
        everything = LabelSet.load(self.labels)
        completed, true = {}, {}
        for part, path in sets.items():
            partial = LabelSet.load(path)
            others = {p: weights for p, weights in experts.items() if p != part}
            completed[part] = self.out / f"{part} completed.npz"
            if not completed[part].is_file():
                labels = complete_labels(
                    partial, self.images, others, Confidence(), str(self.device)
                )
                labels.save(completed[part].with_suffix(".new"))
                completed[part].with_suffix(".new").replace(completed[part])
            true[part] = self.out / f"{part} ground truth.npz"
            files = {sample.file for sample in partial}
            LabelSet([s for s in everything if s.file in files]).save(true[part])
        networks = [
            self._train("a_partial", sets, experts, partial_is_background=True),
            self._train("b_pseudo", completed, experts),
            self._train("c_distilled", completed, experts, distil=True),
            self._train("bound", true, experts),
        ]
        options = Namespace(
            data=self.out / "held_out", out=self.out, limit=None, device=str(self.device),
            engine="eager", mode=TRAINED, worst=10,
            model=[str(path) for path in (*experts.values(), *networks)],
        )  # fmt: skip
        run_protocol(Rendered(), options)

    def _split(self) -> dict[str, Path]:
        """The labels of each part's set, and, beside them, of the held-out pictures."""
        paths = {part: self.out / f"{part}.npz" for part in PARTS}
        paths["held_out"] = self.out / "held_out" / LABELS_FILE
        if not all(path.is_file() for path in paths.values()):
            labels = LabelSet.load(self.labels)
            sets = split_by_part(labels, self.per_part, self.held_out, self.seed)
            folder = self.images.resolve()
            for sample in sets["held_out"].samples:
                sample.file = str(folder / sample.file)
            paths["held_out"].parent.mkdir(exist_ok=True)
            for name, path in paths.items():
                sets[name].save(path)
        for name, count in (("body", self.per_part), ("held_out", self.held_out)):
            if len(LabelSet.load(paths[name])) != count:
                raise ValueError(
                    f"{self.out} holds a study of other numbers of pictures; use another folder"
                )
        return {part: paths[part] for part in PARTS}

    def _train(
        self,
        name: str,
        sets: dict[str, Path],
        experts: dict[str, Path] | None = None,
        distil: bool = False,
        epochs: int = 2,
        partial_is_background: bool = False,
    ) -> Path:
        """Train a network of some parts, or go on with it; its anchor poses are the experts'."""
        parts = tuple(sets)
        stages: list[Stage] = [
            Fresh(
                name="start", backbone=self.backbone, package="package" if self.package else "",
                mode=Mode(self.size, 1333, 50, half=True), seed=self.seed,
                classes={part: PAPER_CLASSES[part] for part in parts},
            )
        ]  # fmt: skip
        if self.backbone == WITH_HEATMAPS:
            stages.append(Train(name="heatmaps", settings=replace(_HEATMAPS, heatmaps_of=parts)))
        settings = replace(_TRAINING, epochs=epochs, partial_is_background=partial_is_background)
        stages.append(Train(name="train", settings=settings, distil=distil))
        known = {"package": Input("the package with the backbone's weights")}
        weights = RecipeRun(
            Recipe(name, known, stages), self.out / name, self.device,
            {"package": self.package} if self.package else {},
            [Source(path, self.images) for path in sets.values()], experts or {},
            changes=[*self.changes, f"seed={self.seed}"],
        ).run()  # fmt: skip
        if weights is None:
            raise Failure(f"{self.out / name}: stopped; the same command resumes")
        return weights
