"""Markers, by geometry worked out by hand."""

import numpy as np
import pytest
from builtin_interfaces.msg import Duration, Time
from people import CAMERA, body_joints, part_at
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from dope_model.camera.placement import place_people
from dope_model.poses import PartPose, WholeBody
from dope_model.skeleton import BODY, HAND, RIGHT
from dope_ros.messages.markers import PersonMarkers, person_ids

HEADER = Header(stamp=Time(sec=3), frame_id="camera_optical_frame")

# A person with arms spread, hips in the origin, m.
STANDING = {
    "ankle": (0.1, 0.9, 0.0),
    "knee": (0.1, 0.45, 0.05),
    "hip": (0.1, 0.0, 0.0),
    "wrist": (0.7, -0.5, -0.1),
    "elbow": (0.45, -0.5, 0.0),
    "shoulder": (0.2, -0.5, 0.0),
}


def standing() -> np.ndarray:
    return body_joints(STANDING, head=(0, -0.75, 0))


def placed(people: list[WholeBody]) -> list[WholeBody]:
    return place_people(people, CAMERA)


def positions(marker: Marker) -> np.ndarray:
    return np.array([(point.x, point.y, point.z) for point in marker.points])


def by_name(array) -> dict[tuple[str, int], Marker]:
    named = {(marker.ns, marker.id): marker for marker in array.markers}
    assert len(named) == len(array.markers), "two markers of one name"
    return named


def test_a_body_stands_where_it_projects_from():
    body = WholeBody(body=part_at(standing(), (0.3, -0.2, 4.0)))
    markers = by_name(PersonMarkers(1.5).build(placed([body]), HEADER))
    assert set(markers) == {("body/bones", 0), ("body/joints", 0)}
    expected = standing() + (0.3, -0.2, 4.0)

    joints = markers["body/joints", 0]
    assert joints.type == Marker.SPHERE_LIST
    np.testing.assert_allclose(positions(joints), expected, atol=1e-3)

    bones = markers["body/bones", 0]
    assert bones.type == Marker.LINE_LIST
    ends = [expected[joint] for bone in BODY.bones for joint in bone]
    np.testing.assert_allclose(positions(bones), ends, atol=1e-3)
    # From the right ankle to the right knee, in the colour of right limbs.
    assert BODY.bones[0] == (BODY.index["right_ankle"], BODY.index["right_knee"])
    assert len(bones.colors) == len(bones.points)
    color = bones.colors[0]
    np.testing.assert_allclose([color.r, color.g, color.b], np.array(RIGHT) / 255, atol=1e-6)

    for marker in markers.values():
        assert marker.header == HEADER
        assert marker.action == Marker.ADD
        assert marker.lifetime == Duration(sec=1, nanosec=500_000_000)
        assert marker.pose.orientation.w == 1.0
        assert marker.color.a == 1.0 or marker.colors[0].a == 1.0
        assert marker.scale.x > 0


def test_a_hand_hangs_at_its_own_wrist():
    hand = np.zeros((21, 3))
    hand[:, 0] = np.linspace(0, 0.18, 21)
    # What the hand's own 2D says about depth is far off, as it is for a small part.
    person = WholeBody(
        body=part_at(standing(), (0, 0, 4.0)), left_hand=part_at(hand, (0.7, -0.5, 9.0))
    )
    markers = by_name(PersonMarkers(1.0).build(placed([person]), HEADER))
    joints = positions(markers["left_hand/joints", 0])
    np.testing.assert_allclose(joints[0], (0.7, -0.5, 3.9), atol=1e-3)
    np.testing.assert_allclose(joints[20], (0.88, -0.5, 3.9), atol=1e-3)
    assert len(markers["left_hand/bones", 0].points) == 2 * len(HAND.bones)


def test_a_hand_without_a_body_is_placed_by_itself():
    hand = np.random.default_rng(1).normal(0, 0.05, (21, 3))
    hand -= hand[0]
    person = WholeBody(right_hand=part_at(hand, (-0.2, 0.1, 0.6)))
    markers = by_name(PersonMarkers(1.0).build(placed([person]), HEADER))
    assert set(markers) == {("right_hand/bones", 0), ("right_hand/joints", 0)}
    np.testing.assert_allclose(
        positions(markers["right_hand/joints", 0]), hand + (-0.2, 0.1, 0.6), atol=1e-3
    )


def test_guessed_joints_are_not_drawn():
    trusted = np.ones(13, bool)
    trusted[[BODY.index["right_ankle"], BODY.index["head"]]] = False
    body = WholeBody(body=part_at(standing(), (0, 0, 3.0), trusted))
    markers = by_name(PersonMarkers(1.0).build(placed([body]), HEADER))
    np.testing.assert_allclose(
        positions(markers["body/joints", 0]), standing()[trusted] + (0, 0, 3.0), atol=1e-3
    )
    drawn = [bone for bone in BODY.bones if trusted[list(bone)].all()]
    assert len(BODY.bones) - len(drawn) == 3  # the shin and both lines to the head
    assert len(markers["body/bones", 0].points) == 2 * len(drawn)


def test_a_part_that_fits_nowhere_is_left_out():
    nowhere = PartPose(
        0.9, np.full((13, 2), 100, np.float32), standing().astype(np.float32), np.ones(13, bool)
    )
    assert PersonMarkers(1.0).build(placed([WholeBody(body=nowhere)]), HEADER).markers == []


def test_those_who_left_are_deleted_once():
    one = WholeBody(body=part_at(standing(), (-1, 0, 4.0)))
    other = WholeBody(body=part_at(standing(), (1, 0, 4.0)))
    markers = PersonMarkers(1.0)
    assert len(markers.build(placed([one, other]), HEADER).markers) == 4
    named = by_name(markers.build(placed([one]), HEADER))
    assert {name: m.action for name, m in named.items()} == {
        ("body/bones", 0): Marker.ADD,
        ("body/joints", 0): Marker.ADD,
        ("body/bones", 1): Marker.DELETE,
        ("body/joints", 1): Marker.DELETE,
    }
    assert named["body/bones", 1].header == HEADER
    named = by_name(markers.build(placed([]), HEADER))
    assert {marker.action for marker in named.values()} == {Marker.DELETE}
    assert set(named) == {("body/bones", 0), ("body/joints", 0)}
    assert markers.build(placed([]), HEADER).markers == []


def test_forgotten_markers_are_not_deleted_later():
    markers = PersonMarkers(1.0)
    markers.build(placed([WholeBody(body=part_at(standing(), (0, 0, 4.0)))]), HEADER)
    markers.forget()
    assert markers.build(placed([]), HEADER).markers == []


def test_a_tracked_person_keeps_the_id():
    tracked = WholeBody(body=part_at(standing(), (0, 0, 4.0)), track_id=1)
    other = WholeBody(body=part_at(standing(), (1, 0, 4.0)))
    assert person_ids([tracked]) == [1]
    assert person_ids([other, tracked]) == [0, 1]
    assert person_ids([tracked, other, other]) == [1, 0, 2]
    assert person_ids([]) == []


@pytest.mark.parametrize(
    ("lifetime", "expected"), [(0.0, (0, 0)), (0.25, (0, 250_000_000)), (1.9999999999, (2, 0))]
)
def test_lifetime(lifetime, expected):
    body = WholeBody(body=part_at(standing(), (0, 0, 4.0)))
    for marker in PersonMarkers(lifetime).build(placed([body]), HEADER).markers:
        assert (marker.lifetime.sec, marker.lifetime.nanosec) == expected


def test_clearing_deletes_everything_once():
    markers = PersonMarkers(lifetime=0)
    person = WholeBody(body=part_at(standing(), (0, 0, 3)))
    markers.build(placed([person]), HEADER)
    (cleared,) = markers.clear(HEADER).markers
    assert (cleared.action, cleared.header) == (Marker.DELETEALL, HEADER)
    assert markers.build(placed([]), HEADER).markers == []


def test_a_new_lifetime_holds_for_the_next_markers():
    markers = PersonMarkers(lifetime=1.0)
    person = WholeBody(body=part_at(standing(), (0, 0, 3)))
    markers.lifetime = 2.25
    built = markers.build(placed([person]), HEADER).markers
    assert built
    assert all(m.lifetime == Duration(sec=2, nanosec=250_000_000) for m in built)
