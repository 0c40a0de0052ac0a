"""Rotations of bones: hand-computed poses, a skeleton posed by known rotations, properties, and
rendered people, whose bones' rotations are known."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from scipy.spatial.transform import Rotation

from dope_model.poses import PartPose, WholeBody
from dope_model.rotations import (
    BONE_INDEX,
    BONES,
    FINGERS,
    bone_rotations,
    local_rotations,
    person_rotations,
    quaternions,
)
from dope_model.skeleton import BODY, FACE84, HAND

MIRROR = np.array([-1.0, 1, 1])
IDENTITY = [0, 0, 0, 1]

# What stands in the table of the module's docstring, written once more: bone, parent, from, to.
ARM = (
    ("upper_arm", "chest", "shoulder", "elbow"),
    ("forearm", "upper_arm", "elbow", "wrist"),
    ("thigh", "pelvis", "hip", "knee"),
    ("shin", "thigh", "knee", "ankle"),
)
ARM_REST = {"upper_arm": (1, 0, 0), "forearm": (1, 0, 0), "thigh": (0, 1, 0), "shin": (0, 1, 0)}
LENGTHS = {"upper_arm": 0.3, "forearm": 0.26, "thigh": 0.42, "shin": 0.41}
KNUCKLES = {"thumb": (0.03, 0.005, -0.03), "index": (0.09, 0, -0.025), "middle": (0.095, 0, 0),
            "ring": (0.09, 0, 0.02), "little": (0.08, 0, 0.04)}  # fmt: skip


def finger_bones(finger: str) -> tuple[tuple[str, str, str], ...]:
    if finger == "thumb":
        return (("metacarpal", "cmc", "mcp"), ("proximal", "mcp", "ip"), ("distal", "ip", "tip"))
    return (
        ("proximal", "mcp", "pip"), ("intermediate", "pip", "dip"), ("distal", "dip", "tip"),
    )  # fmt: skip


def posed(turns: dict[str, Rotation] | None = None, random=None) -> dict[str, np.ndarray]:
    """The joints of a person whose bones have these rotations; the others those of their parents.

    With `random`, all bones have other lengths.
    """
    turns = dict(turns or {})
    scale = (lambda: random.uniform(0.5, 2)) if random is not None else (lambda: 1.0)
    one = Rotation.identity()
    for trunk in ("pelvis", "chest", "neck", "head"):
        turns.setdefault(trunk, one)
    body = np.zeros((13, 3))
    hips, shoulders, trunk = 0.14 * scale(), 0.19 * scale(), 0.5 * scale()
    top = turns["pelvis"].apply([0, -trunk, 0])
    for side, out in (("right", -1.0), ("left", 1.0)):
        body[BODY.index[f"{side}_hip"]] = turns["pelvis"].apply([out * hips, 0, 0])
        body[BODY.index[f"{side}_shoulder"]] = top + turns["chest"].apply([out * shoulders, 0, 0])
        for bone, parent, start, end in ARM:
            above = turns[parent] if parent in turns else turns[f"{side}_{parent}"]
            turn = turns.setdefault(f"{side}_{bone}", above)
            way = np.multiply(ARM_REST[bone], (out, 1, 1)) * LENGTHS[bone] * scale()
            start, end = BODY.index[f"{side}_{start}"], BODY.index[f"{side}_{end}"]
            body[end] = body[start] + turn.apply(way)
    body[BODY.index["head"]] = top + turns["neck"].apply([0, -0.2 * scale(), 0])
    joints = {"body": body}
    for side, out in (("right", -1.0), ("left", 1.0)):
        palm = turns.setdefault(f"{side}_hand", turns[f"{side}_forearm"])
        hand, size = np.zeros((21, 3)), scale()
        for finger, knuckle in KNUCKLES.items():
            turn = palm
            rest = (0.5**0.5, 0, -(0.5**0.5)) if finger == "thumb" else (1, 0, 0)
            first = finger_bones(finger)[0][1]
            hand[HAND.index[f"{finger}_{first}"]] = palm.apply(np.multiply(knuckle, (out, 1, 1)))
            hand *= size if finger == "little" else 1  # the palm keeps its shape
        for finger in KNUCKLES:
            turn = palm
            rest = (0.5**0.5, 0, -(0.5**0.5)) if finger == "thumb" else (1, 0, 0)
            for bone, start, end in finger_bones(finger):
                turn = turns.setdefault(f"{side}_{finger}_{bone}", turn)
                way = np.multiply(rest, (out, 1, 1)) * 0.03 * scale()
                at = hand[HAND.index[f"{finger}_{start}"]]
                hand[HAND.index[f"{finger}_{end}"]] = at + turn.apply(way)
        joints[f"{side}_hand"] = hand
    joints["face"] = turns["head"].apply(upright_face() * scale())
    joints["turns"] = turns
    return joints


def upright_face() -> np.ndarray:
    """A symmetric face that looks at the camera; its nose is 10 degrees further forward
    than its eyebrows."""
    random = np.random.default_rng(0)
    face = random.normal(0, 0.03, (84, 3))
    for joint, partner in enumerate(FACE84.swap):
        if joint < partner:
            left_first = joint >= FACE84.index["outer_lips_7"] and "lips" in FACE84.joints[joint]
            face[joint, 0] = abs(face[joint, 0]) * (1 if left_first else -1)
            face[partner] = face[joint] * MIRROR
        elif joint == partner:
            face[joint, 0] = 0
    brows, nose = (
        [j for j, name in enumerate(FACE84.joints) if group in name]
        for group in ("eyebrow", "nose_base")
    )
    lean = np.radians(10)
    face[brows] -= face[brows].mean(axis=0)
    face[nose] += 0.05 * np.array([0, np.cos(lean), -np.sin(lean)]) - face[nose].mean(axis=0)
    return face


def found(joints: dict) -> dict[str, np.ndarray]:
    """Quaternions by bone."""
    rotations = bone_rotations({slot: joints[slot] for slot in joints if slot != "turns"})
    return {bone.name: rotations[b] for b, bone in enumerate(BONES)}


def about(axis: str, degrees: float) -> Rotation:
    return Rotation.from_euler(axis, degrees, degrees=True)


def apart(quaternion: np.ndarray, turn: Rotation) -> float:
    """Degrees between two rotations."""
    return float(np.degrees((Rotation.from_quat(quaternion).inv() * turn).magnitude()))


def random_pose(random: np.random.Generator) -> dict[str, Rotation]:
    """Any trunk; elbows and knees that are bent; fingers that curl; a head turned by a face."""
    turns = {"pelvis": Rotation.random(random_state=random.integers(1 << 31))}
    turns["chest"] = turns["pelvis"]
    turns["neck"] = turns["chest"] * about("x", random.uniform(-40, 40))
    turns["head"] = turns["neck"] * about("y", random.uniform(-60, 60))
    for side, out in (("right", -1.0), ("left", 1.0)):
        any_turn = Rotation.random(2, random_state=random.integers(1 << 31))
        upper = turns[f"{side}_upper_arm"] = any_turn[0]
        # The left forearm goes from +x to -z, the right one from -x to -z.
        turns[f"{side}_forearm"] = upper * about("y", out * random.uniform(30, 140))
        thigh = turns[f"{side}_thigh"] = any_turn[1]
        turns[f"{side}_shin"] = thigh * about("x", random.uniform(30, 140))
        hand = turns[f"{side}_hand"] = Rotation.random(random_state=random.integers(1 << 31))
        for finger in FINGERS[1:]:
            x, _, z = KNUCKLES[finger]
            fan = Rotation.from_euler("y", out * np.arctan2(-z, x))
            turn = hand
            for number, (bone, _, _) in enumerate(finger_bones(finger)):
                curl = about("z", out * random.uniform(0, 80))
                # In line with its metacarpal, then bent.
                turn = turn * fan * curl if number == 0 else turn * curl
                turns[f"{side}_{finger}_{bone}"] = turn
        turn = hand
        for bone, _, _ in finger_bones("thumb"):
            rest = np.array([out, 0, -1]) * 0.5**0.5
            axis = np.cross(rest, random.normal(size=3))
            axis *= np.radians(random.uniform(0, 50)) / np.linalg.norm(axis)
            turn = turn * Rotation.from_rotvec(axis)
            turns[f"{side}_thumb_{bone}"] = turn
    return turns


def test_the_rest_pose_is_the_identity():
    for name, quaternion in found(posed()).items():
        assert np.allclose(quaternion, IDENTITY, atol=1e-9), name


def test_poses_computed_by_hand():
    """Quarter turns, as (x, y, z, w) with s = sin 45 degrees."""
    s = 0.5**0.5
    hanging = found(posed({"left_upper_arm": about("z", 90), "right_upper_arm": about("z", -90)}))
    assert np.allclose(hanging["left_upper_arm"], (0, 0, s, s))
    assert np.allclose(hanging["left_forearm"], (0, 0, s, s))
    assert np.allclose(hanging["right_upper_arm"], (0, 0, -s, s))
    # The left forearm points to the camera.
    joints = posed()
    elbow, wrist = BODY.index["left_elbow"], BODY.index["left_wrist"]
    joints["body"][wrist] = joints["body"][elbow] + [0, 0, -0.26]
    bent = found(joints)
    assert np.allclose(bent["left_upper_arm"], IDENTITY)
    assert np.allclose(bent["left_forearm"], (0, s, 0, s))
    # Sitting towards the camera: thighs forward, shins down.
    joints = posed()
    for side in ("right", "left"):
        hip, knee, ankle = (BODY.index[f"{side}_{name}"] for name in ("hip", "knee", "ankle"))
        joints["body"][knee] = joints["body"][hip] + [0, 0, -0.42]
        joints["body"][ankle] = joints["body"][knee] + [0, 0.4, 0]
    sitting = found(joints)
    assert np.allclose(sitting["left_thigh"], (-s, 0, 0, s))
    assert np.allclose(sitting["right_shin"], IDENTITY)
    # A person whose left side is in view looks to the left of the image.
    profile = found(posed(dict.fromkeys(("pelvis", "chest", "neck", "head"), about("y", 90))))
    for name, quaternion in profile.items():
        assert np.allclose(quaternion, (0, s, 0, s)), name


def test_known_rotations_are_found_whatever_the_bones_lengths():
    random = np.random.default_rng(1)
    for _ in range(20):
        turns = random_pose(random)
        for joints in (posed(turns), posed(turns, random)):
            for name, quaternion in found(joints).items():
                assert apart(quaternion, joints["turns"][name]) < 1e-4, name


def test_a_turned_person_has_turned_rotations():
    random = np.random.default_rng(2)
    for _ in range(10):
        joints = posed(random_pose(random))
        noisy = {s: joints[s] + random.normal(0, 0.02, joints[s].shape) for s in SLOTS}
        turn = Rotation.random(random_state=random.integers(1 << 31))
        turned = found({slot: turn.apply(noisy[slot]) for slot in SLOTS})
        for name, quaternion in found(noisy).items():
            assert apart(turned[name], turn * Rotation.from_quat(quaternion)) < 1e-4, name


SLOTS = ("body", "right_hand", "left_hand", "face")


def test_a_mirrored_person_has_mirrored_rotations():
    random = np.random.default_rng(3)
    joints = posed(random_pose(random))
    noisy = {s: joints[s] + random.normal(0, 0.01, joints[s].shape) for s in SLOTS}
    mirrored = found(
        {
            "body": noisy["body"][list(BODY.swap)] * MIRROR,
            "right_hand": noisy["left_hand"] * MIRROR,
            "left_hand": noisy["right_hand"] * MIRROR,
            "face": noisy["face"][list(FACE84.swap)] * MIRROR,
        }
    )
    for name, (x, y, z, w) in found(noisy).items():
        side, _, rest = name.partition("_")
        other = {"right": f"left_{rest}", "left": f"right_{rest}"}.get(side, name)
        assert np.allclose(mirrored[other], (x, -y, -z, w), atol=1e-9), name


def test_every_bone_points_where_its_joints_are():
    random = np.random.default_rng(4)
    joints = posed(random_pose(random))
    noisy = {s: joints[s] + random.normal(0, 0.01, joints[s].shape) for s in SLOTS}
    rotations = found(noisy)
    for bone in BONES[4:]:
        part = noisy[bone.slot]
        way = part[list(bone.end)].mean(axis=0) - part[list(bone.start)].mean(axis=0)
        pointing = Rotation.from_quat(rotations[bone.name]).apply(bone.rest)
        assert np.allclose(pointing, way / np.linalg.norm(way), atol=1e-6), bone.name


def test_a_straight_limb_turns_as_little_as_its_parent_allows():
    """Small movements of a straight arm or leg make small differences."""
    random = np.random.default_rng(5)
    turns = {"left_upper_arm": about("z", 75), "right_upper_arm": about("z", -60)}
    still = found(posed(turns))
    for _ in range(20):
        joints = posed(turns)
        joints["body"] += random.normal(0, 0.003, (13, 3))
        moved = found(joints)
        for bone in ("upper_arm", "forearm", "thigh", "shin"):
            for side in ("right", "left"):
                name = f"{side}_{bone}"
                assert apart(moved[name], Rotation.from_quat(still[name])) < 6, name


def test_missing_joints_make_their_bones_nan():
    def lost(joints: dict) -> set[str]:
        return {name for name, quaternion in found(joints).items() if np.isnan(quaternion).any()}

    joints = posed()
    joints["body"][BODY.index["left_wrist"]] = np.nan
    assert lost(joints) == {"left_forearm"}
    joints["body"][BODY.index["left_elbow"]] = np.nan
    assert lost(joints) == {"left_forearm", "left_upper_arm"}
    joints = posed()
    joints["body"][[BODY.index["left_hip"], BODY.index["right_hip"]]] = np.nan
    legs = {f"{side}_{bone}" for side in ("right", "left") for bone in ("thigh", "shin")}
    assert lost(joints) == legs | {"pelvis"}  # the chest has the head
    body_only = {"body": posed()["body"]}
    of_hands = {bone.name for bone in BONES if bone.slot.endswith("hand")}
    assert lost(body_only) == of_hands
    joints = posed({"head": about("y", 30)})
    joints["face"][FACE84.index["right_eyebrow_0"] : FACE84.index["nose_bridge_0"]] = np.nan
    # As the neck.
    assert np.allclose(found(joints)["head"], IDENTITY)
    one_point = {slot: np.zeros_like(joints[slot]) for slot in SLOTS}
    assert lost(one_point) == set(BONE_INDEX)


def test_landmarks_of_one_side_may_be_missing():
    joints = posed({"head": about("y", 40)})
    first = FACE84.index["right_eyebrow_0"]
    joints["face"][first : first + 5] = np.nan
    assert apart(found(joints)["head"], about("y", 40)) < 1e-4


def test_several_people_at_once_are_as_one_by_one():
    random = np.random.default_rng(6)
    people = [posed(random_pose(random)) for _ in range(4)]
    stacked = {slot: np.stack([p[slot] for p in people]).reshape(2, 2, -1, 3) for slot in SLOTS}
    together = bone_rotations(stacked)
    assert together.shape == (2, 2, len(BONES), 4)
    for number, joints in enumerate(people):
        alone = bone_rotations({slot: joints[slot] for slot in SLOTS})
        assert np.allclose(together[divmod(number, 2)], alone)


def test_local_rotations_put_together_are_the_rotations():
    joints = posed(random_pose(np.random.default_rng(7)))
    rotations = bone_rotations({slot: joints[slot] for slot in SLOTS})
    local = local_rotations(rotations)
    whole: dict[str, Rotation] = {}
    for bone, quaternion in zip(BONES, local, strict=True):
        turn = Rotation.from_quat(quaternion)
        whole[bone.name] = whole[bone.parent] * turn if bone.parent else turn
        assert apart(rotations[BONE_INDEX[bone.name]], whole[bone.name]) < 1e-4
    rotations[BONE_INDEX["left_upper_arm"]] = np.nan
    lost = np.isnan(local_rotations(rotations)).any(axis=-1)
    assert {BONES[b].name for b in np.flatnonzero(lost)} == {"left_upper_arm", "left_forearm"}


def test_quaternions_are_those_of_scipy():
    turns = Rotation.random(500, random_state=8)
    half_turns = Rotation.from_rotvec(np.pi * np.eye(3))
    for turn in (turns, half_turns):
        ours = quaternions(turn.as_matrix())
        assert (ours[:, 3] >= 0).all()
        assert (Rotation.from_quat(ours).inv() * turn).magnitude().max() < 1e-6


def test_a_person_counts_only_trusted_joints():
    joints = posed()
    trusted = np.ones(13)
    trusted[BODY.index["right_ankle"]] = 0.3
    pose = PartPose(0.9, np.zeros((13, 2)), joints["body"], trusted)
    rotations = person_rotations(WholeBody(body=pose))
    assert np.isnan(rotations[BONE_INDEX["right_shin"]]).all()
    assert np.allclose(rotations[BONE_INDEX["left_shin"]], IDENTITY)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="left_hand has shape"):
        bone_rotations({"left_hand": np.zeros((20, 3))})
    with pytest.raises(ValueError, match="no part 'foot'"):
        bone_rotations({"foot": np.zeros((3, 3))})
    with pytest.raises(ValueError, match="different numbers"):
        bone_rotations({"body": np.zeros((2, 13, 3)), "face": np.zeros((84, 3))})


RENDERED = {"pelvis": ("root", 5, 25), "chest": ("spine01", 6, 18), "head": ("head", 4, 12)}
"""Bone: the renderer's bone, largest median and 95th percentile of the error, degrees."""
for _side in ("right", "left"):
    RENDERED |= {
        f"{_side}_upper_arm": (f"upperarm02.{_side[0].upper()}", 5, 40),
        f"{_side}_forearm": (f"lowerarm01.{_side[0].upper()}", 6, 40),
        f"{_side}_thigh": (f"upperleg02.{_side[0].upper()}", 4, 25),
        f"{_side}_shin": (f"lowerleg01.{_side[0].upper()}", 4, 25),
        f"{_side}_hand": (f"wrist.{_side[0].upper()}", 3, 6),
    }
    for _number, _finger in enumerate(FINGERS, 1):
        for _joint, (_bone, _, _) in enumerate(finger_bones(_finger), 1):
            of_renderer = f"finger{_number}-{_joint}.{_side[0].upper()}"
            RENDERED[f"{_side}_{_finger}_{_bone}"] = (of_renderer, 7, 16)


def test_rendered_people():
    """The renderer's rest pose is another one: its constant difference is found on half of the
    people, the errors on the other half."""
    pytest.importorskip("anny")
    from rendering_help import body_model

    from dope_model.rendering.body import skin
    from dope_model.rendering.person import sample_expression, sample_phenotype
    from dope_model.rendering.posing import Poser

    model = body_model()
    joints, true = [], []
    for seed in range(24):
        random = np.random.default_rng(seed)
        rest, heads = model.rest_shape(sample_phenotype(random), sample_expression(random))
        poser = Poser(model, rest, heads)
        for _ in range(6):
            pose = poser.sample(random)
            vertices = skin(rest, model.weights, pose.rotations, pose.heads, heads)
            joints.append(model.joints(pose.heads, vertices))
            true.append(pose.rotations)
    # Scenes have y up and z towards the camera.
    optical = np.diag([1.0, -1, -1])
    parts = {
        slot: np.stack([getattr(person, slot) for person in joints]) @ optical for slot in SLOTS
    }
    for spread in (0.0, 1.0):  # true joints, then with errors: m in each axis
        errors = {"body": 0.02, "right_hand": 0.005, "left_hand": 0.005, "face": 0.005}
        noise = np.random.default_rng(0)
        given = {
            slot: points + noise.normal(0, spread * errors[slot], points.shape)
            for slot, points in parts.items()
        }
        worst: dict[str, list[float]] = {}
        rotations = bone_rotations(given)
        for name, (of_renderer, median, high) in RENDERED.items():
            turns = [optical @ pose[model.index[of_renderer]] @ optical for pose in true]
            found = np.degrees(_differences(rotations[:, BONE_INDEX[name]], np.array(turns)))
            middle, tail = np.median(found), np.percentile(found, 95)
            if not spread:
                assert middle < median and tail < high, name
            before = worst.get(_group(name), [0, 0])
            worst[_group(name)] = [max(before[0], middle), max(before[1], tail)]
        print({group: [round(float(value)) for value in both] for group, both in worst.items()})


def _differences(rotations: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Angles, rad, of the second half, where the constant turn of the first half is undone."""
    half = len(true) // 2
    turns = Rotation.from_quat(rotations).inv() * Rotation.from_matrix(true)
    return (turns[half:] * turns[:half].mean().inv()).magnitude()


def _group(name: str) -> str:
    """The column of docs/retargeting.md."""
    part = name.partition("_")[2] or {"head": "head"}.get(name, "trunk")
    if part in ("upper_arm", "forearm", "thigh", "shin"):
        return "arms" if "arm" in part else "legs"
    return {"hand": "hands", "head": "head", "trunk": "trunk"}.get(part, "fingers")
