"""`pack`: the weights of a training run as a file to ship: FP16, with its description."""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dope_model.checkpoint import Checkpoint
    from dope_model.network.config import NetworkConfig, SecondLook

# Pictures beyond these add time, and hardly accuracy.
_MOST_PICTURES = 600


def add_pack(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser("pack", help=__doc__, description=__doc__)
    parser.add_argument("weights", type=Path, help="weights.safetensors of a run")
    parser.add_argument(
        "--mean", type=Path, action="append", default=[], metavar="WEIGHTS",
        help="take the mean with these weights, such as those that the run started from",
    )  # fmt: skip
    parser.add_argument(
        "--start-package", type=Path, metavar="PACKAGE",
        help="mix the backbone with the weights that it started from: the package that the command "
        "`backbone` read",
    )  # fmt: skip
    parser.add_argument(
        "--start-share", type=float, metavar="SHARE",
        help="with --start-package: how far back to these, 0 to 1",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument(
        "--about", action="append", default=[], metavar="TOPIC=TEXT",
        help="what the command `info` says of it, such as licence=..., data=...",
    )  # fmt: skip
    parser.add_argument(
        "--post", action="append", default=[], metavar="PART.NAME=VALUE",
        help="a setting of the proposals integration, such as hand.th_persondetect=0.3; see "
        "dope_model/postprocess/settings.py",
    )  # fmt: skip
    parser.add_argument("--full", action="store_true", help="in float32, to train on from it")
    parser.add_argument("--proposals", type=int, help="of the mode that it is made for")
    parser.add_argument("--size", type=int, help="the image's short side in that mode, px")
    parser.add_argument(
        "--second-look", type=float, metavar="SCALE",
        help="look at a copy of the image of this scale, too, for what is larger than --largest; "
        "0: do not",
    )  # fmt: skip
    parser.add_argument(
        "--largest", action="append", default=[], metavar="PART=PX",
        help="such as body=150: with --second-look, the longer side up to which the first look's "
        "candidates count, px of the network's input",
    )  # fmt: skip
    parser.add_argument(
        "--second-proposals", type=float, metavar="SHARE",
        help="with --second-look: its proposals, as a share of the first look's; 1 unless given",
    )  # fmt: skip
    parser.add_argument(
        "--favour-small", type=float, metavar="LOGIT",
        help="add that to the RPN's objectness of its smallest anchors, so that more hands are "
        "among few proposals",
    )  # fmt: skip
    parser.add_argument(
        "--calibration", type=Path, metavar="FOLDER",
        help="of pictures of people: measure what the engine int8 needs in half of them, and what "
        "it loses on the others",
    )  # fmt: skip
    parser.add_argument(
        "--max-loss", type=float, default=10, metavar="PERCENT",
        help="with --calibration: of the joints that may change; if more do, nothing is written",
    )  # fmt: skip
    parser.set_defaults(run=run_pack)


def run_pack(options: argparse.Namespace) -> int:
    """Write the packed file and print its size."""
    from dataclasses import replace

    from dope_model.checkpoint import load_checkpoint, save_checkpoint
    from dope_model.commands.train import with_changes

    checkpoint = load_checkpoint(options.weights)
    if options.mean:
        from dope_model.training.averaging import mean_of

        checkpoint = mean_of([checkpoint, *map(load_checkpoint, options.mean)])
    if (options.start_package is None) != (options.start_share is None):
        raise ValueError("--start-package and --start-share belong together: give both")
    if options.start_package is not None:
        from dope_model.training.averaging import mixed_with_start
        from dope_model.training.pretrained import known_tensors

        start = known_tensors(checkpoint.config.backbone, options.start_package)
        checkpoint = mixed_with_start(checkpoint, start, options.start_share)
    for text in options.post:
        part, dot, change = text.partition(".")
        if not dot or part not in checkpoint.integration:
            raise ValueError(
                f"--post takes PART.NAME=VALUE with a part of {', '.join(checkpoint.integration)}, "
                f"not {text!r}"
            )
        checkpoint.integration[part] = with_changes(checkpoint.integration[part], [change])
    for text in options.about:
        topic, equals, words = text.partition("=")
        if not equals:
            raise ValueError(f"--about takes TOPIC=TEXT, not {text!r}")
        checkpoint.about[topic] = words
    if options.proposals is not None:
        checkpoint.mode = replace(checkpoint.mode, proposals=options.proposals)
    if options.size is not None:
        checkpoint.mode = replace(checkpoint.mode, min_size=options.size)
    if options.second_look is not None:
        checkpoint.second_look = _second_look(options, checkpoint.config)
    elif options.largest or options.second_proposals is not None:
        raise ValueError("--largest and --second-proposals belong to --second-look: give that, too")
    if options.favour_small is not None:
        _favour_small(checkpoint, options.favour_small)
    if options.calibration is not None:
        checkpoint = _calibrated(checkpoint, options.calibration, options.max_loss)
    save_checkpoint(checkpoint, options.out, half=not options.full)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")
    return 0


def _favour_small(checkpoint: Checkpoint, logit: float) -> None:
    name, sizes = "rpn.head.cls_logits.bias", checkpoint.config.anchor_sizes
    bias = checkpoint.state[name].clone()
    # torchvision's anchors of a place: by ratio, and of each ratio by size.
    bias.view(-1, len(sizes))[:, sizes.index(min(sizes))] += logit
    checkpoint.state[name] = bias


def _calibrated(checkpoint: Checkpoint, folder: Path, max_loss: float) -> Checkpoint:
    from dope_model.network.config import MODES
    from dope_model.pictures import pictures_in
    from dope_model.runtime.int8 import calibrate

    if not folder.is_dir():
        raise ValueError(f"--calibration: there is no folder {folder}")
    pictures = pictures_in(folder)
    random.Random(0).shuffle(pictures)
    calibrated, loss = calibrate(checkpoint, MODES["realtime"], pictures[:_MOST_PICTURES])
    print(f"INT8 changes {loss}")
    if not loss.percent <= max_loss:
        raise ValueError(
            f"INT8 changes more than --max-loss {max_loss:g} %; allow more, or leave out "
            "--calibration: the engines of half and full precision do without"
        )
    return calibrated


def _second_look(options: argparse.Namespace, config: NetworkConfig) -> SecondLook | None:
    from dope_model.network.config import SecondLook

    share = options.second_proposals
    if options.second_look == 0 and not options.largest and share is None:
        return None
    sizes = {}
    for text in options.largest:
        part, _, size = text.partition("=")
        try:
            if part not in config.parts:
                raise ValueError
            sizes[part] = float(size)
        except ValueError:
            raise ValueError(
                f"--largest takes PART=PX with a part of {', '.join(config.parts)}, such as "
                f"body=150, not {text!r}"
            ) from None
    return SecondLook(options.second_look, sizes, *([] if share is None else [share]))
