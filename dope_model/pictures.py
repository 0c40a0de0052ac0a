"""Picture files: which files are pictures, and reading them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)


def read_rgb(path: Path) -> np.ndarray:
    """A picture file as (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the file is not a picture that OpenCV can read.
    """
    data = np.fromfile(path, np.uint8)
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if bgr is None:
        raise ValueError(f"{path} is not a picture, or is damaged")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
