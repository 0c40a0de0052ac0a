"""The joint table against the published joint orders."""

from __future__ import annotations

import numpy as np
import pytest

from dope_model.skeleton import BODY, BODY14, FACE84, HAND, Skeleton, skeleton_for

ALL = (BODY, BODY14, HAND, FACE84)


def test_body_order_is_the_published_one():
    assert BODY.joints == (
        "right_ankle", "left_ankle", "right_knee", "left_knee", "right_hip", "left_hip",
        "right_wrist", "left_wrist", "right_elbow", "left_elbow", "right_shoulder",
        "left_shoulder", "head",
    )  # fmt: skip
    assert BODY14.joints[:13] == BODY.joints


def test_hand_order_is_the_published_one():
    """Wrist; the first joint of each finger, thumb first; then three more, finger by finger."""
    assert HAND.joints[:7] == (
        "wrist", "thumb_cmc", "index_mcp", "middle_mcp", "ring_mcp", "little_mcp", "thumb_mcp",
    )  # fmt: skip
    assert [HAND.index[f"{finger}_tip"] for finger in ("thumb", "index", "little")] == [8, 11, 20]


def test_face_groups_start_where_the_benchmark_has_them():
    first = {"contour": 0, "right_eyebrow": 33, "left_eyebrow": 38, "nose_bridge": 43,
             "nose_base": 47, "right_eye": 52, "left_eye": 58, "outer_lips": 64,
             "inner_lips": 76}  # fmt: skip
    assert {name: FACE84.index[f"{name}_0"] for name in first} == first
    assert len(FACE84) == 84


@pytest.mark.parametrize("skeleton", ALL, ids=lambda s: f"{s.name}{len(s)}")
def test_mirroring_keeps_the_skeleton(skeleton):
    swap = skeleton.swap
    bones = {frozenset(bone) for bone in skeleton.bones}
    assert {frozenset((swap[a], swap[b])) for a, b in bones} == bones
    assert all(swap[swap[j]] == j for j in range(len(skeleton)))


@pytest.mark.parametrize("skeleton", ALL, ids=lambda s: f"{s.name}{len(s)}")
def test_every_joint_has_a_bone(skeleton):
    assert {j for bone in skeleton.bones for j in bone} == set(range(len(skeleton)))


def test_mirrored_face_landmarks_change_sides():
    """On a symmetric face every landmark's partner has the opposite x and the same y."""
    partner = {FACE84.joints[a]: FACE84.joints[b] for a, b in enumerate(FACE84.swap)}
    assert partner["contour_0"] == "contour_32"
    assert partner["contour_16"] == "contour_16"
    assert partner["right_eyebrow_0"] == "left_eyebrow_4"
    assert partner["right_eye_0"] == "left_eye_3"  # outer corners
    assert partner["right_eye_3"] == "left_eye_0"  # inner corners
    assert partner["right_eye_1"] == "left_eye_2"  # upper lids
    assert partner["right_eye_5"] == "left_eye_4"  # lower lids
    assert partner["outer_lips_0"] == "outer_lips_6"  # corners
    assert partner["outer_lips_3"] == "outer_lips_3"  # middle of the upper lip
    assert partner["inner_lips_5"] == "inner_lips_7"


def test_centred_puts_the_root_at_the_origin():
    points = np.random.default_rng(0).normal(size=(5, 13, 3))
    centred = BODY.centred(points)
    assert np.allclose((centred[:, 4] + centred[:, 5]) / 2, 0)
    assert np.allclose(centred[:, 0] - centred[:, 12], points[:, 0] - points[:, 12])


def test_unknown_skeletons_are_refused():
    with pytest.raises(ValueError, match="body 13 or 14"):
        skeleton_for("body", 17)
    with pytest.raises(ValueError, match="twice"):
        Skeleton("x", ("a", "b", "c"), (), (1, 2, 0), (0,), ())
