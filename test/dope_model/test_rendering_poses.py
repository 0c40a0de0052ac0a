"""Poses lifted from joints: hand-computed angles, properties, and what the library holds."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from hypothesis import given, settings
from hypothesis import strategies as st

from dope_model.rendering.body import SIDES, rotation
from dope_model.rendering.lifting import (
    LABELS_FILE,
    ImpossiblePoseError,
    angles_from_joints,
    lifted_bodies,
    read_bvh,
)
from dope_model.rendering.pose_library import POSES_FILE, SOURCES, PoseLibrary, pose_library
from dope_model.rendering.posing import ArmAngles
from dope_model.skeleton import BODY

seeds = st.integers(0, 2**32 - 1)

# Someone who faces the camera; the person's right is at negative x.
STANDING = {
    "right_ankle": (-0.1, 0.1, 0), "right_knee": (-0.1, 0.5, 0), "right_hip": (-0.1, 0.9, 0),
    "right_wrist": (-0.2, 0.85, 0), "right_elbow": (-0.2, 1.1, 0),
    "right_shoulder": (-0.2, 1.4, 0), "head": (0, 1.65, 0),
}  # fmt: skip


def joints_of(**changes: tuple[float, float, float]) -> np.ndarray:
    """(13, 3) of STANDING with some joints moved; the left side mirrors the right one."""
    right = {**STANDING, **{k: v for k, v in changes.items() if not k.startswith("left")}}
    points = {}
    for name, point in right.items():
        points[name] = np.array(point, float)
        points[name.replace("right", "left")] = points[name] * [-1, 1, 1]
    points["head"] = np.array(right["head"], float)
    points.update({k: np.array(v, float) for k, v in changes.items() if k.startswith("left")})
    return np.array([points[name] for name in BODY.joints])


def test_standing_upright_with_hanging_arms_is_all_zeros():
    pose = angles_from_joints(joints_of())
    assert np.allclose(pose.root, 0, atol=1e-6) and np.allclose(pose.spine, 0, atol=1e-6)
    for side in SIDES:
        flexion, abduction, _, knee = pose.legs[side]
        assert np.allclose([flexion, abduction, knee], 0, atol=1e-5)
        elevation, _, _, elbow = pose.arms[side]
        assert np.allclose([elevation, elbow], 0, atol=1e-5)


def test_angles_of_a_seated_body_that_raises_its_left_arm():
    pose = angles_from_joints(
        joints_of(
            right_knee=(-0.1, 0.9, 0.4), right_ankle=(-0.1, 0.5, 0.4),
            left_elbow=(0.5, 1.4, 0), left_wrist=(0.5, 1.4, 0.25),
        )
    )  # fmt: skip
    for side in SIDES:
        assert np.allclose(pose.legs[side], [90, 0, 0, 90], atol=1e-5)
    # The upper arm points sideways; the hinge of an elbow that bends forward there is turned by a
    # quarter from where the arm would have it had it only swung up.
    elevation, azimuth, twist, elbow = pose.arms["L"]
    assert np.allclose([elevation, azimuth, elbow], [90, 0, 90], atol=1e-5)
    assert np.isclose(twist, 0, atol=1e-5)


def test_bent_and_turned_trunk():
    hips = [BODY.index[f"{side}_hip"] for side in ("right", "left")]
    upper = [j for j, name in enumerate(BODY.joints) if name.split("_")[-1] not in
             ("hip", "knee", "ankle")]  # fmt: skip
    joints = joints_of()
    middle = joints[hips].mean(axis=0)
    turned = joints.copy()
    # The chest turned by 30 degrees to the person's left.
    turned[upper] = (joints[upper] - middle) @ rotation("y", 30).T + middle
    assert np.allclose(angles_from_joints(turned).spine, [0, 30, 0], atol=1e-5)
    # Crouching people keep the tilt of their trunk.
    crouching = joints_of(right_knee=(-0.2, 0.9, 0.4), right_ankle=(-0.2, 0.6, 0.1))
    crouching[upper] = (crouching[upper] - middle) @ rotation("x", 25).T + middle
    assert np.allclose(angles_from_joints(crouching).root, [25, 0, 0], atol=1e-5)


def test_a_leaning_body_is_set_over_its_feet():
    leaning = joints_of() @ rotation("x", 12).T
    assert np.abs(angles_from_joints(leaning).root).max() < 1.0


@settings(deadline=None)
@given(st.floats(-180, 180))
def test_heading_does_not_matter(heading):
    joints = joints_of(left_elbow=(0.4, 1.5, 0.2), left_wrist=(0.3, 1.6, 0.4))
    pose = angles_from_joints(joints)
    turned = angles_from_joints(joints @ rotation("y", heading).T)
    for name in ("root", "spine"):
        assert np.allclose(getattr(pose, name), getattr(turned, name), atol=1e-4)
    for side in SIDES:
        assert np.allclose(pose.arms[side], turned.arms[side], atol=1e-4)


@settings(deadline=None)
@given(seeds)
def test_mirrored_joints_are_the_mirrored_pose(seed):
    random = np.random.default_rng(seed)
    joints = joints_of(
        right_elbow=(-0.4, 1.2, 0.2), right_wrist=(-0.3, 1.4, 0.4),
        right_knee=(-0.14, 0.55, 0.2), right_ankle=(-0.12, 0.15, 0.0),
    )  # fmt: skip
    joints = joints + random.normal(0, 0.04, joints.shape)
    other_way = (joints * [-1, 1, 1])[list(BODY.swap)]
    try:
        pose = angles_from_joints(joints)
    except ImpossiblePoseError:
        with pytest.raises(ImpossiblePoseError):
            angles_from_joints(other_way)
        return
    mirrored = angles_from_joints(other_way)
    expected = pose.mirrored()
    assert np.allclose(mirrored.root, expected.root, atol=1e-5)
    assert np.allclose(mirrored.spine, expected.spine, atol=1e-5)
    for side in SIDES:
        assert np.allclose(mirrored.arms[side], expected.arms[side], atol=1e-5)
        assert np.allclose(mirrored.legs[side], expected.legs[side], atol=1e-5)


def test_impossible_limbs_are_refused():
    with pytest.raises(ImpossiblePoseError, match="leg"):
        angles_from_joints(joints_of(right_ankle=(-0.1, 0.3, 0.35)))  # a knee bent forward
    with pytest.raises(ImpossiblePoseError, match="arm"):
        angles_from_joints(joints_of(right_elbow=(-0.2, 1.7, -0.2), right_wrist=(-0.2, 2, -0.4)))
    with pytest.raises(ImpossiblePoseError, match="trunk"):
        angles_from_joints(joints_of(right_shoulder=(-0.2, 0.9, 0)))


def test_unknown_legs_leave_the_upper_body():
    joints = joints_of()
    joints[[j for j, n in enumerate(BODY.joints) if n.endswith(("knee", "ankle"))]] = np.nan
    pose = angles_from_joints(joints)
    assert pose.legs is None and np.isfinite(pose.arms["R"]).all()


def test_the_library_holds_hundreds_of_possible_poses():
    library = pose_library()
    assert POSES_FILE.stat().st_size < 300_000
    from_pictures = library.source == SOURCES.index("lifted")
    assert (library.whole & from_pictures).sum() > 400 and (~from_pictures).sum() >= 10
    for number in range(len(library)):
        for elevation, azimuth, twist, elbow in library.pose(number).arms.values():
            limited = ArmAngles(elevation, azimuth, twist, elbow, 0).limited()
            found = limited.elevation, limited.azimuth, limited.twist, limited.elbow
            assert np.allclose(found, (elevation, azimuth, twist, elbow), atol=0.06)
    knees = library.legs[library.whole][:, :, 3]
    assert knees.min() >= 0 and knees.max() <= 148


def test_lifted_poses_come_from_the_labels_of_the_package():
    """Every lifted pose of the file is found again, in order, among the labelled bodies."""
    library = pose_library()
    lifted = np.flatnonzero(library.source == SOURCES.index("lifted"))
    at = 0
    for joints in lifted_bodies(LABELS_FILE):
        if at == len(lifted):
            break
        try:
            pose = angles_from_joints(joints)
        except ImpossiblePoseError:
            continue
        stored = library.pose(int(lifted[at]))
        at += (pose.legs is None) == (stored.legs is None) and all(
            np.allclose(pose.arms[side], stored.arms[side], atol=0.06) for side in SIDES
        )
    assert at == len(lifted)


def test_saving_and_loading_keeps_a_tenth_of_a_degree(tmp_path):
    random = np.random.default_rng(0)
    legs = random.uniform(-100, 140, (5, 2, 4))
    legs[2] = np.nan
    library = PoseLibrary(
        random.uniform(-180, 180, (5, 3)), random.uniform(-40, 40, (5, 3)),
        random.uniform(-80, 170, (5, 2, 4)), legs, np.array([0, 0, 1, 1, 0], np.uint8),
    )  # fmt: skip
    library.save(tmp_path / "poses.npz")
    again = PoseLibrary.load(tmp_path / "poses.npz")
    for name in ("root", "spine", "arms", "legs"):
        assert np.allclose(getattr(again, name), getattr(library, name), atol=0.051, equal_nan=True)
    assert (again.source == library.source).all()
    assert again.whole.tolist() == [True, True, False, True, True]


def test_same_seed_same_draw():
    library = pose_library()
    first, second = (library.draw(np.random.default_rng(4), "lifted") for _ in range(2))
    assert first.root.tobytes() == second.root.tobytes()
    assert all(first.legs[side].tobytes() == second.legs[side].tobytes() for side in SIDES)


def test_a_body_takes_the_directions_of_the_joints():
    """Every limb of our body points where the limb that the pose was lifted from points, although
    bones and shoulders are others."""
    pytest.importorskip("anny")
    from rendering_help import body_model

    from dope_model.rendering.posing import Poser

    model = body_model()
    poser = Poser(model, model.base_vertices, model.base_heads)
    limbs = [("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist")]
    bones = {"hip": "upperleg01", "knee": "lowerleg01", "ankle": "foot", "shoulder": "upperarm01",
             "elbow": "lowerarm01", "wrist": "wrist"}  # fmt: skip
    off = []
    whole = (joints for joints in lifted_bodies(LABELS_FILE) if np.isfinite(joints).all())
    for joints in (joints for joints, _ in zip(whole, range(60), strict=False)):
        try:
            pose = angles_from_joints(joints)
        except ImpossiblePoseError:
            continue
        heads = poser.heads_of(pose)
        ours = {name: heads[model.index[f"{bones[name.partition('_')[2]]}.{name[0].upper()}"]]
                for name in BODY.joints if name != "head"}  # fmt: skip
        theirs = {name: joints[j] for name, j in BODY.index.items()}
        turns = [_trunk(ours), _trunk(theirs)]
        for start, end in limbs:
            for side in ("right", "left"):
                ways = []
                for turn, at in zip(turns, (ours, theirs), strict=True):
                    way = turn.T @ (at[f"{side}_{end}"] - at[f"{side}_{start}"])
                    ways.append(way / np.linalg.norm(way))
                off.append(np.degrees(np.arccos(np.clip(ways[0] @ ways[1], -1, 1))))
    assert len(off) > 200
    assert np.median(off) < 3 and np.percentile(off, 95) < 8


def _trunk(at: dict[str, np.ndarray]) -> np.ndarray:
    """Axes of the trunk: across the hips, up, forward."""
    across = at["left_hip"] - at["right_hip"]
    up = at["left_shoulder"] + at["right_shoulder"] - at["left_hip"] - at["right_hip"]
    x = across / np.linalg.norm(across)
    y = up - x * (x @ up)
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def test_drawn_poses_fit_the_body(monkeypatch):
    """Poses of the library on a body of another shape: nothing runs through anything, and the same
    seed gives the same pose."""
    pytest.importorskip("anny")
    from rendering_help import body_model

    from dope_model.rendering import posing

    monkeypatch.setattr(posing, "POSE_SOURCES", {"lifted": 1.0})
    model = body_model()
    rest, heads = model.rest_shape({"weight": 0.85, "age": 0.9, "gender": 0.1}, {})
    poser = posing.Poser(model, rest, heads)
    activities = []
    for seed in range(12):
        pose = poser.sample(np.random.default_rng(seed))
        again = poser.sample(np.random.default_rng(seed))
        assert pose.rotations.tobytes() == again.rotations.tobytes()
        activities.append(pose.activity)
        if pose.activity == "lifted":
            assert not poser.solids.overlaps(poser.solids.posed(pose.rotations, pose.heads))
    assert activities.count("lifted") >= 8


def test_a_bvh_file_turns_bones(tmp_path):
    pytest.importorskip("anny")
    from rendering_help import body_model

    model = body_model()
    file = tmp_path / "pose.bvh"

    def joints(degrees: float) -> dict[str, np.ndarray]:
        file.write_text(
            "HIERARCHY\nROOT root\n{\nOFFSET 0 0 0\nCHANNELS 3 Xrotation Yrotation Zrotation\n"
            "JOINT lowerleg01.L\n{\nOFFSET 0 0 -1\nCHANNELS 6 Xposition Yposition Zposition "
            "Xrotation Yrotation Zrotation\nEnd Site\n{\nOFFSET 0 0 -1\n}\n}\n}\n"
            f"MOTION\nFrames: 1\nFrame Time: 0.04\n0 0 0 0 0 0 {degrees} 0 0\n"
        )
        return dict(zip(BODY.joints, read_bvh(file, model), strict=True))

    still, bent = joints(0), joints(90)
    assert np.allclose(still["left_knee"], model.base_heads[model.index["lowerleg01.L"]])
    shin = still["left_ankle"] - still["left_knee"]
    # About x from z up: down goes to the back.
    assert np.allclose(bent["left_ankle"] - bent["left_knee"], rotation("x", 90) @ shin)
    assert bent["left_ankle"][2] < still["left_ankle"][2] - 0.2
    assert np.allclose(bent["right_ankle"], still["right_ankle"])
