"""Recordings of poses: read back by NumPy, csv and a BVH library, and held against the poses that
were written."""

from __future__ import annotations

import csv
import re

import bvhio
import numpy as np
import pytest
from repository import ROOT

pytest.importorskip("scipy")

from scipy.spatial.transform import Rotation

from dope_model.camera.placement import Intrinsics
from dope_model.poses import PartPose, WholeBody
from dope_model.recording import JOINT_NAMES, PoseRecording, checked_format
from dope_model.recording.openxr import OPENXR_JOINTS, openxr_hand
from dope_model.recording.retargeting import SMPLX_BONES, smplx_frames
from dope_model.rotations import BONE_INDEX, BONES, bone_rotations, local_rotations
from dope_model.skeleton import BODY, FACE84, HAND

SIZE = (640, 480)
CAMERA = Intrinsics.assumed(*SIZE)
OUT = {"left": 1.0, "right": -1.0}


def standing(bend: float = 0.0) -> dict[str, np.ndarray]:
    """Joints of a person in a T-pose that faces the camera, m from the hips' middle; the left elbow
    bent forward by `bend` degrees."""
    body = np.zeros((13, 3))
    for side, out in OUT.items():
        for joint, place in {
            "hip": (0.12, 0, 0), "knee": (0.12, 0.42, 0), "ankle": (0.12, 0.84, 0),
            "shoulder": (0.19, -0.5, 0), "elbow": (0.48, -0.5, 0), "wrist": (0.74, -0.5, 0),
        }.items():  # fmt: skip
            body[BODY.index[f"{side}_{joint}"]] = np.multiply(place, (out, 1, 1))
    body[BODY.index["head"]] = (0, -0.72, 0)
    angle = np.radians(bend)
    elbow = body[BODY.index["left_elbow"]]
    body[BODY.index["left_wrist"]] = elbow + 0.26 * np.array([np.cos(angle), 0, -np.sin(angle)])
    joints = {"body": body}
    for side, out in OUT.items():
        hand = np.zeros((21, 3))
        for finger, (x, z) in {
            "thumb": (0.03, -0.03), "index": (0.09, -0.025), "middle": (0.095, 0.0),
            "ring": (0.09, 0.02), "little": (0.08, 0.04),
        }.items():  # fmt: skip
            names = ("cmc", "mcp", "ip", "tip") if finger == "thumb" else ("mcp", "pip", "dip",
                                                                          "tip")  # fmt: skip
            step = np.array([0.025, 0, -0.025 if finger == "thumb" else 0])
            for number, name in enumerate(names):
                place = np.array([x, 0, z]) + number * step
                hand[HAND.index[f"{finger}_{name}"]] = place * (out, 1, 1)
        joints[f"{side}_hand"] = hand
    return joints


def person(joints: dict[str, np.ndarray], root, track_id: int = -1, doubted=()) -> WholeBody:
    """A person with all of its parts placed where they belong; `doubted` names body joints."""
    parts = {}
    for slot, points in joints.items():
        at = np.asarray(root, float)
        if slot != "body":
            at = at + joints["body"][BODY.index[slot.replace("hand", "wrist")]]
        confidence = np.ones(len(points))
        if slot == "body":
            confidence[[BODY.index[name] for name in doubted]] = 0.2
        pixels = CAMERA.project(points + at).astype(np.float32)
        parts[slot] = PartPose(0.9, pixels, points.astype(np.float32), confidence, at)
    return WholeBody(**parts, track_id=track_id)


def walk(count: int = 5) -> PoseRecording:
    """Person 3 walks to the right and bends an elbow; somebody without hands comes later."""
    recording = PoseRecording()
    for k in range(count):
        people = [person(standing(20 * k), (0.1 * k, 0.2, 3), track_id=3)]
        if k >= 2:
            people.append(person({"body": standing()["body"]}, (1, 0.2, 4), track_id=7))
        recording.add(people, SIZE, stamp=10 + 0.05 * k, source=f"{k}.png")
    return recording


def test_npz_holds_what_was_added(tmp_path):
    (path,) = walk().save(tmp_path / "walk.npz")
    with np.load(path) as file:
        read = dict(file)
    assert read["person"].tolist() == [3] * 5 + [7] * 3
    assert read["frame"].tolist() == [0, 1, 2, 3, 4, 2, 3, 4]
    assert read["stamp"] == pytest.approx(10 + 0.05 * read["frame"])
    assert read["source"][5] == "2.png"
    wrist = list(read["joint_names"]).index("left_hand.wrist")
    assert read["joints"][0, wrist] == pytest.approx([0.74, -0.3, 3], abs=1e-6)
    assert np.isnan(read["joints"][5, wrist]).all() and np.isnan(read["confidence"][5, wrist])
    index = dict(zip(read["bone_names"].tolist(), range(len(BONES)), strict=True))
    bend = read["rotations"][:5, index["left_forearm"]]
    for k in range(5):
        expected = Rotation.from_euler("y", 20 * k, degrees=True)
        assert (Rotation.from_quat(bend[k]).inv() * expected).magnitude() < 1e-3
    assert np.isnan(read["rotations"][5:, index["left_hand"]]).all()
    assert read["positions"][0, index["left_upper_arm"]] == pytest.approx([0.19, -0.3, 3])
    parents = read["bone_parents"]
    assert [BONES[p].name if p >= 0 else None for p in parents] == [b.parent for b in BONES]


def test_csv_has_a_line_for_each_joint_and_bone(tmp_path):
    recording = PoseRecording()
    seen = person(standing(), (0, 0, 3), track_id=3, doubted=["left_ankle"])
    recording.add([seen], SIZE, 1.5, "a.png")
    (path,) = recording.save(tmp_path / "poses.csv")
    with path.open() as file:
        lines = list(csv.DictReader(file))
    by_name = {line["name"]: line for line in lines}
    assert len(by_name) == len(lines) == 13 + 42 + len(BONES) - 1  # no left shin
    ankle = by_name["body.left_ankle"]
    assert (ankle["person"], ankle["stamp"], ankle["source"]) == ("3", "1.5", "a.png")
    assert [float(ankle[c]) for c in ("x", "y", "z")] == pytest.approx([0.12, 0.84, 3])
    assert float(ankle["confidence"]) == pytest.approx(0.2) and ankle["qw"] == ""
    thigh = by_name["bone.left_thigh"]
    assert [float(thigh[c]) for c in ("x", "y", "z", "qw")] == pytest.approx([0.12, 0, 3, 1])
    assert "bone.left_shin" not in by_name


def test_people_who_are_not_placed_are_placed_by_the_assumed_field_of_view():
    seen = person(standing(), (0.3, 0.1, 3))
    for _, pose in seen.parts():
        pose.root = None
    recording = PoseRecording()
    recording.add([seen, seen], SIZE, 0)
    arrays = recording.arrays()
    assert arrays["person"].tolist() == [-2, -1]  # no track ids
    assert arrays["positions"][0, 0] == pytest.approx([0.3, 0.1, 3], abs=1e-3)
    wrist = JOINT_NAMES.index("left_hand.wrist")
    assert arrays["joints"][0, wrist] == pytest.approx([1.04, -0.4, 3], abs=1e-3)


def world(bone, frame: int) -> dict[str, np.ndarray]:
    """Where the joints of a file are in one frame, m in the optical frame, as the library says."""
    bone.loadPose(frame)
    found = {joint.Name: joint.PositionWorld for joint, *_ in bone.layout()}
    return {name: np.array([p.x, -p.y, -p.z]) / 100 for name, p in found.items()}


def test_a_bvh_library_finds_the_joints_where_they_were(tmp_path):
    recording = walk()
    files = recording.save(tmp_path / "walk.bvh")
    assert [file.name for file in files] == ["walk_3.bvh", "walk_7.bvh"]
    raw = bvhio.readAsBvh(str(files[0]))
    assert raw.FrameCount == 5 and raw.FrameTime == pytest.approx(0.05)
    root = bvhio.readAsHierarchy(str(files[0]))
    arrays = recording.arrays()
    mine = arrays["person"] == 3
    for frame, positions in enumerate(arrays["positions"][mine]):
        joints = world(root, frame)
        for bone, expected in zip(BONES, positions, strict=True):
            assert joints[bone.name] == pytest.approx(expected, abs=1e-3), (bone.name, frame)
    assert "left_hand" not in world(bvhio.readAsHierarchy(str(files[1])), 0)


def test_bvh_of_any_pose(tmp_path):
    """Random rotations: a library's forward kinematics gives the bones that were found."""
    random = np.random.default_rng(0)
    recording = PoseRecording()
    for k in range(4):
        joints = {slot: p + random.normal(0, 0.1, p.shape) for slot, p in standing().items()}
        joints["body"] -= joints["body"][[4, 5]].mean(axis=0)
        for side in OUT:
            joints[f"{side}_hand"] -= joints[f"{side}_hand"][0]
        recording.add([person(joints, random.normal(0, 1, 3) + [0, 0, 6], 1)], SIZE, k / 30)
    (path,) = recording.save(tmp_path / "any.bvh")
    root, arrays = bvhio.readAsHierarchy(str(path)), recording.arrays()

    def turns() -> dict[str, Rotation]:
        found = {joint.Name: joint.RotationWorld for joint, *_ in root.layout()}
        return {name: Rotation.from_quat([q.x, -q.y, -q.z, q.w]) for name, q in found.items()}

    root.loadRestPose(recursive=True)
    rest = turns()  # the library turns its joints to their ends
    for frame in range(4):
        root.loadPose(frame)
        posed = turns()
        for bone in BONES:
            found = posed[bone.name] * rest[bone.name].inv()
            expected = Rotation.from_quat(arrays["rotations"][frame, BONE_INDEX[bone.name]])
            assert np.degrees((found.inv() * expected).magnitude()) < 0.1, bone.name


def test_bvh_bridges_gaps_and_follows_the_stamps(tmp_path):
    recording = PoseRecording()
    for k in (0, 1, 2, 4, 5):  # one image was lost
        doubted = ["left_wrist"] if k == 2 else []
        seen = person(standing(20 * k), (0.1 * k, 0, 3), 1, doubted)
        recording.add([seen], SIZE, k / 20)
    (path,) = recording.save(tmp_path / "gap.bvh")
    raw = bvhio.readAsBvh(str(path))
    assert (raw.FrameCount, raw.FrameTime) == (6, pytest.approx(0.05))
    root = bvhio.readAsHierarchy(str(path))
    wrists = [world(root, frame)["left_hand"] - world(root, frame)["pelvis"] for frame in range(6)]
    assert wrists[2] == pytest.approx(wrists[1], abs=1e-3)  # held
    assert wrists[5] == pytest.approx(standing(100)["body"][BODY.index["left_wrist"]], abs=1e-3)


def test_bvh_without_hips_hangs_on_the_shoulders(tmp_path):
    recording = PoseRecording()
    hidden = [f"{side}_{joint}" for side in OUT for joint in ("hip", "knee", "ankle")]
    recording.add([person(standing(60), (0, 0, 2), 1, hidden)], SIZE, 0)
    recording.add([person({"left_hand": standing()["left_hand"]} | standing(), (0, 0, 2), 2)],
                  SIZE, 0.1)  # fmt: skip
    first, _ = recording.save(tmp_path / "sitting.bvh")
    joints = world(bvhio.readAsHierarchy(str(first)), 0)
    assert joints["pelvis"] == pytest.approx([0, -0.5, 2], abs=1e-3)
    expected = standing(60)["body"][BODY.index["left_wrist"]] + [0, 0, 2]
    assert joints["left_hand"] == pytest.approx(expected, abs=1e-3)
    assert "left_thigh" not in joints


def test_untracked_people_have_a_file_each_and_hands_alone_none(tmp_path):
    recording = PoseRecording()
    hand = standing()["left_hand"]
    alone = PartPose(0.9, CAMERA.project(hand + [0, 0, 1]), hand, np.ones(21), np.array([0, 0, 1]))
    both = [person(standing(), (0, 0, 3)), WholeBody(left_hand=alone)]
    recording.add(both, SIZE, 0)
    recording.add([person(standing(), (0, 0, 3))], SIZE, 1)
    names = {path.name for path in recording.save(tmp_path / "a.bvh")}
    assert names == {"a_0_1.bvh", "a_1_1.bvh"} == {path.name for path in tmp_path.iterdir()}


def test_nobody_is_no_error(tmp_path):
    recording = PoseRecording()
    recording.add([], SIZE, 0)
    assert recording.save(tmp_path / "none.bvh") == []
    (path,) = recording.save(tmp_path / "none.npz")
    assert np.load(path)["joints"].shape == (0, 139, 3)
    (path,) = recording.save(tmp_path / "none.csv")
    assert len(path.read_text().splitlines()) == 1


def test_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"poses.fbx.*\.npz, \.csv, \.bvh"):
        checked_format(tmp_path / "poses.fbx")
    with pytest.raises(ValueError, match="no folder .*/none"):
        checked_format(tmp_path / "none" / "poses.npz")


@pytest.mark.parametrize("side", OUT)
def test_openxr_hands(side):
    """The order of XrHandJointEXT, and hand-computed places and axes of a flat hand."""
    assert OPENXR_JOINTS[:7] == (
        "palm", "wrist", "thumb_metacarpal", "thumb_proximal", "thumb_distal", "thumb_tip",
        "index_metacarpal",
    )  # fmt: skip
    assert len(OPENXR_JOINTS) == 26 and OPENXR_JOINTS[25] == "little_tip"
    joints = standing()
    rotations = bone_rotations(joints)
    positions, turns = openxr_hand(joints[f"{side}_hand"], rotations, side)
    place = dict(zip(OPENXR_JOINTS, positions, strict=True))
    out = OUT[side]
    assert place["index_proximal"] == pytest.approx([out * 0.09, 0, -0.025])
    assert place["middle_metacarpal"] == pytest.approx([out * 0.095 / 3, 0, 0])
    assert place["palm"] == pytest.approx([out * 0.095 * 2 / 3, 0, 0])
    assert place["thumb_metacarpal"] == pytest.approx([out * 0.03, 0, -0.03])
    assert place["thumb_tip"] == pytest.approx([out * 0.105, 0, -0.105])
    for joint, turn in zip(OPENXR_JOINTS, Rotation.from_quat(turns), strict=True):
        forward, back = turn.apply([0, 0, -1]), turn.apply([0, 1, 0])
        thumb = joint.startswith("thumb")
        assert forward == pytest.approx(np.array([out, 0, -1 if thumb else 0]) / 2 ** (thumb / 2))
        assert back == pytest.approx([0, -1, 0], abs=1e-9)


def test_retargeting_has_the_names_and_axes_of_smplx():
    """A level camera: z up, metres, (w, x, y, z); the T-pose of SMPL-X is upright after a quarter
    turn about x, as in AMASS."""
    recording = PoseRecording()
    recording.add([person(standing(90), (0.5, 0.2, 3), 1, ["right_ankle"])], SIZE, 0)
    (frame,) = smplx_frames(recording.arrays(), 1)
    assert frame["pelvis"][0] == pytest.approx([0.5, 3, -0.2])
    s = 0.5**0.5
    assert frame["pelvis"][1] == pytest.approx([s, s, 0, 0])
    assert frame["spine3"][1] == pytest.approx([s, s, 0, 0])
    assert frame["left_knee"][0] == pytest.approx([0.62, 3, -0.62])
    assert frame["left_foot"][0] == pytest.approx([0.62, 3, -1.04])
    assert "right_foot" not in frame and "right_knee" not in frame
    # The left forearm points to the camera, -y of the world; in SMPL-X's T-pose it is +x.
    w, x, y, z = frame["left_elbow"][1]
    pointing = Rotation.from_quat([x, y, z, w]).apply([1, 0, 0])
    assert pointing == pytest.approx([0, -1, 0], abs=1e-6)
    fingers = {f"{side}_{finger}{k}" for side in OUT for k in (1, 2, 3)
               for finger in ("thumb", "index", "middle", "ring", "pinky")}  # fmt: skip
    assert fingers < set(frame)
    with pytest.raises(ValueError, match=r"person 5 .*there are: \[1\]"):
        smplx_frames(recording.arrays(), 5)


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch):
    (example,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "retargeting.md").read_text(), re.S
    )
    walk().save(tmp_path / "walk.npz")
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(example, found)
    # The left wrist of the last of person 3's images, its elbow bent by 80 degrees.
    assert len(found["frame"]) == len(SMPLX_BONES) + 2
    bent = 0.26 * np.array([np.cos(np.radians(80)), -np.sin(np.radians(80)), 0])
    assert found["position"] == pytest.approx(np.array([0.4 + 0.48, 3, 0.3]) + bent, abs=1e-5)


def test_faces_are_recorded(tmp_path):
    random = np.random.default_rng(2)
    face = random.normal(0, 0.03, (84, 3))
    pose = PartPose(0.9, CAMERA.project(face + [0, 0, 2]), face, np.ones(84), np.array([0, 0, 2.0]))
    recording = PoseRecording()
    recording.add([WholeBody(face=pose)], SIZE, 0)
    joints = recording.arrays()["joints"][0]
    first = JOINT_NAMES.index(f"face.{FACE84.joints[0]}")
    assert joints[first:] == pytest.approx(face + [0, 0, 2], abs=1e-6)
    assert np.isnan(joints[:first]).all()
    assert local_rotations(recording.arrays()["rotations"]).shape == (1, len(BONES), 4)
