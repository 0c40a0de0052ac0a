"""Table 1 of the paper on your own data: the benefit of distillation.

Completely labelled pictures are split into three sets with the labels of one part each. A part
expert is trained on each, and then the whole-body network in three ways: on the partial
annotations, where what is not annotated is background; with the experts' pseudo ground truth; and
with the distillation loss as well. All are evaluated on the same pictures.
"""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from dope_model.benchmark.predictions import CachedFinder
from dope_model.benchmark.protocols.lspet import Lspet
from dope_model.benchmark.protocols.rendered import PartResult, evaluate_samples, statistics
from dope_model.benchmark.report import markdown_table, write_json
from dope_model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dope_model.datasets.labels import LabelSet, Sample
from dope_model.datasets.partial import split_by_part
from dope_model.datasets.pseudo_labels import Confidence, complete_labels
from dope_model.network.config import TRAINED, Mode
from dope_model.skeleton import PARTS
from dope_model.training.anchor_poses import PAPER_CLASSES, fit_anchor_poses
from dope_model.training.augmentation import Augmentation
from dope_model.training.close_ups import LABELS_FILE, close_ups
from dope_model.training.data import Source
from dope_model.training.fresh import fresh_checkpoint, load_expert
from dope_model.training.loop import WEIGHTS_FILE, Trainer
from dope_model.training.pretrained import convert_backbone
from dope_model.training.settings import TrainingSettings
from dope_model.training.step import LossSettings

VARIANTS = {
    "partial": "(a) partial ground truth only",
    "pseudo": "(b) pseudo ground truth, no distillation loss",
    "distilled": "(c) pseudo ground truth and distillation loss",
    "bound": "ground truth of all parts: the bound of (b)",
}


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
    _BASE, batch_size=32, width=96, height=96, learning_rate=0.002, drops=(0.7, 0.92),
    warm_up_steps=50,
    augmentation=Augmentation(scale=(0.5, 2.2), centred=1, centred_size=(0.2, 0.8)),
)  # fmt: skip


@dataclass(frozen=True)
class StudySettings:
    """The settings of a study.

    Attributes:
        per_part, held_out: pictures in each part's set, and for the evaluation.
        close_ups: number of close-ups of hands, and of faces, that are cut out of the held-out
            pictures (see `training.close_ups`) and evaluated: in whole pictures hands are small.
        expert_epochs, epochs: of the experts, and of the whole-body networks.
        heatmap_epochs: of a first stage that trains nothing but heat maps, for each of them; 0
            leaves it out.
        bound: also train on the ground truth of all parts, the upper bound of (b) with perfect
            experts: the difference is the cost of their errors.
        size: the shorter side of pictures that experts complete and of the evaluation, px; 0 is the
            training's height.
        training: everything else, the same for all; `heatmaps`, for the first stage.
    """

    per_part: int = 800
    held_out: int = 200
    close_ups: int = 150
    expert_epochs: int = 4
    epochs: int = 2
    heatmap_epochs: int = 8
    bound: bool = True
    size: int = 256
    backbone: str = "mobilenet_v2_keypoints"
    training: TrainingSettings = _TRAINING
    heatmaps: TrainingSettings = _HEATMAPS
    confidence: Confidence = field(default_factory=Confidence)


@dataclass
class DistillationStudy:
    """A study in a folder, made step by step; finished steps are not repeated.

    Attributes:
        labels, images: completely labelled pictures.
        seed: of the split and of all trainings.
        lspet: a folder of Leeds Sports Pose to evaluate bodies; None: only the held-out pictures.
    """

    labels: Path
    images: Path
    out: Path
    settings: StudySettings
    backbone_package: Path | None = None
    seed: int = 0
    lspet: Path | None = None
    device: str = "cpu"

    def run(self) -> list[dict[str, object]]:
        """All steps; the rows of the table, which is written to table.md and table.json.

        Raises:
            ValueError: the folder holds a study with other settings.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        self._check_settings()
        partial = self._split()
        start = self._start(partial)
        s = self.settings
        experts = {
            part: self._train(
                f"{part} expert",
                {part: partial[part]},
                self._train_heatmaps(f"{part} expert", {part: partial[part]}, start[part]),
                replace(s.training, epochs=s.expert_epochs),
            )
            for part in PARTS
        }
        completed = self._complete(partial, experts)
        settings = replace(s.training, epochs=s.epochs)
        background = replace(settings, partial_is_background=True)
        on_partial = self._train_heatmaps("partial", partial, start["whole"])
        on_completed = self._train_heatmaps("completed", completed, start["whole"])
        networks = {
            "partial": self._train("partial", partial, on_partial, background),
            "pseudo": self._train("pseudo", completed, on_completed, settings),
            "distilled": self._train("distilled", completed, on_completed, settings, experts),
        }
        if s.bound:
            truth = self._ground_truth(partial)
            on_truth = self._train_heatmaps("bound", truth, start["whole"])
            networks["bound"] = self._train("bound", truth, on_truth, settings)
        rows = [self._judge(f"{part} expert", path) for part, path in experts.items()]
        rows += [self._judge(VARIANTS[name], path) for name, path in networks.items()]
        (self.out / "table.md").write_text(markdown_table(rows) + "\n")
        about = {"seed": self.seed, "pictures per part": self.settings.per_part}
        write_json(self.out / "table.json", {"rows": rows, **about})
        return rows

    def _check_settings(self) -> None:
        """Most settings show nowhere in what is done already: a table must not mix two of them."""
        path = self.out / "settings.json"
        s = self.settings
        now = asdict(s) | {"training": s.training.deciding(), "heatmaps": s.heatmaps.deciding()}
        now = json.loads(json.dumps(now))
        then = json.loads(path.read_text()) if path.is_file() else now
        if changed := [name for name in now if now[name] != then.get(name)]:
            raise ValueError(
                f"{self.out} holds a study with other settings ({', '.join(changed)}); use them, "
                "or another folder"
            )
        write_json(path, now)

    def _split(self) -> dict[str, Path]:
        paths = {name: self.out / f"{name}.npz" for name in (*PARTS, "held_out")}
        if not all(path.is_file() for path in paths.values()):
            s = self.settings
            sets = split_by_part(LabelSet.load(self.labels), s.per_part, s.held_out, self.seed)
            for name, path in paths.items():
                sets[name].save(path)
        return {part: paths[part] for part in PARTS}

    def _start(self, partial: dict[str, Path]) -> dict[str, Path]:
        """Untrained weights of all networks; experts and whole-body share their anchor poses."""
        paths = {name: self.out / f"start {name}.safetensors" for name in (*PARTS, "whole")}
        if all(path.is_file() for path in paths.values()):
            return paths
        anchors = {
            part: fit_anchor_poses(part, LabelSet.load(path), PAPER_CLASSES[part], self.seed)
            for part, path in partial.items()
        }
        for name, path in paths.items():
            own = anchors if name == "whole" else {name: anchors[name]}
            save_checkpoint(self._fresh(own), path)
        return paths

    def _fresh(self, anchors) -> Checkpoint:
        size = self.settings.size or self.settings.training.height
        mode = Mode(size, 1333, 50, half=True)
        name, package = self.settings.backbone, self.backbone_package
        backbone = None if package is None else convert_backbone(name, package)
        return fresh_checkpoint(anchors, name, mode, backbone, self.seed)

    def _train_heatmaps(self, name: str, labels: dict[str, Path], start: Path) -> Path:
        """The first stage; the path of the weights to go on from."""
        s = self.settings
        if not s.heatmap_epochs:
            return start
        parts = tuple(load_checkpoint(start).config.parts)
        settings = replace(s.heatmaps, epochs=s.heatmap_epochs, heatmaps_of=parts, open_gates=True)
        return self._train(f"{name} heat maps", labels, start, settings)

    def _train(
        self,
        name: str,
        labels: dict[str, Path],
        start: Path,
        settings: TrainingSettings,
        experts: dict[str, Path] | None = None,
    ) -> Path:
        """Train, or go on with it; the path of the weights."""
        folder = self.out / name
        trainer = Trainer(
            load_checkpoint(start),
            [Source(path, self.images) for path in labels.values()],
            replace(settings, seed=self.seed),
            folder,
            torch.device(self.device),
            {part: load_expert(path, part) for part, path in (experts or {}).items()},
        )
        if trainer.done < 1:
            print(f"{name}: from batch {trainer.batch}", flush=True)
            trainer.run()
        return folder / WEIGHTS_FILE

    def _complete(self, partial: dict[str, Path], experts: dict[str, Path]) -> dict[str, Path]:
        """Each part's set with the pseudo ground truth of the other parts' experts."""
        completed = {}
        for part, path in partial.items():
            target = completed[part] = self.out / f"{part} completed.npz"
            if not target.is_file():
                others = {p: e for p, e in experts.items() if p != part}
                labels = complete_labels(
                    LabelSet.load(path), self.images, others, self.settings.confidence, self.device
                )
                labels.save(target.with_suffix(".new"))
                target.with_suffix(".new").replace(target)
        return completed

    def _ground_truth(self, partial: dict[str, Path]) -> dict[str, Path]:
        """Each part's set with the labels of all parts that it was made from."""
        by_file = {sample.file: sample for sample in LabelSet.load(self.labels)}
        paths = {part: self.out / f"{part} ground truth.npz" for part in partial}
        for part, path in partial.items():
            if not paths[part].is_file():
                chosen = LabelSet.load(path)
                LabelSet([by_file[s.file] for s in chosen], chosen.about).save(paths[part])
        return paths

    def _judge(self, name: str, weights: Path) -> dict[str, object]:
        """A row: bodies on Leeds Sports Pose, and every part on the held-out pictures."""
        finder = CachedFinder(self.out / "predictions", str(weights), self.device, TRAINED, "eager")
        parts = load_checkpoint(weights).config.parts
        row: dict[str, object] = {"network": name}
        if self.lspet is not None and "body" in parts:
            protocol = Lspet()
            pictures = protocol.load(Namespace(data=self.lspet))
            judged = [protocol.evaluate(p, finder.find_parts(p.path)) for p in pictures]
            summary = protocol.summarise(pictures, judged).summary
            row["LSPET PCK@0.2"] = summary["PCK@0.2"]
            row["LSPET recall"] = summary["recall"]
        held_out = LabelSet.load(self.out / "held_out.npz")
        row.update(_accuracies("", evaluate_samples(finder, self.images, held_out.samples), parts))
        for part in ("hand", "face"):
            if self.settings.close_ups and part in parts:
                folder, samples = self._close_ups(part, held_out)
                judged = evaluate_samples(finder, folder, samples)
                row.update(_accuracies("close ", judged, (part,)))
        return row

    def _close_ups(self, part: str, held_out: LabelSet) -> tuple[Path, list[Sample]]:
        folder = self.out / f"close {part}s"
        if not (folder / LABELS_FILE).is_file():
            size = self.settings.size or self.settings.training.height
            count = self.settings.close_ups
            close_ups(held_out, self.images, part, count, size, folder, self.seed)
        return folder, LabelSet.load(folder / LABELS_FILE).samples


def _accuracies(prefix: str, results: dict[str, PartResult], parts) -> dict[str, float]:
    """Recall and PCK of each of `parts`; of those that are missed all joints are wrong.

    PCK is over the instances whose scale is known.
    """
    row = {}
    for part in PARTS:
        if part in parts and part in results:
            instances = results[part].instances
            recall = statistics(instances, results[part].wrong)["recall"]
            row[f"{prefix}{part} recall"] = recall
            right = [i.pck if i.found else 0 for i in instances if np.isfinite(i.scale)]
            row[f"{prefix}{part} PCK"] = float(np.mean(right)) if right else float("nan")
    return row
