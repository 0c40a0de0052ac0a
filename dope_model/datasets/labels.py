"""The project's own sample format: one file of labels beside a folder of pictures.

Experts' labels, human labels and rendered people all use it, so training and benchmarks have one
reader. The arrays of all pictures are concatenated in one compressed npz file; nothing in it is
executed.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path

import numpy as np

from dope_model.camera.placement import Intrinsics
from dope_model.skeleton import PARTS, skeleton_for

FORMAT_VERSION = 1


class Visibility(IntEnum):
    """Whether a joint is visible in the picture, and if not, why."""

    UNKNOWN = 0
    VISIBLE = 1
    OCCLUDED_BY_SELF = 2
    OCCLUDED_BY_OTHER = 3
    OUTSIDE_FRAME = 4


@dataclass
class PartLabels:
    """What is known of one part in one picture: N instances of J joints.

    Attributes:
        part: "body", "hand" or "face".
        keypoints_2d: (N, J, 2) px of the picture.
        keypoints_3d: (N, J, 3) m, root-relative, axes of the optical frame.
        valid_2d: (N, J) bool, 2D that may be used for training and evaluation.
        valid_3d: (N, J) bool, the same for 3D.
        visibility: (N, J) `Visibility`.
        person: (N,) which person of the picture; -1 when unknown.
        root: (N, 3) the root in the optical frame, m; NaN when unknown.
        score: (N,) the labeller's confidence, 1 for exact labels.
        is_left: (N,) bool for hands, None otherwise.
        ignored: (M, 4) boxes x0 y0 x1 y1 of instances that are not labelled: neither a person nor
            background.
        complete: whether every instance in the picture is labelled or ignored. False if this part
            is not annotated, so a missing label does not mean background.
    """

    part: str
    keypoints_2d: np.ndarray
    keypoints_3d: np.ndarray
    valid_2d: np.ndarray
    valid_3d: np.ndarray
    visibility: np.ndarray
    person: np.ndarray
    root: np.ndarray
    score: np.ndarray
    is_left: np.ndarray | None = None
    ignored: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    complete: bool = True

    def __post_init__(self) -> None:
        if (self.part == "hand") != (self.is_left is not None):
            raise ValueError("is_left belongs to hands, and only to hands")
        count, joints = self.keypoints_2d.shape[:2]
        skeleton_for(self.part, joints)
        for name, (dtype, shape) in _fields(self.part, joints).items():
            array = np.asarray(getattr(self, name), dtype)
            if array.shape != (count, *shape):
                raise ValueError(
                    f"{self.part}: {name} has shape {array.shape}, not {(count, *shape)}"
                )
            setattr(self, name, array)
        self.ignored = np.asarray(self.ignored, np.float32).reshape(-1, 4)

    def __len__(self) -> int:
        return len(self.score)

    @property
    def instances(self) -> dict[str, np.ndarray]:
        """The arrays of which each row is an instance, by name."""
        return {name: getattr(self, name) for name in _fields(self.part, 0)}

    def select(self, which: np.ndarray) -> PartLabels:
        """Copies of the instances that an index or mask array picks, in its order."""
        return replace(self, **{k: array[which].copy() for k, array in self.instances.items()})

    def joined(self, other: PartLabels) -> PartLabels:
        """The instances and regions of both; all else is this one's."""
        both = {k: np.concatenate([a, other.instances[k]]) for k, a in self.instances.items()}
        return replace(self, **both, ignored=np.concatenate([self.ignored, other.ignored]))

    @classmethod
    def empty(cls, part: str, joint_count: int, complete: bool = True) -> PartLabels:
        """No instance of `part`; if `complete` is False, the part is not annotated."""
        arrays = {
            name: np.zeros((0, *shape), dtype)
            for name, (dtype, shape) in _fields(part, joint_count).items()
        }
        return cls(part, **arrays, complete=complete)


def _fields(part: str, joints: int) -> dict[str, tuple[type, tuple[int, ...]]]:
    """The per-instance arrays: their type and shape after the first axis."""
    fields: dict[str, tuple[type, tuple[int, ...]]] = {
        "keypoints_2d": (np.float32, (joints, 2)),
        "keypoints_3d": (np.float32, (joints, 3)),
        "valid_2d": (np.bool_, (joints,)),
        "valid_3d": (np.bool_, (joints,)),
        "visibility": (np.uint8, (joints,)),
        "person": (np.int16, ()),
        "root": (np.float32, (3,)),
        "score": (np.float32, ()),
    }
    if part == "hand":
        fields["is_left"] = (np.bool_, ())
    return fields


@dataclass
class Sample:
    """One labelled picture; `file` is relative to the pictures' folder."""

    file: str
    width: int
    height: int
    parts: dict[str, PartLabels]
    intrinsics: Intrinsics | None = None

    def shows(self, part: str) -> bool:
        """Whether the 2D position of any joint of that part is known."""
        return part in self.parts and bool(self.parts[part].valid_2d.any())

    def having(self, parts: Collection[str]) -> Sample:
        """The same without the labels of other parts."""
        return replace(self, parts={p: own for p, own in self.parts.items() if p in parts})


# What a damaged .npz file may raise, depending on where the damage is.
_DAMAGE = (
    ValueError, KeyError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error
)  # fmt: skip
# Compact files keep sixteenths of a pixel and tenths of a millimetre in 16 bits.
_COMPACT_STEPS = {"keypoints_2d": 1 / 16, "keypoints_3d": 1e-4, "root": 1e-3, "ignored": 1 / 4}


class LabelSet:
    """The samples of one labels file.

    Attributes:
        samples: in the order of the file.
        about: where pictures and labels come from, and their terms.
    """

    def __init__(self, samples: Iterable[Sample], about: dict[str, str] | None = None) -> None:
        self.samples = list(samples)
        self.about = about or {}

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def save(self, path: str | Path, compact: bool = False) -> None:
        """Write the labels.

        Args:
            compact: round 2D to 1/16 px and 3D to 0.1 mm, for a file of half the size or less. An
                array with a value beyond that range is stored unrounded.
        """
        arrays: dict[str, np.ndarray] = {
            "size": np.array([(s.width, s.height) for s in self.samples], np.int32).reshape(-1, 2),
            "intrinsics": np.array(
                [_intrinsics_row(s.intrinsics) for s in self.samples], np.float64
            ).reshape(-1, 4),
        }
        joint_counts = {}
        for part in PARTS:
            labels = [s.parts.get(part) for s in self.samples]
            present = [x for x in labels if x is not None]
            if not present:
                continue
            joint_counts[part] = joints = present[0].keypoints_2d.shape[1]
            labels = [PartLabels.empty(part, joints, False) if x is None else x for x in labels]
            arrays[f"{part}/count"] = np.array([len(x) for x in labels], np.int32)
            arrays[f"{part}/complete"] = np.array([x.complete for x in labels], np.bool_)
            arrays[f"{part}/ignored_count"] = np.array([len(x.ignored) for x in labels], np.int32)
            for name in (*_fields(part, joints), "ignored"):
                array = np.concatenate([getattr(x, name) for x in labels])
                if compact and name in _COMPACT_STEPS:
                    array = _in_steps(array, _COMPACT_STEPS[name])
                arrays[f"{part}/{name}"] = array
        description = {
            "version": FORMAT_VERSION,
            "files": [s.file for s in self.samples],
            "joints": joint_counts,
            "about": self.about,
        }
        arrays["description"] = np.frombuffer(json.dumps(description).encode(), np.uint8)
        with Path(path).open("wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> LabelSet:
        """Read a labels file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not a labels file, is damaged, or of another version.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no labels file at {path}")
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            description = json.loads(arrays["description"].tobytes())
        except _DAMAGE as error:
            raise ValueError(f"{path} is not a labels file, or is damaged ({error})") from error
        if description["version"] != FORMAT_VERSION:
            raise ValueError(
                f"{path} has labels of version {description['version']}, this program reads "
                f"{FORMAT_VERSION}"
            )
        per_part = {
            part: _split_part(part, joints, arrays)
            for part, joints in description["joints"].items()
        }
        samples = []
        for i, name in enumerate(description["files"]):
            row = arrays["intrinsics"][i]
            samples.append(
                Sample(
                    name,
                    int(arrays["size"][i, 0]),
                    int(arrays["size"][i, 1]),
                    {part: labels[i] for part, labels in per_part.items()},
                    None if np.isnan(row).any() else Intrinsics(*map(float, row)),
                )
            )
        return cls(samples, description["about"])


def _split_part(part: str, joints: int, arrays: dict[str, np.ndarray]) -> list[PartLabels]:
    """The labels of `part` picture by picture."""
    columns = {}
    for name in (*_fields(part, joints), "ignored"):
        array = arrays[f"{part}/{name}"]
        if name in _COMPACT_STEPS and array.dtype == np.int16:
            array = _from_steps(array, _COMPACT_STEPS[name])
        counts = arrays[f"{part}/{'ignored_count' if name == 'ignored' else 'count'}"]
        columns[name] = np.split(array, np.cumsum(counts)[:-1])
    complete = arrays[f"{part}/complete"]
    return [
        PartLabels(
            part, **{name: c[i] for name, c in columns.items()}, complete=bool(complete[i])
        )
        for i in range(len(complete))
    ]  # fmt: skip


_NOT_A_NUMBER = np.iinfo(np.int16).min


def _in_steps(array: np.ndarray, step: float) -> np.ndarray:
    """In 16 bits, or unchanged if a value does not fit, as in pictures of more than 2047 px."""
    steps = np.round(array / step)
    if np.abs(np.nan_to_num(steps)).max(initial=0) > np.iinfo(np.int16).max:
        return array
    return np.where(np.isnan(array), _NOT_A_NUMBER, np.nan_to_num(steps)).astype(np.int16)


def _from_steps(array: np.ndarray, step: float) -> np.ndarray:
    return np.where(array == _NOT_A_NUMBER, np.nan, array * np.float32(step)).astype(np.float32)


def _intrinsics_row(intrinsics: Intrinsics | None) -> tuple[float, ...]:
    if intrinsics is None:
        return (np.nan,) * 4
    return (intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy)
