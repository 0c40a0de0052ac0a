"""Rendered people: a clip of ten seconds with its exact labels, and a picture.

Frame k of the clip is sample k of the labels. `tools/rendering` has what made them.
"""

from pathlib import Path

import cv2
import numpy as np

CLIP = Path(__file__).with_name("clip.mp4")
PEOPLE = Path(__file__).with_name("people.jpg")
LABELS = Path(__file__).with_name("labels.npz")


def sample_picture(height: int, width: int, tiles: int = 1) -> np.ndarray:
    """The clip's first picture as (height, width, 3) uint8 RGB, `tiles` times in each direction."""
    film = cv2.VideoCapture(str(CLIP))
    read, bgr = film.read()
    film.release()
    if not read:
        raise ValueError(f"{CLIP} cannot be read by this OpenCV")
    picture = np.tile(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), (tiles, tiles, 1))
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
