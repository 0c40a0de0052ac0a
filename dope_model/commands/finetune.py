"""`finetune-14-joints`: a network's body for MuPoTS-3D, with all else frozen."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_finetune(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "finetune-14-joints", help=__doc__,
        description=__doc__ + " Run again with the same folder, it resumes.",
    )  # fmt: skip
    parser.add_argument("--start", type=Path, required=True, help="weights of 13 body joints")
    parser.add_argument(
        "--data", action="append", required=True, metavar="LABELS:IMAGES[:REPEAT]",
        help="labels of 14 joints, from `convert muco`, and the folder of their pictures",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--max-batches", type=int, help="stop after this many, to resume later")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE",
        help="a training setting, as for `train`; 5 epochs when left out",
    )  # fmt: skip
    parser.set_defaults(run=run_finetune)


def run_finetune(options: argparse.Namespace) -> int:
    """Widen the network's last body layer and train it."""
    from dope_model.checkpoint import load_checkpoint
    from dope_model.runtime.torch_engine import pick_device
    from dope_model.training.changes import with_changes
    from dope_model.training.data import Source
    from dope_model.training.fourteen_joints import freeze_all_but_body_poses, widened
    from dope_model.training.loop import Trainer
    from dope_model.training.settings import TrainingSettings
    from dope_model.training.stopping import stops_when_asked

    settings = with_changes(TrainingSettings(epochs=5), options.set)
    trainer = Trainer(
        widened(load_checkpoint(options.start)),
        [Source.parse(text) for text in options.data],
        settings,
        options.out,
        pick_device(options.device),
    )
    freeze_all_but_body_poses(trainer)
    with stops_when_asked(trainer.stop):
        trainer.run(options.max_batches)
    print(f"{options.out}: weights of 14 body joints after {trainer.batch} batches")
    return 0
