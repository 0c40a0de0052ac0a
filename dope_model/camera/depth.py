"""The distance of a part, from a depth image that is registered to the colour image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dope_model.skeleton import Skeleton

# How far a joint lies behind the surface that a camera sees in front of it, m: medians over people
# rendered in all poses and from all sides (dope_model.rendering, 90 pictures). Half of the joints
# lie within 0.02 of theirs, those of the hips within 0.03.
UNDER_SKIN = {
    "body": {
        "ankle": 0.05,
        "knee": 0.06,
        "hip": 0.10,
        "wrist": 0.025,
        "elbow": 0.04,
        "shoulder": 0.06,
        "head": 0.08,
        "neck": 0.06,
    },
    "hand": {"wrist": 0.025, "cmc": 0.015},
}
_FINGER = 0.005

LEAST_JOINTS = {"body": 3, "hand": 5, "face": 10}
"""A part's distance comes from the depth image only if this many joints have a depth."""

WINDOW = 5
"""A joint's depth is the median of WINDOW x WINDOW px of the depth image around it."""

# A joint whose estimate differs from the median by more than this shows something in front of or
# behind the part, m.
_AGREEMENT = {"body": 0.25, "hand": 0.06, "face": 0.06}
# A hand's or face's own depth counts only within this distance of where its body has it, m.
_FROM_BODY = 0.4


@dataclass(frozen=True)
class DepthImage:
    """Distances along the optical axis, seen from the colour camera.

    Attributes:
        metres: (H, W) float; 0, negative, NaN and infinity are no data.
        width, height: of the colour image, px; the depth image may have another resolution.
    """

    metres: np.ndarray
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.metres.ndim != 2 or 0 in self.metres.shape:
            raise ValueError(f"a depth image is an array (H, W), not {self.metres.shape}")
        rows, columns = self.metres.shape
        # Up to half a pixel of the smaller image is lost when its size is rounded.
        if abs(rows * self.width - columns * self.height) > max(self.width, self.height):
            raise ValueError(
                f"the depth image, {columns} x {rows}, is no copy of the colour image, "
                f"{self.width} x {self.height}: it must be registered to it"
            )

    def at(self, points: np.ndarray) -> np.ndarray:
        """Depths (J,) under pixels (J, 2) of the colour image, m; NaN where there is none."""
        rows, columns = self.metres.shape
        scale = np.array([columns / self.width, rows / self.height])
        depths = np.full(len(points), np.nan)
        inside = np.isfinite(points).all(axis=1)
        inside &= ((points >= 0) & (points < [self.width, self.height])).all(axis=1)
        if not inside.any():
            return depths
        centre = np.floor(points[inside] * scale).astype(int)
        reach = np.arange(WINDOW) - WINDOW // 2
        x = np.clip(centre[:, 0, None] + reach, 0, columns - 1)
        y = np.clip(centre[:, 1, None] + reach, 0, rows - 1)
        windows = self.metres[y[:, :, None], x[:, None, :]].reshape(len(centre), -1).astype(float)
        valid = np.isfinite(windows) & (windows > 0)
        # np.nanmedian takes ten times as long.
        windows[~valid] = np.inf
        windows.sort(axis=1)
        count = valid.sum(axis=1)
        row = np.arange(len(windows))
        found = (windows[row, (count - 1) // 2] + windows[row, count // 2 % windows.shape[1]]) / 2
        # A window with hardly any data shows the edge of something else.
        found[count < max(1, windows.shape[1] // 4)] = np.nan
        depths[inside] = found
        return depths


def under_skin(skeleton: Skeleton) -> np.ndarray:
    """How far each joint (J,) of a part lies behind its surface, m."""
    table = UNDER_SKIN.get(skeleton.name, {})
    other = _FINGER if skeleton.name == "hand" else 0.0
    return np.array([table.get(joint.rpartition("_")[2], other) for joint in skeleton.joints])


def depth_of_root(
    keypoints_2d: np.ndarray,
    relative_depth: np.ndarray,
    trusted: np.ndarray,
    skeleton: Skeleton,
    depth: DepthImage,
    expected: float | None = None,
) -> float | None:
    """The distance of a part's root along the optical axis, m.

    Every visible joint gives an estimate: the depth at its pixel, plus its depth under the skin,
    minus its own depth relative to the root. Estimates near their median are averaged; the others
    show something in front of or behind the part.

    Args:
        keypoints_2d: (J, 2) px of the colour image.
        relative_depth: (J,) z of the root-relative 3D pose, m.
        trusted: (J,) bool, joints that are seen.
        expected: where the body has the root of this hand or face, m.

    Returns:
        None if too few joints have a depth, or if what they show cannot be the part.
    """
    estimates = depth.at(keypoints_2d) + under_skin(skeleton) - relative_depth
    estimates = estimates[trusted & np.isfinite(estimates)]
    if expected is not None:
        estimates = estimates[np.abs(estimates - expected) < _FROM_BODY]
    least = LEAST_JOINTS[skeleton.name]
    if len(estimates) < least:
        return None
    agreeing = estimates[np.abs(estimates - np.median(estimates)) < _AGREEMENT[skeleton.name]]
    return float(agreeing.mean()) if len(agreeing) >= least else None
