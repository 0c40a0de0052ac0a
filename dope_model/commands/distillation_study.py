"""`distillation-study`: Table 1 of the paper on your own labelled pictures."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_distillation_study(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "distillation-study",
        help=__doc__,
        description=__doc__ + " Three part experts and three whole-body networks are trained and "
        "evaluated. Run again with the same folder, it resumes.",
    )
    parser.add_argument("labels", type=Path, help="a labels file with all parts")
    parser.add_argument("images", type=Path, help="the folder of its pictures")
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument("--lspet", type=Path, help="Leeds Sports Pose, to evaluate bodies")
    parser.add_argument("--backbone", default="mobilenet_v2_keypoints")
    parser.add_argument(
        "--backbone-package", type=Path, help="with its weights; see training/pretrained.py"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one study for each")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE",
        help="such as per_part=500, epochs=3 or training.width=256; see "
        "dope_model/training/distillation_study.py",
    )  # fmt: skip
    parser.set_defaults(run=run_distillation_study)


def run_distillation_study(options: argparse.Namespace) -> int:
    """Run the study for every seed and print its tables."""
    from dataclasses import replace

    from dope_model.benchmark.report import markdown_table
    from dope_model.runtime.torch_engine import pick_device
    from dope_model.training.changes import with_changes
    from dope_model.training.distillation_study import DistillationStudy, StudySettings

    settings = with_changes(replace(StudySettings(), backbone=options.backbone), options.set)
    for seed in options.seed:
        study = DistillationStudy(
            options.labels, options.images, options.out / f"seed {seed}", settings,
            options.backbone_package, seed, options.lspet, str(pick_device(options.device)),
        )  # fmt: skip
        rows = study.run()
        print(f"seed {seed}:\n{markdown_table(rows)}")
    return 0
