"""The benchmark of rendered people, whose truth is exact:

    python -m dope_model render --out DIR --images 1000 --seed 2020
    python -m dope_model benchmark rendered DIR --model experts:fast --out REPORT

Bodies, hands and faces are judged one by one. A detection and a labelled instance belong together
when their visible joints are similar enough (metrics.LEAST_SIMILARITY); detections in boxes to
ignore count neither way. Reports: recall, precision, PCK (body: 0.2 of the larger side of the
trunk's box; hand 0.1 and face 0.05 of the instance's), MPJPE root-relative and aligned, and how far
the root is from the truth when it is placed by the true intrinsics.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
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
from dope_model.datasets.labels import LabelSet, PartLabels, Sample, Visibility
from dope_model.detector import DEFAULT_MODEL, WholeBodyDetector
from dope_model.pictures import read_rgb
from dope_model.placement import place_root
from dope_model.poses import PartDetections
from dope_model.skeleton import BODY, PARTS

PCK_SHARE = {"body": 0.2, "hand": 0.1, "face": 0.05}
SIZE_LIMITS = {"body": (96, 224), "hand": (24, 56), "face": (24, 64)}
"""px: instances up to the first are small, up to the second medium, others large."""


@dataclass
class InstanceResult:
    """How one labelled instance was found; errors are NaN where it was missed. m and px."""

    file: str
    part: str
    person: int
    size: float
    visible_share: float
    truncated: bool
    found: bool
    similarity: float = float("nan")
    pck: float = float("nan")
    mpjpe: float = float("nan")
    pa_mpjpe: float = float("nan")
    root_error: float = float("nan")
    side_right: float = float("nan")


@dataclass
class PartResult:
    """All of one part: the instances, and detections that match nobody."""

    instances: list[InstanceResult]
    wrong: int


def judge(sample: Sample, detections: dict[str, PartDetections]) -> dict[str, PartResult]:
    """Compare the detections of one picture with its labels, part by part."""
    return {part: _judge_part(sample, part, detections.get(part)) for part in PARTS
            if part in sample.parts}  # fmt: skip


def _judge_part(sample: Sample, part: str, found: PartDetections | None) -> PartResult:
    labels = sample.parts[part]
    joints = labels.keypoints_2d.shape[1]
    if found is None:
        found = PartDetections.empty(part, joints)
    if part == "body" and found.keypoints_2d.shape[1] > joints:
        found.keypoints_2d = found.keypoints_2d[:, : len(BODY)]
        found.keypoints_3d = found.keypoints_3d[:, : len(BODY)]
    visible = (labels.visibility == Visibility.VISIBLE) & labels.valid_2d
    sizes = [instance_size(labels.keypoints_2d[t], labels.valid_2d[t]) for t in range(len(labels))]
    similarities = np.array(
        [
            [
                keypoint_similarity(pose, labels.keypoints_2d[t], visible[t], sizes[t])
                for t in range(len(labels))
            ]
            for pose in found.keypoints_2d
        ]
    ).reshape(len(found), len(labels))
    pairs = {t: d for d, t in match_instances(similarities, found.scores)}
    used = set(pairs.values())
    wrong = sum(
        not inside_any(found.keypoints_2d[d].mean(axis=0), labels.ignored)
        for d in range(len(found))
        if d not in used
    )
    instances = []
    for t in range(len(labels)):
        outside = labels.visibility[t] == Visibility.OUTSIDE_FRAME
        result = InstanceResult(
            sample.file, part, int(labels.person[t]), sizes[t], float(visible[t].mean()),
            bool(outside.any()), t in pairs,
        )  # fmt: skip
        if t in pairs:
            _measure(result, sample, labels, t, found, pairs[t], visible[t])
            result.similarity = float(similarities[pairs[t], t])
        instances.append(result)
    return PartResult(instances, wrong)


def _measure(result, sample, labels: PartLabels, t, found: PartDetections, d, visible) -> None:
    truth_2d, truth_3d = labels.keypoints_2d[t], labels.keypoints_3d[t]
    pose_2d, pose_3d = found.keypoints_2d[d], found.keypoints_3d[d]
    scale = result.size
    if result.part == "body":
        trunk = np.zeros(len(truth_2d), bool)
        trunk[[BODY.index[f"{side}_{joint}"] for side in ("right", "left")
               for joint in ("hip", "shoulder")]] = True  # fmt: skip
        scale = instance_size(truth_2d, trunk)
    near = joint_errors(pose_2d, truth_2d) <= PCK_SHARE[result.part] * scale
    result.pck = float(near[visible].mean())
    result.mpjpe = mpjpe(pose_3d, truth_3d, visible)
    result.pa_mpjpe = pa_mpjpe(pose_3d, truth_3d, visible)
    if sample.intrinsics is not None:
        root = place_root(pose_2d, pose_3d, sample.intrinsics, found.trusted[d])
        if root is not None:
            result.root_error = float(np.linalg.norm(root - labels.root[t]))
    if labels.is_left is not None:
        result.side_right = float(found.is_left[d] == labels.is_left[t])


def summarise(instances: list[InstanceResult], wrong: int | None) -> dict[str, float]:
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
        "root m": over(np.median, "root_error"),
        "side": over(np.mean, "side_right"),
    }


def groups_of(part: str, instances: list[InstanceResult]) -> dict[str, list[InstanceResult]]:
    """Instances by size, by how much of them is visible, and by truncation."""
    small, medium = SIZE_LIMITS[part]
    tests = {
        f"up to {small} px": lambda i: i.size <= small,
        f"{small} to {medium} px": lambda i: small < i.size <= medium,
        f"over {medium} px": lambda i: i.size > medium,
        "90 % visible": lambda i: i.visible_share >= 0.9,
        "50 to 90 % visible": lambda i: 0.5 <= i.visible_share < 0.9,
        "under 50 % visible": lambda i: i.visible_share < 0.5,
        "whole in the frame": lambda i: not i.truncated,
        "cut by the frame": lambda i: i.truncated,
    }
    return {name: [i for i in instances if test(i)] for name, test in tests.items()}


def table(results: dict[str, PartResult]) -> str:
    """All parts and groups as a Markdown table."""
    rows = []
    for part, result in results.items():
        rows.append((f"**{part}**", summarise(result.instances, result.wrong)))
        for name, group in groups_of(part, result.instances).items():
            if group:
                rows.append((f"{part}, {name}", summarise(group, None)))
    if not rows:
        return "nothing to judge"
    head = ["part", *rows[0][1]]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, row in rows:
        cells = [_number(key, value) for key, value in row.items()]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)


def _number(key: str, value: float) -> str:
    if not np.isfinite(value):
        return ""
    if key == "instances":
        return f"{value:.0f}"
    return f"{value:.1f}" if key.endswith("mm") else f"{value:.3f}"


def run_benchmark(folder: Path, model: str, out: Path, count: int | None, device: str) -> str:
    """Judge a model on a rendered folder and write table, CSV and the worst ten; the table.

    Raises:
        FileNotFoundError: the folder has no labels.
    """
    samples = LabelSet.load(folder / "labels.npz").samples[:count]
    detector = WholeBodyDetector.load(model, device)
    totals = {part: PartResult([], 0) for part in PARTS}
    for sample in tqdm(samples, unit="picture"):
        detections = detector.find_parts(read_rgb(folder / sample.file))
        for part, result in judge(sample, detections).items():
            totals[part].instances += result.instances
            totals[part].wrong += result.wrong
    out.mkdir(parents=True, exist_ok=True)
    text = table(totals)
    title = f"# {detector.description}\n\n{len(samples)} rendered pictures\n\n"
    (out / "table.md").write_text(title + text + "\n")
    everything = [i for result in totals.values() for i in result.instances]
    with (out / "instances.csv").open("w", newline="") as file:
        if everything:
            writer = csv.DictWriter(file, list(asdict(everything[0])))
            writer.writeheader()
            writer.writerows(asdict(i) for i in everything)
    _draw_worst(folder, samples, detector, totals, out)
    return text


def _draw_worst(folder, samples, detector, totals, out: Path, count: int = 10) -> None:
    """Pictures of the bodies that were missed though large and in sight, or are farthest off."""
    from dope_model.drawing import side_by_side

    bodies = totals["body"].instances
    badness = [
        i.pa_mpjpe if i.found and np.isfinite(i.pa_mpjpe) else i.visible_share * (i.size > 96)
        for i in bodies
    ]
    files = [bodies[k].file for k in np.argsort(badness)[::-1]]
    by_file = {sample.file: sample for sample in samples}
    for rank, file in enumerate(list(dict.fromkeys(files))[:count], 1):
        rgb = read_rgb(folder / by_file[file].file)
        picture = side_by_side(rgb, detector(rgb))
        cv2.imwrite(str(out / f"worst_{rank:02d}_{Path(file).stem}.png"), picture[..., ::-1])


def add_rendered(subparsers: argparse._SubParsersAction) -> None:
    """Add the protocol to a parser."""
    parser = subparsers.add_parser(
        "rendered", help="people rendered with exact truth", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("folder", type=Path, help="what `render` wrote")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="as for `detect`")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    parser.add_argument("--images", type=int, help="the first so many; all when left out")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    print(run_benchmark(options.folder, options.model, options.out, options.images, options.device))
    return 0
