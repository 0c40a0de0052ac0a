"""Pictures with labels of all parts in 2D and 3D, such as rendered people, whose truth is exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dope_model.benchmark.metrics import (
    LEAST_SIMILARITY,
    inside_any,
    instance_size,
    joint_errors,
    keypoint_similarity,
    match_instances,
    mpjpe,
    pa_mpjpe,
)
from dope_model.benchmark.protocols.pck import share
from dope_model.benchmark.protocols.protocol import Curve, Found, Outcome, Picture, Protocol
from dope_model.camera.placement import place_root
from dope_model.datasets.labels import LabelSet, PartLabels, Sample, Visibility
from dope_model.poses import PartDetections
from dope_model.skeleton import BODY, PARTS

LABELS_FILE = "labels.npz"
PCK_SHARE = {"body": 0.2, "hand": 0.1, "face": 0.05}
SIZE_LIMITS = {"body": (96, 224), "hand": (24, 56), "face": (24, 64)}
"""px: instances up to the first are small, up to the second medium, others large."""
_CURVE_END = {"body": 0.25, "hand": 0.04, "face": 0.02}
"""m: where the curves of 3D errors end."""
_HEADLINE = ("recall", "precision", "PCK", "PA mm")
"""Of `statistics`: the columns that the main table has of each part."""


@dataclass
class InstanceResult:
    """How one labelled instance was found; errors are NaN where it was missed. m and px.

    Attributes:
        visible_share: of all joints.
        hidden_share: of all joints, those behind other people or things.
        truncated: a joint is outside the frame.
        scale: what PCK's distances are shares of, px; NaN of a body whose trunk is not known.
        mpjpe, pa_mpjpe, absolute: mean errors of the visible joints relative to the root, after
            Procrustes alignment, and in the camera's frame.
        root_error: how far the root is off in the camera's frame.
        side_right: 1 where a hand's side is right.
        shares_2d: the visible joints' distances in the picture, as shares of the instance's scale;
            what PCK counts.
    """

    part: str
    person: int
    size: float
    visible_share: float
    hidden_share: float
    truncated: bool
    found: bool
    scale: float = float("nan")
    pck: float = float("nan")
    mpjpe: float = float("nan")
    pa_mpjpe: float = float("nan")
    absolute: float = float("nan")
    root_error: float = float("nan")
    side_right: float = float("nan")
    shares_2d: np.ndarray | None = None

    @property
    def error(self) -> float:
        """From 0 to 1: a large body in sight that was missed, or one that is far off in 3D."""
        if not self.found:
            return self.visible_share * min(self.size / 200, 1.0)
        return min(np.nan_to_num(self.pa_mpjpe) / _CURVE_END[self.part], 1.0)


@dataclass
class PartResult:
    """All of one part: the instances, and how many detections match nobody.

    `wrong` is NaN where some instances are not labelled: nobody knows which detections are wrong.
    """

    instances: list[InstanceResult] = field(default_factory=list)
    wrong: float = 0


class Rendered(Protocol):
    """Bodies, hands and faces in 2D and 3D, on rendered people or other labelled pictures.

    --data is a folder that `render` wrote, or any pictures with their labels.npz. The pictures of
    the published tables:

        python -m dope_model render --out DIR --images 1000 --people 1-4 --seed 2020
    """

    name = "rendered"
    title = "Rendered people: bodies, hands and faces in 2D and 3D"
    notes = f"""
Bodies, hands and faces are evaluated one by one. A detection and a labelled instance belong
together when their visible joints are similar enough (a keypoint similarity of {LEAST_SIMILARITY});
detections in boxes to ignore count neither way. PCK: share of joints within 0.2 of the larger side
of the trunk's box (bodies), within 0.1 (hands) or 0.05 (faces) of the instance's. MPJPE is relative
to the root, PA after Procrustes alignment, `absolute` in the camera's frame, where the root is
placed by the true intrinsics. PCK and errors are those of the visible joints of the instances that
were found. Precision is known of all instances of a part, not of groups of them.
"""

    def load(self, options) -> list[Picture]:
        """The pictures of a labels file, those without people too."""
        samples = LabelSet.load(options.data / LABELS_FILE).samples
        return [_picture(options.data, sample) for sample in samples]

    def evaluate(self, picture: Picture, found: Found) -> dict[str, PartResult]:
        """Compare what was found in a picture with its labels, of the parts that the model has."""
        return evaluate(picture.truth.having(found), found)

    def summarise(
        self, pictures: Sequence[Picture], evaluations: Sequence[dict[str, PartResult]]
    ) -> Outcome:
        """All parts, and each in groups of instances by size, visibility and truncation."""
        summary: dict[str, float] = {}
        outcome = Outcome(summary)
        for part, result in merged(evaluations).items():
            everything = statistics(result.instances, result.wrong)
            summary.update({f"{part} {name}": everything[name] for name in _HEADLINE})
            outcome.rows[part] = [{"group": "all", **everything}]
            outcome.rows[part] += [
                {"group": name, **statistics(group, None)}
                for name, group in groups_of(part, result.instances).items()
                if group
            ]
            outcome.curves.update(_curves(part, result.instances))
        outcome.picture_errors = np.array([
            max((i.error for i in j["body"].instances), default=np.nan) if "body" in j else np.nan
            for j in evaluations
        ])  # fmt: skip
        return outcome


def _picture(folder: Path, sample: Sample) -> Picture:
    marks = [
        labels.keypoints_2d[labels.valid_2d & (labels.visibility != Visibility.OUTSIDE_FRAME)]
        for labels in sample.parts.values()
    ]
    return Picture(
        sample.file, folder / sample.file, sample, marks=np.concatenate([*marks, np.zeros((0, 2))])
    )


def _curves(part: str, instances: list[InstanceResult]) -> dict[str, Curve]:
    shares = np.linspace(0, 2 * PCK_SHARE[part], 61)
    limits = np.linspace(0, _CURVE_END[part], 61)
    unit = "side of the trunk's box" if part == "body" else f"size of the {part}"
    return {
        f"{part}: visible joints within a distance": Curve(
            shares, pck_curve(instances, shares), f"distance, as a share of the {unit}", "PCK"
        ),
        f"{part}: found with a smaller error in 3D": Curve(
            1e3 * limits, recall_curve(instances, limits), "PA-MPJPE, mm", "share of all instances"
        ),
    }


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


def merged(evaluations: Sequence[dict[str, PartResult]]) -> dict[str, PartResult]:
    """The results of many pictures as one, by part; parts with nothing to tell are left out."""
    totals = {part: PartResult() for part in PARTS}
    for evaluation in evaluations:
        for part, result in evaluation.items():
            totals[part].instances += result.instances
            totals[part].wrong += result.wrong
    return {part: result for part, result in totals.items() if result.instances or result.wrong}


def evaluate(sample: Sample, detections: Found) -> dict[str, PartResult]:
    """Compare the detections of one picture with its labels, part by part."""
    return {part: _evaluate_part(sample, part, detections.get(part)) for part in PARTS
            if part in sample.parts}  # fmt: skip


def _evaluate_part(sample: Sample, part: str, found: PartDetections | None) -> PartResult:
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
            part, int(labels.person[t]), sizes[t], float(visible[t].mean()),
            float((states == Visibility.OCCLUDED_BY_OTHER).mean()),
            bool((states == Visibility.OUTSIDE_FRAME).any()), t in pairs,
            _pck_scale(part, truth_2d[t], valid[t], sizes[t]),
        )  # fmt: skip
        if t in pairs:
            _measure(result, sample, labels, t, found, pairs[t], visible[t])
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


def statistics(instances: list[InstanceResult], wrong: float | None) -> dict[str, float]:
    """The columns of a table; `wrong` is None where detections cannot be shared out."""
    found = [i for i in instances if i.found]

    def over(statistic: Callable, name: str) -> float:
        """A statistic of the values that are known."""
        values = np.array([getattr(i, name) for i in found], float)
        values = values[np.isfinite(values)]
        return float(statistic(values)) if len(values) else float("nan")

    return {
        "instances": len(instances),
        "recall": share(len(found), len(instances)),
        "precision": np.nan if wrong is None else share(len(found), len(found) + wrong),
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
