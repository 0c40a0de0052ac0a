"""The position of a part in the camera's frame, from its 2D and 3D pose and the camera.

A camera with lens distortion is a `camera.lens.LensCamera`. With a registered depth image the
distance is measured (`camera.depth`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from dope_model.camera.depth import DepthImage, depth_of_root
from dope_model.poses import PartPose, WholeBody
from dope_model.skeleton import FACE84

# Rays that differ by less than this, as x/z and y/z, are one ray, and show no distance.
_SAME_RAY = 1e-9
_EARS = [FACE84.index["contour_0"], FACE84.index["contour_32"]]


class Camera(Protocol):
    """What placement needs from a camera: the ray of each pixel, and the pixel of each point."""

    def rays(self, points: np.ndarray) -> np.ndarray:
        """Directions (..., 2) of pixels (..., 2), as x/z and y/z in the optical frame; NaN if
        unknown."""

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of points (..., 3) in the optical frame, m."""


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera: focal lengths `fx`, `fy` and principal point `cx`, `cy`, in px.

    The principal point follows the project's pixel convention (top-left pixel centre at 0.5, 0.5).
    """

    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def assumed(cls, width: int, height: int, horizontal_fov_deg: float = 60.0) -> Intrinsics:
        """A camera of `horizontal_fov_deg` with its axis through the middle of the image."""
        focal = 0.5 * width / np.tan(np.radians(horizontal_fov_deg) / 2)
        return cls(focal, focal, width / 2, height / 2)

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3) camera matrix."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], float)

    def rays(self, points: np.ndarray) -> np.ndarray:
        """Directions (..., 2) of pixels (..., 2), as x/z and y/z in the optical frame."""
        focal, centre = np.array([self.fx, self.fy]), np.array([self.cx, self.cy])
        return (np.asarray(points, float) - centre) / focal

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of points (..., 3) in the optical frame, m."""
        focal, centre = np.array([self.fx, self.fy]), np.array([self.cx, self.cy])
        return points[..., :2] / points[..., 2:] * focal + centre


def place_root(
    keypoints_2d: np.ndarray,
    keypoints_3d: np.ndarray,
    camera: Camera,
    trusted: np.ndarray | None = None,
    depth: float | None = None,
) -> np.ndarray | None:
    """Root position (3,) in the optical frame, m, that makes the 3D pose project onto the 2D one.

    With the ray (a, b) = (x/z, y/z) of its pixel each joint gives two equations that are linear in
    the root t: `X + tx - a (Z + tz) = 0` and `Y + ty - b (Z + tz) = 0`. They are solved by least
    squares.

    Args:
        keypoints_2d: (J, 2) px, as the camera sees them.
        keypoints_3d: (J, 3) m, root-relative.
        trusted: (J,) bool, the joints to use; all if None or if fewer than four are trusted.
        depth: measured tz, m; then only tx and ty are solved for.

    Returns:
        The root, or None if no root in front of the camera fits (for example, all joints in one
        pixel).
    """
    if trusted is not None and trusted.sum() >= 4:
        keypoints_2d, keypoints_3d = keypoints_2d[trusted], keypoints_3d[trusted]
    rays = camera.rays(keypoints_2d)
    known = np.isfinite(rays).all(axis=-1)
    rays, joints = rays[known], np.asarray(keypoints_3d, float)[known]
    if len(rays) < (2 if depth is None else 1):
        return None
    if depth is not None:
        sideways = (rays * (joints[:, 2:] + depth) - joints[:, :2]).mean(axis=0)
        root = np.array([*sideways, depth])
    else:
        # Without their means tx and ty drop out of the equations.
        values = rays * joints[:, 2:] - joints[:, :2]
        centre, middle = rays.mean(axis=0), values.mean(axis=0)
        offsets = rays - centre
        spread = (offsets**2).sum()
        if not spread > len(rays) * _SAME_RAY**2:
            return None
        away = -(offsets * (values - middle)).sum() / spread
        root = np.array([*(middle + centre * away), away])
    nearest = root[2] + joints[:, 2].min()
    return root if np.isfinite(root).all() and nearest > 0 else None


def place_people(
    people: list[WholeBody], camera: Camera, depth: DepthImage | None = None
) -> list[WholeBody]:
    """The people with the root of every part in the camera's optical frame, m; see
    `PartPose.root`.

    The body is placed by its own 2D and 3D pose, hands at the body's wrists, the face at its head;
    a part without a body is placed by itself. If a part's visible joints have a depth, its distance
    comes from there. Parts that cannot be placed have no root.
    """
    return [_placed(person, camera, depth) for person in people]


def _placed(person: WholeBody, camera: Camera, depth: DepthImage | None) -> WholeBody:
    parts: dict[str, PartPose] = {}
    for slot, pose in person.parts():
        root = _hung_on_body(person, slot, pose, parts.get("body"))
        hung = root is not None
        if not hung:
            root = place_root(pose.keypoints_2d, pose.keypoints_3d, camera, pose.trusted)
        if depth is not None:
            root = _measured(person, slot, pose, root, hung, camera, depth)
        parts[slot] = replace(pose, root=root)
    return WholeBody(**parts, track_id=person.track_id)


def _hung_on_body(
    person: WholeBody, slot: str, pose: PartPose, placed_body: PartPose | None
) -> np.ndarray | None:
    """The root of a hand or a face if it is attached to the body."""
    body = placed_body.placed_3d if placed_body is not None else None
    if body is None:
        return None
    index = person.skeleton("body").index
    if slot == "face":
        # The head is the middle of the ears, where the face's outline begins and ends.
        return body[index["head"]] - pose.keypoints_3d[_EARS].mean(axis=0)
    wrist = index["right_wrist" if slot == "right_hand" else "left_wrist"]
    return body[wrist] - pose.keypoints_3d[0]


def _measured(
    person: WholeBody,
    slot: str,
    pose: PartPose,
    root: np.ndarray | None,
    hung: bool,
    camera: Camera,
    depth: DepthImage,
) -> np.ndarray | None:
    """The root measured by the depth image; `root` itself if no depth belongs to this part."""
    measured = depth_of_root(
        pose.keypoints_2d,
        pose.keypoints_3d[:, 2],
        pose.trusted,
        person.skeleton(slot),
        depth,
        expected=root[2] if hung and root is not None else None,
    )
    if measured is None:
        return root
    refined = place_root(pose.keypoints_2d, pose.keypoints_3d, camera, pose.trusted, depth=measured)
    return root if refined is None else refined
