"""The camera of a scene: its position, and the projection of points into its picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dope_model.camera.placement import Intrinsics


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        turn: (3, 3), shift: (3,) take points of the scene (y up) to the optical frame
            (x right, y down, z away from the camera), m.
        intrinsics: px; width, height: of the picture.
    """

    turn: np.ndarray
    shift: np.ndarray
    intrinsics: Intrinsics
    width: int
    height: int

    @classmethod
    def looking(
        cls, eye: np.ndarray, at: np.ndarray, roll: float, horizontal_fov: float,
        width: int, height: int,
    ) -> Camera:  # fmt: skip
        """A camera at `eye` that looks at a point; roll and field of view in degrees."""
        away = np.asarray(at, float) - eye
        away = away / np.linalg.norm(away)
        # y up, x to the person's left: seen along +z, the picture's right is -x.
        right = np.cross(away, [0, 1.0, 0])
        right = right / np.linalg.norm(right)
        down = np.cross(away, right)
        angle = np.radians(roll)
        right, down = (
            np.cos(angle) * right + np.sin(angle) * down,
            np.cos(angle) * down - np.sin(angle) * right,
        )
        turn = np.stack([right, down, away])
        intrinsics = Intrinsics.assumed(width, height, horizontal_fov)
        return cls(turn, -turn @ np.asarray(eye, float), intrinsics, width, height)

    @property
    def eye(self) -> np.ndarray:
        return -self.turn.T @ self.shift

    def to_optical(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the scene in the optical frame."""
        return points @ self.turn.T + self.shift

    def clip_matrix(self, near: float, far: float) -> np.ndarray:
        """(4, 4) from the scene to OpenGL's clip space; the picture's first row is at the top."""
        k, w, h = self.intrinsics, self.width, self.height
        # OpenGL's camera looks along -z with y up.
        view = np.eye(4)
        view[:3, :3] = self.turn * np.array([[1], [-1], [-1]])
        view[:3, 3] = self.shift * [1, -1, -1]
        project = np.zeros((4, 4))
        project[0, 0], project[0, 2] = 2 * k.fx / w, 1 - 2 * k.cx / w
        project[1, 1], project[1, 2] = 2 * k.fy / h, 2 * k.cy / h - 1
        project[2, 2], project[2, 3] = -(far + near) / (far - near), -2 * far * near / (far - near)
        project[3, 2] = -1
        return project @ view
