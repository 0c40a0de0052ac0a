"""Runs models over a protocol's pictures and writes the report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from dope_model.benchmark import report
from dope_model.benchmark.predictions import CachedFinder, pixels_of
from dope_model.benchmark.protocols.protocol import Found, Outcome, Picture, Protocol
from dope_model.drawing import draw_people
from dope_model.network.config import AUTO, MODE_NAMES
from dope_model.pictures import picture_sheet, write_picture
from dope_model.poses import PartDetections
from dope_model.postprocess.assembly import assemble
from dope_model.postprocess.scores import at_least
from dope_model.runtime import ENGINES
from dope_model.weights import DEFAULT_MODEL


def add_protocol(subparsers: argparse._SubParsersAction, protocol: Protocol) -> None:
    """Add the command of a protocol to a parser."""
    parser = subparsers.add_parser(
        protocol.name, help=protocol.title, description=protocol.__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    add_model_argument(parser)
    add_run_arguments(parser)
    protocol.add_arguments(parser)
    parser.set_defaults(run=lambda options: run_protocol(protocol, options))


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Add --model, which takes several models and may be repeated; None when it is left out."""
    parser.add_argument(
        "--model", nargs="+", action="extend", metavar="MODEL",
        help=f"as for `detect`; several are compared; {DEFAULT_MODEL} when left out",
    )  # fmt: skip


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what all protocols' commands share."""
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    parser.add_argument("--limit", type=_count, help="only the first N pictures")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    # Float32 as the network was trained, on any machine.
    parser.add_argument("--engine", default="eager", choices=ENGINES)
    parser.add_argument(
        "--mode", default=AUTO, choices=MODE_NAMES,
        help="of networks; %(default)s: the one that each model's weights were made for",
    )  # fmt: skip
    parser.add_argument("--worst", type=int, default=10, help="pictures on the sheet of the worst")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


@dataclass
class Result:
    """The outcome of one model, with what decides it."""

    label: str
    record: dict[str, str]
    description: str
    outcome: Outcome


def run_protocol(protocol: Protocol, options: argparse.Namespace) -> int:
    """Evaluate all models, write the report, and print its table; 1 if a picture was skipped."""
    skipped: list[str] = []
    results = evaluate_models(protocol, options, skipped)
    print(report.markdown_table(summary_rows(results)))
    print(f"report: {options.out / 'report.md'}")
    for problem in skipped:
        print(f"skipped: {problem}", file=sys.stderr)
    return 1 if skipped else 0


def evaluate_models(
    protocol: Protocol, options: argparse.Namespace, skipped: list[str] | None = None
) -> list[Result]:
    """Evaluate the models of the options and write the report.

    Args:
        skipped: as for `CachedFinder.find_all`; these pictures are not in the report.

    Raises:
        FileNotFoundError: files of the data set, or weights, are missing.
        ImportError: a package is missing; says what brings it.
        ValueError: a file is not what it should be, or a model is named twice.
    """
    report.require_plots()
    models = report.short_names(options.model or [DEFAULT_MODEL])
    pictures = protocol.limited(protocol.load(options), options.limit)
    if not pictures:
        raise ValueError(f"{options.data}: no pictures to evaluate")
    options.out.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    for label, model in models.items():
        finder = CachedFinder(
            options.out / "predictions", model, options.device, options.mode, options.engine
        )
        finding = finder.find_all(pictures, protocol.everything, skipped)
        all_found = list(tqdm(finding, label, len(pictures), unit="picture"))
        pictures = [p for p, f in zip(pictures, all_found, strict=True) if f is not None]
        if not pictures:
            raise ValueError(f"no picture of {options.data} can be read: {skipped[0]}")
        found = [f for f in all_found if f is not None]
        protocol.min_scores = finder.min_scores
        evaluations = [protocol.evaluate(p, f) for p, f in zip(pictures, found, strict=True)]
        outcome = protocol.summarise(pictures, evaluations)
        results.append(Result(label, finder.record, finder.description, outcome))
        told = [at_least(own, finder.min_scores) for own in found]
        sheet = worst_sheet(pictures, told, outcome.picture_errors, options.worst)
        if sheet is not None:
            write_picture(options.out / f"worst_{report.file_name(label)}.png", sheet)
    write_report(protocol, pictures, results, options)
    return results


def worst_sheet(
    pictures: Sequence[Picture], found: Sequence[Found], picture_errors: np.ndarray, count: int
) -> np.ndarray | None:
    """The pictures that went worst, with what was found, and the true points as green rings."""
    known = [int(i) for i in np.argsort(-np.nan_to_num(picture_errors, nan=-1), kind="stable")
             if np.isfinite(picture_errors[i])][:count]  # fmt: skip
    if not known:
        return None
    drawn, captions = [], []
    for i in known:
        rgb = pixels_of(pictures[i])
        scale = max(1.0, 400 / max(rgb.shape[:2]))
        rgb = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        scaled = {
            part: PartDetections(
                part, d.scores, d.keypoints_2d * scale, d.keypoints_3d, d.is_left, d.confidence
            )
            for part, d in found[i].items()
        }
        canvas = draw_people(rgb, assemble(scaled, snap_wrists=False))
        radius = max(2, round(max(canvas.shape[:2]) / 130))
        for u, v in pictures[i].marks[np.isfinite(pictures[i].marks).all(axis=1)] * scale - 0.5:
            cv2.circle(canvas, (round(u), round(v)), radius, (0, 255, 0), 1, cv2.LINE_AA)
        drawn.append(canvas)
        captions.append(f"{Path(pictures[i].name).name}  {picture_errors[i]:.3g}")
    return picture_sheet(drawn, captions)


def summary_rows(results: Sequence[Result]) -> list[report.Row]:
    """One row of the protocol's numbers per model."""
    return [{"model": r.label, **r.outcome.summary} for r in results]


def finer_tables(results: Sequence[Result]) -> dict[str, list[report.Row]]:
    """The protocol's finer tables by title; rows of the same name stand together, model by model.

    A row's name is its first column.
    """
    tables: dict[str, list[report.Row]] = {}
    for title in dict.fromkeys(title for r in results for title in r.outcome.rows):
        by_name: dict[object, list[report.Row]] = {}
        for result in results:
            for row in result.outcome.rows.get(title, []):
                column, name = next(iter(row.items()))
                by_name.setdefault(name, []).append({column: name, "model": result.label, **row})
        tables[title] = [row for rows in by_name.values() for row in rows]
    return tables


def write_report(
    protocol: Protocol,
    pictures: Sequence[Picture],
    results: Sequence[Result],
    options: argparse.Namespace,
) -> None:
    """Write report.md, report.json and the curves into `options.out`."""
    rows, tables = summary_rows(results), finer_tables(results)
    text = [f"# {protocol.title}", "", f"{len(pictures)} pictures.", ""]
    text += [report.markdown_table(rows), "", protocol.notes.strip(), ""]
    for title, finer in tables.items():
        text += [f"## {title}", "", report.markdown_table(finer), ""]
    text += ["## Models", ""]
    text += [f"- {r.label}: {r.description}; " + ", ".join(
        f"{key} {str(value)[:16]}" for key, value in r.record.items() if key != "model"
    ) for r in results]  # fmt: skip
    titles = dict.fromkeys(title for r in results for title in r.outcome.curves)
    for number, title in enumerate(titles, 1):
        curves = {r.label: r.outcome.curves[title] for r in results if title in r.outcome.curves}
        first = next(iter(curves.values()))
        name = f"curve_{number}.png"
        report.line_plot(
            options.out / name, {label: (c.x, c.y) for label, c in curves.items()},
            first.x_label, first.y_label, title,
        )  # fmt: skip
        text += ["", f"![{title}]({name})"]
    (options.out / "report.md").write_text("\n".join(text) + "\n")
    content = {
        "protocol": protocol.name,
        "pictures": len(pictures),
        "rows": rows,
        "finer": tables,
        "curves": {
            r.label: {title: vars(curve) for title, curve in r.outcome.curves.items()}
            for r in results
        },
        "models": {r.label: {**r.record, "description": r.description} for r in results},
        "settings": {k: v for k, v in vars(options).items() if k not in ("run", "command")},
        "versions": report.versions(),
    }
    report.write_json(options.out / "report.json", content)
