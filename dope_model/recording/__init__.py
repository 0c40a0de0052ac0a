"""What was seen in a series of images, as a file for other tools: .npz, .csv or .bvh.

All positions are in metres and all rotations in the axes of the camera's optical frame
(x right, y down, z away), but in .bvh. Bones, their axes and their rest pose are those of
`dope_model.rotations`. Joints that are not trusted have their confidence; bones that would need
them are NaN.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dope_model.camera.placement import Intrinsics, place_people
from dope_model.poses import PART_SLOTS, TRUSTED, WholeBody
from dope_model.recording.bvh import write_bvh
from dope_model.recording.openxr import OPENXR_JOINTS, openxr_hand
from dope_model.rotations import BONES, bone_rotations, bone_starts
from dope_model.skeleton import BODY, FACE84, HAND

FORMATS = (".npz", ".csv", ".bvh")

_SKELETONS = {"body": BODY, "hand": HAND, "face": FACE84}
_COUNTS = {slot: len(_SKELETONS[part]) for slot, part in PART_SLOTS.items()}
JOINT_NAMES = tuple(
    f"{slot}.{joint}" for slot, part in PART_SLOTS.items() for joint in _SKELETONS[part].joints
)
"""The joints of all parts: "body.right_ankle" ... "right_hand.wrist" ... "face.contour_0" ..."""


def checked_format(path: Path) -> Path:
    """`path` itself if its suffix is one of FORMATS and its folder exists.

    Raises:
        ValueError: one is not so.
    """
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path}: the name of the file must end in {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}")
    return path


@dataclass
class _Row:
    """One person in one image."""

    frame: int
    person: int
    pixels: np.ndarray
    joints: np.ndarray
    confidence: np.ndarray


@dataclass
class PoseRecording:
    """The people of a series of images.

    Attributes:
        stamps: s, of each image; sources: its file, or empty.
    """

    stamps: list[float] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    _rows: list[_Row] = field(default_factory=list)

    def add(
        self,
        people: list[WholeBody],
        image_size: tuple[int, int],
        stamp: float,
        source: str = "",
        horizontal_fov: float = 60.0,
    ) -> None:
        """Add the people of one image.

        Args:
            people: a person without a track id is numbered -1, -2, ... in its image. People who are
                not placed are placed as seen by a camera of `horizontal_fov` degrees.
            image_size: width and height, px.
            stamp: s.
            source: the image's file, if it is one.
        """
        frame = len(self.stamps)
        self.stamps.append(stamp)
        self.sources.append(source)
        if not all(pose.root is not None for person in people for _, pose in person.parts()):
            people = place_people(people, Intrinsics.assumed(*image_size, horizontal_fov))
        for number, person in enumerate(people, 1):
            known = person.track_id if person.track_id >= 0 else -number
            self._rows.append(_Row(frame, known, *_joints_of(person)))

    def arrays(self) -> dict[str, np.ndarray]:
        """What an .npz file holds: N rows, one for each person in each image, sorted by person and
        time.

        person (N,) int, the track id; frame (N,) int, the image; stamp (N,) s; source (N,) text;
        keypoints_2d (N, 139, 2) px, joints (N, 139, 3) m and confidence (N, 139), in the order of
        joint_names (139,); positions (N, B, 3) m, where bones start, and rotations (N, B, 4) as
        (x, y, z, w), in the order of bone_names (B,), whose parents are bone_parents (B,), -1 for
        the first; openxr_positions (N, 2, 26, 3) m and openxr_rotations (N, 2, 26, 4) of the right
        and the left hand, in the order of openxr_names (26,). NaN where something was not found.
        """
        rows = sorted(self._rows, key=lambda row: (row.person, row.frame))
        frame = np.array([row.frame for row in rows], int)
        joints = np.array([row.joints for row in rows], np.float64).reshape(-1, len(JOINT_NAMES), 3)
        confidence = np.array([row.confidence for row in rows]).reshape(-1, len(JOINT_NAMES))
        trusted = _by_slot(np.where((confidence >= TRUSTED)[..., None], joints, np.nan))
        rotations = bone_rotations(trusted)
        hands = [openxr_hand(trusted[f"{s}_hand"], rotations, s) for s in ("right", "left")]
        names = [bone.name for bone in BONES]
        return {
            "person": np.array([row.person for row in rows], int),
            "frame": frame,
            "stamp": np.array(self.stamps, np.float64)[frame],
            "source": np.array(self.sources, str)[frame],
            "joint_names": np.array(JOINT_NAMES),
            "keypoints_2d": np.array([row.pixels for row in rows], np.float32).reshape(
                -1, len(JOINT_NAMES), 2
            ),
            "joints": joints.astype(np.float32),
            "confidence": confidence.astype(np.float32),
            "bone_names": np.array(names),
            "bone_parents": np.array([names.index(b.parent) if b.parent else -1 for b in BONES]),
            "positions": bone_starts(trusted).astype(np.float32),
            "rotations": rotations.astype(np.float32),
            "openxr_names": np.array(OPENXR_JOINTS),
            "openxr_positions": np.stack([hand[0] for hand in hands], 1).astype(np.float32),
            "openxr_rotations": np.stack([hand[1] for hand in hands], 1).astype(np.float32),
        }

    def save(self, path: Path) -> list[Path]:
        """Write the file; returns what was written.

        .npz: see `arrays`. .csv: a line for each joint and each bone that was found. .bvh: a file
        for each tracked person with a body, called after the track id: walk_3.bvh beside walk.bvh;
        of people without one, a file each for each image.

        Raises:
            ValueError: as `checked_format`. OSError: it cannot be written.
        """
        kind = checked_format(path).suffix.lower()
        arrays = self.arrays()
        if kind == ".bvh":
            return self._save_bvh(path, arrays)
        if kind == ".npz":
            with path.open("wb") as file:  # NumPy would add a second suffix to .NPZ
                np.savez_compressed(file, **arrays)
        else:
            _save_csv(path, arrays)
        return [path]

    def _save_bvh(self, path: Path, arrays: dict[str, np.ndarray]) -> list[Path]:
        # People without a track id are others in each image.
        untracked = np.where(arrays["person"] < 0, arrays["frame"], -1)
        keys = np.stack([arrays["person"], untracked], axis=1)
        written = []
        for person, frame in np.unique(keys, axis=0):
            mine = (keys == (person, frame)).all(axis=1)
            name = f"{path.stem}_{person}" if frame < 0 else f"{path.stem}_{frame}_{-person}"
            stamps = arrays["stamp"][mine]
            motion = arrays["positions"][mine], arrays["rotations"][mine]
            ends = arrays["joints"][mine], arrays["confidence"][mine]
            out = path.with_name(name + path.suffix)
            if write_bvh(out, stamps, *motion, _by_slot(np.where(
                (ends[1] >= TRUSTED)[..., None], ends[0], np.nan))):  # fmt: skip
                written.append(out)
        return written


def _joints_of(person: WholeBody) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (139, 2), joints (139, 3) m and confidence (139,), NaN for parts not found or not
    placed."""
    pixels, joints, confidence = [], [], []
    for slot, count in _COUNTS.items():
        pose = getattr(person, slot)
        placed = None if pose is None else pose.placed_3d
        nothing = np.full((count, 3), np.nan)
        pixels.append(nothing[:, :2] if pose is None else pose.keypoints_2d[:count])
        joints.append(nothing if placed is None else placed[:count])
        confidence.append(nothing[:, 0] if pose is None else pose.confidence[:count])
    return np.concatenate(pixels), np.concatenate(joints), np.concatenate(confidence)


def _by_slot(joints: np.ndarray) -> dict[str, np.ndarray]:
    """Joints (..., 139, 3) by part."""
    ends = np.cumsum(list(_COUNTS.values()))[:-1]
    return dict(zip(_COUNTS, np.split(joints, ends, axis=-2), strict=True))


def _save_csv(path: Path, arrays: dict[str, np.ndarray]) -> None:
    found = ("person", "frame", "stamp", "source")
    columns = (*found, "name", "u", "v", "x", "y", "z", "confidence", "qx", "qy", "qz", "qw")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in range(len(arrays["person"])):
            first = [arrays[name][row].item() for name in found]
            for name, pixel, joint, sure in zip(
                JOINT_NAMES, arrays["keypoints_2d"][row], arrays["joints"][row],
                arrays["confidence"][row], strict=True,
            ):  # fmt: skip
                if not np.isnan(sure):
                    values = [_text(value) for value in (*pixel, *joint, sure)]
                    writer.writerow([*first, name, *values, "", "", "", ""])
            for bone, start, turn in zip(
                BONES, arrays["positions"][row], arrays["rotations"][row], strict=True
            ):
                if not np.isnan(turn).any():
                    values = [_text(value) for value in start]
                    turned = [_text(value) for value in turn]
                    writer.writerow([*first, f"bone.{bone.name}", "", "", *values, "", *turned])


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"
