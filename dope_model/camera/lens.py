"""Cameras with lens distortion, in the distortion models of OpenCV and ROS."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dope_model.camera.placement import Intrinsics

COEFFICIENT_COUNTS = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),
}
"""Distortion models and how many coefficients each takes, in OpenCV's order: k1 k2 p1 p2 k3 for
plumb_bob; k1 k2 p1 p2 k3 k4 k5 k6 and, where there are more, thin prism and tilt for
rational_polynomial; k1 to k4 of a fisheye lens for equidistant."""

# The iteration ends when every ray projects to within this distance of its pixel, px.
_TOLERANCE = 0.01
# A ray that projects farther than this from its pixel is not usable, px.
_USABLE = 0.5
_ITERATIONS = 30
_STEPS = 12


@dataclass(frozen=True)
class LensCamera:
    """A camera with lens distortion.

    Attributes:
        intrinsics: focal lengths and principal point of the image as it was taken.
        model: a key of `COEFFICIENT_COUNTS`.
        coefficients: as many as the model takes.
    """

    intrinsics: Intrinsics
    model: str
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        counts = COEFFICIENT_COUNTS.get(self.model)
        if counts is None:
            raise ValueError(
                f"distortion model {self.model!r} is not known; known are "
                + ", ".join(COEFFICIENT_COUNTS)
            )
        if len(self.coefficients) not in counts:
            raise ValueError(
                f"distortion model {self.model} takes {' or '.join(map(str, counts))} "
                f"coefficients, not {len(self.coefficients)}"
            )
        if not np.isfinite(self.coefficients).all():
            raise ValueError(f"distortion coefficients are not finite: {self.coefficients}")

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of points (..., 3) in the optical frame, m."""
        points = np.asarray(points, float)
        return self._distort(points[..., :2] / points[..., 2:])

    def rays(self, points: np.ndarray) -> np.ndarray:
        """Directions (..., 2) of pixels (..., 2), as x/z and y/z in the optical frame.

        NaN where the lens model has no ray, for example at guessed joints far outside the image:
        the model is valid only where the camera was calibrated.
        """
        points = np.asarray(points, float)
        flat = points.reshape(-1, 2)
        rays = np.full(flat.shape, np.nan)
        finite = np.isfinite(flat).all(axis=1)
        if finite.any():
            rays[finite] = self._undistort(flat[finite])
        return rays.reshape(points.shape)

    def _distort(self, rays: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of rays (..., 2)."""
        flat = np.ascontiguousarray(rays.reshape(-1, 1, 2))
        matrix, coefficients = self.intrinsics.matrix, np.array(self.coefficients)
        if self.model == "equidistant":
            pixels = cv2.fisheye.distortPoints(flat, matrix, coefficients)
        else:
            solid = np.concatenate([flat, np.ones_like(flat[..., :1])], axis=-1)
            still = np.zeros(3)
            pixels, _ = cv2.projectPoints(solid, still, still, matrix, coefficients)
        return pixels.reshape(rays.shape)

    def _undistort(self, pixels: np.ndarray) -> np.ndarray:
        """Rays (N, 2) of pixels (N, 2)."""
        matrix, coefficients = self.intrinsics.matrix, np.array(self.coefficients)
        undistort = (
            cv2.fisheye.undistortPoints if self.model == "equidistant" else cv2.undistortPoints
        )
        rays = undistort(pixels[:, None], matrix, coefficients).reshape(-1, 2)
        # OpenCV stops after five iterations, too early for wide lenses; the option for more differs
        # from version to version.
        focal = np.array([self.intrinsics.fx, self.intrinsics.fy])
        with np.errstate(all="ignore"):
            for _ in range(_ITERATIONS):
                error = pixels - self._distort(rays)
                if np.nanmax(np.abs(error), initial=0.0) < _TOLERANCE:
                    break
                rays = rays + error / focal
            error = np.abs(pixels - self._distort(rays)).max(axis=1)
            usable = (error < _USABLE) & self._monotone(rays)
        rays[~usable] = np.nan
        return rays

    def _monotone(self, rays: np.ndarray) -> np.ndarray:
        """Whether the pixel moves outwards all the way from the optical axis to each ray (N, 2).

        Beyond the turning point of the distortion polynomial the model describes no lens.
        """
        steps = np.linspace(0, 1, _STEPS)[:, None, None] * rays
        centre = np.array([self.intrinsics.cx, self.intrinsics.cy])
        away = np.linalg.norm(self._distort(steps) - centre, axis=-1)
        # With tangential distortion a pixel next to the axis may move slightly inwards.
        return (np.diff(away, axis=0) > -_USABLE).all(axis=0)
