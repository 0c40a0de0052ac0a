"""Fits the curves that turn scores into probabilities, see `dope_model.postprocess.scores`.

A detection of a body is right if its object keypoint similarity to a labelled person is 0.5 or
more, a hand or a face if its joints are off by less than `MAX_ERROR` of its size on average. Half
of the pictures with people and a fifth of those without are held out for the evaluation
(`held_out`); the final curves are fitted on all. Every set of pictures with people has the same
weight, whatever its size, and the pictures without people as much as all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from tqdm import tqdm

from dope_model.boxes import box_ious
from dope_model.checkpoint import Checkpoint
from dope_model.datasets.coco import read_coco_folder
from dope_model.datasets.labels import LabelSet, PartLabels, Sample
from dope_model.datasets.training_sets import coco_sample, lsp_labels
from dope_model.datasets.unlabelled import for_validation, labels_of_nobody, name_number
from dope_model.datasets.videos import read_labelled
from dope_model.network.config import mode_named
from dope_model.poses import TRUSTED, PartDetections, boxes_around, inside_image
from dope_model.postprocess.candidates import Candidates
from dope_model.postprocess.fusion import scores_of_owners
from dope_model.postprocess.integration import integrate
from dope_model.postprocess.scores import FEATURES, ScoreCurves, features, log_odds
from dope_model.skeleton import BODY14

if TYPE_CHECKING:
    from dope_model.training.data import Source

MAX_ERROR = {"hand": 0.15, "face": 0.1}
"""Largest mean error of a right hand or face, as a share of the longer side of its labels' box."""
LEAST_OKS = 0.5
PRECISION = 0.9
"""Precision at the default threshold."""
LEAST_THRESHOLD = 0.4
"""Lowest default threshold: if nearly all detections are right, lower scores are unreliable."""
# A person's area, estimated from keypoints: these shares of their box, or of the square of its
# longer side, whichever is larger; medians of COCO's people. Few joints span little of a person.
_BOX_SHARE, _SQUARE_SHARE, _FEW_SHARE, _FEW = 0.8, 0.4, 0.9, 8
# COCO's constants; the head has that of the shoulders, as data sets define it differently.
_SIGMAS = {
    "ankle": 0.089, "knee": 0.087, "hip": 0.107, "wrist": 0.062, "elbow": 0.072, "shoulder": 0.079,
    "head": 0.079, "neck": 0.079,
}  # fmt: skip
_JOINT_SIGMAS = np.array([_SIGMAS[name.rpartition("_")[2]] for name in BODY14.joints])
_IGNORED_SHARE = 0.5
# A detection with this IoU belongs to an instance, even if other instances are not labelled.
_ABOUT = 0.3
# Strength of the weights' regularisation, as a share of a detection's weight.
_RIDGE = 0.5
# Total weight of a set's pictures, in detections of weight 1.
_WORTH = 100.0

Example = tuple[Path, Sample]
Seen = tuple[dict[str, Candidates], tuple[int, int], Sample]
"""Candidates, height and width, and labels of a picture."""


@dataclass
class Observations:
    """Observed detections of one part, one row each.

    Attributes:
        values: (N, F) `features`; right: (N,) bool.
        peaks: (N, J) of joints' heat maps; joint_right: (N, J) bool; joint_known: (N, J) bool.
        held_out: (N,) bool, from a picture that is not used for fitting.
        worth: (N,) weight of each row.
    """

    values: np.ndarray
    right: np.ndarray
    peaks: np.ndarray
    joint_right: np.ndarray
    joint_known: np.ndarray
    held_out: np.ndarray
    worth: np.ndarray

    def of(self, which: np.ndarray) -> Observations:
        """Some of the rows."""
        return Observations(*(array[which] for array in vars(self).values()))


def with_fitted_scores(
    checkpoint: Checkpoint, sets: Sequence[Sequence[Example]], device: str
) -> tuple[Checkpoint, list[dict]]:
    """A checkpoint whose scores are probabilities, and rows that say how good a fit is on pictures
    that were held out of it.

    Args:
        sets: of pictures and their labels; of a picture without people, parts without instances.
    """
    from dope_model.runtime import load_engine

    engine = load_engine("eager", checkpoint, mode_named("auto", checkpoint.mode), device)
    seen: list[list[Seen]] = []
    with tqdm(unit="picture", total=sum(map(len, sets))) as progress:
        for examples in sets:
            seen.append([])
            for path, sample in examples:
                rgb = read_labelled(path)
                seen[-1].append((engine(rgb), rgb.shape[:2], sample))
                progress.update()
    curves, rows = fit_to_candidates(checkpoint, seen)
    return replace(checkpoint, curves=curves), rows


def examples_of(kind: str, where: Path | Source, limit: int | None = None) -> list[Example]:
    """Pictures and their labels, at most `limit`, a fair sample: those of the lowest hashes.

    Args:
        kind: of the folder `where`: "coco" (keypoints in COCO's format), "lsp" (Leeds Sports
            Pose), "nobody"; or "labels", of a source. Bodies are used only if their labels are
            exact: those of experts lack whom the experts missed.
    """
    if kind == "coco":
        found = [(p.path, coco_sample(p, p.path.name)) for p in read_coco_folder(where)[1]]
    elif kind == "lsp":
        found = [(where / one.sample.file, one.sample) for one in lsp_labels(where)]
    elif kind == "nobody":
        found = [(where / s.file, s) for s in labels_of_nobody(where, with_validation=True)]
    else:
        samples = LabelSet.load(where.labels).samples
        if any((s.parts["body"].score < 1).any() for s in samples if "body" in s.parts):
            samples = [sample.having(("hand", "face")) for sample in samples]
        found = [(where.images / sample.file, sample) for sample in samples]
    return sorted(found, key=lambda example: name_number(example[0].name))[:limit]


def fit_to_candidates(
    checkpoint: Checkpoint, sets: Sequence[Sequence[Seen]]
) -> tuple[dict[str, ScoreCurves], list[dict]]:
    """Curves by part, and rows as of `with_fitted_scores`, from an engine's results for the
    pictures of each set."""
    pictures = [
        ({part: integrate(own, checkpoint.integration[part]) for part, own in found.items()},
         shape, sample, number)
        for number, seen in enumerate(sets)
        for found, shape, sample in seen
    ]  # fmt: skip
    curves: dict[str, ScoreCurves] = {}
    rows = []
    # Bodies first: the other parts' scores depend on theirs.
    for part in sorted(checkpoint.config.parts, key=lambda part: part != "body"):
        observed = _observe(part, pictures, curves.get("body"))
        if not len(observed.right) or observed.right[~observed.held_out].all():
            raise ValueError(
                f"scores of {part}: pictures are needed where the network is right and where it is "
                f"wrong; there are {observed.right.sum()} and {(~observed.right).sum()} detections"
            )
        halved = fit_curves(observed.of(~observed.held_out))
        rows.append({"part": part, **held_out_quality(halved, observed.of(observed.held_out))})
        curves[part] = fit_curves(observed)
    return curves, rows


def held_out(sample: Sample) -> bool:
    """Whether a picture is held out from fitting, by the hash of its file's name."""
    if _is_empty(sample):
        return for_validation(sample.file)
    return name_number(sample.file) // 256 % 2 == 0


def _kind(sample: Sample, number: int) -> tuple[bool, int]:
    return held_out(sample), -1 if _is_empty(sample) else number


def _is_empty(sample: Sample) -> bool:
    return not any(len(part) or len(part.ignored) for part in sample.parts.values())


def fit_curves(observed: Observations) -> ScoreCurves:
    """The curves of one part, with the lowest threshold at which precision is `PRECISION`."""
    weights, bias = fit_logistic(observed.values, observed.right, observed.worth)
    curves = ScoreCurves(dict(zip(FEATURES, weights, strict=True)), bias)
    scores = curves.scores(observed.values)
    known = observed.joint_known
    joints = np.stack(
        [log_odds(observed.peaks)[known], np.repeat(log_odds(scores), known.sum(axis=1))], axis=1
    )
    joint_worth = np.repeat(observed.worth, known.sum(axis=1))
    joint_weights, joint_bias = fit_logistic(joints, observed.joint_right[known], joint_worth)
    return ScoreCurves(
        curves.weights, bias, tuple(joint_weights), joint_bias,
        precise_from(scores, observed.right, observed.worth),
    )  # fmt: skip


def fit_logistic(
    values: np.ndarray, right: np.ndarray, worth: np.ndarray
) -> tuple[list[float], float]:
    """Weights (F,), none negative, and bias of a logistic regression.

    Args:
        values: (N, F); right: (N,) bool; worth: (N,) weights.
    """
    mean, spread = values.mean(axis=0), values.std(axis=0) + 1e-6
    x = (values - mean) / spread
    signs = np.where(right, 1, -1)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = parameters[:-1], parameters[-1]
        margin = signs * (x @ weights + bias)
        slope = -worth * signs / (1 + np.exp(np.minimum(margin, 500)))
        value = worth @ np.logaddexp(0, -margin) + _RIDGE / 2 * weights @ weights
        return value, np.append(slope @ x + _RIDGE * weights, slope.sum())

    count = values.shape[1]
    bounds = [(0, None)] * count + [(None, None)]
    fitted = minimize(loss, np.zeros(count + 1), jac=True, bounds=bounds, method="L-BFGS-B").x
    weights = fitted[:-1] / spread
    bias = fitted[-1] - weights @ mean
    return [float(f"{w:.5g}") for w in weights], float(f"{bias:.5g}")


def precise_from(scores: np.ndarray, right: np.ndarray, worth: np.ndarray) -> float:
    """The lowest threshold at which detections have `PRECISION`, at least `LEAST_THRESHOLD`.

    The precision counts within its standard error, because there are few detections.

    Args:
        scores: (N,); right: (N,) bool; worth: (N,) weights.
    """
    order = np.argsort(-scores, kind="stable")
    precision = np.cumsum((right * worth)[order]) / np.cumsum(worth[order])
    error = np.sqrt(PRECISION * (1 - PRECISION) / np.arange(1, len(order) + 1))
    enough = np.nonzero(precision >= PRECISION - error)[0]
    least = scores[order[enough[-1]]] if len(enough) else scores.max(initial=PRECISION)
    return max(round(float(least), 3), LEAST_THRESHOLD)


def calibration_error(
    scores: np.ndarray, right: np.ndarray, worth: np.ndarray | None = None
) -> float:
    """Expected calibration error: |share that is right - mean score|, averaged over equal bins of
    scores (Guo et al., "On calibration of modern neural networks", ICML 2017).

    Args:
        scores: (N,) 0 to 1; right: (N,) bool; worth: (N,) weights; None: 1.
    """
    bins = 10
    worth = np.ones(len(scores)) if worth is None else worth
    number = np.minimum((scores * bins).astype(int), bins - 1)
    gaps = np.bincount(number, worth * (right - scores), minlength=bins)
    return float(np.abs(gaps).sum() / worth.sum()) if len(scores) else float("nan")


def held_out_quality(curves: ScoreCurves, observed: Observations) -> dict[str, float]:
    """The quality of curves on detections that were not used for fitting."""
    scores, right = curves.scores(observed.values), observed.right
    kept, worth = scores >= curves.min_score, observed.worth
    known = observed.joint_known
    confidence = curves.confidence(observed.peaks, scores)[known]
    joint_worth = np.repeat(worth, known.sum(axis=1))
    joint_right = observed.joint_right[known]
    trusted = confidence >= TRUSTED
    return {
        "threshold": curves.min_score,
        "precision": _share(right, kept, worth),
        "kept of right": _share(kept, right, worth),
        "calibration error": calibration_error(scores, right, worth),
        "trusted joints right": _share(joint_right, trusted, joint_worth),
        "joints' calibration error": calibration_error(confidence, joint_right, joint_worth),
        "detections": len(right),
    }


def _share(of: np.ndarray, among: np.ndarray, worth: np.ndarray) -> float:
    total = worth[among].sum()
    return float(worth[of & among].sum() / total) if total else float("nan")


def _observe(part: str, pictures: list, body_curves: ScoreCurves | None) -> Observations:
    rows = []
    # Pictures of each set in each half; those without people are one set, and count as all others.
    kinds = Counter(
        _kind(sample, number) for _, _, sample, number in pictures if part in sample.parts
    )
    people = Counter(half for half, number in kinds if number >= 0)
    for found, shape, sample, number in pictures:
        if part not in found or part not in sample.parts:
            continue
        own, labels = found[part], sample.parts[part]
        if body_curves is not None and "body" in found:
            bodies = found["body"]
            told = body_curves.scores(features(bodies, np.zeros(len(bodies))))
            scored = PartDetections(
                "body", told, bodies.keypoints_2d, bodies.keypoints_3d, None, bodies.confidence
            )
            body_scores = scores_of_owners({**found, "body": scored})[part]
        else:
            body_scores = np.zeros(len(own))
        known, right, joint_known, joint_right = verdicts(own, labels)
        joint_known &= inside_image(own.keypoints_2d, shape)
        values = features(own, body_scores)
        kind = _kind(sample, number)
        worth = _WORTH / kinds[kind] * (people[kind[0]] if kind[1] < 0 else 1)
        rows.append(Observations(
            values[known], right[known], own.confidence[known], joint_right[known],
            joint_known[known], np.full(known.sum(), kind[0]), np.full(known.sum(), worth),
        ))  # fmt: skip
    if not rows:
        raise ValueError(f"scores of {part}: no picture has labels of it")
    columns = zip(*(vars(row).values() for row in rows), strict=True)
    return Observations(*map(np.concatenate, columns))


def verdicts(
    found: PartDetections, labels: PartLabels
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Which of N detections are evaluated (N,) and right (N,), and the same for their joints
    (N, J), all bool. Best detections take instances first; a second one of an instance is wrong."""
    count, joints = found.keypoints_2d.shape[:2]
    right, known = np.zeros(count, bool), np.ones(count, bool)
    joint_right, joint_known = np.zeros((count, joints), bool), np.zeros((count, joints), bool)
    labelled = [i for i in range(len(labels)) if labels.valid_2d[i].any()]
    truth = labels.keypoints_2d[labelled][:, :joints]
    valid = labels.valid_2d[labelled][:, :joints]
    boxes = np.array([boxes_around(t[v]) for t, v in zip(truth, valid, strict=True)]).reshape(-1, 4)
    about = box_ious(found.boxes, boxes) if len(boxes) else np.zeros((count, 0))
    taken = set()
    for i in np.argsort(-found.scores, kind="stable"):
        alike = [_similarity(found.part, found.keypoints_2d[i], *one)
                 for one in zip(truth, valid, boxes, strict=True)]  # fmt: skip
        values = np.array([-1.0 if t in taken else a[0] for t, a in enumerate(alike)])
        if found.is_left is not None and len(values):
            values[labels.is_left[labelled] != found.is_left[i]] = -1
        best = int(values.argmax()) if len(values) else -1
        if best >= 0 and values[best] >= 1:
            taken.add(best)
            right[i] = True
        else:
            overlap = about[i].max(initial=0)
            known[i] = overlap >= _ABOUT or (
                labels.complete and not _ignored(found.boxes[i], labels)
            )
            best = int(about[i].argmax()) if overlap >= _ABOUT else -1
        if best >= 0:
            joint_right[i], joint_known[i] = alike[best][1], valid[best]
        else:
            joint_known[i] = True
    return known, right, joint_known, joint_right


def _similarity(
    part: str, pose: np.ndarray, truth: np.ndarray, valid: np.ndarray, box: np.ndarray
) -> tuple[float, np.ndarray]:
    """The quality of a pose (J, 2), 1 or more if right; and which joints are right (J,) bool."""
    width, height = np.maximum(box[2:] - box[:2], 1)
    distance = np.linalg.norm(pose - truth, axis=1)
    if part != "body":
        error = distance / max(width, height)
        limit = MAX_ERROR[part]
        return limit / max(error[valid].mean(), 1e-9), error <= limit
    square = max(width, height) ** 2 * (_FEW_SHARE if valid.sum() < _FEW else _SQUARE_SHARE)
    area = max(_BOX_SHARE * width * height, square)
    spread = 2 * _JOINT_SIGMAS[: len(pose)] * np.sqrt(area)
    oks = np.exp(-0.5 * (distance / spread) ** 2)
    return float(oks[valid].mean()) / LEAST_OKS, oks >= LEAST_OKS


def _ignored(box: np.ndarray, labels: PartLabels) -> bool:
    """Whether half of a box (4,) lies in an ignored one."""
    corners = labels.ignored
    width = np.minimum(box[2], corners[:, 2]) - np.maximum(box[0], corners[:, 0])
    height = np.minimum(box[3], corners[:, 3]) - np.maximum(box[1], corners[:, 1])
    common = np.maximum(width, 0) * np.maximum(height, 0)
    area = max(float(np.prod(box[2:] - box[:2])), 1e-6)
    return bool((common > _IGNORED_SHARE * area).any())
