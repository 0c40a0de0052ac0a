"""`train`: the network, or a part expert, on labelled pictures, with or without distillation."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dope_model.commands.stopping import stops_when_asked
from dope_model.skeleton import PARTS

if TYPE_CHECKING:
    from dope_model.training.loop import Trainer


def add_train(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "train",
        help=__doc__,
        description=__doc__ + " Started again with the same folder, it goes on where it was: "
        "after Ctrl-C or SIGTERM too, on which it stops when the batch is done.",
    )
    parser.add_argument(
        "--data", action="append", required=True, metavar="LABELS:IMAGES[:REPEAT]",
        help="a labels file, the folder of its pictures, and how often an epoch goes through it",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--backbone",
        default="mobilenet_v2",
        help="mobilenet_v2, mobilenet_v2_keypoints, resnet50_original or resnet50",
    )
    parser.add_argument("--backbone-weights", type=Path, help="from the command `backbone`")
    parser.add_argument(
        "--start", type=Path, help="weights to start from, anchor poses included"
    )  # fmt: skip
    for part in PARTS:
        parser.add_argument(f"--{part}-expert", type=Path, help=f"distil this {part} expert")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--proposals", type=int, default=50, help="of the trained model's mode")
    parser.add_argument("--max-batches", type=int, help="stop after so many, to resume later")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE",
        help="a training setting, such as epochs=20, losses.boxes_per_image=64 "
        "or augmentation.flip=0; see dope_model/training/loop.py",
    )  # fmt: skip
    parser.set_defaults(run=run_train)


def run_train(options: argparse.Namespace) -> int:
    """Train until done or `--max-batches`."""
    from dope_model.checkpoint import load_checkpoint
    from dope_model.datasets.labels import LabelSet
    from dope_model.network.config import Mode
    from dope_model.runtime.torch_engine import pick_device
    from dope_model.training.anchor_poses import PAPER_CLASSES, fit_anchor_poses
    from dope_model.training.data import Source
    from dope_model.training.loop import Trainer, TrainingSettings, fresh_checkpoint, load_expert

    settings = with_changes(TrainingSettings(), options.set)
    sources = [Source.parse(text) for text in options.data]
    mode = Mode(settings.height, 1333, options.proposals, half=True)
    started = options.out / "start.safetensors"
    if options.start is not None:
        checkpoint = load_checkpoint(options.start)
    elif started.is_file():
        checkpoint = load_checkpoint(started)
    else:
        from dope_model.checkpoint import save_checkpoint

        everything = LabelSet([s for source in sources for s in LabelSet.load(source.labels)])
        anchors = {
            part: fit_anchor_poses(part, everything, PAPER_CLASSES[part], settings.seed)
            for part in options.parts
        }
        checkpoint = fresh_checkpoint(
            anchors, options.backbone, mode, options.backbone_weights, settings.seed
        )
        options.out.mkdir(parents=True, exist_ok=True)
        save_checkpoint(checkpoint, started)
    experts = {
        part: load_expert(path, part)
        for part in PARTS
        if (path := getattr(options, f"{part}_expert")) is not None
    }
    trainer = Trainer(
        checkpoint, sources, settings, options.out, pick_device(options.device), experts
    )
    run_trainer(trainer, options.max_batches)
    print(f"{options.out}: weights after {trainer.batch} batches")
    return 0


def run_trainer(trainer: Trainer, max_batches: int | None) -> None:
    """Say what is to be done, and train until that, or until one asks to stop."""
    print(
        f"{len(trainer.views)} pictures an epoch, {trainer.settings.epochs} epochs, on "
        f"{trainer.device}; from batch {trainer.batch}"
    )
    with stops_when_asked(trainer.stop):
        trainer.run(max_batches)


def with_changes(settings, changes: list[str]):
    """A settings dataclass with "name=value" texts applied; dots lead into nested ones.

    Raises:
        ValueError: an unknown name, or a value of another type.
    """
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"--set takes NAME=VALUE, not {change!r}")
        settings = _with_change(settings, name, name.split("."), text)
    return settings


def _with_change(settings, full_name: str, path: list[str], text: str):
    if path[0] not in vars(settings):
        raise ValueError(f"unknown setting {full_name!r}; known: {', '.join(vars(settings))}")
    old = getattr(settings, path[0])
    if len(path) > 1:
        new = _with_change(old, full_name, path[1:], text)
    elif isinstance(old, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{full_name} is true or false, not {text!r}")
        new = text.lower() == "true"
    elif old is None or isinstance(old, (int, float)):
        try:
            new = (float if old is None else type(old))(text)
        except ValueError as error:
            raise ValueError(f"{full_name} is a number, not {text!r}") from error
    elif isinstance(old, str):
        new = text
    elif isinstance(old, tuple) and all(isinstance(x, float) for x in old):
        try:
            new = tuple(float(x) for x in text.split(","))
        except ValueError as error:
            raise ValueError(f"{full_name} are numbers with commas, not {text!r}") from error
    elif isinstance(old, tuple) and old and all(isinstance(x, str) for x in old):
        new = tuple(text.split(","))
    else:
        raise ValueError(f"{full_name} cannot be set here")
    return replace(settings, **{path[0]: new})
