"""Transforms by geometry worked out by hand."""

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from std_msgs.msg import Header

from dope_ros.messages.transform_buffer import NoTransformError, TransformBuffer

SECOND = 10**9
HALF = 0.5**0.5


def transform(parent, child, shift=(0, 0, 0), turn=(0, 0, 0, 1), sec=0) -> TransformStamped:
    place = Transform(
        translation=Vector3(**dict(zip("xyz", map(float, shift), strict=True))),
        rotation=Quaternion(**dict(zip("xyzw", map(float, turn), strict=True))),
    )
    header = Header(stamp=Time(sec=sec), frame_id=parent)
    return TransformStamped(header=header, child_frame_id=child, transform=place)


def moved(buffer, target, source, point, seconds=5.0) -> list:
    turn, shift = buffer.lookup(target, source, round(seconds * SECOND))
    return pytest.approx((turn @ np.array(point, float) + shift).tolist())


@pytest.fixture
def buffer() -> TransformBuffer:
    """world -> front: 1 m along x; world -> mast (2 m up), which turns; mast -> rear."""
    made = TransformBuffer()
    quarter = (0, 0, HALF, HALF)  # a quarter turn about z: x becomes y
    made.add(
        [transform("world", "front", (1, 0, 0)), transform("/mast", "rear", turn=quarter)], True
    )
    made.add([transform("world", "mast", (0, 0, 2), sec=4)], False)
    made.add([transform("world", "mast", (0, 0, 4), quarter, sec=6)], False)
    return made


def test_points_go_from_frame_to_frame(buffer):
    assert moved(buffer, "world", "front", (1, 2, 3)) == [2, 2, 3]
    assert moved(buffer, "front", "world", (1, 2, 3)) == [0, 2, 3]
    assert moved(buffer, "world", "world", (1, 2, 3)) == [1, 2, 3]
    # rear turns x to y; the mast has not turned at 4 s, by a quarter at 6 s, by half of it at 5 s.
    assert moved(buffer, "world", "rear", (1, 0, 0), 4) == [0, 1, 2]
    assert moved(buffer, "world", "rear", (1, 0, 0), 6) == [-1, 0, 4]
    assert moved(buffer, "world", "rear", (1, 0, 0), 5) == [-HALF, HALF, 3]
    assert moved(buffer, "front", "rear", (1, 0, 0), 4) == [-1, 1, 2]
    # There and back.
    turn, shift = buffer.lookup("rear", "front", 5 * SECOND)
    back, origin = buffer.lookup("front", "rear", 5 * SECOND)
    np.testing.assert_allclose(turn @ back, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(turn @ origin + shift, 0, atol=1e-12)


def test_what_is_not_known_is_refused_by_name(buffer):
    with pytest.raises(NoTransformError, match="no frame 'nowhere'"):
        buffer.lookup("world", "nowhere", 5 * SECOND)
    buffer.add([transform("ship", "cabin")], True)
    with pytest.raises(NoTransformError, match="nothing connects"):
        buffer.lookup("world", "cabin", 5 * SECOND)
    with pytest.raises(NoTransformError, match="'mast' to 'world' is 1.00 s earlier"):
        buffer.lookup("world", "rear", 7 * SECOND)
    with pytest.raises(NoTransformError, match="3.00 s later"):
        buffer.lookup("world", "rear", 1 * SECOND)
    assert moved(buffer, "world", "mast", (0, 0, 0), 6.05) == [0, 0, 4]  # a little late


def test_nonsense_is_ignored(buffer):
    nan = float("nan")
    for bad in (
        transform("world", "front", (nan, 0, 0)),
        transform("world", "front", turn=(0, 0, 0, 0)),
        transform("world", "front", turn=(nan, 0, 0, 1)),
        transform("front", "front"),
        transform("", "front"),
    ):
        buffer.add([bad], True)
    assert moved(buffer, "world", "front", (0, 0, 0)) == [1, 0, 0]


def test_a_circle_of_frames_ends(buffer):
    buffer.add([transform("b", "a"), transform("a", "b")], True)
    with pytest.raises(NoTransformError):
        buffer.lookup("world", "a", 0)


def test_old_transforms_are_forgotten_and_a_new_recording_begins_anew():
    buffer = TransformBuffer()
    for sec in (100, 105, 111):
        buffer.add([transform("world", "arm", (sec, 0, 0), sec=sec)], False)
    with pytest.raises(NoTransformError, match="later"):
        buffer.lookup("world", "arm", 100 * SECOND)
    assert moved(buffer, "world", "arm", (0, 0, 0), 108) == [108, 0, 0]
    buffer.add([transform("world", "arm", (7, 0, 0), sec=7)], False)
    assert moved(buffer, "world", "arm", (0, 0, 0), 7) == [7, 0, 0]
