"""People seen by several cameras: rendered people whose joints are known in metres, with the errors
that one camera makes."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy")

from people import CAMERA, body_joints

from dope_model.camera.fusion import ErrorModel, View, fuse
from dope_model.datasets.labels import LabelSet
from dope_model.poses import PartPose, WholeBody
from dope_model.sample import LABELS
from dope_model.skeleton import BODY, HAND

MIDDLE = np.array([0.0, 0.0, 4.0])
"""Cameras stand in a circle around this point of the common frame, y down."""


def camera_at(degrees: float, distance: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """turn, shift of a camera that looks at MIDDLE; 0 stands at the origin of the common frame."""
    a = np.radians(degrees)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    return turn, MIDDLE - turn @ [0, 0, distance]


def part(joints: np.ndarray, root: np.ndarray, confidence=0.95) -> PartPose:
    """Joints (J, 3) in an optical frame."""
    confidence = np.broadcast_to(confidence, len(joints)).astype(np.float32)
    return PartPose(0.9, CAMERA.project(joints), joints - root, confidence, root=root)


def body(joints: np.ndarray, confidence=0.95) -> WholeBody:
    return WholeBody(body=part(joints, BODY.root_of(joints), confidence))


def seen_from(degrees: float, people, random=None, lens: bool = False, confidence=0.95) -> View:
    """The view of people (N, 13, 3) of the common frame; `random` adds one camera's errors, as
    measured: a factor of 12 % in distance and size, and 9 cm along and 5 cm across the ray.
    """
    turn, shift = camera_at(degrees)
    found = []
    for joints in people:
        optical = (joints - shift) @ turn
        person = body(optical, confidence)
        if random is not None:
            rays = optical / np.linalg.norm(optical, axis=1, keepdims=True)
            off = random.normal(0, 0.05, optical.shape)
            off += rays * (random.normal(0, 0.09, (13, 1)) - (off * rays).sum(1, keepdims=True))
            wrong = body((1 + random.normal(0, 0.12)) * (optical + off), confidence).body
            pixels = person.body.keypoints_2d + random.normal(0, 3, (13, 2))
            person = WholeBody(body=replace(wrong, keypoints_2d=pixels))
        found.append(person)
    return View(found, turn, shift, CAMERA if lens else None)


@pytest.fixture(scope="module")
def pairs() -> np.ndarray:
    """(N, 2, 13, 3): two rendered people who walk and gesture, in the frame of their camera."""
    bodies = [sample.parts["body"] for sample in LabelSet.load(LABELS).samples[::5]]
    both = [b.keypoints_3d + b.root[:, None] for b in bodies if len(b) == 2]
    assert len(both) > 20
    return np.array(both, float)


def error(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found - truth, axis=-1).mean())


def in_common(view: View, place: int) -> np.ndarray:
    return view.people[place].body.placed_3d @ view.turn.T + view.shift


@pytest.mark.parametrize("lens", [False, True])
def test_two_cameras_halve_the_error_of_one(pairs, lens):
    random = np.random.default_rng(1)
    single, mean, fused, joined, possible = [], [], [], 0, 0
    for truth in pairs:
        views = [seen_from(a, truth, random, lens) for a in (0, random.uniform(40, 140))]
        possible += 2
        for one in fuse(views):
            if len(one.seen_by) < 2:
                continue
            (_, i), (_, k) = one.seen_by
            assert i == k, "two people were joined"
            joined += 1
            placed = [in_common(view, i) for view in views]
            single.append(np.mean([error(points, truth[i]) for points in placed]))
            mean.append(error(np.mean(placed, axis=0), truth[i]))
            fused.append(error(one.person.body.placed_3d, truth[i]))
    print(f"\none {np.mean(single):.3f}, mean {np.mean(mean):.3f}, fused {np.mean(fused):.3f} m")
    assert joined > 0.9 * possible
    assert np.mean(fused) < (0.35 if lens else 0.5) * np.mean(single)
    assert np.mean(fused) < 0.6 * np.mean(mean)


@pytest.mark.parametrize("angles", [(0,), (0, 90), (0, 60, 200)])
def test_without_errors_everybody_is_where_they_are(pairs, angles):
    truth = pairs[0]
    found = fuse([seen_from(angle, truth, lens=True) for angle in angles])
    assert [one.seen_by for one in found] == [
        tuple((view, person) for view in range(len(angles))) for person in (0, 1)
    ]
    for one, joints in zip(found, truth, strict=True):
        np.testing.assert_allclose(one.person.body.placed_3d, joints, atol=1e-5)
        assert one.person.body.root == pytest.approx(BODY.root_of(joints), abs=1e-5)
        assert np.isnan(one.person.body.keypoints_2d).all() and one.person.track_id == -1


def test_a_wrong_size_is_found_by_the_other_camera(pairs):
    """One camera takes everybody for 15 % smaller, and so nearer; the other looks from the side."""
    truth = pairs[0][:1]
    turn, shift = camera_at(0)
    near = View([body(0.85 * (truth[0] - shift) @ turn)], turn, shift)
    before = error(in_common(near, 0), truth[0])
    (one,) = fuse([near, seen_from(90, truth)])
    assert before > 0.5 and error(one.person.body.placed_3d, truth[0]) < 0.1 * before


def test_three_cameras_are_better_than_two(pairs):
    errors = {2: [], 3: []}
    for truth in pairs:
        random = np.random.default_rng(7)
        views = [seen_from(a, truth[:1], random) for a in (0, 80, 200)]
        for count, found in errors.items():
            people = fuse(views[:count])
            if len(people) == 1:
                found.append(error(people[0].person.body.placed_3d, truth[0]))
    assert min(map(len, errors.values())) > 0.9 * len(pairs)
    assert np.mean(errors[3]) < np.mean(errors[2])


def test_the_order_of_cameras_and_people_does_not_matter(pairs):
    random = np.random.default_rng(3)
    one, other = (seen_from(a, pairs[3], random) for a in (0, 100))
    forward = fuse([one, other])
    backward = fuse([replace(other, people=other.people[::-1]), one])
    places = [
        sorted(p.person.body.placed_3d.round(4).tolist() for p in found)
        for found in (forward, backward)
    ]
    assert len(forward) == 2
    np.testing.assert_allclose(*places, atol=1e-3)


STANDING = body_joints(
    {
        "ankle": (0.1, 0.9, 0),
        "knee": (0.1, 0.45, 0),
        "hip": (0.1, 0, 0),
        "wrist": (0.3, 0, 0),
        "elbow": (0.25, -0.25, 0),
        "shoulder": (0.2, -0.5, 0),
    },
    head=(0, -0.75, 0),
)


def test_a_guess_gives_way_to_a_joint_that_is_seen():
    truth = STANDING + MIDDLE
    wrist = BODY.index["right_wrist"]
    guessed = truth.copy()
    guessed[wrist] += (0.0, -0.4, 0.0)
    confidence = np.full(13, 0.95)
    confidence[wrist] = 0.1
    (one,) = fuse([seen_from(0, [guessed], confidence=confidence), seen_from(90, [truth])])
    assert np.linalg.norm(one.person.body.placed_3d[wrist] - truth[wrist]) < 0.05
    assert one.person.body.trusted[wrist]


def test_neighbours_stay_apart_and_nobody_is_joined_within_a_view():
    crowd = [STANDING + MIDDLE + (x, 0, 0) for x in (-0.6, 0.0, 0.6)]
    found = fuse([seen_from(0, crowd), seen_from(90, crowd[::-1])])
    assert sorted(one.seen_by for one in found) == [((0, k), (1, 2 - k)) for k in range(3)]
    # The same place twice in one view: two people, whatever the other camera says.
    assert len(fuse([seen_from(0, [crowd[0]] * 2), seen_from(90, crowd[:1])])) == 2


def test_who_is_seen_by_one_camera_alone_is_there_as_that_camera_has_them():
    found = fuse(
        [seen_from(0, [STANDING + MIDDLE]), seen_from(90, [STANDING + MIDDLE + (2, 0, 2)])]
    )
    assert [one.seen_by for one in found] == [((0, 0),), ((1, 0),)]
    np.testing.assert_allclose(
        found[1].person.body.placed_3d, STANDING + MIDDLE + (2, 0, 2), atol=1e-5
    )


def test_a_hand_alone_belongs_to_the_body_that_has_its_wrist():
    truth = STANDING + MIDDLE
    turn, shift = camera_at(90)
    fingers = np.random.default_rng(0).normal(0, 0.04, (len(HAND), 3))
    for slot in ("right_hand", "left_hand"):
        wrist = truth[BODY.index[slot.replace("hand", "wrist")]]
        hand = (wrist + fingers - fingers[0] - shift) @ turn
        view = View([WholeBody(**{slot: part(hand, hand[0])})], turn, shift)
        (one,) = fuse([seen_from(0, [truth]), view])
        assert {name for name, _ in one.person.parts()} == {"body", slot}
        np.testing.assert_allclose(getattr(one.person, slot).root, wrist, atol=1e-5)


def test_nothing_is_said_of_what_has_no_place():
    lost = body(STANDING + MIDDLE)
    lost.body = replace(lost.body, root=None)
    broken = body(np.where(np.arange(39).reshape(13, 3) == 5, np.nan, STANDING + MIDDLE))
    broken.body = replace(broken.body, root=MIDDLE)
    assert fuse([View([lost, broken], np.eye(3), np.zeros(3))]) == []
    assert fuse([]) == []


def test_bodies_with_and_without_a_neck_are_joined():
    with_neck = np.vstack([STANDING, [(0, -0.55, 0)]]) + MIDDLE
    neck = View([body(with_neck)], np.eye(3), np.zeros(3))
    (one,) = fuse([neck, seen_from(90, [STANDING + MIDDLE])])
    np.testing.assert_allclose(one.person.body.placed_3d, with_neck, atol=1e-5)


def test_an_error_model_has_positive_errors():
    with pytest.raises(ValueError, match="positive"):
        ErrorModel(distance=0.0)
