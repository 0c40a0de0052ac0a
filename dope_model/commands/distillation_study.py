"""`distillation-study`: Table 1 of the paper on your own labelled pictures."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_distillation_study(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "distillation-study",
        help=__doc__,
        description=__doc__ + " Three part experts and four whole-body networks are trained and "
        "evaluated. Run again with the same folder, it resumes.",
    )
    parser.add_argument("labels", type=Path, help="a labels file with all parts")
    parser.add_argument("images", type=Path, help="the folder of its pictures")
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument("--backbone", default="mobilenet_v2_keypoints")
    parser.add_argument("--package", type=Path, help="its weights; see training/pretrained.py")
    parser.add_argument("--per-part", type=int, default=800, help="pictures of each part's set")
    parser.add_argument("--held-out", type=int, default=200, help="pictures for the evaluation")
    parser.add_argument("--size", type=int, default=256, help="their shorter side, px")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of all trainings")
    parser.add_argument(
        "--set", action="append", default=[], metavar="[STAGE.]NAME=VALUE", dest="changes",
        help="a training setting, as for `train`, of the stages heatmaps and train",
    )  # fmt: skip
    parser.set_defaults(run=run_distillation_study)


def run_distillation_study(options: argparse.Namespace) -> int:
    """Run the study and print its table."""
    from dope_model.runtime.torch_engine import pick_device
    from dope_model.training.distillation_study import Study

    given = {k: v for k, v in vars(options).items() if k in Study.__dataclass_fields__}
    Study(**{**given, "device": pick_device(options.device)}).run()
    return 0
