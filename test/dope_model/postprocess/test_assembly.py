"""Hands and faces to bodies, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dope_model.poses import PartDetections
from dope_model.postprocess.assembly import assemble
from dope_model.skeleton import BODY

RIGHT_WRIST, LEFT_WRIST, HEAD = (BODY.index[j] for j in ("right_wrist", "left_wrist", "head"))


def bodies(*people) -> PartDetections:
    """Bodies given by their right wrist, left wrist and head; the rest far away."""
    keypoints = np.full((len(people), 13, 2), 5000.0)
    for i, (right, left, head) in enumerate(people):
        keypoints[i, RIGHT_WRIST], keypoints[i, LEFT_WRIST], keypoints[i, HEAD] = right, left, head
    scores = 0.9 - 0.1 * np.arange(len(people))
    return PartDetections("body", scores, keypoints, np.zeros((len(people), 13, 3)))


def hands(*wrists, left) -> PartDetections:
    """Hands 40 px wide and 20 px high to the right of their wrists."""
    keypoints = np.zeros((len(wrists), 21, 2))
    keypoints[:] = np.array(wrists, float)[:, None]
    keypoints[:, 1:, 0] += np.linspace(2, 40, 20)
    keypoints[:, 1:, 1] += np.linspace(0, 20, 20)
    count = len(wrists)
    return PartDetections("hand", np.full(count, 0.5), keypoints, np.ones((count, 21, 3)), left)


def faces(*boxes) -> PartDetections:
    along = np.linspace(0, 1, 84)[None, :, None]
    boxes = np.array(boxes, float)
    keypoints = boxes[:, None, :2] + along * (boxes[:, None, 2:] - boxes[:, None, :2])
    count = len(boxes)
    return PartDetections("face", np.full(count, 0.6), keypoints, np.zeros((count, 84, 3)))


FAR = (9000, 9000)


def test_hands_and_face_come_together():
    (person,) = assemble(
        {
            "body": bodies([(100, 100), (200, 100), (150, 20)]),
            "hand": hands((203, 104), (97, 100), left=[True, False]),
            "face": faces((130, 0, 170, 40)),
        }
    )
    assert [slot for slot, _ in person.parts()] == ["body", "right_hand", "left_hand", "face"]
    assert person.right_hand.keypoints_2d[0].tolist() == [97, 100]
    assert person.score == pytest.approx(0.9)
    # The body's wrists take the place of the hands'.
    assert person.body.keypoints_2d[RIGHT_WRIST].tolist() == [97, 100]
    assert person.body.keypoints_2d[LEFT_WRIST].tolist() == [203, 104]
    # A part's 3D is relative to its root, here the wrist.
    assert (person.right_hand.keypoints_3d == 0).all()


def test_a_hand_beyond_its_own_size_is_somebody_elses():
    body = bodies([(100, 100), FAR, FAR])
    near, far = hands((143, 100), left=[False]), hands((145, 100), left=[False])  # reach: 44 px
    assert len(assemble({"body": body, "hand": near})) == 1
    people = assemble({"body": body, "hand": far})
    assert len(people) == 2
    assert people[1].body is None
    assert people[1].right_hand is not None


def test_a_left_hand_does_not_go_to_a_right_wrist():
    people = assemble(
        {"body": bodies([(100, 100), FAR, FAR]), "hand": hands((100, 100), left=[True])}
    )
    assert len(people) == 2


def test_each_hand_to_its_nearest_body():
    people = assemble(
        {
            "body": bodies([(100, 100), FAR, FAR], [(130, 100), FAR, FAR]),
            "hand": hands((128, 100), (110, 100), left=[False, False]),
        }
    )
    assert [p.right_hand.keypoints_2d[0, 0] for p in people] == [110, 128]


def test_a_face_is_where_the_head_is():
    people = assemble(
        {
            "body": bodies([FAR, FAR, (50, 50)], [FAR, FAR, (150, 50)]),
            "face": faces((130, 30, 170, 70), (300, 30, 340, 70)),
        }
    )
    assert people[0].face is None
    assert people[1].face.keypoints_2d[0].tolist() == [130, 30]
    assert people[2].body is None


def test_face_box_has_a_margin_of_a_tenth():
    face = faces((100, 100, 200, 200))
    assert len(assemble({"body": bodies([FAR, FAR, (209, 150)]), "face": face})) == 1
    assert len(assemble({"body": bodies([FAR, FAR, (211, 150)]), "face": face})) == 2


def test_a_face_from_the_side_is_narrow_and_the_head_behind_it():
    face = faces((100, 100, 140, 180))  # its square is 80 px wide, and 8 more on each side
    assert len(assemble({"body": bodies([FAR, FAR, (167, 140)]), "face": face})) == 1
    assert len(assemble({"body": bodies([FAR, FAR, (169, 140)]), "face": face})) == 2


def test_overlapping_faces_go_to_the_nearest_heads():
    people = assemble(
        {
            "body": bodies([FAR, FAR, (118, 120)], [FAR, FAR, (125, 120)]),
            "face": faces((105, 100, 145, 140), (96, 100, 136, 140)),
        }
    )
    assert [p.face.keypoints_2d[0, 0] for p in people] == [96, 105]


@pytest.mark.parametrize("part", ["body", "hand", "face"])
def test_every_part_may_be_missing_or_empty(part):
    parts = {
        "body": bodies([(100, 100), (200, 100), (150, 20)]),
        "hand": hands((203, 104), left=[True]),
        "face": faces((130, 0, 170, 40)),
    }
    joints = parts[part].keypoints_2d.shape[1]
    empty = assemble(parts | {part: PartDetections.empty(part, joints)})
    del parts[part]
    assert [p.to_dict() for p in assemble(parts)] == [p.to_dict() for p in empty]
    assert len(empty) == (2 if part == "body" else 1)
    assert assemble({}) == []


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000))
def test_nothing_is_lost_and_nothing_used_twice(seed):
    random = np.random.default_rng(seed)
    n_bodies, n_hands, n_faces = random.integers(1, 5, 3)
    places = random.uniform(0, 120, (n_bodies, 3, 2))
    parts = {
        "body": bodies(*places),
        "hand": hands(*random.uniform(0, 120, (n_hands, 2)), left=random.random(n_hands) < 0.5),
        "face": faces(*(np.concatenate([c, c + 40]) for c in random.uniform(0, 120, (n_faces, 2)))),
    }
    people = assemble(parts)
    slots = [slot for person in people for slot, _ in person.parts()]
    assert slots.count("body") == n_bodies
    assert slots.count("right_hand") + slots.count("left_hand") == n_hands
    assert slots.count("face") == n_faces
    order = random.permutation(n_hands)
    again = assemble(parts | {"hand": parts["hand"].select(order)})
    key = str
    assert sorted((p.to_dict() for p in again), key=key) == sorted(
        (p.to_dict() for p in people), key=key
    )
