"""The kinds of stages of a recipe; see `dope_model.training.recipe`."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dope_model.checkpoint import Checkpoint, load_checkpoint
from dope_model.network.config import CoarseScale, Mode
from dope_model.training.settings import TrainingSettings
from dope_model.training.stopping import stops_when_asked

if TYPE_CHECKING:
    from dope_model.training.data import Source
    from dope_model.training.recipe import RecipeRun


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step from weights to weights.

    Attributes:
        name: of its folder.
        from_scratch: skipped unless a run begins from scratch.
        in_all_processes: of several processes all make it together, not the first one alone.
    """

    name: str
    from_scratch: bool = False
    in_all_processes: ClassVar[bool] = False

    def make(self, run: RecipeRun, before: Checkpoint | None, folder: Path) -> Checkpoint | None:
        """The stage's weights; None if it was stopped."""
        raise NotImplementedError

    def use(self, run: RecipeRun, folder: Path) -> None:
        """Called once the stage is finished, to prepare what later stages need."""


@dataclass(frozen=True, kw_only=True)
class Shipped(Stage):
    """Begin with weights that come with the package; skipped from scratch."""

    weights: str

    def make(self, run: RecipeRun, before: Checkpoint | None, folder: Path) -> Checkpoint | None:
        return before or load_checkpoint(self.weights)


@dataclass(frozen=True, kw_only=True)
class Fresh(Stage):
    """Begin with an untrained network on a known backbone.

    Its anchor poses are those of --anchors-from, or the experts', or fitted to the labels: made
    once, and inherited by all later stages.

    Attributes:
        package: the input that is the package with the backbone's weights; "": they are random.
        classes: by part, anchor poses; hands: per side.
    """

    backbone: str
    package: str
    mode: Mode
    classes: Mapping[str, int]
    seed: int = 0

    def make(self, run: RecipeRun, before: Checkpoint | None, folder: Path) -> Checkpoint | None:
        from dope_model.training.anchor_poses import anchors_of_weights, fit_anchor_poses
        from dope_model.training.fresh import fresh_checkpoint
        from dope_model.training.pretrained import convert_backbone

        sources = dict(run.experts)
        if run.anchors_from is not None:
            sources = dict.fromkeys(self.classes, run.anchors_from)
        anchors = {p: anchors_of_weights(path, p) for p, path in sources.items()}
        labels = None if set(self.classes) <= set(anchors) else run.labels()
        for part in set(self.classes) - set(anchors):
            anchors[part] = fit_anchor_poses(part, labels, self.classes[part], self.seed)
        backbone = None
        if self.package:
            if self.package not in run.inputs:
                what = run.recipe.inputs[self.package].what
                raise ValueError(f"the backbone needs --data {self.package}=FILE ({what})")
            backbone = convert_backbone(self.backbone, run.inputs[self.package])
        return fresh_checkpoint(
            {part: anchors[part] for part in self.classes}, self.backbone, self.mode, backbone,
            self.seed,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Train(Stage):
    """Train on the recipe's data; see `TrainingSettings`.

    Attributes:
        data: by input, how often an epoch goes through it, or below 1 what share of all pictures it
            has.
        distil: with the losses of equation 3 from the run's experts.
    """

    settings: TrainingSettings
    data: Mapping[str, float] = field(default_factory=dict)
    distil: bool = False
    in_all_processes: ClassVar[bool] = True

    def make(self, run: RecipeRun, before: Checkpoint | None, folder: Path) -> Checkpoint | None:
        from dope_model.training.distributed import rank
        from dope_model.training.fresh import load_expert
        from dope_model.training.loop import Trainer

        experts = run.experts if self.distil else {}
        trainer = Trainer(
            before, run.sources(self.data), run.settings_of(self.name, self.settings), folder,
            run.device, {part: load_expert(path, part) for part, path in experts.items()},
        )  # fmt: skip
        if rank() == 0:
            print(f"{len(trainer.views)} pictures an epoch; from batch {trainer.batch}", flush=True)
        with stops_when_asked(trainer.stop):
            trainer.run()
        return trainer.checkpoint if trainer.done >= 1 else None


@dataclass(frozen=True, kw_only=True)
class Mean(Stage):
    """The mean with the weights of an earlier stage (a model soup): see `training.averaging`."""

    of: str

    def make(self, run: RecipeRun, before: Checkpoint | None, folder: Path) -> Checkpoint | None:
        from dope_model.training.averaging import mean_of

        return mean_of([before, load_checkpoint(run.weights_of(self.of))])


@dataclass(frozen=True, kw_only=True)
class FitRegressors(Stage):
    """A part's regressors by least squares: see `training.regressors`.

    Attributes:
        samples: augmented samples that the boxes come from.
        settings: of samples and boxes.
        data: as of `Train`.
    """

    part: str
    samples: int
    settings: TrainingSettings
    data: Mapping[str, float]

    def make(self, run: RecipeRun, before: Checkpoint | None, folder: Path) -> Checkpoint | None:
        from tqdm import tqdm

        from dope_model.training.anchor_poses import anchor_poses_of
        from dope_model.training.data import Batches, Views, collate
        from dope_model.training.regressors import fit_regressors, positive_rois

        s = run.settings_of(self.name, self.settings)
        network = before.build().to(run.device)
        if self.part not in network.branches:
            raise ValueError(f"{self.name}: the network does not detect a {self.part}")
        if not network.has_heatmaps:
            raise ValueError(
                f"{self.name}: the backbone {before.config.backbone} has no heat maps to fit "
                "regressors to"
            )
        views = Views(
            run.sources(self.data), anchor_poses_of(network), (s.width, s.height), s.augmentation,
            s.seed, only=(self.part,),
        )  # fmt: skip
        keys = Batches(len(views), s.batch_size, s.seed, 0, -(-self.samples // s.batch_size))
        batches = (
            collate([views[key] for key in of_batch]).to(run.device)
            for of_batch in tqdm(keys, unit="batch")
        )
        rois = positive_rois(network, self.part, batches, s.losses)
        network.cpu()
        fit_regressors(network.branches[self.part], self.part, rois)
        return replace(before, state=network.state_dict(), input_ranges={})


@dataclass(frozen=True, kw_only=True)
class Complete(Stage):
    """Pseudo ground truth of the run's experts in the labels of inputs (equation 1), and in those
    of further pictures."""

    data: Sequence[str]

    def make(self, run: RecipeRun, before: Checkpoint | None, folder: Path) -> Checkpoint | None:
        from dope_model.datasets.labels import LabelSet
        from dope_model.datasets.pseudo_labels import Confidence, check_calibrated, complete_labels

        if not run.experts:
            raise ValueError(
                "pseudo ground truth needs the part experts: train them first, such as with "
                "python -m dope_model train --recipe paper_hand, and give "
                "--hand-expert RUN/paper_hand.safetensors"
            )
        for path in run.experts.values():
            check_calibrated(path)
        sources = {name: run.source(name) for name in self.data if name in run.inputs}
        for name, source in (sources | _named(run.further)).items():
            target = folder / f"{name}.npz"
            if not target.is_file():
                completed = complete_labels(
                    LabelSet.load(source.labels), source.images, run.experts, Confidence(),
                    str(run.device),
                )  # fmt: skip
                completed.save(target.with_suffix(".new"))
                target.with_suffix(".new").replace(target)
        return before

    def use(self, run: RecipeRun, folder: Path) -> None:
        run.completed |= {n: folder / f"{n}.npz" for n in self.data if n in run.inputs}
        run.further = [
            replace(source, labels=folder / f"{name}.npz")
            for name, source in _named(run.further).items()
        ]


def _named(further: Sequence[Source]) -> dict[str, Source]:
    return {f"further_{number}": source for number, source in enumerate(further, 1)}


@dataclass(frozen=True, kw_only=True)
class Deploy(Stage):
    """The settings of inference; the weights do not change.

    Attributes:
        integration: by part, settings of the proposals integration that change.
    """

    mode: Mode
    integration: Mapping[str, Mapping[str, Any]]
    coarse_scale: CoarseScale | None = None

    def make(self, run: RecipeRun, before: Checkpoint | None, folder: Path) -> Checkpoint | None:
        integration = {
            part: replace(settings, **self.integration.get(part, {}))
            for part, settings in before.integration.items()
        }
        return replace(
            before, mode=self.mode, integration=integration, coarse_scale=self.coarse_scale
        )


@dataclass(frozen=True, kw_only=True)
class FavourSmall(Stage):
    """Raise the rank of the smallest anchors among the proposals.

    Attributes:
        logit: added to their objectness.
    """

    logit: float

    def make(self, run: RecipeRun, before: Checkpoint | None, folder: Path) -> Checkpoint | None:
        name, sizes = "rpn.head.cls_logits.bias", before.config.anchor_sizes
        bias = before.state[name].clone()
        # torchvision's anchors of a place: by ratio, and of each ratio by size.
        bias.view(-1, len(sizes))[:, sizes.index(min(sizes))] += self.logit
        return replace(before, state={**before.state, name: bias})


@dataclass(frozen=True, kw_only=True)
class Scores(Stage):
    """Turn scores and joints' confidences into probabilities: see `training.calibrate_scores`.

    Attributes:
        data: inputs to use if given, beside the further labelled pictures.
        limit: number of pictures of each.
    """

    data: Sequence[str]
    limit: int = 1000

    def make(self, run: RecipeRun, before: Checkpoint | None, folder: Path) -> Checkpoint | None:
        from dope_model.benchmark.report import markdown_table
        from dope_model.training.calibrate_scores import examples_of, with_fitted_scores

        sets = [examples_of("labels", source, self.limit) for source in run.further]
        for name in (name for name in self.data if name in run.inputs):
            known = run.recipe.inputs[name]
            kind = known.scores or ("nobody" if known.nobody else "labels")
            where = run.source(name) if kind == "labels" else run.inputs[name]
            sets.append(examples_of(kind, where, self.limit))
        try:
            fitted, rows = with_fitted_scores(before, sets, str(run.device))
        except ValueError as error:
            print(f"{self.name}: scores are not calibrated: {error}")
            return before
        (folder / "scores.md").write_text(markdown_table(rows) + "\n")
        return fitted


@dataclass(frozen=True, kw_only=True)
class Int8(Stage):
    """Input ranges of the convolutions, for the engine int8.

    Attributes:
        data: the input.
        most: number of its pictures, at random; half for calibration, half for the comparison.
        max_loss: percent of the joints that may change.
    """

    data: str
    mode: Mode
    most: int = 600
    max_loss: float = 10.0

    def make(self, run: RecipeRun, before: Checkpoint | None, folder: Path) -> Checkpoint | None:
        from dope_model.pictures import pictures_in
        from dope_model.runtime.int8 import calibrate

        pictures = pictures_in(run.inputs[self.data])
        random.Random(0).shuffle(pictures)
        measured, loss = calibrate(before, self.mode, pictures[: self.most])
        print(f"INT8 changes {loss}")
        if not loss.percent <= self.max_loss:
            raise ValueError(
                f"INT8 changes more than {self.max_loss:g} % of the joints: leave the stage "
                f"{self.name} out of the recipe; the engines of half and full precision do without"
            )
        return measured
