"""Faces: detections become meshes, and meshes on which passes agree become landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dope_model.experts.joints import face_from_mesh
from dope_model.experts.landmarks import FaceLandmarker, face_regions
from dope_model.experts.regions import Picture, Region
from dope_model.experts.ssd import SsdDetections
from dope_model.poses import PartDetections, boxes_around
from dope_model.skeleton import FACE84

# Between the ears and from forehead to chin of MediaPipe's canonical face model
# (canonical_face_model.obj, vertices 234-454 and 10-152).
_EXTENTS = ((234, 454, 0.1533), (10, 152, 0.1767))

# Turned further than this, the far side of the face is hidden and guessed.
_PROFILE = np.radians(50)


@dataclass
class Face:
    """One face, seen in two passes.

    Attributes:
        vertices: (468, 3) px, of the second pass.
        box: x0 y0 x1 y1 px of the vertices.
        score: the smaller of the passes' scores.
        detector_score: of the detection it began with; detector_box: its box.
        deviation: how far the passes differ, in heights of the face.
    """

    vertices: np.ndarray
    box: np.ndarray
    score: float
    detector_score: float
    detector_box: np.ndarray
    deviation: float

    @property
    def centre(self) -> np.ndarray:
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def height(self) -> float:
        return float(self.box[3] - self.box[1])

    @property
    def size(self) -> float:
        """The longer side of the box."""
        return float(max(self.box[2:] - self.box[:2]))

    def is_on(self, head_centre: np.ndarray) -> bool:
        """Whether it is the face of a head around `head_centre` (2,) px."""
        return bool(np.linalg.norm(head_centre - self.centre) < 0.6 * self.height)


def refined_faces(
    picture: Picture, landmarker: FaceLandmarker, detections: SsdDetections
) -> list[Face]:
    """The meshes of detected faces after two passes, without those that are clearly no faces."""
    regions = face_regions(detections)
    found = zip(regions, detections.scores, detections.boxes, strict=True)
    faces = (refined_face(picture, landmarker, r, float(score), box) for r, score, box in found)
    return [face for face in faces if face is not None]


def refined_face(
    picture: Picture, landmarker: FaceLandmarker, region: Region, score: float, box: np.ndarray
) -> Face | None:
    """The mesh of the face in `region` after two passes; None if there clearly is none.

    Args:
        score, box: of the detection that it begins with.
    """
    first = landmarker(picture, region)
    if first.score < 0.1:
        return None
    second = landmarker(picture, first.next_region)
    points = second.vertices[:, :2]
    own_box = boxes_around(points)
    apart = np.abs(first.vertices[:, :2] - points).mean()
    return Face(
        second.vertices,
        own_box,
        min(first.score, second.score),
        score,
        box,
        float(apart / max(own_box[3] - own_box[1], 1e-6)),
    )


def trusted_faces(faces: list[Face], heads: list[np.ndarray]) -> list[Face]:
    """Each face once, if its passes agree and it is not small.

    Args:
        heads: centres (2,) px of the heads of trusted bodies; a weaker detection is enough there.
    """
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        seen = face.detector_score > 0.65 or any(face.is_on(head) for head in heads)
        steady = face.score >= 0.8 and face.deviation < 0.05 and face.height >= 16
        if seen and steady and not any(is_same_face(face, other) for other in kept):
            kept.append(face)
    return kept


def is_same_face(face: Face, other: Face) -> bool:
    apart = np.linalg.norm(face.vertices[:, :2] - other.vertices[:, :2], axis=1).mean()
    return bool(apart < 0.35 * max(face.size, other.size))


def metric_landmarks(vertices: np.ndarray) -> np.ndarray:
    """The 84 landmarks (84, 3) in metres, relative to the tip of the nose.

    A mesh (468, 3) has no scale of its own: it is made as large as MediaPipe's canonical face,
    0.153 m between the ears and 0.177 m from the forehead to the chin.
    """
    measured = sum(np.linalg.norm(vertices[a] - vertices[b]) for a, b, _ in _EXTENTS)
    metres = sum(extent for *_, extent in _EXTENTS) / max(measured, 1e-6)
    return FACE84.centred(face_from_mesh(vertices)) * metres


def visible_landmarks(vertices: np.ndarray) -> np.ndarray:
    """(84,) bool: all of a frontal face; the near side and the middle of a profile."""
    right, left = vertices[234], vertices[454]
    across = left - right
    turn = np.arctan2(across[2], np.linalg.norm(across[:2]))
    landmarks = face_from_mesh(vertices)
    # Along the line between the ears: negative on the person's right of the nose bridge.
    side = (landmarks - landmarks[FACE84.index["nose_bridge_0"]]) @ across
    side = side / max(float(across @ across), 1e-6)
    if turn > _PROFILE:
        return side < 0.05
    if turn < -_PROFILE:
        return side > -0.05
    return np.ones(len(landmarks), bool)


def face_detections(faces: list[Face], picture: Picture) -> PartDetections:
    """The faces' landmarks; those outside the picture or hidden are not trusted."""
    if not faces:
        return PartDetections.empty("face", len(FACE84))
    meshes = np.stack([face.vertices for face in faces])
    keypoints_2d = face_from_mesh(meshes)[..., :2]
    visible = np.stack([visible_landmarks(mesh) for mesh in meshes])
    return PartDetections(
        "face",
        np.array([face.score for face in faces]),
        keypoints_2d,
        np.stack([metric_landmarks(mesh) for mesh in meshes]),
        confidence=visible & picture.contains(keypoints_2d),
    )
