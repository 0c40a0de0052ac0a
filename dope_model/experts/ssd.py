"""MediaPipe's single-shot detectors (faces, palms, bodies), decoded here.

The anchors, the decoding and the weighted non-maximum suppression follow MediaPipe's calculators
(SsdAnchorsCalculator, TensorsToDetectionsCalculator, NonMaxSuppressionCalculator).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dope_model.boxes import box_ious, keep_best
from dope_model.experts.models import mediapipe_model
from dope_model.experts.regions import Picture, Region, cut_by_tile, tiles
from dope_model.experts.tflite import TfliteModel, sigmoid


@dataclass
class SsdDetections:
    """`scores` (N,), `boxes` (N, 4) x0 y0 x1 y1 px and `points` (N, K, 2) px."""

    scores: np.ndarray
    boxes: np.ndarray
    points: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, which: np.ndarray) -> SsdDetections:
        return SsdDetections(self.scores[which], self.boxes[which], self.points[which])

    @classmethod
    def joined(cls, parts: list[SsdDetections]) -> SsdDetections:
        return cls(
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.points for part in parts]),
        )


def anchor_centres(resolution: int, layers: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Centres (N, 2) of the anchors in 0..1; `layers` lists (stride px, anchors per cell)."""
    centres = []
    for stride, per_cell in layers:
        cells = resolution // stride
        y, x = np.mgrid[:cells, :cells]
        grid = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells
        centres.append(np.repeat(grid, per_cell, axis=0))
    return np.concatenate(centres)


def non_maximum_suppression(scores: np.ndarray, boxes: np.ndarray, overlap: float) -> np.ndarray:
    """Indices of the boxes to keep, best first: none overlaps a better one by more."""
    order = np.argsort(-scores, kind="stable")
    ious = box_ious(boxes[order], boxes[order])
    return order[keep_best(len(order), lambda best, later: ious[best, later] <= overlap)]


def weighted_suppression(detections: SsdDetections, overlap: float) -> SsdDetections:
    """Groups of overlapping detections become one: their mean weighted with the scores.

    The best detection gathers all that overlap it by more than `overlap`, gives the group its
    score, and the search goes on among the others.
    """
    order = np.argsort(-detections.scores, kind="stable")
    ious = box_ious(detections.boxes, detections.boxes)
    groups = []
    while len(order):
        near = ious[order[0], order] > overlap
        near[0] = True
        groups.append(order[near])
        order = order[~near]
    scores, boxes, points = [], [], []
    for group in groups:
        weights = detections.scores[group] / detections.scores[group].sum()
        scores.append(detections.scores[group[0]])
        boxes.append(np.tensordot(weights, detections.boxes[group], axes=1))
        points.append(np.tensordot(weights, detections.points[group], axes=1))
    if not groups:
        return detections
    return SsdDetections(np.array(scores), np.array(boxes), np.array(points))


class SsdDetector:
    """One detector; called with a picture and a box in it.

    Args:
        model: the network.
        layers: (stride, anchors per cell) of its anchor layers.
        low: what the network expects for black, -1 or 0; it expects 1 for white.
    """

    def __init__(self, model: TfliteModel, layers: tuple[tuple[int, int], ...], low: float) -> None:
        self._model = model
        self._anchors = anchor_centres(model.resolution, layers)
        self._low = low

    def __call__(self, picture: Picture, box: np.ndarray, minimum_score: float) -> SsdDetections:
        """Detections in `box` (x0 y0 x1 y1 px, may leave the picture).

        The box is fitted into the network's square; what lies outside it is black.
        """
        region = Region.around(box)
        crop = picture.crop(region, self._model.resolution, visible=np.asarray(box))
        outputs = self._model(crop, low=self._low)
        values = next(output for output in outputs.values() if output.shape[-1] > 1)
        logits = next(output for output in outputs.values() if output.shape[-1] == 1)
        scores = sigmoid(logits[:, 0].astype(float))
        chosen = np.flatnonzero(scores > minimum_score)
        centres = self._anchors[chosen]
        shape = (len(chosen), values.shape[1] // 2, 2)
        pairs = values[chosen].reshape(shape).astype(float) / self._model.resolution
        middle, half = pairs[:, 0] + centres, pairs[:, 1] / 2
        boxes = np.stack([middle - half, middle + half], axis=1)
        detections = SsdDetections(
            scores[chosen],
            region.to_image(boxes).reshape(-1, 4),
            region.to_image(pairs[:, 2:] + centres[:, None]),
        )
        return weighted_suppression(detections, 0.3)

    def on_tiles(self, picture: Picture, divisions: Sequence[int]) -> SsdDetections:
        """Detections in `tiles` of 1/1, 1/2, ... of the picture, each once; those that an inner
        border of a tile cuts are left out."""
        found = []
        for tile in np.concatenate([tiles(picture.width, picture.height, n) for n in divisions]):
            detections = self(picture, tile, 0.4)
            cut = cut_by_tile(detections.boxes, tile, picture.width, picture.height)
            found.append(detections.select(~cut))
        together = SsdDetections.joined(found)
        return together.select(non_maximum_suppression(together.scores, together.boxes, 0.4))


def body_detector(threads: int) -> SsdDetector:
    """Bodies by their faces; points: mid-hip, a point on the body's circle, and two more."""
    model = TfliteModel(mediapipe_model("pose_detection/pose_detection"), threads)
    return SsdDetector(model, ((8, 2), (16, 2), (32, 6)), low=-1)


def face_detector(threads: int) -> SsdDetector:
    """Small and large faces; points: right eye, left eye, nose, mouth, right ear, left ear."""
    model = TfliteModel(mediapipe_model("face_detection/face_detection_full_range_sparse"), threads)
    return SsdDetector(model, ((4, 1),), low=-1)


def close_face_detector(threads: int) -> SsdDetector:
    """Faces that fill the box; points as in `face_detector`."""
    model = TfliteModel(mediapipe_model("face_detection/face_detection_short_range"), threads)
    return SsdDetector(model, ((8, 2), (16, 6)), low=-1)


def palm_detector(threads: int) -> SsdDetector:
    """Palms; points: wrist, then the roots of index, middle, ring and little finger, ..."""
    model = TfliteModel(mediapipe_model("palm_detection/palm_detection_full"), threads)
    return SsdDetector(model, ((8, 2), (16, 6)), low=0)
