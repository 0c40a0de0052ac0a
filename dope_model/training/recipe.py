"""Recipes: how weights are made, as data, and the code that runs them stage by stage.

A recipe names its inputs and lists its stages. Each stage takes the weights of the stage before and
writes its own into a folder of the run; a run can be resumed.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dope_model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, with_todays_names
from dope_model.datasets.labels import LabelSet
from dope_model.datasets.training_sets import LABELS_FILE, PICTURES_FOLDER, convert
from dope_model.datasets.unlabelled import unknown_labels
from dope_model.training.augmentation import Augmentation
from dope_model.training.changes import with_changes
from dope_model.training.data import Source
from dope_model.training.distributed import rank, wait_for_all
from dope_model.training.settings import TrainingSettings

if TYPE_CHECKING:
    from dope_model.training.stages import Stage

WEIGHTS_FILE = "weights.safetensors"
_STAGE_FILE = "stage.json"
_DONE_FILE = "done"
_SHIPPED_LABELS = Path(__file__).parents[1] / "datasets"


@dataclass(frozen=True)
class Input:
    """An input of a recipe, --data NAME=PATH.

    Attributes:
        what: what PATH holds, in words.
        labels: for pictures: a labels file that comes with the package, or else labels.npz in PATH.
        owners: for a training set as its owners distribute it: its name for `convert`.
        nobody: whether PATH holds pictures without people.
        unlabelled: whether PATH holds pictures that experts label.
        scores: format of validation pictures that are only for fitting scores: "coco" or "lsp".
        needed: whether the input is required.
        augmentation: of these pictures; None: the stage's.
    """

    what: str
    labels: str = ""
    owners: str = ""
    nobody: bool = False
    unlabelled: bool = False
    scores: str = ""
    needed: bool = False
    augmentation: Augmentation | None = None


@dataclass(frozen=True)
class Recipe:
    """How weights are made.

    Attributes:
        name: the result is NAME.safetensors.
        inputs: by name.
        stages: in order.
        experts: whether part experts are distilled.
        about: the description in the weights file.
    """

    name: str
    inputs: Mapping[str, Input]
    stages: Sequence[Stage]
    experts: bool = False
    about: Mapping[str, str] = field(default_factory=dict)


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    from dope_model.training import recipes

    return sorted(m.name for m in pkgutil.iter_modules(recipes.__path__) if m.name[0] != "_")


def recipe_named(name: str) -> Recipe:
    """The recipe `training/recipes/NAME.py`.

    Raises:
        ValueError: there is no such recipe.
    """
    if name not in recipe_names():
        raise ValueError(f"unknown recipe {name!r}; known: {', '.join(recipe_names())}")
    return importlib.import_module(f"dope_model.training.recipes.{name}").RECIPE


@dataclass
class RecipeRun:
    """A recipe on the user's data, in a folder.

    Attributes:
        inputs: the user's, by name.
        further: labelled pictures for all training stages, beside those of the recipe.
        experts: weights files of part experts, by part.
        anchors_from: weights with the anchor poses of an untrained network.
        from_scratch: do not start from the weights that come with the package.
        changes: "NAME=VALUE" for all stages, or "STAGE.NAME=VALUE" for one.
    """

    recipe: Recipe
    out: Path
    device: torch.device
    inputs: dict[str, Path] = field(default_factory=dict)
    further: list[Source] = field(default_factory=list)
    experts: dict[str, Path] = field(default_factory=dict)
    anchors_from: Path | None = None
    from_scratch: bool = False
    changes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        known = self.recipe.inputs
        listed = ", ".join(f"--data {name}=PATH ({i.what})" for name, i in known.items())
        if unknown := set(self.inputs) - set(known):
            raise ValueError(
                f"the recipe {self.recipe.name} has no input {', '.join(sorted(unknown))}; "
                f"it knows {listed}"
            )
        missing = [name for name, i in known.items() if i.needed and name not in self.inputs]
        if missing:
            raise ValueError(
                f"the recipe {self.recipe.name} needs "
                + ", ".join(f"--data {name}=PATH ({known[name].what})" for name in missing)
            )
        if not self.inputs and not self.further:
            raise ValueError(f"no pictures to train on: give --data LABELS:IMAGES or {listed}")
        absent = [str(path) for path in self.inputs.values() if not path.exists()]
        if absent:
            raise FileNotFoundError(f"--data: there is no {', '.join(absent)}")
        self.stages = [s for s in self.recipe.stages if self.from_scratch or not s.from_scratch]
        self._names = [stage.name for stage in self.stages]
        for change in self.changes:
            stage, dot, _ = change.partition("=")[0].partition(".")
            if dot and stage not in (*self._names, "losses", "augmentation"):
                known = ", ".join(self._names)
                raise ValueError(f"--set {change}: no stage {stage!r}; known: {known}")
        self.completed: dict[str, Path] = {}

    def run(self) -> Path | None:
        """Run all unfinished stages; returns the resulting file, or None if stopped.

        Raises:
            ValueError: a stage was begun with other settings.
        """
        if rank() == 0:
            for name in self.inputs:
                self.source(name)
        checkpoint: Checkpoint | None = None
        for number, stage in enumerate(self.stages, 1):
            folder = self.folder_of(stage.name)
            folder.mkdir(parents=True, exist_ok=True)
            self._check_same(stage, folder)
            weights = self.weights_of(stage.name)
            done = (folder / _DONE_FILE).is_file()
            wait_for_all()  # before anybody makes what others look for
            if not done and (rank() == 0 or stage.in_all_processes):
                if rank() == 0:
                    print(f"{number} of {len(self.stages)}: {stage.name}", flush=True)
                checkpoint = stage.make(self, checkpoint, folder)
                if checkpoint is None:
                    return None
                if rank() == 0:
                    save_checkpoint(checkpoint, weights.with_suffix(".new"))
                    weights.with_suffix(".new").replace(weights)
                    (folder / _DONE_FILE).touch()
            wait_for_all()
            checkpoint = load_checkpoint(weights)
            stage.use(self, folder)
        checkpoint.about |= dict(self.recipe.about)
        result = self.out / f"{self.recipe.name}.safetensors"
        if rank() == 0:
            save_checkpoint(checkpoint, result, half=True)
        return result

    def folder_of(self, stage: str) -> Path:
        """The folder of a stage."""
        return self.out / f"{self._names.index(stage) + 1:02}_{stage}"

    def weights_of(self, stage: str) -> Path:
        """The weights of a finished stage."""
        return self.folder_of(stage) / WEIGHTS_FILE

    def settings_of(self, stage: str, settings: TrainingSettings) -> TrainingSettings:
        """The settings of a stage with the user's changes."""
        for change in self.changes:
            first, _, rest = change.partition(".")
            if first in self._names:
                settings = with_changes(settings, [rest] if first == stage else [])
            else:
                settings = with_changes(settings, [change])
        return settings

    def sources(self, data: Mapping[str, float]) -> list[Source]:
        """The labelled pictures of a stage.

        Args:
            data: by input, how often an epoch goes through it, or below 1 what share of all
                pictures it has.
        """
        found = list(self.further)
        for name, count in data.items():
            if name in self.inputs:
                share = count if count < 1 else 0.0
                source = replace(self.source(name), repeat=max(1, int(count)), share=share)
                found.append(source)
        return found

    def source(self, name: str) -> Source:
        """The labelled pictures of one of the inputs, made from its owners' files if needed."""
        path, known = self.inputs[name], self.recipe.inputs[name]
        labels: Path | None = path / LABELS_FILE
        images = path
        if known.owners:
            folder = self.out / "data" / name
            labels = folder / LABELS_FILE
            if not labels.is_file():
                convert(known.owners, path, folder)
            if (folder / PICTURES_FOLDER).is_dir():
                images = folder / PICTURES_FOLDER
        elif known.labels:
            labels = _SHIPPED_LABELS / known.labels
        elif known.nobody:
            labels = None
        elif known.unlabelled:
            labels = self.out / "data" / f"{name}.npz"
            if not labels.is_file():
                labels.parent.mkdir(parents=True, exist_ok=True)
                unknown_labels(path).save(labels)
        return Source(self.completed.get(name, labels), images, augmentation=known.augmentation)

    def labels(self) -> LabelSet:
        """All labels, to fit anchor poses to."""
        everything = [
            *self.further,
            *(self.source(n) for n, i in self.recipe.inputs.items() if self._labelled(n, i)),
        ]
        return LabelSet([s for source in everything for s in LabelSet.load(source.labels)])

    def _labelled(self, name: str, known: Input) -> bool:
        return (
            name in self.inputs
            and self.inputs[name].is_dir()
            and not known.nobody
            and not known.unlabelled
            and not known.scores
        )

    def _check_same(self, stage: Stage, folder: Path) -> None:
        """Reject a stage that was begun with other settings."""
        now: dict[str, Any] = asdict(stage)
        if "settings" in now:
            now["settings"] = self.settings_of(stage.name, stage.settings).deciding()
        now = json.loads(json.dumps(now, default=str))
        path = folder / _STAGE_FILE
        then = with_todays_names(json.loads(path.read_text())) if path.is_file() else now
        changed = _differences(now, then)
        if changed:
            raise ValueError(
                f"{folder} was begun with other settings ({', '.join(changed)}): use these, or "
                "another folder for --out, or remove this one and those after it"
            )
        if rank() == 0:
            path.write_text(json.dumps(now))


def _differences(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """Keys of which the values differ, those of `settings` by their own names."""
    inner = _differences(now["settings"], then["settings"]) if "settings" in then else []
    return inner + [k for k in now if k != "settings" and now[k] != then.get(k)]
