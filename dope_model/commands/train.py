"""`train`: run a recipe, which makes a weights file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dope_model.skeleton import PARTS

if TYPE_CHECKING:
    from dope_model.training.data import Source


def add_train(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "train",
        help=__doc__,
        description=__doc__ + " A recipe is a list of stages, dope_model/training/recipes/NAME.py. "
        "Run again with the same folder, it resumes, also after Ctrl-C or SIGTERM, which stop it "
        "after the current batch.",
    )
    parser.add_argument("--recipe", default="finetune", help="such as finetune or dope_lite")
    parser.add_argument(
        "--data", action="append", default=[], metavar="NAME=PATH or LABELS:IMAGES[:REPEAT]",
        help="one of the recipe's inputs, or a labels file, the folder of its pictures, and how "
        "often an epoch goes through them",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument(
        "--from-scratch", action="store_true",
        help="do not start from the weights that come with the package",
    )  # fmt: skip
    parser.add_argument(
        "--anchors-from", type=Path, metavar="WEIGHTS",
        help="source of an untrained network's anchor poses; default: the experts, or new ones",
    )  # fmt: skip
    for part in PARTS:
        parser.add_argument(
            f"--{part}-expert", type=Path, metavar="WEIGHTS", help=f"distil this {part} expert"
        )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--set", action="append", default=[], metavar="[STAGE.]NAME=VALUE",
        help="adapt the recipe to your machine or data, such as batch_size=2 or workers=12; see "
        "dope_model/training/settings.py",
    )  # fmt: skip
    parser.set_defaults(run=run_train)


def run_train(options: argparse.Namespace) -> int:
    """Run the recipe until it is finished or stopped."""
    from dope_model.runtime.torch_engine import pick_device
    from dope_model.training.distributed import process_group, rank
    from dope_model.training.recipe import RecipeRun, recipe_named

    recipe = recipe_named(options.recipe)
    inputs: dict[str, Path] = {}
    further: list[Source] = []
    for text in options.data:
        _read_data(text, inputs, further)
    experts = experts_of(options)
    if experts and not recipe.experts:
        raise ValueError(f"the recipe {recipe.name} distils no experts; paper_dope does")
    with process_group(pick_device(options.device)) as device:
        run = RecipeRun(
            recipe, options.out, device, inputs, further, experts, options.anchors_from,
            options.from_scratch, options.set,
        )  # fmt: skip
        result = run.run()
        if result is None:
            print(f"{options.out}: stopped; the same command resumes")
        elif rank() == 0:
            print(f"{result}: {result.stat().st_size / 1e6:.1f} MB")
    return 0


def experts_of(options: argparse.Namespace) -> dict[str, Path]:
    """The weights of part experts that the options name, by part."""
    named = {part: getattr(options, f"{part}_expert") for part in PARTS}
    return {part: path for part, path in named.items() if path is not None}


def _read_data(text: str, inputs: dict[str, Path], further: list[Source]) -> None:
    from dope_model.training.data import Source

    name, equals, path = text.partition("=")
    if equals and ":" not in name:
        inputs[name] = Path(path)
    else:
        further.append(Source.parse(text))
