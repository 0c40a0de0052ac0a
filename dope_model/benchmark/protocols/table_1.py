"""Table 1 of the paper: part experts and whole-body networks on the four benchmarks.

python -m dope_model benchmark parts --mpii DIR --mupots DIR --rhd DIR --menpo DIR \\
    --checkpoint "body expert=body.safetensors" --checkpoint "DOPE=dope.safetensors" \\
    --mupots-checkpoint "DOPE=dope14.safetensors" --out REPORT

A network is evaluated on the benchmarks of its parts. MuPoTS-3D asks for 14 body joints: a network
fine-tuned to them goes under the same name to --mupots-checkpoint. The percentages are those that
the table prints: PCKh@0.5, PCK3D of all annotated people, AUC, and AUC of the 3DA-2D error.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dope_model.benchmark import report
from dope_model.benchmark.protocols.menpo import LIMIT, Menpo
from dope_model.benchmark.protocols.mpii import Mpii
from dope_model.benchmark.protocols.mupots import Mupots
from dope_model.benchmark.protocols.protocol import Protocol
from dope_model.benchmark.protocols.rhd import Rhd
from dope_model.benchmark.runner import add_run_arguments, evaluate_models
from dope_model.cache import file_digest

COLUMNS: dict[str, tuple[type[Protocol], str, str, str]] = {
    "mpii": (Mpii, "body", "MPII (PCKh@0.5) %", "PCKh@0.5 %"),
    "mupots": (Mupots, "body", "MuPoTs (PCK3D) %", "PCK3D all %"),
    "rhd": (Rhd, "hand", "RH (AUC) %", "AUC 20 to 50 mm %"),
    "menpo": (Menpo, "face", "Menpo (AUC) %", f"AUC {LIMIT} %"),
}
"""By benchmark: its protocol, the part that it needs, the table's column, the protocol's number."""


def add_table_1(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "parts", help="Table 1: part experts and whole-body networks side by side",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    for name, (protocol, *_) in COLUMNS.items():
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=protocol.title)
    weights = {"action": "append", "default": [], "metavar": "NAME=WEIGHTS"}
    parser.add_argument(
        "--checkpoint", **weights, required=True, help="a row and its weights; repeat it"
    )
    parser.add_argument(
        "--mupots-checkpoint", **weights, help="the row's weights of 14 joints for MuPoTS-3D"
    )
    add_run_arguments(parser)
    parser.set_defaults(run=run_table_1)


def run_table_1(options: argparse.Namespace) -> int:
    """Evaluate every checkpoint on every benchmark that has data; write and print the table.

    Raises:
        ValueError: no benchmark's data is given, or a checkpoint without a name.
    """
    from dope_model.checkpoint import load_checkpoint

    given = {name: getattr(options, name) for name in COLUMNS if getattr(options, name)}
    if not given:
        raise ValueError(f"give the data of at least one of {', '.join('--' + n for n in COLUMNS)}")
    rows = _named(options.checkpoint)
    for_mupots = _named(options.mupots_checkpoint)
    unknown = set(for_mupots) - set(rows)
    if unknown:
        raise ValueError(f"--mupots-checkpoint names unknown rows: {', '.join(sorted(unknown))}")
    all_weights = {*rows.values(), *for_mupots.values()}
    parts = {path: set(load_checkpoint(path).config.parts) for path in all_weights}
    table: dict[str, dict[str, object]] = {name: {"": name} for name in rows}
    for benchmark, folder in given.items():
        make, part, column, number = COLUMNS[benchmark]
        models = {}
        for name, weights in rows.items():
            path = for_mupots.get(name, weights) if benchmark == "mupots" else weights
            table[name][column] = "-"
            if part in parts[path]:
                models[name] = str(path)
        if not models:
            continue
        files = list(dict.fromkeys(models.values()))
        results = evaluate_models(make(), _options_of(options, make(), benchmark, folder, files))
        values = {f: r.outcome.summary[number] for f, r in zip(files, results, strict=True)}
        for name, path in models.items():
            table[name][column] = f"{values[path]:.1f}"
    text = report.markdown_table(list(table.values()))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "table_1.md").write_text(f"# Table 1\n\n{text}\n")
    report.write_json(
        options.out / "table_1.json",
        {
            "rows": list(table.values()),
            "weights": {str(path): file_digest(path) for path in parts},
            "versions": report.versions(),
        },
    )
    print(text)
    return 0


def _named(texts: list[str]) -> dict[str, Path]:
    named = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise ValueError(f"a checkpoint is NAME=WEIGHTS, not {text!r}")
        if name in named:
            raise ValueError(f"two checkpoints are called {name!r}")
        named[name] = Path(path)
    return named


def _options_of(
    options: argparse.Namespace, protocol: Protocol, benchmark: str, folder: Path, models: list[str]
) -> argparse.Namespace:
    """The options with which the protocol's own command would run."""
    parser = argparse.ArgumentParser()
    protocol.add_arguments(parser)
    own = vars(parser.parse_args([]))
    shared = {k: getattr(options, k) for k in ("limit", "device", "mode", "engine", "worst")}
    return argparse.Namespace(
        **own, **shared, data=folder, model=models, out=options.out / benchmark
    )
