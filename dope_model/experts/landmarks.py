"""MediaPipe's landmark models of bodies (BlazePose), hands and faces, on regions of a picture.

The regions, their refinement from the landmarks and the decoding follow MediaPipe's graphs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dope_model.experts.joints import MIDDLE_MCP, POSE_SWAP
from dope_model.experts.models import mediapipe_model
from dope_model.experts.regions import (
    Picture,
    Region,
    angle_of_right,
    angle_of_up,
    enclosing_region,
)
from dope_model.experts.similarity import POSE_POINTS
from dope_model.experts.ssd import SsdDetections
from dope_model.experts.tflite import TfliteModel, sigmoid


@dataclass
class Pose:
    """The result of one pass of BlazePose.

    Attributes:
        score: 0..1, that there is a body (near 1 on many things that are none).
        points: (33, 2) px.
        visibility: (33,) 0..1, that the point is in the picture and not hidden.
        world: (33, 3) m, x right, y down, z away from the camera, from mid-hip.
        region: input region of the pass.
        next_region: region for the next pass, from the points.
    """

    score: float
    points: np.ndarray
    visibility: np.ndarray
    world: np.ndarray
    region: Region
    next_region: Region

    @property
    def compared(self) -> tuple[np.ndarray, np.ndarray]:
        """The points and scores that dope_model.experts.similarity compares."""
        return self.points[list(POSE_POINTS)], self.visibility[list(POSE_POINTS)]

    @property
    def quality(self) -> float:
        """Score times the mean visibility of the compared points."""
        return self.score * float(self.compared[1].mean())


class PoseLandmarker:
    """BlazePose; `path` is the full or the heavy model."""

    _AUXILIARY = slice(33, 35)
    _REACH = 3  # heat map cells on either side of a point that refine it

    def __init__(self, path: Path, threads: int) -> None:
        self._model = TfliteModel(path, threads)

    def __call__(self, picture: Picture, region: Region, mirrored: bool = False) -> Pose:
        """The body in `region`; `mirrored` runs on the mirror image and swaps the result back."""
        outputs = self._model(picture.crop(region, self._model.resolution, mirrored))
        values = outputs["Identity"].reshape(39, 5).astype(float)
        places = self._refined(values[:, :2] / self._model.resolution, outputs["Identity_3"])
        visibility = sigmoid(values[:, 3:]).min(axis=1)[:33]
        world = outputs["Identity_4"].reshape(39, 3)[:33].astype(float)
        if mirrored:
            places[:, 0] = 1 - places[:, 0]
            world[:, 0] *= -1
            swap = list(POSE_SWAP)
            places[:33], visibility, world = places[swap], visibility[swap], world[swap]
        points = region.to_image(places)
        return Pose(
            float(outputs["Identity_1"][0]),
            points[:33],
            visibility,
            region.turn_to_image(world),
            region,
            circle_region(*points[self._AUXILIARY]),
        )

    def _refined(self, places: np.ndarray, heat: np.ndarray) -> np.ndarray:
        """Points (39, 2) moved to the centre of their peaks in the heat maps (64, 64, 39)."""
        size, reach = heat.shape[0], self._REACH
        cells = (places * size).astype(int)
        inside = ((cells >= 0) & (cells < size)).all(axis=1)
        padded = np.pad(heat, ((reach, reach), (reach, reach), (0, 0)), constant_values=-np.inf)
        window = np.arange(2 * reach + 1)
        columns, rows = np.where(inside[:, None], cells, 0).T
        y, x = rows[:, None] + window, columns[:, None] + window
        peaks = sigmoid(padded[y[:, :, None], x[:, None, :], np.arange(len(places))[:, None, None]])
        peaks[peaks < 1e-12] = 0
        total = peaks.sum(axis=(1, 2))
        use = inside & (peaks.max(axis=(1, 2)) >= 0.5)
        total = np.where(use, total, 1)
        refined = np.stack(
            [
                (peaks.sum(axis=1) * (x - reach)).sum(axis=1) / total,
                (peaks.sum(axis=2) * (y - reach)).sum(axis=1) / total,
            ],
            axis=1,
        )
        return np.where(use[:, None], refined / size, places)


def circle_region(centre: np.ndarray, point: np.ndarray) -> Region:
    """The region of a body with mid-hip `centre` and a `point` of its circle above the head."""
    up = point - centre
    size = max(2.5 * float(np.hypot(*up)), 1e-3)
    return Region(float(centre[0]), float(centre[1]), size, angle_of_up(up))


def body_regions(detections: SsdDetections) -> list[Region]:
    """Regions of the bodies that the body detector found."""
    return [circle_region(points[0], points[1]) for points in detections.points]


def pose_full(threads: int) -> PoseLandmarker:
    """The BlazePose that the mediapipe package brings."""
    return PoseLandmarker(mediapipe_model("pose_landmark/pose_landmark_full"), threads)


@dataclass
class FaceMesh:
    """The result of one pass of the face mesh.

    Attributes:
        score: 0..1, that there is a face.
        vertices: (468, 3), x and y px, z px of the same scale, away from the camera.
        next_region: where it says the face is.
    """

    score: float
    vertices: np.ndarray
    next_region: Region


class FaceLandmarker:
    """The mesh of 468 vertices."""

    _OUTER_EYE_CORNERS = (33, 263)

    def __init__(self, threads: int) -> None:
        self._model = TfliteModel(mediapipe_model("face_landmark/face_landmark"), threads)

    def __call__(self, picture: Picture, region: Region) -> FaceMesh:
        outputs = self._model(picture.crop(region, self._model.resolution))
        mesh = outputs["conv2d_21"].reshape(468, 3).astype(float) / self._model.resolution
        vertices = np.column_stack([region.to_image(mesh[:, :2]), mesh[:, 2] * region.size])
        right, left = vertices[list(self._OUTER_EYE_CORNERS), :2]
        return FaceMesh(
            float(sigmoid(outputs["conv2d_31"].reshape(-1)[0])),
            vertices,
            enclosing_region(vertices[:, :2], angle_of_right(left - right), scale=1.5),
        )


def face_regions(detections: SsdDetections) -> list[Region]:
    """Regions of the faces that a face detector found."""
    regions = []
    for box, points in zip(detections.boxes, detections.points, strict=True):
        upright = Region.around(box, scale=1.5)
        angle = angle_of_right(points[1] - points[0])
        regions.append(Region(upright.x, upright.y, upright.size, angle))
    return regions


@dataclass
class HandPose:
    """The result of one pass of the hand landmarks.

    Attributes:
        score: 0..1, that there is a hand.
        right: 0..1, that it is the person's right hand.
        points: (21, 2) px, MediaPipe's order.
        world: (21, 3) m, x right, y down, z away from the camera.
        next_region: where it says the hand is.
    """

    score: float
    right: float
    points: np.ndarray
    world: np.ndarray
    next_region: Region


class HandLandmarker:
    """The 21 hand landmarks."""

    def __init__(self, threads: int) -> None:
        self._model = TfliteModel(mediapipe_model("hand_landmark/hand_landmark_full"), threads)

    def __call__(self, picture: Picture, region: Region) -> HandPose:
        outputs = self._model(picture.crop(region, self._model.resolution))
        places = outputs["Identity"].reshape(21, 3)[:, :2].astype(float) / self._model.resolution
        points = region.to_image(places)
        return HandPose(
            float(outputs["Identity_1"][0]),
            float(outputs["Identity_2"][0]),
            points,
            region.turn_to_image(outputs["Identity_3"].reshape(21, 3).astype(float)),
            region_of_hand(points),
        )


# Wrist, palm and lower finger joints: they move least when the fingers do.
_STEADY = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)


def region_of_hand(points: np.ndarray) -> Region:
    """The region of a hand with these points (21, 2) px, in MediaPipe's order."""
    knuckles = ((points[5] + points[13]) / 2 + points[MIDDLE_MCP]) / 2
    return enclosing_region(
        points[list(_STEADY)], angle_of_up(knuckles - points[0]), scale=2.0, lift=0.1
    )


def hand_regions(detections: SsdDetections) -> list[Region]:
    """Regions of the hands whose palms were found: above the palm, fingers up."""
    regions = []
    for box, points in zip(detections.boxes, detections.points, strict=True):
        angle = angle_of_up(points[2] - points[0])
        palm = Region.around(box, scale=2.6)
        lifted = 0.5 * (box[3] - box[1])
        regions.append(
            Region(
                palm.x + float(lifted * np.sin(angle)),
                palm.y - float(lifted * np.cos(angle)),
                palm.size,
                angle,
            )
        )
    return regions
