"""The report of the benchmark of rendered people: table, JSON, plots, the worst pictures."""

from __future__ import annotations

from dataclasses import fields
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np

from dope_model.benchmark.metrics import LEAST_SIMILARITY, SIMILARITY_SPREAD
from dope_model.benchmark.predictions import CachedFinder
from dope_model.benchmark.rendered import (
    PCK_SHARE,
    SIZE_LIMITS,
    InstanceResult,
    PartResult,
    groups_of,
    summarise,
    table_rows,
)
from dope_model.benchmark.report import (
    bar_plot,
    line_plot,
    markdown_table,
    picture_sheet,
    versions,
    write_csv,
    write_json,
    write_picture,
)
from dope_model.cache import file_digest
from dope_model.datasets.labels import LabelSet, Sample
from dope_model.drawing import draw_people, draw_people_3d
from dope_model.pictures import read_rgb
from dope_model.postprocess.assembly import assemble
from dope_model.rendering.sheet import draw_labels
from dope_model.skeleton import PARTS

WORST = 10
_PA_LIMITS = {"body": 0.25, "hand": 0.04, "face": 0.02}
"""m: where the curves of errors end."""

Results = dict[str, dict[str, PartResult]]


def write_report(
    out: Path,
    folder: Path,
    samples: list[Sample],
    finders: dict[str, CachedFinder],
    results: Results,
    plots: bool,
) -> None:
    """Write `report.md`, `table.csv`, `report.json`, and per model `instances_*.csv` and its worst
    pictures; with `plots` also curves and bars.

    Args:
        folder: of the pictures; the labels are in it.
        samples: the pictures that were judged.
        finders, results: by model, in the same order; results then by part.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = table_rows(results)
    write_csv(out / "table.csv", rows)
    labels = folder / "labels.npz"
    write_json(
        out / "report.json",
        {
            "protocol": "rendered",
            "pictures": len(samples),
            "labels": {"sha256": file_digest(labels), "about": LabelSet.load(labels).about},
            "models": {
                name: {**finder.record, "description": finder.description}
                for name, finder in finders.items()
            },
            "settings": {
                "least similarity": LEAST_SIMILARITY, "similarity spread": SIMILARITY_SPREAD,
                "PCK share": PCK_SHARE, "size limits px": SIZE_LIMITS,
            },
            "versions": versions(),
            "rows": rows,
        },
    )  # fmt: skip
    shown = {f: [] for f in ("plots", "worst")}
    for name, parts in results.items():
        file_name = _file_name(name)
        instances = [i for result in parts.values() for i in result.instances]
        write_csv(out / f"instances_{file_name}.csv", [_instance_row(i) for i in instances])
        sheet = out / f"worst_{file_name}.png"
        if _draw_worst(sheet, folder, samples, finders[name], parts):
            shown["worst"].append((name, sheet.name))
    if plots:
        shown["plots"] = _draw_plots(out, results)
    (out / "report.md").write_text(_text(len(samples), finders, rows, **shown))


def _text(count: int, finders, rows, plots: list[str], worst: list[tuple[str, str]]) -> str:
    everything = [row for row in rows if row["group"] == "all"]
    lines = [f"# {', '.join(finders)} on {count} rendered pictures", ""]
    lines += [f"- {name}: {finder.description}" for name, finder in finders.items()]
    lines += ["", _without(everything, "group"), ""]
    for part in PARTS:
        of_part = [row for row in rows if row["part"] == part and row["group"] != "all"]
        if of_part:
            lines += [f"## {part}", "", _without(of_part, "part", "precision"), ""]
    if plots:
        lines += ["## Plots", "", *(f"![]({name})" for name in plots), ""]
    for name, file in worst:
        lines += [
            f"## Worst pictures: {name}", "",
            "Bodies missed though large and in sight, and those farthest off. Each picture: the "
            "truth, what was found, and what was found in 3D.", "", f"![]({file})", "",
        ]  # fmt: skip
    return "\n".join(lines)


def _without(rows, *columns: str) -> str:
    return markdown_table([{k: v for k, v in row.items() if k not in columns} for row in rows])


def _instance_row(instance: InstanceResult) -> dict[str, object]:
    names = [field.name for field in fields(instance) if field.name != "shares_2d"]
    return {name: getattr(instance, name) for name in names}


def _file_name(model: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in model)


def pck_curve(instances: list[InstanceResult], thresholds: np.ndarray) -> np.ndarray:
    """At each threshold (T,) the mean share of visible joints nearer than it, over what was
    found and has a known scale; NaN where nothing was."""
    found = [i.shares_2d for i in instances if i.shares_2d is not None]
    if not found:
        return np.full(len(thresholds), np.nan)
    return np.mean([(shares[:, None] <= thresholds).mean(axis=0) for shares in found], axis=0)


def recall_curve(instances: list[InstanceResult], limits: np.ndarray) -> np.ndarray:
    """At each limit (T,), m, the share of all instances that were found with a smaller PA-MPJPE."""
    errors = np.array([i.pa_mpjpe for i in instances if i.found])
    return (errors[:, None] <= limits).sum(axis=0) / max(len(instances), 1)


def _draw_plots(out: Path, results: Results) -> list[str]:
    """Curves and bars for every part, one line or bar per model; returns their names."""
    names = []
    for part in PARTS:
        models = {name: parts[part].instances for name, parts in results.items() if part in parts}
        if not models:
            continue
        thresholds = np.linspace(0, 2 * PCK_SHARE[part], 61)
        curves = {
            name: (thresholds, pck_curve(found, thresholds)) for name, found in models.items()
        }
        unit = "side of the trunk's box" if part == "body" else f"size of the {part}"
        names.append(f"pck_{part}.png")
        line_plot(out / names[-1], curves, f"distance, as a share of the {unit}", "PCK",
                  f"{part}: visible joints within a distance")  # fmt: skip
        limits = np.linspace(0, _PA_LIMITS[part], 61)
        curves = {name: (1e3 * limits, recall_curve(found, limits))
                  for name, found in models.items()}  # fmt: skip
        names.append(f"pa_mpjpe_{part}.png")
        line_plot(out / names[-1], curves, "PA-MPJPE, mm", "share of all instances",
                  f"{part}: found with a smaller error in 3D")  # fmt: skip
        groups = {name: groups_of(part, found) for name, found in models.items()}
        titles = [t for t, group in next(iter(groups.values())).items() if group]
        bars = {name: [summarise(of_model[t], None)["recall"] for t in titles]
                for name, of_model in groups.items()}  # fmt: skip
        names.append(f"recall_{part}.png")
        bar_plot(out / names[-1], titles, bars, "recall",
                 f"{part}: recall by size, visibility, occlusion and truncation",
                 y_limits=(0, 1.08))  # fmt: skip
    return names


def worst_bodies(bodies: list[InstanceResult], count: int = WORST) -> list[InstanceResult]:
    """The worst body of each of the `count` worst pictures, in turn the largest and best visible
    one that was missed and the one that was found with the largest PA-MPJPE."""
    missed = sorted((i for i in bodies if not i.found),
                    key=lambda i: -i.visible_share * min(i.size, 200))  # fmt: skip
    off = sorted((i for i in bodies if i.found and np.isfinite(i.pa_mpjpe)),
                 key=lambda i: -i.pa_mpjpe)  # fmt: skip
    worst: dict[str, InstanceResult] = {}
    for pair in zip_longest(missed, off):
        for instance in pair:
            if instance is not None:
                worst.setdefault(instance.file, instance)
    return list(worst.values())[:count]


def _draw_worst(
    path: Path, folder: Path, samples: list[Sample], finder: CachedFinder, parts
) -> bool:
    """The worst pictures on one sheet; False when there are no bodies at all."""
    worst = worst_bodies(parts["body"].instances) if "body" in parts else []
    if not worst:
        return False
    by_file = {sample.file: sample for sample in samples}
    tiles, captions = [], []
    for instance in worst:
        sample = by_file[instance.file]
        rgb = read_rgb(folder / sample.file)
        people = assemble(finder.find_parts(folder / sample.file))
        height, width = 400, round(400 * rgb.shape[1] / rgb.shape[0])
        pictures = (
            draw_labels(rgb, sample),
            draw_people(rgb, people),
            draw_people_3d(people, rgb.shape[1::-1], rgb.shape[1::-1]),
        )
        tiles.append(
            np.hstack([cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA)
                       for p in pictures])
        )  # fmt: skip
        what = f"PA-MPJPE {1e3 * instance.pa_mpjpe:.0f} mm" if instance.found else "missed"
        captions.append(f"{Path(instance.file).stem}: person {instance.person}, "
                        f"{instance.size:.0f} px: {what}")  # fmt: skip
    write_picture(path, picture_sheet(tiles, captions, columns=2, cell=(1000, 250)))
    return True
