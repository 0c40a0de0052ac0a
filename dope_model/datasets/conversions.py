"""Conversions of each data set's joints to this project's, as data.

A conversion names the data set's joints in its order and, for each joint here, the ones that it is
the mean of. Joints that a data set lacks are invalid. All names mean the person's own right and
left, so mirroring before or after the conversion gives the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from dope_model.skeleton import BODY, BODY14, COCO_JOINTS, HAND, Skeleton, swap_by_name

Source = str | tuple[str, ...]
"""A joint of a data set, or several whose mean is meant."""


@dataclass(frozen=True)
class Conversion:
    """From the joints of a data set to a skeleton of this project.

    Attributes:
        names: the data set's joints, in its order.
        skeleton: of this project.
        sources: of our joints, the data set's joint, or those whose mean it is.
    """

    names: tuple[str, ...]
    skeleton: Skeleton
    sources: Mapping[str, Source] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.sources) - set(self.skeleton.joints)
        unknown |= {n for s in self.sources.values() for n in _members(s)} - set(self.names)
        if unknown:
            raise ValueError(f"unknown joints: {', '.join(sorted(unknown))}")

    @cached_property
    def weights(self) -> np.ndarray:
        """(ours, theirs): each row averages the sources of one of our joints; zero without any."""
        matrix = np.zeros((len(self.skeleton), len(self.names)))
        for joint, source in self.sources.items():
            members = _members(source)
            for name in members:
                matrix[self.skeleton.index[joint], self.names.index(name)] = 1 / len(members)
        return matrix

    @cached_property
    def known(self) -> np.ndarray:
        """(ours,) bool: the joints that the data set has."""
        return self.weights.any(axis=1)

    @cached_property
    def swap(self) -> tuple[int, ...]:
        """Joint of the data set that takes the place of each when the picture is mirrored."""
        return swap_by_name(self.names)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Points (..., theirs, D) as (..., ours, D); zero where the data set has no such joint."""
        points = np.asarray(points, float)
        # A joint that is not used may be NaN.
        clean = np.where(np.isfinite(points), points, 0)
        converted = np.einsum("jn,...nd->...jd", self.weights, clean)
        bad = self.any_source(~np.isfinite(points).all(axis=-1))
        return np.where(bad[..., None], np.nan, converted)

    def valid(self, valid: np.ndarray) -> np.ndarray:
        """(..., theirs) bool as (..., ours): all sources valid; False where there are none."""
        return self.known & ~self.any_source(~np.asarray(valid, bool))

    def any_source(self, marked: np.ndarray) -> np.ndarray:
        """(..., theirs) bool as (..., ours): whether any of a joint's sources is marked."""
        return (np.asarray(marked, float) @ (self.weights > 0).T) > 0


def _members(source: Source) -> tuple[str, ...]:
    return (source,) if isinstance(source, str) else source


_LIMBS = BODY.joints[:-1]
_SAME_LIMBS = {joint: joint for joint in _LIMBS}

LSP_JOINTS = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
    "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
    "neck", "head_top",
)  # fmt: skip
MIDDLE_OF_HEAD = ("neck", "head_top")
"""Our head is the middle of the head, at the ears; where a data set has only the neck, at the level
of the chin, and the top of the head, it lies between them."""
LSP = Conversion(LSP_JOINTS, BODY, {**_SAME_LIMBS, "head": MIDDLE_OF_HEAD})

MPII_JOINTS = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
    "pelvis", "thorax", "neck", "head_top",
    "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
)  # fmt: skip
"""Ids 0 to 15 of mpii_human_pose_v1_u12_1.mat; "neck" is its "upper neck"."""
MPII = Conversion(MPII_JOINTS, BODY, {**_SAME_LIMBS, "head": MIDDLE_OF_HEAD})

COCO = Conversion(COCO_JOINTS, BODY, {**_SAME_LIMBS, "head": ("right_ear", "left_ear")})

MUPOTS_JOINTS = (
    "head_top", "neck", "right_shoulder", "right_elbow", "right_wrist",
    "left_shoulder", "left_elbow", "left_wrist", "right_hip", "right_knee", "right_ankle",
    "left_hip", "left_knee", "left_ankle", "pelvis", "spine", "head",
)  # fmt: skip
"""The 17 joints of annot.mat of MuPoTS-3D, and of MPI-INF-3DHP's test set."""
MUPOTS = Conversion(
    MUPOTS_JOINTS, BODY14, {**_SAME_LIMBS, "head": "head_top", "neck": "neck"}
)  # fmt: skip
"""A network's 14 joints are MuPoTS' own: the last layer is fine-tuned to them (section 4.1)."""

MPI_INF_28_JOINTS = (
    "spine3", "spine4", "spine2", "spine", "pelvis", "neck", "head", "head_top",
    "left_clavicle", "left_shoulder", "left_elbow", "left_wrist", "left_hand",
    "right_clavicle", "right_shoulder", "right_elbow", "right_wrist", "right_hand",
    "left_hip", "left_knee", "left_ankle", "left_foot", "left_toe",
    "right_hip", "right_knee", "right_ankle", "right_foot", "right_toe",
)  # fmt: skip
"""The 28 joints of annot.mat of MPI-INF-3DHP, of which MuCo-3DHP is made."""
MUCO = Conversion(
    MPI_INF_28_JOINTS, BODY14, {**_SAME_LIMBS, "head": "head_top", "neck": "neck"}
)  # fmt: skip

HUMAN36M_JOINTS = (
    "hips", "right_hip", "right_knee", "right_ankle", "right_toe_base", "right_toe",
    "left_hip", "left_knee", "left_ankle", "left_toe_base", "left_toe",
    "spine", "spine1", "neck", "head", "head_top",
    "left_collar", "left_shoulder", "left_elbow", "left_wrist", "left_thumb_base", "left_thumb",
    "left_hand", "left_hand_end",
    "right_collar", "right_shoulder", "right_elbow", "right_wrist", "right_thumb_base",
    "right_thumb", "right_hand", "right_hand_end",
)  # fmt: skip
"""The 32 joints of the poses in Human3.6M's CDF files."""
HUMAN36M = Conversion(HUMAN36M_JOINTS, BODY, {**_SAME_LIMBS, "head": ("head", "head_top")})

SURREAL_JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2",
    "left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck",
    "left_collar", "right_collar", "head", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
)  # fmt: skip
"""SMPL's 24 joints."""
SURREAL = Conversion(SURREAL_JOINTS, BODY, {**_SAME_LIMBS, "head": "head"})

_FINGERS = ("thumb", "index", "middle", "ring", "little")
_PHALANGES = {"thumb": ("cmc", "mcp", "ip", "tip")}
_FINGER_CHAINS = {f: _PHALANGES.get(f, ("mcp", "pip", "dip", "tip")) for f in _FINGERS}

OPENPOSE_HAND_JOINTS = (
    "wrist",
    *(f"{finger}_{joint}" for finger, chain in _FINGER_CHAINS.items() for joint in chain),
)
"""A wrist and each finger from its root to its tip: hands of COCO-WholeBody."""
OPENPOSE_HAND = Conversion(OPENPOSE_HAND_JOINTS, HAND, {joint: joint for joint in HAND.joints})

RHD_JOINTS = (
    "wrist",
    *(f"{finger}_{joint}" for finger, chain in _FINGER_CHAINS.items() for joint in chain[::-1]),
)
"""RHD's joints of one hand: a wrist and each finger from its tip to its root."""
RHD = Conversion(RHD_JOINTS, HAND, {joint: joint for joint in HAND.joints})

IBUG68_OF_FACE84 = (*range(0, 33, 2), *range(33, 84))
"""Our landmark of each of the 68 that COCO-WholeBody labels: every second one of the contour."""

ALL = {
    "LSP": LSP, "MPII": MPII, "COCO": COCO, "MuPoTS-3D": MUPOTS, "MuCo-3DHP": MUCO,
    "Human3.6M": HUMAN36M, "SURREAL": SURREAL, "COCO-WholeBody hand": OPENPOSE_HAND, "RHD": RHD,
}  # fmt: skip
