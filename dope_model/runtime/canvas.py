"""Canvases: the few input sizes of the engines, into which any image is scaled.

A graph, a compiled model or a captured CUDA graph has one size and takes seconds to make.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dope_model.network.config import Mode
from dope_model.postprocess.candidates import Candidates

RATIOS = (1.0, 4 / 3, 3 / 2, 16 / 9, 3 / 4, 2 / 3, 9 / 16)
"""Width over height."""
# The colour beside an image, as in padding: the mean of ImageNet's pictures.
_MEAN_COLOUR = (124, 116, 104)


@dataclass(frozen=True)
class Canvas:
    """An input size, px."""

    height: int
    width: int

    @property
    def name(self) -> str:
        """Width and height, for people and for file names."""
        return f"{self.width}x{self.height}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an RGB image of that size."""
        return self.height, self.width, 3

    def content(self, height: int, width: int) -> tuple[int, int]:
        """Height and width here of an image of that size, px."""
        scale = min(self.height / height, self.width / width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def fit(self, rgb: np.ndarray) -> np.ndarray:
        """An image (H, W, 3) uint8, scaled into the upper left corner of one of this size."""
        height, width = self.content(*rgb.shape[:2])
        # As in training and evaluation: without smoothing before.
        scaled = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR)
        if scaled.shape == self.shape:
            return scaled
        below, beside = self.height - height, self.width - width
        return cv2.copyMakeBorder(
            scaled, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=_MEAN_COLOUR
        )

    def back(self, found: Candidates, height: int, width: int) -> Candidates:
        """Candidates on the canvas as candidates in the image of that size that was fitted."""
        own = self.content(height, width)
        scale = np.array([width / own[1], height / own[0]], np.float32)
        return replace(
            found, boxes=found.boxes * np.tile(scale, 2), keypoints_2d=found.keypoints_2d * scale
        )


def canvases(mode: Mode) -> list[Canvas]:
    """The canvases of a mode."""
    made = []
    for ratio in RATIOS:
        long = min(int(mode.min_size * max(ratio, 1 / ratio)), mode.max_size)
        short = min(mode.min_size, long)
        made.append(Canvas(short, long) if ratio >= 1 else Canvas(long, short))
    return made


def canvas_for(height: int, width: int, mode: Mode) -> Canvas:
    """The smallest of the canvases on which an image of this size is largest."""

    def largest_first(canvas: Canvas) -> tuple[int, int]:
        content = canvas.content(height, width)
        return -min(content), canvas.height * canvas.width

    return min(canvases(mode), key=largest_first)
