"""Make the library of body poses, `body_poses.npz`:

    python -m dope_model.rendering.lifting --makehuman FOLDER

Poses come from two places:

- Lifted: the teachers' 3D bodies in the labels of real pictures that come with the package. Only
  bodies whose trunk, arms and head the teachers vouch for; legs where they vouch for both.
- MakeHuman's poses: the .bvh files in `base/poses` of the MakeHuman community's repository
  makehuman-assets (commit 8cf9645b), of which every .meta file says "license CC0".

Bones give directions, and directions give joint angles in closed form. Angles beyond what joints
can do and limbs that run through each other mean that the 3D was wrong: such poses are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

import dope_model
from dope_model.datasets.labels import LabelSet
from dope_model.rendering.body import SIDES, BodyModel, frame_of, rotation_about, rotation_between
from dope_model.rendering.pose_library import POSES_FILE, SOURCES, LibraryPose, PoseLibrary
from dope_model.rendering.posing import DOWN, SIGN, ArmAngles, Poser
from dope_model.skeleton import BODY

LABELS_FILE = Path(dope_model.__file__).parent / "datasets" / "stanford40_labels.npz"

_FROM_OPTICAL = np.array([1.0, -1.0, -1.0])
"""The optical frame to ours: who faces the camera has the left side at x, and looks along z."""
_STRAIGHT = 14.0
"""Degrees: a knee or elbow bent less does not tell how the limb is twisted."""
_CLAMPED = 12.0
"""Degrees that an arm may be beyond the limits, to which it is then moved."""
_LEG_LIMITS = np.array([(-28, 125), (-22, 55), (-48, 52), (0, 148)])
_SPINE_LIMITS = np.array([(-25, 60), (-42, 42), (-28, 28)])
_MOST_BALANCING = 20.0
"""Degrees that a standing body may be tilted so that it stands over its feet."""


class ImpossiblePoseError(ValueError):
    """Joints that no body can have; the text says which part breaks a limit."""


def angles_from_joints(joints: np.ndarray) -> LibraryPose:
    """The pose of a body whose joints are given. How the head is held is left open: the ears of the
    teachers' bodies lie too far to the front, by 40 degrees of the neck in the median.

    Args:
        joints: (13, 3) in the order of `skeleton.BODY`, any unit; x to the left of who faces the
            camera, y up, z to the camera. Ankles and knees may be NaN: then legs are None.

    Raises:
        ImpossiblePoseError: an angle is beyond what bodies can do.
    """
    at = {name: joints[j] for name, j in BODY.index.items()}
    hips = (at["left_hip"] + at["right_hip"]) / 2
    shoulders = (at["left_shoulder"] + at["right_shoulder"]) / 2
    up = shoulders - hips
    root = _upright(at["left_hip"] - at["right_hip"], up)
    chest = _upright(at["left_shoulder"] - at["right_shoulder"], up)
    turn, bend, lean = Rotation.from_matrix(root.T @ chest).as_euler("YXZ", degrees=True)
    spine = _within("spine", np.array([bend, turn, -lean]), _SPINE_LIMITS)

    arms, legs = {}, {}
    knees = [at[f"{side}_{joint}"] for side in ("right", "left") for joint in ("knee", "ankle")]
    for side, name in zip(SIDES, ("right", "left"), strict=True):
        shoulder, elbow, wrist = (at[f"{name}_{j}"] for j in ("shoulder", "elbow", "wrist"))
        arms[side] = _arm_angles(side, chest.T @ (elbow - shoulder), chest.T @ (wrist - elbow))
        if np.isfinite(knees).all():
            hip, knee, ankle = (at[f"{name}_{j}"] for j in ("hip", "knee", "ankle"))
            legs[side] = _leg_angles(side, root.T @ (knee - hip), root.T @ (ankle - knee))
    if legs:
        root = _balance(root, at)
    return LibraryPose(_without_heading(root), spine, arms, legs or None)


def _upright(across: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Columns x along `across`, y as near to `up` as it can be, z forward."""
    if np.linalg.norm(np.cross(across, up)) <= 0.2 * np.linalg.norm(across) * np.linalg.norm(up):
        raise ImpossiblePoseError("trunk")
    return frame_of(across, up)


def _within(name: str, angles: np.ndarray, limits: np.ndarray) -> np.ndarray:
    if (angles < limits[:, 0]).any() or (angles > limits[:, 1]).any():
        raise ImpossiblePoseError(name)
    return angles


def _twist(limb: np.ndarray, next_limb: np.ndarray, neutral: np.ndarray) -> tuple[float, float]:
    """Degrees by which two limbs' hinge is turned about the first from where a limb that swung up
    from hanging would have it, and by which the hinge is bent."""
    bent = float(np.degrees(np.arccos(np.clip(limb @ next_limb, -1, 1))))
    hinge = np.cross(limb, next_limb)
    start = rotation_between(DOWN, limb) @ neutral
    return float(np.degrees(np.arctan2(np.cross(start, hinge) @ limb, start @ hinge))), bent


def _arm_angles(side: str, upper: np.ndarray, fore: np.ndarray) -> np.ndarray:
    """(elevation, azimuth, twist, elbow) from directions in the chest's axes."""
    sign = SIGN[side]
    upper, fore = upper / np.linalg.norm(upper), fore / np.linalg.norm(fore)
    elevation = np.degrees(np.arccos(np.clip(-upper[1], -1, 1)))
    azimuth = np.degrees(np.arctan2(upper[2], sign * upper[0]))
    if elevation < 5:
        azimuth = 30.0
    twist, elbow = _twist(upper, fore, np.array([-1.0, 0, 0]))
    twist = sign * twist if elbow > _STRAIGHT else 15.0
    angles = np.array([elevation, azimuth, twist, elbow])
    limited = ArmAngles(*angles, 0.0).limited()
    possible = np.array([limited.elevation, limited.azimuth, limited.twist, limited.elbow])
    if abs(angles - possible).max() > _CLAMPED:
        raise ImpossiblePoseError("arm")
    return possible


def _leg_angles(side: str, thigh: np.ndarray, shin: np.ndarray) -> np.ndarray:
    """(flexion, abduction, twist, knee) from directions in the hips' axes."""
    sign = SIGN[side]
    thigh, shin = thigh / np.linalg.norm(thigh), shin / np.linalg.norm(shin)
    flexion = np.degrees(np.arctan2(thigh[2], -thigh[1]))
    abduction = np.degrees(np.arcsin(np.clip(sign * thigh[0], -1, 1)))
    twist, knee = _twist(thigh, shin, np.array([1.0, 0, 0]))
    twist = -sign * twist if knee > _STRAIGHT else 6.0
    return _within("leg", np.array([flexion, abduction, twist, knee]), _LEG_LIMITS)


def _balance(root: np.ndarray, at: dict[str, np.ndarray]) -> np.ndarray:
    """The root's turn after a standing body was tilted over its feet, as cameras are tilted and
    depth is rough."""
    hips = (at["left_hip"] + at["right_hip"]) / 2
    shoulders = (at["left_shoulder"] + at["right_shoulder"]) / 2
    ankles = np.array([at["right_ankle"], at["left_ankle"]])
    length = np.mean([
        np.linalg.norm(at[f"{side}_knee"] - at[f"{side}_hip"])
        + np.linalg.norm(at[f"{side}_ankle"] - at[f"{side}_knee"])
        for side in ("right", "left")
    ])  # fmt: skip
    if hips[1] - ankles[:, 1].min() < 0.62 * length:
        return root  # sits, crouches or lies
    middle = 0.5 * hips + 0.35 * shoulders + 0.15 * at["head"]
    low = ankles[ankles[:, 1] < ankles[:, 1].min() + 0.14 * length]
    # The nearest point of the line between the feet that carry.
    way = low[-1] - low[0]
    share = (middle - low[0])[[0, 2]] @ way[[0, 2]] / max(way[[0, 2]] @ way[[0, 2]], 1e-9)
    foot = low[0] + np.clip(share, 0.1, 0.9) * way
    standing = middle - foot
    tilt = Rotation.from_matrix(rotation_between(standing, np.array([0, 1.0, 0]))).as_rotvec()
    angle = np.degrees(np.linalg.norm(tilt))
    if angle > _MOST_BALANCING:
        return root
    return Rotation.from_rotvec(tilt).as_matrix() @ root


def _without_heading(root: np.ndarray) -> np.ndarray:
    """(3,) degrees: the rotation vector of what is left when the body is turned to face z."""
    forward = root @ np.array([0, 0, 1.0])
    if np.hypot(forward[0], forward[2]) < 0.5:
        # Who looks up or down faces where the head or the feet are.
        forward = root @ np.array([0, -np.sign(forward[1]), 0])
    heading = np.arctan2(forward[0], forward[2])
    turned = rotation_about(np.array([0, 1.0, 0]), -heading) @ root
    return Rotation.from_matrix(turned).as_rotvec(degrees=True)


def lifted_bodies(labels: Path) -> Iterator[np.ndarray]:
    """Joints (13, 3) in our axes of the labelled bodies whose upper body is vouched for; legs
    that are not are NaN."""
    legs = [j for j, name in enumerate(BODY.joints) if name.endswith(("ankle", "knee"))]
    for sample in LabelSet.load(labels):
        bodies = sample.parts["body"]
        for points, valid in zip(bodies.keypoints_3d, bodies.valid_3d, strict=True):
            if not np.delete(valid, legs).all():
                continue
            joints = points.astype(float) * _FROM_OPTICAL
            if not valid[legs].all():
                joints[legs] = np.nan
            yield joints


def read_bvh(path: Path, model: BodyModel) -> np.ndarray:
    """Joints (13, 3) of the first frame of one of MakeHuman's .bvh files, on the average body.

    Its bones are those of our body, z is up and y to the back; only rotations are read.
    """
    words = iter(path.read_text().split())
    names: list[str | None] = []
    channels: list[list[str]] = []
    for word in words:
        if word in ("ROOT", "JOINT"):
            names.append(next(words))
        elif word == "CHANNELS":
            channels.append([next(words) for _ in range(int(next(words)))])
        elif word == "Time:":
            next(words)
            break
    numbers = np.array([float(word) for word in words])
    to_ours = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    local, start = {}, 0
    for name, kinds in zip(names, channels, strict=True):
        values = dict(zip(kinds, numbers[start : start + len(kinds)], strict=True))
        start += len(kinds)
        turn = np.eye(3)
        for kind in kinds:
            if kind.endswith("rotation"):
                turn = turn @ Rotation.from_euler(kind[0], values[kind], degrees=True).as_matrix()
        local[name] = to_ours @ turn @ to_ours.T
    rotations = model.from_local(local)
    heads = model.pose_bones(model.base_heads, rotations)
    limbs = ("foot", "lowerleg01", "upperleg01", "wrist", "lowerarm01", "upperarm01")
    bones = [f"{bone}.{side}" for bone in limbs for side in SIDES]
    return np.array([heads[model.index[bone]] for bone in [*bones, "head"]])


def build(labels: Path, makehuman: Path) -> tuple[PoseLibrary, Counter[str]]:
    """The library, and how many poses were kept and left out, and why.

    Raises:
        FileNotFoundError: a file or folder is missing.
    """
    model = BodyModel()
    poser = Poser(model, model.base_vertices, model.base_heads)
    files = sorted(makehuman.glob("*.bvh"))
    if not files:
        raise FileNotFoundError(f"no .bvh files in {makehuman}")
    bodies = [("lifted", joints) for joints in lifted_bodies(labels)]
    bodies += [("makehuman", read_bvh(file, model)) for file in files]
    poses, sources, counts = [], [], Counter()
    for source, joints in bodies:
        try:
            pose = angles_from_joints(joints)
        except ImpossiblePoseError as error:
            counts[f"{source}: {error} beyond the limits"] += 1
            continue
        if poser.runs_through_itself(pose):
            counts[f"{source}: limbs run through each other"] += 1
            continue
        counts[f"{source}: {'whole bodies' if pose.legs else 'upper bodies'} kept"] += 1
        poses.append(pose)
        sources.append(SOURCES.index(source))
    unknown = dict.fromkeys(SIDES, np.full(4, np.nan))
    library = PoseLibrary(
        *(np.array([getattr(pose, name) for pose in poses]) for name in ("root", "spine")),
        np.array([[pose.arms[side] for side in SIDES] for pose in poses]),
        np.array([[(pose.legs or unknown)[side] for side in SIDES] for pose in poses]),
        np.array(sources, np.uint8),
    )
    return library, counts


def main(arguments: list[str] | None = None) -> int:
    """Build the library and write it; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dope_model.rendering.lifting", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--labels", type=Path, default=LABELS_FILE,
        help="labels of real pictures; those of the package when left out",
    )  # fmt: skip
    parser.add_argument("--makehuman", type=Path, required=True, help="folder of .bvh files")
    parser.add_argument("--out", type=Path, default=POSES_FILE)
    options = parser.parse_args(arguments)
    library, counts = build(options.labels, options.makehuman)
    library.save(options.out)
    for reason, count in sorted(counts.items()):
        print(f"{count:5d}  {reason}")
    print(f"{len(library)} poses in {options.out}, {options.out.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
