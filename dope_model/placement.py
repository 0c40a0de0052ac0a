"""Where a part stands in front of the camera, from its 2D and 3D pose and the intrinsics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dope_model.poses import PartPose, WholeBody


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

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of points (..., 3) in the optical frame, m."""
        focal, centre = np.array([self.fx, self.fy]), np.array([self.cx, self.cy])
        return points[..., :2] / points[..., 2:] * focal + centre


def place_root(
    keypoints_2d: np.ndarray,
    keypoints_3d: np.ndarray,
    intrinsics: Intrinsics,
    trusted: np.ndarray | None = None,
) -> np.ndarray | None:
    """Root position (3,) in the optical frame, m, that makes the 3D pose project onto the 2D one.

    Each joint gives two equations that are linear in the root t:
    `fx (X + tx) - (u - cx) (Z + tz) = 0` and the same for v. They are solved by least squares,
    each scaled by the focal length so that x and y count alike.

    Args:
        keypoints_2d: (J, 2) px, rectified.
        keypoints_3d: (J, 3) m, root-relative.
        trusted: (J,) bool, the joints to use; all when None or when fewer than four are trusted.

    Returns:
        The root, or None where no root in front of the camera fits (all joints in one pixel, say).
    """
    if trusted is not None and trusted.sum() >= 4:
        keypoints_2d, keypoints_3d = keypoints_2d[trusted], keypoints_3d[trusted]
    centre = np.array([intrinsics.cx, intrinsics.cy])
    rays = (keypoints_2d.astype(float) - centre) / np.array([intrinsics.fx, intrinsics.fy])
    count = len(rays)
    equations = np.zeros((count, 2, 3))
    equations[:, 0, 0] = equations[:, 1, 1] = 1
    equations[:, :, 2] = -rays
    values = rays * keypoints_3d[:, 2:] - keypoints_3d[:, :2]
    root, _, rank, _ = np.linalg.lstsq(equations.reshape(-1, 3), values.reshape(-1), rcond=1e-9)
    nearest = root[2] + keypoints_3d[:, 2].min()
    if rank < 3 or not np.isfinite(root).all() or nearest <= 0:
        return None
    return root


def place_people(
    people: list[WholeBody], intrinsics: Intrinsics
) -> list[tuple[WholeBody, dict[str, np.ndarray]]]:
    """Every part's joints (J, 3) in the camera's optical frame, m, by slot.

    The body is placed by its own 2D and 3D pose. Hands hang at its wrists and the face at its
    head, where the body has them; a part without a body is placed by itself. Parts that cannot be
    placed are left out.
    """
    placed = []
    for person in people:
        slots: dict[str, np.ndarray] = {}
        for slot, pose in person.parts():
            points = _hung_on_body(person, slot, pose, slots.get("body"))
            if points is None:
                root = place_root(pose.keypoints_2d, pose.keypoints_3d, intrinsics, pose.trusted)
                points = None if root is None else pose.keypoints_3d + root
            if points is not None:
                slots[slot] = points
        placed.append((person, slots))
    return placed


def _hung_on_body(
    person: WholeBody, slot: str, pose: PartPose, body: np.ndarray | None
) -> np.ndarray | None:
    if body is None or slot == "body":
        return None
    index = person.skeleton("body").index
    if slot == "face":
        return pose.keypoints_3d - pose.keypoints_3d.mean(axis=0) + body[index["head"]]
    wrist = index["right_wrist" if slot == "right_hand" else "left_wrist"]
    return pose.keypoints_3d - pose.keypoints_3d[0] + body[wrist]
