"""Effects of a real camera: lens blur, motion blur, noise, colour, compression."""

from __future__ import annotations

import cv2
import numpy as np


def photograph(rgb: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A rendering (H, W, 3) float32 0 to 255 as a real camera would take it, uint8.

    Most pictures are nearly clean, some are bad. The order is physical: lens, sensor, processing.
    JPEG comes last, in `encode`.
    """
    height, width = rgb.shape[:2]
    poor = random.random() < 0.2
    image = rgb
    if random.random() < 0.25:
        # A camera or a scaler of less resolution.
        scale = random.uniform(0.35, 0.9)
        small = (max(int(width * scale), 16), max(int(height * scale), 16))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.3, 1.8 if poor else 0.8))
    if random.random() < 0.10:
        image = _motion_blur(image, random)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    radius = np.hypot(x - width / 2, y - height / 2) / np.hypot(width / 2, height / 2)
    image = image * (1 - random.uniform(0, 0.3) * radius**2)[..., None]

    # Cameras expose for the picture's mean, some of them badly.
    metered = np.clip(108 / max(float(image.mean()), 8.0), 0.6, 3.5) ** random.uniform(0.4, 1)
    exposure = metered * (random.uniform(0.8, 1.25) if random.random() < 0.8
                          else random.uniform(0.5, 1.5))  # fmt: skip
    balance = 1 + random.normal(0, 0.05, 3)
    image = image * (exposure * balance).astype(np.float32)
    shot, read = random.uniform(0.05, 0.9 if poor else 0.4), random.uniform(0.3, 7 if poor else 2.5)
    deviation = np.sqrt(np.float32(shot**2 * 0.2) * np.clip(image, 0, 255) + np.float32(read**2))
    noise = random.standard_normal((height, width, 3), np.float32)
    if random.random() < 0.4:
        noise = cv2.GaussianBlur(noise, (0, 0), 0.6) * 1.6
    image = image + deviation * noise
    contrast = random.uniform(0.8, 1.25)
    image = (image - 118) * np.float32(contrast) + np.float32(118 + random.normal(0, 7))
    if random.random() < 0.05:
        image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    elif random.random() < 0.3:
        grey = image.mean(axis=2, keepdims=True)
        image = grey + (image - grey) * random.uniform(0.5, 1.3)
    if random.random() < 0.2:
        soft = cv2.GaussianBlur(image, (0, 0), 1.2)
        image = image + (image - soft) * random.uniform(0.3, 1.2)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def jpeg_quality(random: np.random.Generator) -> int:
    """From good cameras to poor streams."""
    return int(random.integers(55, 97))


def _motion_blur(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    length, angle = random.uniform(2, 9), random.uniform(0, np.pi)
    size = int(np.ceil(length)) * 2 + 1
    kernel = np.zeros((size, size), np.float32)
    centre = size // 2
    reach = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    start, end = (tuple(int(v) for v in np.round((centre + s * reach) * 16)) for s in (-1, 1))
    cv2.line(kernel, start, end, 1.0, 1, cv2.LINE_AA, 4)
    return cv2.filter2D(image, -1, kernel / kernel.sum())
