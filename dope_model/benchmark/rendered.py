"""The benchmark of rendered people, whose truth is exact:

    python -m dope_model benchmark rendered --model experts:fast --out REPORT

judges a model on the fixed set of 1,000 pictures (seed 2020), which is rendered once and kept in
the cache; a folder that `render` wrote may be given instead. Several --model are judged side by
side. What is found is kept in the report's folder: the same command goes on where it was stopped.

Bodies, hands and faces are judged one by one. A detection and a labelled instance belong together
when their visible joints are similar enough (metrics.LEAST_SIMILARITY); detections in boxes to
ignore count neither way. Per part: recall, precision, PCK (body: 0.2 of the larger side of the
trunk's box; hand 0.1 and face 0.05 of the instance's), MPJPE relative to the root, after
Procrustes alignment (PA) and absolute, in the camera's frame, where the root is placed by the true
intrinsics. Errors are those of the visible joints of the instances that were found.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dope_model.benchmark.metrics import (
    Counts,
    inside_any,
    instance_size,
    joint_errors,
    keypoint_similarity,
    match_instances,
    mpjpe,
    pa_mpjpe,
)
from dope_model.benchmark.predictions import CachedFinder
from dope_model.benchmark.report import Row, markdown_table, require_plots, short_names
from dope_model.cache import cache_folder
from dope_model.camera.placement import place_root
from dope_model.datasets.labels import LabelSet, PartLabels, Sample, Visibility
from dope_model.detector import DEFAULT_MODEL
from dope_model.network.config import MODE_NAMES
from dope_model.poses import PartDetections
from dope_model.runtime import ENGINES
from dope_model.skeleton import BODY, PARTS

FIXED_IMAGES = 1000
FIXED_SEED = 2020
CACHE_VARIABLE = "DOPE_BENCHMARKS_DIR"

PCK_SHARE = {"body": 0.2, "hand": 0.1, "face": 0.05}
SIZE_LIMITS = {"body": (96, 224), "hand": (24, 56), "face": (24, 64)}
"""px: instances up to the first are small, up to the second medium, others large."""


@dataclass
class InstanceResult:
    """How one labelled instance was found; errors are NaN where it was missed. m and px.

    Attributes:
        visible_share: of all joints.
        hidden_share: of all joints, those behind other people or things.
        truncated: a joint is outside the frame.
        mpjpe, pa_mpjpe, absolute: mean errors of the visible joints relative to the root, after
            Procrustes alignment, and in the camera's frame.
        root_error: how far the root is off in the camera's frame.
        scale: what PCK's distances are shares of, px; NaN of a body whose trunk is not known.
        side_right: 1 where a hand's side is right.
        shares_2d: the visible joints' distances in the picture, as shares of the instance's scale;
            what PCK counts.
    """

    file: str
    part: str
    person: int
    size: float
    visible_share: float
    hidden_share: float
    truncated: bool
    found: bool
    scale: float = float("nan")
    similarity: float = float("nan")
    pck: float = float("nan")
    mpjpe: float = float("nan")
    pa_mpjpe: float = float("nan")
    absolute: float = float("nan")
    root_error: float = float("nan")
    side_right: float = float("nan")
    shares_2d: np.ndarray | None = None


@dataclass
class PartResult:
    """All of one part: the instances, and how many detections match nobody.

    `wrong` is NaN where some instances are not labelled: nobody knows which detections are wrong.
    """

    instances: list[InstanceResult]
    wrong: float


def judge(sample: Sample, detections: dict[str, PartDetections]) -> dict[str, PartResult]:
    """Compare the detections of one picture with its labels, part by part."""
    return {part: _judge_part(sample, part, detections.get(part)) for part in PARTS
            if part in sample.parts}  # fmt: skip


def _judge_part(sample: Sample, part: str, found: PartDetections | None) -> PartResult:
    labels = sample.parts[part]
    # Bodies may have a neck or not, here as there: what both have is compared.
    joints = labels.keypoints_2d.shape[1]
    if found is None:
        found = PartDetections.empty(part, joints)
    joints = min(joints, found.keypoints_2d.shape[1])
    found_2d = found.keypoints_2d[:, :joints]
    truth_2d = labels.keypoints_2d[:, :joints]
    valid = labels.valid_2d[:, :joints]
    # Data sets that do not tell label what can be seen.
    visible = (
        np.isin(labels.visibility[:, :joints], (Visibility.VISIBLE, Visibility.UNKNOWN)) & valid
    )
    sizes = [instance_size(truth_2d[t], valid[t]) for t in range(len(labels))]
    similarities = np.array(
        [
            [
                keypoint_similarity(pose, truth_2d[t], visible[t], sizes[t])
                for t in range(len(labels))
            ]
            for pose in found_2d
        ]
    ).reshape(len(found), len(labels))
    pairs = {t: d for d, t in match_instances(similarities, found.scores)}
    used = set(pairs.values())
    wrong = (
        sum(
            not inside_any(found_2d[d].mean(axis=0), labels.ignored)
            for d in range(len(found))
            if d not in used
        )
        if labels.complete
        else float("nan")
    )
    instances = []
    for t in range(len(labels)):
        states = labels.visibility[t, :joints]
        result = InstanceResult(
            sample.file, part, int(labels.person[t]), sizes[t], float(visible[t].mean()),
            float((states == Visibility.OCCLUDED_BY_OTHER).mean()),
            bool((states == Visibility.OUTSIDE_FRAME).any()), t in pairs,
            _pck_scale(part, truth_2d[t], valid[t], sizes[t]),
        )  # fmt: skip
        if t in pairs:
            _measure(result, sample, labels, t, found, pairs[t], visible[t])
            result.similarity = float(similarities[pairs[t], t])
            if labels.is_left is not None:
                result.side_right = float(found.is_left[pairs[t]] == labels.is_left[t])
        instances.append(result)
    return PartResult(instances, wrong)


def _pck_scale(part: str, truth_2d: np.ndarray, valid: np.ndarray, size: float) -> float:
    """What PCK's distances are shares of: a body's trunk, NaN unless it is known; else the size."""
    if part != "body":
        return size
    trunk = np.zeros(len(valid), bool)
    trunk[[BODY.index[f"{side}_{joint}"] for side in ("right", "left")
           for joint in ("hip", "shoulder")]] = True  # fmt: skip
    return instance_size(truth_2d, trunk) if valid[trunk].all() else float("nan")


def _measure(
    result: InstanceResult, sample: Sample, labels: PartLabels, t: int,
    found: PartDetections, d: int, visible: np.ndarray,
) -> None:  # fmt: skip
    """Fill in the errors of detection `d` against instance `t`; `visible` (J,) joints count."""
    joints = len(visible)
    truth_2d, truth_3d = labels.keypoints_2d[t, :joints], labels.keypoints_3d[t, :joints]
    pose_2d = found.keypoints_2d[d, :joints]
    pose_3d = found.skeleton.centred(found.keypoints_3d[d])[:joints]
    if np.isfinite(result.scale) and visible.any():
        result.shares_2d = joint_errors(pose_2d, truth_2d)[visible] / result.scale
        result.pck = float((result.shares_2d <= PCK_SHARE[result.part]).mean())
    visible = visible & labels.valid_3d[t, :joints]
    if not visible.any():
        return
    result.mpjpe = mpjpe(pose_3d, truth_3d, visible)
    result.pa_mpjpe = pa_mpjpe(pose_3d, truth_3d, visible)
    if sample.intrinsics is not None:
        root = place_root(pose_2d, pose_3d, sample.intrinsics, found.trusted[d, :joints])
        if root is not None:
            result.root_error = float(np.linalg.norm(root - labels.root[t]))
            result.absolute = mpjpe(pose_3d + root, truth_3d + labels.root[t], visible)


def summarise(instances: list[InstanceResult], wrong: float | None) -> dict[str, float]:
    """One row of the table; `wrong` is None where detections cannot be shared out."""
    found = [i for i in instances if i.found]
    counts = Counts(len(found), wrong or 0, len(instances) - len(found))

    def over(statistic, name: str) -> float:
        """A statistic of the values that are known."""
        values = np.array([getattr(i, name) for i in found], float)
        values = values[np.isfinite(values)]
        return float(statistic(values)) if len(values) else float("nan")

    return {
        "instances": len(instances),
        "recall": counts.recall,
        "precision": counts.precision if wrong is not None else np.nan,
        "PCK": over(np.mean, "pck"),
        "MPJPE mm": 1e3 * over(np.mean, "mpjpe"),
        "median mm": 1e3 * over(np.median, "mpjpe"),
        "PA mm": 1e3 * over(np.mean, "pa_mpjpe"),
        "PA median mm": 1e3 * over(np.median, "pa_mpjpe"),
        "absolute median mm": 1e3 * over(np.median, "absolute"),
        "root m": over(np.median, "root_error"),
        "side": over(np.mean, "side_right"),
    }


def groups_of(part: str, instances: list[InstanceResult]) -> dict[str, list[InstanceResult]]:
    """Instances by size, by how much is visible, by what others hide, and by truncation."""
    small, medium = SIZE_LIMITS[part]
    tests = {
        f"up to {small} px": lambda i: i.size <= small,
        f"{small} to {medium} px": lambda i: small < i.size <= medium,
        f"over {medium} px": lambda i: i.size > medium,
        "90 % visible": lambda i: i.visible_share >= 0.9,
        "50 to 90 % visible": lambda i: 0.5 <= i.visible_share < 0.9,
        "under 50 % visible": lambda i: i.visible_share < 0.5,
        "nothing behind others": lambda i: i.hidden_share == 0,
        "up to 30 % behind others": lambda i: 0 < i.hidden_share <= 0.3,
        "over 30 % behind others": lambda i: i.hidden_share > 0.3,
        "whole in the frame": lambda i: not i.truncated,
        "cut by the frame": lambda i: i.truncated,
    }
    return {name: [i for i in instances if test(i)] for name, test in tests.items()}


def table_rows(results: dict[str, dict[str, PartResult]]) -> list[Row]:
    """One row per part, group and model; the group of all instances of a part is "all".

    Args:
        results: by model, then by part.
    """
    rows: list[Row] = []
    for part in PARTS:
        models = {name: parts[part] for name, parts in results.items() if part in parts}
        for name, result in models.items():
            start = {"part": part, "group": "all", "model": name}
            rows.append({**start, **summarise(result.instances, result.wrong)})
        groups = {name: groups_of(part, result.instances) for name, result in models.items()}
        for group in next(iter(groups.values()), {}):
            for name, of_model in groups.items():
                if of_model[group]:
                    start = {"part": part, "group": group, "model": name}
                    rows.append({**start, **summarise(of_model[group], None)})
    return rows


def table(results: dict[str, PartResult]) -> str:
    """All parts and groups of one model as a Markdown table."""
    rows = table_rows({"": results})
    return markdown_table([{k: v for k, v in row.items() if k != "model"} for row in rows])


def fixed_set(count: int = FIXED_IMAGES, workers: int = 1) -> Path:
    """The folder of the fixed set, in which the first `count` pictures are rendered if they are
    not there yet.

    Raises:
        FileNotFoundError: they are not there and cannot be rendered here; says what to do.
    """
    from dope_model.rendering import RENDERING_VERSION
    from dope_model.rendering.assets import MissingAssetError, require_packages

    cache = cache_folder("benchmarks", CACHE_VARIABLE)
    folder = cache / f"rendered-{FIXED_SEED}-v{RENDERING_VERSION}"
    labels = folder / "labels.npz"
    if labels.is_file() and len(LabelSet.load(labels)) >= count:
        return folder
    try:
        require_packages()
        from dope_model.rendering.generate import RenderSettings, render_images

        images = render_images(folder, count, RenderSettings(FIXED_SEED), workers)
        for _ in tqdm(images, desc=f"rendering into {folder}", unit="picture", total=count):
            pass
    except (ImportError, MissingAssetError) as error:
        raise FileNotFoundError(
            f"the fixed set is not in {folder} and cannot be rendered here: {error}\n"
            f"Then run this again. Or render it elsewhere, bring the folder, and name it:\n"
            f"python -m dope_model render --out DIR --images {count} --people 1-4 "
            f"--seed {FIXED_SEED}\n"
            "python -m dope_model benchmark rendered DIR --model ... --out REPORT"
        ) from error
    return folder


def judge_model(finder: CachedFinder, folder: Path, samples: list[Sample]) -> dict[str, PartResult]:
    """A model on the pictures of `samples`, files relative to `folder`; results by part."""
    totals = {part: PartResult([], 0) for part in PARTS}
    for sample in tqdm(samples, desc=finder.description, unit="picture"):
        detections = finder.find_parts(folder / sample.file)
        for part, result in judge(sample, detections).items():
            totals[part].instances += result.instances
            totals[part].wrong += result.wrong
    return {part: result for part, result in totals.items() if result.instances or result.wrong}


def run_benchmark(
    folder: Path,
    models: list[str],
    out: Path,
    limit: int | None = None,
    device: str = "auto",
    plots: bool = True,
    engine: str = "auto",
    mode: str = "realtime",
) -> str:
    """Judge models on a rendered folder and write the report (`rendered_report.py`) into `out`.

    Args:
        folder: what `render` wrote, or other pictures with a labels.npz.
        models, device, engine, mode: as for `WholeBodyDetector.load`.
        limit: only the first so many pictures.
        plots: draw plots, which needs matplotlib.

    Returns:
        The Markdown table of all instances, by part and model.

    Raises:
        FileNotFoundError: the folder has no labels, or there is no such weights file.
        ImportError: something that a model or the plots need is missing.
    """
    from dope_model.benchmark.rendered_report import write_report

    if plots:
        require_plots()
    labels = folder / "labels.npz"
    samples = LabelSet.load(labels).samples[:limit]
    if not samples:
        raise ValueError(f"{labels} holds no pictures")
    finders = {
        name: CachedFinder(out / "predictions", model, device, mode, engine)
        for name, model in short_names(models).items()
    }
    results = {name: judge_model(finder, folder, samples) for name, finder in finders.items()}
    write_report(out, folder, samples, finders, results, plots)
    return markdown_table([row for row in table_rows(results) if row["group"] == "all"])


def add_rendered(subparsers: argparse._SubParsersAction) -> None:
    """Add the protocol to a parser."""
    parser = subparsers.add_parser(
        "rendered", help="people rendered with exact truth", description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "folder", type=Path, nargs="?",
        help="what `render` wrote, or pictures with their labels.npz; without it the fixed set of "
        f"{FIXED_IMAGES} pictures (${CACHE_VARIABLE} names another folder for it)",
    )  # fmt: skip
    parser.add_argument(
        "--model", action="append",
        help=f"as for `detect`; several are judged side by side; {DEFAULT_MODEL} when left out",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--engine", default="auto", choices=list(ENGINES),
        help="torch suits pictures of many sizes: the others make a graph for each",
    )  # fmt: skip
    parser.add_argument("--mode", default="realtime", choices=list(MODE_NAMES))
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    parser.add_argument("--limit", type=_positive, help="the first so many pictures only")
    parser.add_argument("--workers", type=_positive, default=1,
                        help="processes that render the fixed set")  # fmt: skip
    parser.add_argument("--no-plots", action="store_true", help="do without matplotlib")
    parser.set_defaults(run=_run)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    plots = not options.no_plots
    if plots:
        require_plots()
    folder = options.folder or fixed_set(options.limit or FIXED_IMAGES, options.workers)
    models = options.model or [DEFAULT_MODEL]
    print(
        run_benchmark(
            folder,
            models,
            options.out,
            options.limit,
            options.device,
            plots,
            options.engine,
            options.mode,
        )
    )
    print(f"report: {options.out / 'report.md'}")
    return 0
