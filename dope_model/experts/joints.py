"""From the points of MediaPipe's and COCO's models to the joints of dope_model.skeleton.

All functions take points (..., P, D) and give joints (..., J, D) in any number of dimensions.
"""

from __future__ import annotations

import numpy as np

from dope_model.skeleton import BODY, COCO_JOINTS

POSE_EARS = (7, 8)
POSE_POINT_OF_JOINT = {
    "right_ankle": 28, "left_ankle": 27, "right_knee": 26, "left_knee": 25,
    "right_hip": 24, "left_hip": 23, "right_wrist": 16, "left_wrist": 15,
    "right_elbow": 14, "left_elbow": 13, "right_shoulder": 12, "left_shoulder": 11,
}  # fmt: skip
"""BlazePose's point of each joint of the body but the head."""

COCO_EARS = (3, 4)
COCO_POINT_OF_JOINT = {name: COCO_JOINTS.index(name) for name in BODY.joints[:-1]}

COCO_OF_POSE = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""BlazePose's points in the order of COCO's 17 keypoints."""

COCO_SWAP = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
"""COCO's keypoints of the mirrored person."""

POSE_SWAP = (
    0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15, 18, 17, 20, 19, 22, 21,
    24, 23, 26, 25, 28, 27, 30, 29, 32, 31,
)  # fmt: skip
"""BlazePose's points of the mirrored person."""

MIDDLE_MCP = 9
"""Root of the middle finger among MediaPipe's hand points."""

HAND_POINTS = (
    0,
    *(1 + 4 * finger for finger in range(5)),
    *(2 + 4 * finger + joint for finger in range(5) for joint in range(3)),
)
"""MediaPipe's hand point of each of our joints: wrist, five finger roots, then up each finger."""

# The mesh has too few vertices on the jaw for the 33 contour landmarks: each lies on the edge
# from one vertex to another, the fraction of the way that spaces them evenly along the outline.
_CONTOUR = (
    (127, 234, 0.78), (234, 93, 0.46), (93, 132, 0.15), (93, 132, 0.70), (132, 58, 0.25),
    (132, 58, 0.73), (58, 172, 0.20), (58, 172, 0.78), (172, 136, 0.36), (172, 136, 0.95),
    (136, 150, 0.54), (150, 149, 0.08), (150, 149, 0.62), (149, 176, 0.45), (176, 148, 0.27),
    (148, 152, 0.13), (152, 377, 0.00), (152, 377, 0.87), (377, 400, 0.73), (400, 378, 0.55),
    (378, 379, 0.38), (378, 379, 0.92), (379, 365, 0.46), (365, 397, 0.05), (365, 397, 0.64),
    (397, 288, 0.22), (397, 288, 0.80), (288, 361, 0.27), (288, 361, 0.75), (361, 323, 0.30),
    (361, 323, 0.85), (323, 454, 0.54), (454, 356, 0.22),
)  # fmt: skip
_INNER = (
    70, 53, 52, 65, 107, 336, 295, 282, 283, 300,  # eyebrows, right then left
    6, 197, 5, 4, 75, 99, 2, 328, 305,  # nose: bridge, base
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes, right then left
    61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91,  # outer lips
    78, 82, 13, 312, 308, 317, 14, 87,  # inner lips
)  # fmt: skip
FACE_EDGES = _CONTOUR + tuple((vertex, vertex, 0.0) for vertex in _INNER)
"""Each of the 84 landmarks as (vertex, vertex, fraction of the way) on MediaPipe's face mesh."""


def _body_joints(points: np.ndarray, point_of: dict[str, int], ears: tuple) -> np.ndarray:
    head = points[..., list(ears), :].mean(axis=-2, keepdims=True)
    limbs = points[..., [point_of[joint] for joint in BODY.joints[:-1]], :]
    return np.concatenate([limbs, head], axis=-2)


def body_from_pose(points: np.ndarray) -> np.ndarray:
    """Our 13 body joints of BlazePose's 33 points; the head is the middle of the ears."""
    return _body_joints(points, POSE_POINT_OF_JOINT, POSE_EARS)


def body_from_coco(points: np.ndarray) -> np.ndarray:
    """Our 13 body joints of COCO's 17 keypoints; the head is the middle of the ears."""
    return _body_joints(points, COCO_POINT_OF_JOINT, COCO_EARS)


def hand_from_mediapipe(points: np.ndarray) -> np.ndarray:
    """Our 21 hand joints of MediaPipe's 21."""
    return points[..., list(HAND_POINTS), :]


def hand_to_mediapipe(joints: np.ndarray) -> np.ndarray:
    """MediaPipe's 21 hand points of our 21 joints."""
    return joints[..., np.argsort(HAND_POINTS), :]


def face_from_mesh(vertices: np.ndarray) -> np.ndarray:
    """The 84 landmarks of MediaPipe's 468 vertices."""
    first, second, way = (np.array(column) for column in zip(*FACE_EDGES, strict=True))
    way = way[:, None]
    return vertices[..., first, :] * (1 - way) + vertices[..., second, :] * way
