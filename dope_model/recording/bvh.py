"""BVH, the motion files of Blender and other animation programs: one person, body and hands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dope_model.rotations import BONE_INDEX, BONES, Bone, local_rotations, multiply

SCALE = 100.0
"""Units per metre: BVH files are in centimetres by custom."""

_TO_BVH = np.array([1.0, -1.0, -1.0])
"""From the optical frame to BVH's axes: y up, z towards the camera."""
_ROOT = BONES[0].name


def write_bvh(
    path: Path,
    stamps: np.ndarray,
    positions: np.ndarray,
    rotations: np.ndarray,
    joints: Mapping[str, np.ndarray],
) -> bool:
    """Write the motion of one person.

    The rest pose is the T-pose of `dope_model.rotations`; offsets are medians over time. Frames are
    equally spaced, by the median distance of the stamps; each shows the nearest image. A bone that
    is not known for a while holds the last known rotation to its parent; a bone that is never
    known, and all after it, are left out. Without hips the body hangs on its shoulders.

    Args:
        stamps: (T,) s, ascending.
        positions: (T, B, 3) m, rotations: (T, B, 4), of `BONES` in the optical frame.
        joints: by part (T, J, 3) m, for the ends of the last bones.

    Returns:
        Whether there was a body; nothing is written without one.
    """
    positions, rotations = positions.astype(np.float64), rotations.astype(np.float64)
    chest = BONE_INDEX["chest"]
    shoulders = positions[:, BONE_INDEX["neck"]]
    lost = np.isnan(positions[:, 0]).any(axis=-1) | np.isnan(rotations[:, 0]).any(axis=-1)
    if lost.all():
        positions[:, [0, chest]], rotations[:, 0] = shoulders[:, None], rotations[:, chest]
    roots = ~np.isnan(positions[:, 0]).any(axis=-1) & ~np.isnan(rotations[:, 0]).any(axis=-1)
    if not roots.any():
        return False
    offsets = _offsets(positions, rotations)
    kept = [bone for bone in BONES if bone.name in offsets]
    local = local_rotations(rotations)
    # Turned into y up and z towards the camera.
    local = local * [1, -1, -1, 1]
    shown = _held(np.arange(len(stamps)), roots)
    places = positions[shown, 0] * _TO_BVH * SCALE
    columns = [places]
    for bone in _in_file_order(kept):
        turn = local[:, BONE_INDEX[bone.name]]
        columns.append(_euler_zxy(turn[_held(np.arange(len(stamps)), ~np.isnan(turn[:, 0]))]))
    step, frames = _even_frames(stamps)
    values = np.concatenate(columns, axis=1)[frames]
    ends = {bone.name: _end(bone, positions, rotations, joints, offsets) for bone in kept}
    lines = ["HIERARCHY", *_tree(BONES[0], kept, offsets, ends, 0), "MOTION"]
    lines += [f"Frames: {len(frames)}", f"Frame Time: {step:.6f}"]
    lines += [" ".join(f"{value:.5f}" for value in row) for row in values]
    path.write_text("\n".join(lines) + "\n")
    return True


def _offsets(positions: np.ndarray, rotations: np.ndarray) -> dict[str, np.ndarray]:
    """By bone that is ever known: where it starts from its parent in the rest pose, BVH's axes."""
    local = local_rotations(rotations)
    offsets = {_ROOT: np.zeros(3)}
    for b, bone in enumerate(BONES[1:], 1):
        if bone.parent not in offsets or np.isnan(local[:, b, 0]).all():
            continue
        parent = BONE_INDEX[bone.parent]
        offset = _median(_undone(rotations[:, parent], positions[:, b] - positions[:, parent]))
        if not np.isnan(offset).any():
            offsets[bone.name] = offset * _TO_BVH * SCALE
    return offsets


def _end(bone: Bone, positions, rotations, joints, offsets) -> np.ndarray:
    """The end of a bone, as an offset from its start in the rest pose."""
    b = BONE_INDEX[bone.name]
    if bone.end:
        end = joints[bone.slot][:, list(bone.end)].mean(axis=1)
        found = _median(_undone(rotations[:, b], end - positions[:, b])) * _TO_BVH * SCALE
        if not np.isnan(found).any():
            return found
    # The head has no joint at its top: as long as the neck.
    length = float(np.linalg.norm(offsets[bone.name])) or 0.1 * SCALE
    return np.array(bone.rest) * _TO_BVH * length


def _tree(bone: Bone, kept: list[Bone], offsets, ends, depth: int) -> list[str]:
    pad = "  " * depth
    turns = "Zrotation Xrotation Yrotation"
    root = bone.parent is None
    channels = f"6 Xposition Yposition Zposition {turns}" if root else f"3 {turns}"
    lines = [f"{pad}{'ROOT' if root else 'JOINT'} {bone.name}", pad + "{"]
    lines += [f"{pad}  OFFSET {_numbers(offsets[bone.name])}", f"{pad}  CHANNELS {channels}"]
    children = [child for child in kept if child.parent == bone.name]
    for child in children:
        lines += _tree(child, kept, offsets, ends, depth + 1)
    if not children:
        end = [f"{pad}  End Site", pad + "  {", f"{pad}    OFFSET {_numbers(ends[bone.name])}"]
        lines += [*end, pad + "  }"]
    return [*lines, pad + "}"]


def _in_file_order(kept: list[Bone], bone: Bone = BONES[0]) -> list[Bone]:
    """The bones in the order in which `_tree` writes them."""
    order = [bone]
    for child in kept:
        if child.parent == bone.name:
            order += _in_file_order(kept, child)
    return order


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.4f}" for value in values + 0.0)


def _median(vectors: np.ndarray) -> np.ndarray:
    """Median (3,) of those of the vectors (T, 3) that are known; NaN without any."""
    known = vectors[~np.isnan(vectors).any(axis=1)]
    return np.median(known, axis=0) if len(known) else np.full(3, np.nan)


def _undone(rotations: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vectors (T, 3) in the axes that the quaternions (T, 4) turn them from."""
    pure = np.concatenate([vectors, np.zeros_like(vectors[:, :1])], axis=1)
    return multiply(multiply(rotations * [-1, -1, -1, 1], pure), rotations)[:, :3]


def _held(numbers: np.ndarray, known: np.ndarray) -> np.ndarray:
    """For each frame the last one that is known; before the first, the first."""
    last = np.maximum.accumulate(np.where(known, numbers, -1))
    return np.where(last < 0, np.argmax(known), last)


def _even_frames(stamps: np.ndarray) -> tuple[float, np.ndarray]:
    """Step in s, and for each equally spaced frame the image that is nearest in time."""
    steps = np.diff(stamps)
    step = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1 / 30
    count = round((stamps[-1] - stamps[0]) / step) + 1
    wanted = stamps[0] + step * np.arange(count)
    after = np.clip(np.searchsorted(stamps, wanted), 1, max(len(stamps) - 1, 1))
    after = np.minimum(after, len(stamps) - 1)
    before = np.maximum(after - 1, 0)
    return step, np.where(wanted - stamps[before] <= stamps[after] - wanted, before, after)


def _euler_zxy(quaternions: np.ndarray) -> np.ndarray:
    """Degrees (T, 3) about z, then the new x, then the new y, of quaternions (T, 4)."""
    x, y, z, w = quaternions.T
    about_x = np.arcsin(np.clip(2 * (y * z + w * x), -1, 1))
    about_z = np.arctan2(-2 * (x * y - w * z), 1 - 2 * (x * x + z * z))
    about_y = np.arctan2(-2 * (x * z - w * y), 1 - 2 * (x * x + y * y))
    return np.degrees(np.stack([about_z, about_x, about_y], axis=1))
