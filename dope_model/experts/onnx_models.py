"""The converted models of the `thorough` experts: boxes of persons, and MoveNet's keypoints."""

from __future__ import annotations

import cv2
import numpy as np

from dope_model.experts.joints import COCO_SWAP
from dope_model.experts.models import (
    CENTERNET,
    NANODET,
    ONNX_COMMAND,
    THUNDER,
    MissingModelError,
    prepared_model,
)
from dope_model.experts.regions import Picture, Region
from dope_model.experts.ssd import non_maximum_suppression

_PERSON = 0  # COCO's class, in the order of both detectors


class OnnxModel:
    """One prepared model with a single input, run on the CPU."""

    def __init__(self, name: str, threads: int) -> None:
        path = prepared_model(name)
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingModelError(
                f'the "thorough" experts need the onnxruntime package: {ONNX_COMMAND}'
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def __call__(self, values: np.ndarray) -> list[np.ndarray]:
        return self._session.run(None, {self._input: values})


def letterboxed(rgb: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture in the top left of a black square, and its (x, y) scale there."""
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square = np.zeros((side, side, 3), np.uint8)
    square[: size[1], : size[0]] = cv2.resize(rgb, size, interpolation=way)
    return square, np.array([size[0] / width, size[1] / height])


class Nanodet:
    """Boxes of persons: nanodet-g, 416 px."""

    _SIDE = 416
    _STRIDES = (8, 16, 32)
    _BINS = 11
    # Of BGR values, from ImageNet.
    _MEAN = np.array([103.53, 116.28, 123.675], np.float32)
    _DEVIATION = np.array([57.375, 57.12, 58.395], np.float32)

    def __init__(self, threads: int) -> None:
        self._model = OnnxModel(NANODET, threads)

    def __call__(self, rgb: np.ndarray, minimum_score: float) -> tuple[np.ndarray, np.ndarray]:
        """Scores (N,) and boxes (N, 4) x0 y0 x1 y1 px, best first."""
        square, scale = letterboxed(rgb, self._SIDE)
        values = (square[:, :, ::-1] - self._MEAN) / self._DEVIATION
        outputs = self._model(np.ascontiguousarray(values.transpose(2, 0, 1)[None]))
        # Each level has a table of classes and one of box sides, which differ in shape.
        tables = {output.shape[1:]: output[0] for output in outputs}
        scores, boxes = [], []
        for stride in self._STRIDES:
            cells = self._SIDE // stride
            classes = tables[(cells * cells, 80)]
            chosen = np.flatnonzero(classes[:, _PERSON] >= minimum_score)
            sides = tables[(cells * cells, 4 * self._BINS)][chosen].reshape(-1, 4, self._BINS)
            distances = expected_bin(sides) * stride
            x, y = (chosen % cells + 0.5) * stride, (chosen // cells + 0.5) * stride
            left, top, right, bottom = distances.T
            scores.append(classes[chosen, _PERSON])
            boxes.append(np.stack([x - left, y - top, x + right, y + bottom], axis=1))
        joined_scores, joined_boxes = np.concatenate(scores), np.concatenate(boxes)
        joined_boxes = joined_boxes / np.tile(scale, 2)
        kept = non_maximum_suppression(joined_scores, joined_boxes, 0.6)
        return joined_scores[kept], joined_boxes[kept]


def expected_bin(logits: np.ndarray) -> np.ndarray:
    """Mean bin (...) of the distribution over bins with these logits (..., bins)."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (weights * np.arange(logits.shape[-1])).sum(axis=-1) / weights.sum(axis=-1)


class CenterNet:
    """Boxes of persons: CenterNet on MobileNetV3, 512 px."""

    _SIDE = 512

    def __init__(self, threads: int) -> None:
        self._model = OnnxModel(CENTERNET, threads)

    def __call__(self, rgb: np.ndarray, minimum_score: float) -> tuple[np.ndarray, np.ndarray]:
        """Scores (N,) and boxes (N, 4) x0 y0 x1 y1 px, best first."""
        square, scale = letterboxed(rgb, self._SIDE)
        rows = self._model(square[None].astype(np.float32))[0][0]
        rows = rows[(rows[:, 5].astype(int) == _PERSON) & (rows[:, 4] >= minimum_score)]
        return rows[:, 4], rows[:, :4] / np.tile(scale, 2)


class MoveNet:
    """COCO's 17 keypoints of one person: MoveNet Thunder, 256 px."""

    _SIDE = 256

    def __init__(self, threads: int) -> None:
        self._model = OnnxModel(THUNDER, threads)

    def __call__(
        self,
        picture: Picture,
        region: Region,
        mirrored: bool = False,
        visible: np.ndarray | None = None,
    ) -> np.ndarray:
        """Keypoints (17, 3) of the person in an upright region: x, y px and a score 0..1.

        Args:
            mirrored: run on the mirror image and swap the result back.
            visible: x0 y0 x1 y1 px; everything outside is black.
        """
        crop = picture.crop(region, self._SIDE, mirrored, visible)
        rows = self._model(np.ascontiguousarray(crop[None]).astype(np.int32))[0][0, 0]
        places, scores = rows[:, 1::-1].astype(float), rows[:, 2].astype(float)
        if mirrored:
            places[:, 0] = 1 - places[:, 0]
            places, scores = places[list(COCO_SWAP)], scores[list(COCO_SWAP)]
        return np.column_stack([region.to_image(places), scores])
