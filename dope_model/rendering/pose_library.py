"""A library of body poses: lifted from pictures, and MakeHuman's own.

`body_poses.npz` holds joint angles and no lengths, so they fit every body. README.md says where the
poses come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from dope_model.rendering.body import SIDES

POSES_FILE = Path(__file__).with_name("body_poses.npz")
SOURCES = ("lifted", "makehuman")
_STEP = 0.1
_ANGLES = ("root", "spine", "arms", "legs")


@dataclass(frozen=True)
class LibraryPose:
    """Degrees; the names of the angles are those of `posing.Controls` and `posing.ArmAngles`.

    Attributes:
        root: (3,) rotation vector of the hips, without the heading.
        spine: (3,) bend forward, turn left, lean left.
        arms: by side (elevation, azimuth, twist, elbow).
        legs: by side (flexion, abduction, twist, knee), or None where only the upper body is known.
    """

    root: np.ndarray
    spine: np.ndarray
    arms: dict[str, np.ndarray]
    legs: dict[str, np.ndarray] | None

    def mirrored(self) -> LibraryPose:
        """What the right side does, the left one does, and the other way round."""
        right, left = SIDES

        def swap(limbs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {right: limbs[left], left: limbs[right]}

        turn = np.array([1.0, -1.0, -1.0])
        return LibraryPose(
            self.root * turn, self.spine * turn, swap(self.arms),
            None if self.legs is None else swap(self.legs),
        )  # fmt: skip


@dataclass
class PoseLibrary:
    """Many poses as arrays, degrees.

    Attributes:
        root, spine: (N, 3); arms, legs: (N, 2, 4), the right side first; legs are NaN where
            they are not known. See `LibraryPose`.
        source: (N,) index into SOURCES.
    """

    root: np.ndarray
    spine: np.ndarray
    arms: np.ndarray
    legs: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        return len(self.source)

    @property
    def whole(self) -> np.ndarray:
        """(N,) bool: the legs are known too."""
        return ~np.isnan(self.legs).any(axis=(1, 2))

    def pose(self, number: int) -> LibraryPose:
        """One of the poses."""
        legs = dict(zip(SIDES, self.legs[number], strict=True)) if self.whole[number] else None
        return LibraryPose(
            self.root[number], self.spine[number],
            dict(zip(SIDES, self.arms[number], strict=True)), legs,
        )  # fmt: skip

    def draw(
        self, random: np.random.Generator, source: str | None = None, jitter: float = 3.0
    ) -> LibraryPose:
        """A random pose, or its mirror image, with every angle moved a little.

        Args:
            source: one of SOURCES, for whole bodies from there; None for upper bodies from
                anywhere.
            jitter: standard deviation of the change, degrees.
        """
        numbers = np.arange(len(self))
        if source is not None:
            numbers = numbers[self.whole & (self.source == SOURCES.index(source))]
        pose = self.pose(int(numbers[random.integers(len(numbers))]))
        if random.random() < 0.5:
            pose = pose.mirrored()

        def move(angles: np.ndarray) -> np.ndarray:
            return angles + random.normal(0, jitter, angles.shape)

        return LibraryPose(
            move(pose.root), move(pose.spine),
            {side: move(angles) for side, angles in pose.arms.items()},
            None if pose.legs is None else {side: move(a) for side, a in pose.legs.items()},
        )  # fmt: skip

    def save(self, path: Path) -> None:
        """Write tenths of a degree in 16 bits."""
        none = np.iinfo(np.int16).min
        arrays = {}
        for name in _ANGLES:
            angles = getattr(self, name)
            steps = np.round(np.nan_to_num(angles) / _STEP).astype(np.int16)
            arrays[name] = np.where(np.isnan(angles), none, steps).astype(np.int16)
        np.savez_compressed(path, **arrays, source=self.source.astype(np.uint8))

    @classmethod
    def load(cls, path: Path = POSES_FILE) -> PoseLibrary:
        """Read what `save` wrote."""
        none = np.iinfo(np.int16).min
        with np.load(path, allow_pickle=False) as file:
            angles = {n: np.where(file[n] == none, np.nan, file[n] * _STEP) for n in _ANGLES}
            return cls(**angles, source=file["source"])


@lru_cache(maxsize=1)
def pose_library() -> PoseLibrary:
    """The poses that come with the package."""
    return PoseLibrary.load()
