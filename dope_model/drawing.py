"""Pictures of people: the 2D overlay, and the skeletons seen in 3D.

Right limbs are orange, left ones blue, each finger has its hue. Joints that are not trusted are
hollow and their bones thin.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from dope_model.camera.placement import Intrinsics, place_people
from dope_model.poses import WholeBody
from dope_model.skeleton import Color, Skeleton

_BACKGROUND = (250, 250, 248)
_GRID: Color = (205, 205, 200)
_AXIS_LABEL: Color = (120, 120, 115)
_FRACTION_BITS = 4
_PATCHES_ACROSS = 8
_FACE_MARGIN = 1.5
_HEAD_OF_SHOULDERS, _HEAD_OF_NECK = 0.5, 0.7
"""Radius of a head beside the width of the shoulders and the length of the neck; a third and a half
on average."""


def draw_people(rgb: np.ndarray, people: list[WholeBody]) -> np.ndarray:
    """A copy of an image (H, W, 3) uint8 with the 2D poses of `people` drawn over it."""
    canvas = np.ascontiguousarray(rgb).copy()
    thickness = max(1, round(min(rgb.shape[:2]) / 240))
    for person in reversed(people):
        for slot, pose in person.parts():
            _draw_skeleton(
                canvas,
                pose.keypoints_2d,
                person.skeleton(slot),
                pose.trusted,
                thickness if slot == "body" else max(1, thickness // 2),
            )
    return canvas


def blur_faces(rgb: np.ndarray, people: list[WholeBody]) -> np.ndarray:
    """A copy of an image (H, W, 3) uint8 in which nobody of `people` can be recognised by the face.

    A face covers the hull of its landmarks, enlarged to forehead and ears; where no face was found,
    it is a circle about the body's head. What is left are about eight patches of colour across.
    """
    canvas = np.ascontiguousarray(rgb).copy()
    for person in people:
        outline = _face_outline(person)
        if outline is None:
            continue
        height, width = rgb.shape[:2]
        low = np.clip(np.floor(outline.min(axis=0)), 0, (width, height)).astype(int)
        high = np.clip(np.ceil(outline.max(axis=0)), 0, (width, height)).astype(int)
        if (high <= low).any():
            continue
        patch = canvas[low[1] : high[1], low[0] : high[0]]
        grain = max(np.ptp(outline, axis=0).max() / _PATCHES_ACROSS, 2.0)
        patches = np.maximum(np.ceil((high - low) / grain).astype(int), 1)
        few = cv2.resize(patch, tuple(map(int, patches)), interpolation=cv2.INTER_AREA)
        smooth = cv2.resize(few, patch.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        inside = np.zeros(patch.shape[:2], np.uint8)
        cv2.fillConvexPoly(inside, np.round(outline - low).astype(np.int32), 1)
        patch[inside > 0] = smooth[inside > 0]
    return canvas


def _face_outline(person: WholeBody) -> np.ndarray | None:
    """A convex outline (N, 2) px of a person's face; None without a face and a body."""
    if person.face is not None:
        landmarks = person.face.keypoints_2d
        hull = cv2.convexHull(landmarks.astype(np.float32))[:, 0]
        return landmarks.mean(axis=0) + _FACE_MARGIN * (hull - landmarks.mean(axis=0))
    if person.body is None:
        return None
    index, points = person.skeleton("body").index, person.body.keypoints_2d
    right, left, head = (points[index[j]] for j in ("right_shoulder", "left_shoulder", "head"))
    # From the side the shoulders are narrow, and the neck is as long as ever.
    neck = np.linalg.norm(head - (right + left) / 2)
    radius = max(_HEAD_OF_SHOULDERS * np.linalg.norm(right - left), _HEAD_OF_NECK * neck)
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return head + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def draw_people_3d(
    people: list[WholeBody], image_size: tuple[int, int], size: tuple[int, int] = (640, 640)
) -> np.ndarray:
    """The 3D poses seen from the side and above, as an RGB image.

    People stand where a camera of 60 degrees would have seen them, hands at their wrists and faces
    at their heads; the grid is horizontal, one square a metre.

    Args:
        image_size: width and height of the image that the poses were found in.
        size: width and height of the picture to draw.
    """
    width, height = size
    canvas = np.full((height, width, 3), _BACKGROUND, np.uint8)
    placed = place_people(people, Intrinsics.assumed(*image_size))
    parts = [
        (person, slot, points)
        for person in placed
        for slot, pose in person.parts()
        if (points := pose.placed_3d) is not None
    ]
    if not parts:
        _label(canvas, "nobody", (12, 28), 0.6)
        return canvas
    everything = np.concatenate([points for _, _, points in parts])
    view = _View(everything, size)
    view.draw_floor(canvas, everything)
    # Painter's order: the farthest part first.
    for person, slot, points in sorted(parts, key=lambda part: -part[2][:, 2].mean()):
        _draw_skeleton(
            canvas,
            view.project(points),
            person.skeleton(slot),
            getattr(person, slot).trusted,
            2 if slot == "body" else 1,
        )
    _label(canvas, "3D, seen from the camera's upper left; grid 1 m", (12, height - 14), 0.45)
    return canvas


def side_by_side(rgb: np.ndarray, people: list[WholeBody]) -> np.ndarray:
    """The 2D overlay beside the 3D view, at the height of the image but at least 480 px."""
    height, width = rgb.shape[:2]
    scale = max(1.0, 480 / height)
    if scale > 1:
        rgb = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        people = [_scaled(person, scale) for person in people]
    overlay = draw_people(rgb, people)
    side = overlay.shape[0]
    view = draw_people_3d(people, (overlay.shape[1], side), (side, side))
    return np.concatenate([overlay, view], axis=1)


class _View:
    """An orthographic view of points in the optical frame, turned to show depth."""

    def __init__(self, points: np.ndarray, size: tuple[int, int]) -> None:
        yaw, pitch = np.radians(-30), np.radians(14)
        about_y = np.array(
            [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
        )
        about_x = np.array(
            [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
        )
        self._rotation = about_x @ about_y
        flat = (points @ self._rotation.T)[:, :2]
        low, high = flat.min(axis=0), flat.max(axis=0)
        extent = np.maximum(high - low, 0.3)
        self._scale = float((np.array(size) * 0.82 / extent).min())
        self._offset = np.array(size) / 2 - self._scale * (low + high) / 2

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) of points (N, 3)."""
        return (points @ self._rotation.T)[:, :2] * self._scale + self._offset

    def draw_floor(self, canvas: np.ndarray, points: np.ndarray) -> None:
        """A horizontal grid of one metre a square below the lowest point."""
        low, high = np.floor(points.min(axis=0)) - 1, np.ceil(points.max(axis=0)) + 1
        floor = points[:, 1].max()
        for x in np.arange(low[0], high[0] + 1)[:60]:
            _line(canvas, self.project(np.array([[x, floor, low[2]], [x, floor, high[2]]])))
        for z in np.arange(low[2], high[2] + 1)[:60]:
            _line(canvas, self.project(np.array([[low[0], floor, z], [high[0], floor, z]])))


def _draw_skeleton(
    canvas: np.ndarray,
    keypoints: np.ndarray,
    skeleton: Skeleton,
    trusted: np.ndarray,
    thickness: int,
) -> None:
    points = _fixed_point(keypoints)
    for (a, b), color in zip(skeleton.bones, skeleton.colors, strict=True):
        width = thickness if trusted[a] and trusted[b] else 1
        cv2.line(canvas, points[a], points[b], color, width, cv2.LINE_AA, _FRACTION_BITS)
    if skeleton.name == "face":
        return  # 84 dots would hide the face
    radius = (thickness + 1) << _FRACTION_BITS
    for point, sure in zip(points, trusted, strict=True):
        fill = cv2.FILLED if sure else 1
        cv2.circle(canvas, point, radius, (255, 255, 255), fill, cv2.LINE_AA, _FRACTION_BITS)
        if sure:
            cv2.circle(canvas, point, radius, (40, 40, 40), 1, cv2.LINE_AA, _FRACTION_BITS)


def _fixed_point(keypoints: np.ndarray) -> list[tuple[int, int]]:
    """Keypoints in OpenCV's fixed-point pixels, whose integers are pixel centres."""
    limit = 1 << 14
    pixels = np.nan_to_num(np.clip(keypoints - 0.5, -limit, limit))
    return [(int(u), int(v)) for u, v in np.round(pixels * (1 << _FRACTION_BITS))]


def _line(canvas: np.ndarray, ends: np.ndarray) -> None:
    start, end = _fixed_point(ends)
    cv2.line(canvas, start, end, _GRID, 1, cv2.LINE_AA, _FRACTION_BITS)


def _label(canvas: np.ndarray, text: str, at: tuple[int, int], scale: float) -> None:
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, _AXIS_LABEL, 1, cv2.LINE_AA)


def _scaled(person: WholeBody, scale: float) -> WholeBody:
    parts = {
        slot: replace(pose, keypoints_2d=pose.keypoints_2d * scale) for slot, pose in person.parts()
    }
    return WholeBody(**parts, track_id=person.track_id)
