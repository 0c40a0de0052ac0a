"""Simulated camera conditions: dark, noise, motion blur and the like, applied to pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from dope_model.benchmark.protocols.protocol import Found
from dope_model.camera.rotation import rotate_back, rotate_image

JPEG_QUALITY = 15
BLUR = 9
"""Length of the motion blur, px."""
NOISE = 25
"""Standard deviation of the noise, of 255."""
DARK = 0.3
SMALL_WIDTH = 320


def _dark(rgb: np.ndarray) -> np.ndarray:
    return (rgb * DARK).astype(np.uint8)


def _noisy(rgb: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, NOISE, rgb.shape)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8)


def _blurred(rgb: np.ndarray) -> np.ndarray:
    return cv2.filter2D(rgb, -1, np.full((1, BLUR), 1 / BLUR, np.float32))


def _compressed(rgb: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def _small(rgb: np.ndarray) -> np.ndarray:
    height = max(1, round(rgb.shape[0] * SMALL_WIDTH / rgb.shape[1]))
    return cv2.resize(rgb, (SMALL_WIDTH, height), interpolation=cv2.INTER_AREA)


CONDITIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "dark": _dark,
    "noise": _noisy,
    "motion blur": _blurred,
    "JPEG": _compressed,
    "320 px wide": _small,
    "upside down": lambda rgb: rotate_image(rgb, 180),
}
"""By name, the function from an image (H, W, 3) uint8 to the degraded one."""


def in_original_pixels(found: Found, condition: str, shape: tuple[int, int]) -> Found:
    """Detections of a degraded image in the original one of height and width `shape`."""
    if condition == "upside down":
        return rotate_back(found, 180, shape)
    if condition == "320 px wide":
        scale = shape[1] / SMALL_WIDTH
        return {p: replace(d, keypoints_2d=d.keypoints_2d * scale) for p, d in found.items()}
    return found
