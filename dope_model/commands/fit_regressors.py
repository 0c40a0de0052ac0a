"""`fit-regressors`: a part's poses by least squares, from what its maps point at."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from dope_model.skeleton import PARTS


def add_fit_regressors(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "fit-regressors", help=__doc__,
        description=__doc__ + " For a network with maps of joints, when all else is trained: it "
        "suits faces, whose landmarks tell where the others are, and neither bodies nor hands.",
    )  # fmt: skip
    parser.add_argument("weights", type=Path, help="weights.safetensors of a run")
    parser.add_argument(
        "--data", action="append", required=True, metavar="LABELS:IMAGES[:REPEAT]",
        help="as for `train`",
    )  # fmt: skip
    parser.add_argument("--part", choices=PARTS, default="face")
    parser.add_argument("--views", type=int, default=2000, help="to take boxes from")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE",
        help="a setting of views and boxes, as for `train`",
    )  # fmt: skip
    parser.set_defaults(run=run_fit_regressors)


def run_fit_regressors(options: argparse.Namespace) -> int:
    """Look at the views, fit, and write the weights."""
    from dope_model.checkpoint import load_checkpoint, save_checkpoint
    from dope_model.commands.train import with_changes
    from dope_model.runtime.torch_engine import pick_device
    from dope_model.training.anchor_poses import anchor_poses_of
    from dope_model.training.data import Batches, Source, Views, collate
    from dope_model.training.loop import TrainingSettings
    from dope_model.training.regressors import fit_regressors, positive_rois

    settings = with_changes(TrainingSettings(), options.set)
    if options.views < 1:
        raise ValueError(f"--views: take 1 or more, not {options.views}")
    checkpoint = load_checkpoint(options.weights)
    part, device = options.part, pick_device(options.device)
    if part not in checkpoint.config.parts:
        raise ValueError(f"{options.weights} does not detect a {part}")
    network = checkpoint.build().to(device)
    if not network.has_heatmaps:
        raise ValueError(f"{checkpoint.config.backbone} has no maps of joints to fit regressors to")
    views = Views(
        [Source.parse(text) for text in options.data], anchor_poses_of(network),
        (settings.width, settings.height), settings.augmentation, settings.seed, only=(part,),
    )  # fmt: skip
    count = -(-options.views // settings.batch_size)
    keys = Batches(len(views), settings.batch_size, settings.seed, 0, count)
    batches = (
        collate([views[key] for key in of_batch]).to(device)
        for of_batch in tqdm(keys, unit="batch")
    )
    rois = positive_rois(network, part, batches, settings.losses)
    network.cpu()
    fit_regressors(network.branches[part], part, rois)
    checkpoint.state = network.state_dict()
    save_checkpoint(checkpoint, options.out)
    print(f"{options.out}: regressors of a {part}, fitted to {len(rois.vectors)} boxes")
    return 0
