"""From detections part by part to whole people (section 3.1, "Postprocessing")."""

from __future__ import annotations

import numpy as np

from dope_model.poses import PART_SLOTS, PartDetections, WholeBody
from dope_model.skeleton import BODY

# Boxes reach this share of their longer side further.
BOX_MARGIN = 0.1

_WRISTS = {"right_hand": BODY.index["right_wrist"], "left_hand": BODY.index["left_wrist"]}
_HEAD = BODY.index["head"]


def assemble(parts: dict[str, PartDetections], snap_wrists: bool = True) -> list[WholeBody]:
    """Attach hands and faces to bodies; people by descending score, bodies first.

    A hand belongs to the body whose wrist of that side is nearest to the hand's, at most the
    longer side of the hand's box away; a face to the body whose head joint lies in its box, made
    square, because a face is narrow from the side and the head lies behind it. Nearest pairs are
    made first. A hand or a face without a body becomes a person without one.

    Args:
        parts: detections by part; missing parts count as not detected.
        snap_wrists: a body's wrist takes the 2D position of the wrist of the hand attached to it.
    """
    bodies = parts.get("body")
    people: list[dict] = [{"body": pose} for pose in (bodies.poses() if bodies else ())]
    alone: list[dict] = []
    for slot, owner in owners(parts).items():
        detections = parts[PART_SLOTS[slot]]
        poses = detections.poses()
        for i in _indices(slot, detections):
            person = people[owner[i]] if i in owner else {}
            person[slot] = poses[i]
            if i not in owner:
                alone.append(person)

    if snap_wrists:
        for person in people:
            _snap_wrists(person)
    by_score = sorted((WholeBody(**person) for person in people), key=lambda p: -p.score)
    return by_score + sorted((WholeBody(**person) for person in alone), key=lambda p: -p.score)


def owners(parts: dict[str, PartDetections]) -> dict[str, dict[int, int]]:
    """By slot of the hands and faces in `parts`, the index of the body of each detection that has
    one; see `assemble`.
    """
    bodies, hands, faces = (parts.get(name) for name in ("body", "hand", "face"))
    found = {}
    if hands is not None:
        for slot, wrist in _WRISTS.items():
            found[slot] = _hand_owners(bodies, hands, _indices(slot, hands), wrist)
    if faces is not None:
        found["face"] = _face_owners(bodies, faces)
    return found


def _indices(slot: str, detections: PartDetections) -> np.ndarray:
    """Which detections fit a slot: hands only of its side."""
    if slot not in _WRISTS:
        return np.arange(len(detections))
    return np.nonzero(detections.is_left == (slot == "left_hand"))[0]


def _hand_owners(
    bodies: PartDetections | None, hands: PartDetections, indices: np.ndarray, wrist: int
) -> dict[int, int]:
    """Body index of the hands `indices` that have one, by hand index."""
    if bodies is None or not len(bodies) or not len(indices):
        return {}
    boxes = hands.boxes[indices]
    reach = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) * (1 + BOX_MARGIN)
    offsets = bodies.keypoints_2d[:, None, wrist] - hands.keypoints_2d[None, indices, 0]
    distance = np.linalg.norm(offsets, axis=-1)
    pairs = _nearest_pairs(np.where(distance <= reach, distance, np.inf))
    return {int(indices[hand]): body for body, hand in pairs}


def _face_owners(bodies: PartDetections | None, faces: PartDetections) -> dict[int, int]:
    """Body index of the faces that have one, by face index."""
    if bodies is None or not len(bodies) or not len(faces):
        return {}
    boxes = faces.boxes
    reach = (0.5 + BOX_MARGIN) * (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    away = bodies.keypoints_2d[:, None, _HEAD] - (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = (np.abs(away) <= reach[:, None]).all(axis=-1)
    distance = np.linalg.norm(away, axis=-1)
    pairs = _nearest_pairs(np.where(inside, distance, np.inf))
    return {face: body for body, face in pairs}


def _nearest_pairs(distance: np.ndarray) -> list[tuple[int, int]]:
    """One-to-one pairs (row, column), nearest first; an infinite distance is no pair."""
    rows, columns = np.nonzero(np.isfinite(distance))
    nearest_first = np.argsort(distance[rows, columns], kind="stable")
    pairs: dict[int, int] = {}
    taken = set()
    for row, column in zip(
        rows[nearest_first].tolist(), columns[nearest_first].tolist(), strict=True
    ):
        if row not in pairs and column not in taken:
            pairs[row] = column
            taken.add(column)
    return list(pairs.items())


def _snap_wrists(person: dict) -> None:
    keypoints = person["body"].keypoints_2d.copy()
    for slot, wrist in _WRISTS.items():
        if slot in person:
            keypoints[wrist] = person[slot].keypoints_2d[0]
    person["body"].keypoints_2d = keypoints
