"""Filters of the detected people by parameters; plain data in, plain data out."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np

from dope_model.drawing import blur_faces, draw_people
from dope_model.poses import PART_SLOTS, WholeBody


def chosen_parts(people: list[WholeBody], settings: SimpleNamespace) -> list[WholeBody]:
    """`people` without parts that are switched off or have too low a score, and without people who
    have no part left.

    Args:
        settings: `bodies`, `hands`, `faces`: bool; `min_body_score` and so on: 0 to 1.
    """
    switches = {"body": settings.bodies, "hand": settings.hands, "face": settings.faces}
    min_scores = {part: getattr(settings, f"min_{part}_score") for part in switches}
    kept = []
    for person in people:
        parts = {
            slot: pose
            for slot, pose in person.parts()
            if switches[PART_SLOTS[slot]] and pose.score >= min_scores[PART_SLOTS[slot]]
        }
        if parts:
            kept.append(WholeBody(**parts, track_id=person.track_id))
    return kept


def annotated(rgb: np.ndarray, people: list[WholeBody], settings: SimpleNamespace) -> np.ndarray:
    """A picture with the 2D poses drawn over it, (H, W, 3) uint8 RGB.

    Args:
        rgb: the image (H, W, 3) uint8.
        settings: `annotated_background`: "image", "blurred" (faces) or "black";
            `annotated_max_side`: px, 0 for the size of the image.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, (settings.annotated_max_side or max(height, width)) / max(height, width))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    if settings.annotated_background == "black":
        rgb = np.zeros((size[1], size[0], 3), np.uint8)
    elif scale < 1:
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    if scale < 1:
        # The sides are rounded one by one.
        factors = np.array([size[0] / width, size[1] / height], np.float32)
        people = [_scaled(person, factors) for person in people]
    if settings.annotated_background == "blurred":
        rgb = blur_faces(rgb, people)
    return draw_people(rgb, people)


def _scaled(person: WholeBody, factors: np.ndarray) -> WholeBody:
    parts = {
        slot: replace(pose, keypoints_2d=pose.keypoints_2d * factors)
        for slot, pose in person.parts()
    }
    return WholeBody(**parts, track_id=person.track_id)
