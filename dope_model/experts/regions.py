"""Square, possibly rotated regions of a picture: cut out for a model, and mapped back.

Pixels follow dope_model.poses: the centre of the top-left pixel is (0.5, 0.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from dope_model.poses import inside_image


@dataclass(frozen=True)
class Region:
    """A square around (`x`, `y`) with side `size`, px, turned clockwise by `angle`, rad.

    Region coordinates run from 0 to 1 along its own right and down.
    """

    x: float
    y: float
    size: float
    angle: float = 0.0

    @classmethod
    def around(cls, box: np.ndarray, scale: float = 1.0) -> Region:
        """The upright square around a box x0 y0 x1 y1, `scale` times its longer side."""
        x0, y0, x1, y1 = (float(value) for value in box)
        return cls((x0 + x1) / 2, (y0 + y1) / 2, scale * max(x1 - x0, y1 - y0))

    @property
    def _axes(self) -> np.ndarray:
        """Right and down of the region in the image, as rows."""
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        return np.array([[cosine, sine], [-sine, cosine]])

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Image px (..., 2) of region coordinates (..., 2)."""
        return (points - 0.5) * self.size @ self._axes + (self.x, self.y)

    def from_image(self, points: np.ndarray) -> np.ndarray:
        """Region coordinates (..., 2) of image px (..., 2)."""
        return (points - np.array([self.x, self.y])) @ self._axes.T / self.size + 0.5

    def turn_to_image(self, joints: np.ndarray) -> np.ndarray:
        """3D joints (..., 3) in the region's right, down and away, in those of the image."""
        turned = joints.copy()
        turned[..., :2] = joints[..., :2] @ self._axes
        return turned

    def is_close_to(self, other: Region) -> bool:
        """Whether a landmark model would see nearly the same in both."""
        turn = abs(wrapped_angle(self.angle - other.angle))
        distance = math.hypot(self.x - other.x, self.y - other.y)
        return (
            distance < 0.08 * self.size
            and abs(math.log(self.size / other.size)) < 0.12
            and turn < 0.2
        )


def wrapped_angle(angle: float) -> float:
    """`angle` in -pi to pi."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def angle_of_up(vector: np.ndarray) -> float:
    """Angle of the region that sees the image vector (2,) point straight up."""
    return math.atan2(float(vector[0]), -float(vector[1]))


def angle_of_right(vector: np.ndarray) -> float:
    """Angle of the region that sees the image vector (2,) point straight right."""
    return math.atan2(float(vector[1]), float(vector[0]))


def enclosing_region(points: np.ndarray, angle: float, scale: float, lift: float = 0.0) -> Region:
    """The region at `angle` around points (N, 2).

    Args:
        scale: side of the region, in longer sides of the points' extent.
        lift: how far the region moves up (its own up), in heights of the points' extent.
    """
    turned = Region(0.0, 0.0, 1.0, angle).from_image(points) - 0.5
    low, high = turned.min(axis=0), turned.max(axis=0)
    width, height = high - low
    centre = (low + high) / 2 - (0, lift * height)
    x, y = Region(0.0, 0.0, 1.0, angle).to_image(centre + 0.5)
    return Region(float(x), float(y), max(float(max(width, height)) * scale, 1e-3), angle)


class Picture:
    """An RGB picture that regions are cut from, with its half-size copies made when needed.

    Attributes:
        width, height: px.

    Raises:
        ValueError: `rgb` is not an (H, W, 3) array of uint8, or is empty.
    """

    def __init__(self, rgb: np.ndarray) -> None:
        rgb = np.asarray(rgb)
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ValueError(
                f"the picture must be an (H, W, 3) array of uint8, not {rgb.shape} of {rgb.dtype}"
            )
        if rgb.size == 0:
            raise ValueError(f"the picture is empty: {rgb.shape}")
        self.height, self.width = rgb.shape[:2]
        self._levels = [rgb]

    @property
    def box(self) -> np.ndarray:
        """The whole picture, x0 y0 x1 y1."""
        return np.array([0.0, 0.0, self.width, self.height])

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Which points (..., 2) lie inside, (...) bool."""
        return inside_image(points, (self.height, self.width))

    def _level(self, shrink: float) -> np.ndarray:
        """The smallest copy that still has a pixel for each one of an output `shrink` coarser."""
        wanted = int(math.log2(shrink)) if shrink >= 2 else 0
        while len(self._levels) <= wanted and max(self._levels[-1].shape[:2]) > 1:
            height, width = self._levels[-1].shape[:2]
            half = (max(1, width // 2), max(1, height // 2))
            self._levels.append(cv2.resize(self._levels[-1], half, interpolation=cv2.INTER_AREA))
        return self._levels[min(wanted, len(self._levels) - 1)]

    def crop(
        self,
        region: Region,
        resolution: int,
        mirrored: bool = False,
        visible: np.ndarray | None = None,
    ) -> np.ndarray:
        """What `region` holds, (resolution, resolution, 3) uint8, black outside the picture.

        Args:
            mirrored: swap left and right of the result.
            visible: x0 y0 x1 y1 px; everything outside it is black. Upright regions only.
        """
        level = self._level(region.size / resolution)
        scale = np.array([level.shape[1] / self.width, level.shape[0] / self.height])
        # Pixel (i, j) of the result has its centre at (i + 0.5, j + 0.5); OpenCV counts from 0.
        per_pixel = region._axes.T * (region.size / resolution)
        corner = region.to_image(np.zeros(2))
        matrix = per_pixel * scale[:, None]
        offset = (corner + per_pixel @ (0.5, 0.5)) * scale - 0.5

        # Only the part of the picture under the region: OpenCV cannot warp sides above 32767.
        corners = region.to_image(np.array([[0, 0], [1, 0], [0, 1], [1, 1.0]])) * scale
        low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 2, 0)
        high = np.ceil(corners.max(axis=0)).astype(int) + 2
        part = level[low[1] : max(high[1], 0), low[0] : max(high[0], 0)]
        if part.size == 0:
            return np.zeros((resolution, resolution, 3), np.uint8)
        crop = cv2.warpAffine(
            part,
            np.column_stack([matrix, offset - low]),
            (resolution, resolution),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        if visible is not None:
            black_outside(crop, region.from_image(np.reshape(visible, (2, 2))) * resolution)
        return crop[:, ::-1] if mirrored else crop


def black_outside(image: np.ndarray, corners: np.ndarray) -> None:
    """Blackens `image` outside the box with corners (2, 2), px, in place."""
    x0, y0, x1, y1 = np.clip(np.round(corners).astype(int).ravel(), 0, image.shape[0])
    image[:y0] = 0
    image[y1:] = 0
    image[:, :x0] = 0
    image[:, x1:] = 0


def tiles(width: int, height: int, divisions: int) -> np.ndarray:
    """Boxes (N, 4) of 1/divisions of the picture's sides that overlap by half.

    Examples:
        >>> tiles(8, 4, 1).tolist()
        [[0.0, 0.0, 8.0, 4.0]]
        >>> len(tiles(8, 4, 2))
        9
    """
    steps = np.arange(2 * divisions - 1) / (2 * divisions)
    left, top = (grid.ravel() for grid in np.meshgrid(steps * width, steps * height))
    return np.stack([left, top, left + width / divisions, top + height / divisions], axis=1)


def cut_by_tile(boxes: np.ndarray, tile: np.ndarray, width: int, height: int) -> np.ndarray:
    """Which boxes (N, 4) reach over a border of `tile` that is not the picture's own, (N,)."""
    inner = np.array([tile[0] > 1, tile[1] > 1, tile[2] < width - 1, tile[3] < height - 1])
    outside = np.concatenate([boxes[:, :2] < tile[:2], boxes[:, 2:] > tile[2:]], axis=1)
    return (outside & inner).any(axis=1)
