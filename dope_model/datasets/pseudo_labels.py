"""Pseudo ground truth (section 3.2): what part experts find completes partial annotations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dope_model.boxes import box_iou
from dope_model.checkpoint import read_checkpoint
from dope_model.datasets.labels import LabelSet, PartLabels, Sample
from dope_model.datasets.teacher_labels import labels_from_detections
from dope_model.datasets.videos import read_labelled
from dope_model.detector import WholeBodyDetector
from dope_model.network.config import TRAINED
from dope_model.poses import PartDetections, boxes_around


@dataclass(frozen=True)
class Confidence:
    """How probable an expert's detection must be; scores are probabilities.

    Attributes:
        label: detections from this score on become labels. Wrong labels cost more than missing
            ones, which become regions to ignore.
        ignore: those between this score and `label` become regions to ignore: likely a person, but
            not a pose to learn.
    """

    label: float = 0.9
    ignore: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.ignore <= self.label <= 1:
            raise ValueError(
                "scores are probabilities: 0 <= ignore <= label <= 1 is needed, not ignore "
                f"{self.ignore}, label {self.label}"
            )


# A detection whose box overlaps an annotated instance's this much, both around the joints that are
# annotated, is that instance.
SAME_INSTANCE_IOU = 0.3


def check_calibrated(expert: Path) -> None:
    """Refuse weights whose scores are sums: the thresholds are probabilities.

    Raises:
        ValueError: nothing makes probabilities of their scores.
    """
    checkpoint = read_checkpoint(expert)
    if missing := set(checkpoint.config.parts) - set(checkpoint.curves):
        raise ValueError(
            f"{expert}: the scores of {', '.join(sorted(missing))} are no probabilities yet: run "
            f"python -m dope_model calibrate {expert} --data LABELS:IMAGES --nobody FOLDER"
        )


def complete_labels(
    labels: LabelSet,
    images: Path,
    experts: dict[str, Path],
    confidence: Confidence,
    device: str = "auto",
) -> LabelSet:
    """Labels whose missing parts and joints are completed by what experts find in the pictures.

    Args:
        images: the folder of the pictures.
        experts: weights files, by part.
    """
    finders = {
        part: WholeBodyDetector.load(str(path), device, TRAINED, "eager")
        for part, path in experts.items()
    }
    for finder in finders.values():
        finder.min_scores.clear()
    samples = []
    for sample in tqdm(labels, unit="picture"):
        missing = [part for part in finders if _lacks(sample, part)]
        found = {}
        if missing:
            rgb = read_labelled(images / sample.file)
            found = {part: finders[part].find_parts(rgb)[part] for part in missing}
        samples.append(complete_sample(sample, found, confidence))
    return LabelSet(samples, labels.about)


def _lacks(sample: Sample, part: str) -> bool:
    """Whether an instance may be missing, or a joint is."""
    own = sample.parts.get(part)
    return own is None or not own.complete or not (own.valid_2d & own.valid_3d).all()


def complete_sample(
    sample: Sample, found: dict[str, PartDetections], confidence: Confidence
) -> Sample:
    """A sample whose missing annotations are completed by experts' detections (equation 1).

    What is annotated stays. Joints that an annotated instance lacks, in 2D or in 3D, come from the
    expert's estimates of it; the masks `valid_2d` and `valid_3d` say which may be learned from.
    Further instances come in where not all are annotated.

    Args:
        found: the detections of experts in the sample's picture, by part.
    """
    parts = dict(sample.parts)
    for part, detections in found.items():
        given = parts.get(part)
        if given is None:
            joints = detections.keypoints_2d.shape[1]
            given = PartLabels.empty(part, joints, complete=False)
        parts[part] = _completed(given, detections, confidence, sample)
    return replace(sample, parts=parts)


def _completed(
    given: PartLabels, found: PartDetections, confidence: Confidence, sample: Sample
) -> PartLabels:
    sure = found.scores >= confidence.label
    overlap = _overlaps(given, found)
    filled = _with_missing_joints(given, found.select(sure), overlap[:, sure])
    if given.complete:
        return filled
    free = (overlap <= SAME_INSTANCE_IOU).all(axis=0)
    unsure = ~sure & (found.scores >= confidence.ignore)
    new = labels_from_detections(
        found.select(sure & free), found.boxes[unsure & free], sample.width, sample.height
    )
    return replace(filled.joined(new), complete=True)


def _overlaps(given: PartLabels, found: PartDetections) -> np.ndarray:
    """IoU (N, M) of N instances and M detections, of boxes around the joints that are annotated."""
    overlap = np.zeros((len(given), len(found)))
    for i, valid in enumerate(given.valid_2d):
        if valid.any():
            box = boxes_around(given.keypoints_2d[i : i + 1, valid])
            overlap[i] = box_iou(box, boxes_around(found.keypoints_2d[:, valid]))
    return overlap


def _with_missing_joints(
    given: PartLabels, found: PartDetections, overlap: np.ndarray
) -> PartLabels:
    """Labels whose invalid joints are the mean of the estimates of the same instance, weighted by
    their scores, where these vouch for the joint.

    Args:
        overlap: (N, M), see `_overlaps`.
    """
    filled = {
        name: getattr(given, name).copy()
        for name in ("keypoints_2d", "keypoints_3d", "valid_2d", "valid_3d")
    }
    estimates = {
        "2d": found.keypoints_2d, "3d": found.skeleton.centred(found.keypoints_3d)
    }  # fmt: skip
    for i in range(len(given)):
        own = (overlap[i] > SAME_INSTANCE_IOU) & (overlap[i] >= overlap.max(axis=0))
        if given.is_left is not None:
            own &= found.is_left == given.is_left[i]
        weights = found.scores[own, None] * found.trusted[own]  # (m, J)
        total = weights.sum(axis=0)
        for kind, values in estimates.items():
            new = (total > 0) & ~filled[f"valid_{kind}"][i]
            mean = (weights[..., None] * values[own]).sum(axis=0)[new] / total[new, None]
            filled[f"keypoints_{kind}"][i, new] = mean
            filled[f"valid_{kind}"][i, new] = True
    return replace(given, **filled)
