"""Pseudo ground truth (section 3.2): what part experts find completes partial annotations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dope_model.boxes import box_iou
from dope_model.datasets.labels import LabelSet, PartLabels, Sample
from dope_model.datasets.teacher_labels import labels_from_detections
from dope_model.detector import WholeBodyDetector
from dope_model.network.config import TRAINED
from dope_model.pictures import read_rgb
from dope_model.poses import PartDetections


@dataclass(frozen=True)
class Confidence:
    """How sure an expert must be.

    Attributes:
        label: detections from this score on become labels.
        ignore: those between this score and `label` become regions to ignore: likely a person, but
            not a pose to learn.
    """

    label: float = 0.6
    ignore: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.ignore <= self.label:
            raise ValueError(
                f"0 <= ignore <= label is needed, not ignore {self.ignore}, label {self.label}"
            )


# A detection that overlaps an annotated instance this much is that instance.
SAME_INSTANCE_IOU = 0.3


def complete_labels(
    labels: LabelSet,
    images: Path,
    experts: dict[str, Path],
    confidence: Confidence,
    device: str = "auto",
) -> LabelSet:
    """Labels whose missing parts are completed by what experts find in the pictures.

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
        missing = [p for p in finders if p not in sample.parts or not sample.parts[p].complete]
        found = {}
        if missing:
            rgb = read_rgb(images / sample.file)
            found = {part: finders[part].find_parts(rgb)[part] for part in missing}
        samples.append(complete_sample(sample, found, confidence))
    return LabelSet(samples, labels.about)


def complete_sample(
    sample: Sample, found: dict[str, PartDetections], confidence: Confidence
) -> Sample:
    """A sample whose missing annotations are completed by experts' detections.

    Parts that are annotated completely stay as they are, and so does every annotated instance.

    Args:
        found: the detections of experts in the sample's picture, by part.
    """
    parts = dict(sample.parts)
    for part, detections in found.items():
        given = parts.get(part)
        if given is None or not given.complete:
            parts[part] = _completed(given, detections, confidence, sample)
    return replace(sample, parts=parts)


def _completed(
    given: PartLabels | None, found: PartDetections, confidence: Confidence, sample: Sample
) -> PartLabels:
    scores = found.scores
    if given is not None and len(given):
        taken = box_iou(found.boxes[:, None], _boxes(given)[None]) > SAME_INSTANCE_IOU
        free = ~taken.any(axis=1)
        found, scores = found.select(free), scores[free]
    sure = scores >= confidence.label
    unsure = ~sure & (scores >= confidence.ignore)
    new = labels_from_detections(
        found.select(sure), found.boxes[unsure], sample.width, sample.height
    )
    new.score = np.minimum(scores[sure], 1)
    if given is None:
        return new
    return _joined(given, new)


def _joined(a: PartLabels, b: PartLabels) -> PartLabels:
    """The instances and regions of both, complete."""
    names = ["keypoints_2d", "keypoints_3d", "valid_2d", "valid_3d", "visibility", "person",
             "root", "score", "ignored"]  # fmt: skip
    if a.is_left is not None:
        names.append("is_left")
    both = {name: np.concatenate([getattr(a, name), getattr(b, name)]) for name in names}
    return replace(a, **both, complete=True)


def _boxes(labels: PartLabels) -> np.ndarray:
    """Tight boxes (N, 4) around the valid joints."""
    points = np.where(labels.valid_2d[..., None], labels.keypoints_2d, np.nan)
    points = np.where(labels.valid_2d.any(axis=1)[:, None, None], points, 0)
    return np.concatenate([np.nanmin(points, axis=1), np.nanmax(points, axis=1)], axis=1)
