"""Smoothing without delay: the One-Euro filter on the joints of tracked people.

Casiez, Roussel, Vogel: "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
Interactive Systems", CHI 2012. The cut-off frequency of this low-pass filter rises with speed, so
joints at rest are steady and moving joints are hardly delayed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dope_model.poses import PartPose, WholeBody

_FORGET = 0.5
"""A part that was not seen for this long, s, starts a new filter."""


@dataclass(frozen=True)
class OneEuroSettings:
    """How much is smoothed.

    Attributes:
        min_cutoff: cut-off frequency at rest, Hz; lower is steadier.
        beta: increase of the cut-off, Hz, for a joint that moves by the size of its part in one
            second; higher is more responsive.
        derivative_cutoff: cut-off frequency of the speed estimate, Hz.
    """

    min_cutoff: float = 1.5
    beta: float = 8.0
    derivative_cutoff: float = 1.0

    def __post_init__(self) -> None:
        if not (self.min_cutoff > 0 and self.beta >= 0 and self.derivative_cutoff > 0):
            raise ValueError(f"cut-offs must be positive and beta not negative: {self}")


class OneEuroFilter:
    """The filter on points (J, D); each point has its own speed and cut-off."""

    def __init__(self, settings: OneEuroSettings, points: np.ndarray, stamp: float) -> None:
        self._settings = settings
        self._points = np.asarray(points, float)
        self._speed = np.zeros_like(self._points)
        self.stamp = stamp

    def __call__(self, points: np.ndarray, stamp: float, unit: float = 1.0) -> np.ndarray:
        """The smoothed points; the last ones if no time has passed.

        Args:
            stamp: s.
            unit: length that a speed of 1 covers in one second.
        """
        interval = stamp - self.stamp
        if interval <= 0:
            return self._points
        settings = self._settings
        speed = (points - self._points) / interval
        self._speed += smoothing_factor(settings.derivative_cutoff, interval) * (
            speed - self._speed
        )
        pace = np.linalg.norm(self._speed, axis=-1, keepdims=True) / unit
        cutoff = settings.min_cutoff + settings.beta * pace
        self._points = self._points + smoothing_factor(cutoff, interval) * (points - self._points)
        self.stamp = stamp
        return self._points


def smoothing_factor(cutoff: float | np.ndarray, interval: float) -> float | np.ndarray:
    """Share of the new value in an exponential filter of `cutoff` Hz at `interval` s."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * interval))


class PoseSmoother:
    """Smooths the 2D and 3D joints of tracked people; people without a track id are unchanged."""

    def __init__(self, settings: OneEuroSettings | None = None) -> None:
        self.settings = settings or OneEuroSettings()
        self._filters: dict[tuple[int, str], tuple[OneEuroFilter, OneEuroFilter]] = {}

    def update(self, people: list[WholeBody], stamp: float) -> list[WholeBody]:
        """The people of the next image, smoothed.

        Args:
            stamp: when the image was taken, s.
        """
        smoothed = [
            replace(
                person,
                **{
                    slot: self._smooth((person.track_id, slot), pose, stamp)
                    for slot, pose in person.parts()
                },
            )
            if person.track_id >= 0
            else person
            for person in people
        ]
        self._filters = {
            key: filters
            for key, filters in self._filters.items()
            if 0 <= stamp - filters[0].stamp <= _FORGET
        }
        return smoothed

    def reset(self) -> None:
        """Forget everybody."""
        self._filters.clear()

    def _smooth(self, key: tuple[int, str], pose: PartPose, stamp: float) -> PartPose:
        known = self._filters.get(key)
        if known is None or not 0 <= stamp - known[0].stamp <= _FORGET:
            self._filters[key] = (
                OneEuroFilter(self.settings, pose.keypoints_2d, stamp),
                OneEuroFilter(self.settings, pose.keypoints_3d, stamp),
            )
            return pose
        flat, solid = (
            smooth(points, stamp, max(float(np.ptp(points, axis=0).max()), 1e-6)).astype(np.float32)
            for smooth, points in zip(known, (pose.keypoints_2d, pose.keypoints_3d), strict=True)
        )
        return replace(pose, keypoints_2d=flat, keypoints_3d=solid)
