"""Joint maps and pose similarity of the experts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dope_model.experts.bodies import steady_joints, wrist_views
from dope_model.experts.faces import metric_landmarks, visible_landmarks
from dope_model.experts.hands import Hand, refined_hand, trusted_hands
from dope_model.experts.joints import (
    COCO_OF_POSE,
    COCO_SWAP,
    FACE_EDGES,
    HAND_POINTS,
    POSE_SWAP,
    body_from_coco,
    body_from_pose,
    face_from_mesh,
    hand_from_mediapipe,
)
from dope_model.experts.landmarks import HandPose, Pose
from dope_model.experts.people import (
    Evidence,
    fused_joints,
    is_trusted,
)
from dope_model.experts.regions import Picture, Region
from dope_model.experts.similarity import (
    COCO_POINTS,
    POSE_POINTS,
    SIGMAS,
    agreement,
    directed_similarity,
    distinct,
)
from dope_model.skeleton import BODY, FACE84, HAND

# MediaPipe's own names of its points.
POSE_NAMES = [
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye",
    "right_eye_outer", "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky",
    "right_pinky", "left_index", "right_index", "left_thumb", "right_thumb", "left_hip",
    "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel",
    "right_heel", "left_foot_index", "right_foot_index",
]  # fmt: skip
COCO_NAMES = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
]  # fmt: skip
HAND_NAMES = [
    "wrist",
    "thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip",
    "index_mcp", "index_pip", "index_dip", "index_tip",
    "middle_mcp", "middle_pip", "middle_dip", "middle_tip",
    "ring_mcp", "ring_pip", "ring_dip", "ring_tip",
    "pinky_mcp", "pinky_pip", "pinky_dip", "pinky_tip",
]  # fmt: skip


@pytest.mark.parametrize(
    "names, joints_of", [(POSE_NAMES, body_from_pose), (COCO_NAMES, body_from_coco)]
)
def test_body_joints_are_the_points_of_the_same_name(names, joints_of):
    points = np.random.default_rng(0).normal(size=(len(names), 3))
    joints = joints_of(points)
    assert joints.shape == (13, 3)
    for joint, value in zip(BODY.joints[:-1], joints, strict=False):
        assert np.array_equal(value, points[names.index(joint)])
    ears = (points[names.index("left_ear")] + points[names.index("right_ear")]) / 2
    assert np.allclose(joints[BODY.index["head"]], ears)


def test_hand_joints_are_the_points_of_the_same_name():
    assert sorted(HAND_POINTS) == list(range(21))
    ours = [joint.replace("little", "pinky") for joint in HAND.joints]
    assert [HAND_NAMES[point] for point in HAND_POINTS] == ours
    points = np.random.default_rng(1).normal(size=(2, 21, 2))
    assert np.array_equal(hand_from_mediapipe(points)[1, 6], points[1, 2])


@pytest.mark.parametrize("swap, names", [(POSE_SWAP, POSE_NAMES), (COCO_SWAP, COCO_NAMES)])
def test_swaps_exchange_left_and_right(swap, names):
    other = [
        name.replace("left", "?").replace("right", "left").replace("?", "right") for name in names
    ]
    assert [names[point] for point in swap] == other


def test_coco_points_of_blazepose():
    assert [POSE_NAMES[point] for point in COCO_OF_POSE] == COCO_NAMES
    assert [POSE_NAMES[p] for p in POSE_POINTS] == [COCO_NAMES[p] for p in COCO_POINTS]


@pytest.mark.parametrize(
    "count, swap, joints_of, skeleton",
    [(33, POSE_SWAP, body_from_pose, BODY), (17, COCO_SWAP, body_from_coco, BODY)],
)
def test_mapping_and_mirroring_commute(count, swap, joints_of, skeleton):
    points = np.random.default_rng(2).normal(size=(count, 2))
    mirrored = joints_of(points[list(swap)] * (-1, 1))
    assert np.allclose(mirrored, joints_of(points)[list(skeleton.swap)] * (-1, 1))


# x, y, z (cm, y up, z to the viewer) of some vertices of MediaPipe's canonical face.
CANONICAL = {
    234: (-7.664, 0.673, -2.436), 454: (7.664, 0.673, -2.436), 10: (0, 8.262, 4.482),
    152: (0, -9.403, 4.264), 33: (-4.446, 2.664, 3.173), 263: (4.446, 2.664, 3.173),
    127: (-7.743, 2.365, -2.005), 356: (7.743, 2.365, -2.005), 4: (0, -0.463, 7.587),
}  # fmt: skip


def canonical_mesh() -> np.ndarray:
    """A mesh in our axes (y down, z away), known at some vertices, zero elsewhere."""
    mesh = np.zeros((468, 3))
    for vertex, place in CANONICAL.items():
        mesh[vertex] = np.array(place) * (1, -1, -1)
    return mesh


def test_every_face_landmark_once():
    assert len(FACE_EDGES) == 84
    assert len({(a, b, way) for a, b, way in FACE_EDGES}) == 84
    assert all(0 <= way < 1 and 0 <= a < 468 and 0 <= b < 468 for a, b, way in FACE_EDGES)
    landmarks = face_from_mesh(canonical_mesh())
    # Right is on the left of the picture; outer corners of the eyes, ends of the contour.
    assert landmarks[FACE84.index["right_eye_0"]][0] == pytest.approx(-4.446)
    assert landmarks[FACE84.index["left_eye_3"]][0] == pytest.approx(4.446)
    assert landmarks[0, 0] < -7 and landmarks[32, 0] > 7
    assert landmarks[16, 1] == pytest.approx(9.403)


def test_the_contour_is_symmetric():
    """The mesh's vertices have partners too; the contour's edges must respect them."""
    partner = {127: 356, 234: 454, 93: 323, 132: 361, 58: 288, 172: 397, 136: 365, 150: 379,
               149: 378, 176: 400, 148: 377, 152: 152}  # fmt: skip
    partner |= {b: a for a, b in partner.items()}
    outline = list(partner)[:12]
    arc = {vertex: float(i) for i, vertex in enumerate(outline)}
    arc |= {partner[v]: 22.0 - i for v, i in arc.items() if v != 152}
    places = [arc[a] + way * (arc[b] - arc[a]) for a, b, way in FACE_EDGES[:33]]
    assert np.all(np.diff(places) > 0)
    # Mirrored landmarks lie within two thirds of an edge of each other's places.
    assert np.allclose(np.array(places) + places[::-1], 22, atol=0.67)


def test_faces_get_the_canonical_size_at_any_scale():
    landmarks = metric_landmarks(canonical_mesh() * 12.3 + (400, 300, 0))
    width = np.linalg.norm(landmarks[0] - landmarks[32])
    assert width == pytest.approx(0.154, abs=0.002)
    assert np.allclose(landmarks[FACE84.index["nose_bridge_3"]], 0)
    # The chin is below the tip of the nose, the contour's ends are behind it.
    assert landmarks[16, 1] > 0.08 and landmarks[0, 2] > 0.08


@pytest.mark.parametrize("degrees, far", [(0, None), (30, None), (70, "right"), (-70, "left")])
def test_the_far_side_of_a_profile_is_not_trusted(degrees, far):
    """A positive turn brings the person's left ear nearer."""
    angle = np.radians(degrees)
    turn = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    visible = visible_landmarks(canonical_mesh() @ turn.T)
    eyes = {
        "right": visible[FACE84.index["right_eye_0"]],
        "left": visible[FACE84.index["left_eye_3"]],
    }
    assert eyes == {side: side != far for side in eyes}
    assert visible.all() == (far is None)


def random_pose(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 200, (13, 2))


def test_similarity_by_hand():
    reference = np.zeros((13, 2))
    reference[1] = (100, 60)  # box 100 x 60, person 0.6 of it: 3600 px
    other = reference.copy()
    other[0] += (3, 4)
    expected = (12 + np.exp(-25 / (2 * 3600 * (2 * 0.026) ** 2))) / 13
    assert directed_similarity(reference, other, np.ones(13)) == pytest.approx(expected)
    assert SIGMAS[9] == pytest.approx(0.087)  # a knee, COCO's own value


@settings(deadline=None)
@given(st.integers(0, 500), st.floats(0, 0.2), st.floats(0.5, 20), st.floats(-500, 500))
def test_similarity_properties(seed, noise, scale, shift):
    rng = np.random.default_rng(seed)
    pose, scores = random_pose(seed), rng.uniform(0.1, 1, 13)
    other = pose + rng.normal(size=pose.shape) * noise * 200
    value = float(agreement(pose, scores, other, scores))
    assert 0 <= value <= 1
    assert float(agreement(pose, scores, pose, scores)) == pytest.approx(1)
    assert float(agreement(other, scores, pose, scores)) == pytest.approx(value)
    moved = float(agreement(pose * scale + shift, scores, other * scale + shift, scores))
    if min(np.ptp(pose, axis=0).prod(), np.ptp(other, axis=0).prod()) * scale**2 > 1:
        assert moved == pytest.approx(value, abs=1e-6)
    farther = pose + (other - pose) * 2
    assert directed_similarity(pose, farther, scores) <= directed_similarity(pose, other, scores)


def test_distinct_poses_are_grouped_under_the_best():
    poses = np.stack([random_pose(0), random_pose(0) + 1, random_pose(1)])
    assert distinct(poses, np.ones((3, 13)), np.array([1, 2, 0]), 0.6) == [[1, 0], [2]]


def pose_at(points: np.ndarray) -> Pose:
    region = Region(0, 0, 1)
    return Pose(1.0, points, np.ones(33), np.zeros((33, 3)), region, region)


def test_joints_that_move_between_passes_are_not_steady():
    points = np.random.default_rng(4).uniform(0, 100, (33, 2))
    points[[27, 28]] = (0, 0), (100, 100)  # the box is 100 px wide and high
    moved = points.copy()
    moved[15] += 7  # the left wrist
    steady = steady_joints(pose_at(points), pose_at(moved))
    assert np.flatnonzero(~steady).tolist() == [BODY.index["left_wrist"]]
    unseen = pose_at(points)
    unseen.visibility[26] = 0.4
    steady = steady_joints(unseen, pose_at(points))
    assert np.flatnonzero(~steady).tolist() == [BODY.index["right_knee"]]


def test_fused_joints_by_hand():
    movenet = np.column_stack([np.zeros((17, 2)), np.full(17, 0.48)])
    blazepose = np.column_stack([np.zeros((17, 2)), np.full(17, 0.98)])
    blazepose[9] = (6, 0, 0.98)  # the left wrist is 6 px away
    blazepose[10] = blazepose[16] = (9, 0, 0.98)  # the right one and the right ankle too far
    movenet[13, 2] = blazepose[13, 2] = 0.2  # the left knee is seen by none
    steady = np.zeros(13, bool)
    steady[[BODY.index["right_ankle"], BODY.index["left_knee"]]] = True
    joints, trusted = fused_joints(movenet, blazepose, 100, steady)
    assert joints[BODY.index["left_wrist"]] == pytest.approx([4, 0])
    # Where they differ a mean would be neither's joint.
    assert joints[BODY.index["right_wrist"]].tolist() == [9, 0]
    assert joints[BODY.index["right_ankle"]].tolist() == [9, 0]
    untrusted = {BODY.joints[j] for j in np.flatnonzero(~trusted)}
    assert untrusted == {"right_wrist", "left_knee"}


@pytest.mark.parametrize(
    "evidence, trusted",
    [
        (Evidence(0.9, 0.7, 0.9, mirrored=0.0, detectors=2), True),
        (Evidence(0.9, 0.46, 0.1, mirrored=0.0, detectors=2), True),
        (Evidence(0.4, 0.9, 0.9, mirrored=0.0, detectors=2), False),
        (Evidence(0.9, 0.46, 0.9, mirrored=0.0, detectors=1), False),
        (Evidence(0.9, 0.6, 0.71, mirrored=0.0, detectors=1), True),
        (Evidence(0.9, 0.9, 0.6, mirrored=0.0, detectors=1), False),
    ],
)
def test_rules_of_trust(evidence, trusted):
    assert is_trusted(evidence) == trusted


def standing_pose() -> Pose:
    """A person facing us, 300 px tall, hands hanging; their left is on the right."""
    points = np.zeros((33, 2))
    for name, place in {
        "left_shoulder": (140, 100), "right_shoulder": (60, 100), "left_elbow": (150, 150),
        "right_elbow": (50, 150), "left_wrist": (150, 200), "right_wrist": (50, 200),
        "left_index": (150, 225), "right_index": (50, 225), "left_pinky": (150, 225),
        "right_pinky": (50, 225), "left_hip": (120, 200), "right_hip": (80, 200),
    }.items():  # fmt: skip
        points[POSE_NAMES.index(name)] = place
    return pose_at(points)


def hand_at(place: tuple, right: float, score: float = 0.95, palm_score: float = 0.0) -> Hand:
    points = np.asarray(place) + np.stack([np.linspace(0, 20, 21), np.linspace(0, 40, 21)], axis=1)
    return Hand(points, np.zeros((21, 3)), score, right, palm_score, deviation=0.01)


def test_wrists_know_their_side_and_where_the_hand_is():
    left, right = wrist_views(standing_pose())
    assert left.is_left and not right.is_left
    assert left.wrist.tolist() == [150, 200] and right.wrist.tolist() == [50, 200]
    # Down along the forearm, the hand's up is the picture's down.
    assert (left.direct.x, left.direct.y) == pytest.approx((150, 225))
    assert abs(left.direct.angle) == pytest.approx(np.pi)
    assert left.size == pytest.approx(100)  # the torso is the longest


def test_hands_need_a_wrist_of_their_side_or_two_sure_witnesses():
    wrists = wrist_views(standing_pose())
    fits = hand_at((150, 200), right=0.1)
    assert trusted_hands([fits], wrists) == [fits] and fits.is_left
    assert trusted_hands([hand_at((50, 200), right=0.1)], wrists) == []
    sure = hand_at((400, 400), right=0.9, palm_score=0.8)
    assert trusted_hands([sure], wrists) == [sure] and not sure.is_left
    assert trusted_hands([hand_at((400, 400), right=0.9, palm_score=0.5)], wrists) == []
    assert trusted_hands([hand_at((150, 200), right=0.1, score=0.7)], wrists) == []


def test_a_wrist_has_one_hand():
    wrists = wrist_views(standing_pose())
    good, second = hand_at((150, 200), 0.1), hand_at((160, 180), 0.1, score=0.92, palm_score=0.9)
    assert trusted_hands([second, good], wrists) == [good]
    twin = hand_at((151, 201), 0.9, score=0.94, palm_score=0.9)
    assert trusted_hands([good, twin], wrists) == [good]


class OneHand:
    """A landmark model that finds the same hand everywhere."""

    def __init__(self, place: tuple, score: float = 0.9) -> None:
        points = hand_at(place, right=0.9).points
        self._found = HandPose(score, 0.9, points, np.zeros((21, 3)), Region(0, 0, 1))

    def __call__(self, picture: Picture, region: Region) -> HandPose:
        return self._found


def test_hands_that_are_known_invented_or_none_are_left_out():
    picture = Picture(np.zeros((100, 100, 3), np.uint8))
    region = Region(50, 50, 40)
    hand = refined_hand(picture, OneHand((40, 40)), region)
    assert hand is not None and not hand.is_left and hand.deviation == 0
    assert refined_hand(picture, OneHand((40, 40)), region, known=[hand]) is None
    assert refined_hand(picture, OneHand((40, 90)), region) is None  # 3 of 4 below the picture
    assert refined_hand(picture, OneHand((40, 40), score=0.05), region) is None
