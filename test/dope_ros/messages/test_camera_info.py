"""camera_info and depth images, against numbers worked out by hand."""

import sys
from array import array

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest
from std_msgs.msg import Header

from dope_model.camera.lens import LensCamera
from dope_model.camera.placement import Intrinsics
from dope_ros.messages.camera_info import (
    BadCameraInfoError,
    BadDepthError,
    Recent,
    camera_from_info,
    depth_from_image,
    registered_depth,
)

FRAME = "optical"
K = [600.0, 0.0, 319.5, 0.0, 610.0, 239.5, 0.0, 0.0, 1.0]
P = [580.0, 0.0, 321.5, -30.0, 0.0, 590.0, 237.5, 0.0, 0.0, 0.0, 1.0, 0.0]
D = [-0.3, 0.1, 0.001, -0.002, 0.01]


def info(**changes) -> CameraInfo:
    values = {
        "width": 640, "height": 480, "k": K, "p": P, "d": D, "distortion_model": "plumb_bob",
    }  # fmt: skip
    return CameraInfo(**(values | changes))


def test_raw_images_have_the_lens_and_the_projects_pixel_convention():
    camera = camera_from_info(info(), FRAME, 640, 480)
    # The middle of the image is 320, 240 here and 319.5, 239.5 in ROS.
    assert camera == LensCamera(Intrinsics(600, 610, 320, 240), "plumb_bob", tuple(D))
    assert np.allclose(camera.project(np.array([0, 0, 1.0])), (320, 240))


def test_rectified_images_have_the_projection_matrix_and_no_lens():
    assert camera_from_info(info(), FRAME, 640, 480, rectified=True) == Intrinsics(
        580, 590, 322, 238
    )
    unset = info(p=[0.0] * 12)
    assert camera_from_info(unset, FRAME, 640, 480, rectified=True) == Intrinsics(
        600, 610, 320, 240
    )


@pytest.mark.parametrize("zeros", [[], [0.0] * 5, [0.0] * 8])
def test_no_distortion_is_a_pinhole(zeros):
    expected = Intrinsics(600, 610, 320, 240)
    assert camera_from_info(info(d=zeros), FRAME, 640, 480) == expected
    assert camera_from_info(info(d=zeros, distortion_model=""), FRAME, 640, 480) == expected
    assert camera_from_info(info(d=zeros, distortion_model="odd"), FRAME, 640, 480) == expected


@pytest.mark.parametrize(
    ("name", "coefficients", "model", "used"),
    [
        ("plumb_bob", [0.1, 0.2, 0.3, 0.4], "plumb_bob", 4),
        ("plumb_bob", [0.1, 0.2, 0.3, 0.4, 0.5, 0, 0, 0], "plumb_bob", 5),
        ("rational_polynomial", [0.1] * 8, "rational_polynomial", 8),
        ("equidistant", [0.1] * 4, "equidistant", 4),
        ("fisheye", [0.1] * 4, "equidistant", 4),
    ],
)
def test_distortion_models(name, coefficients, model, used):
    camera = camera_from_info(info(d=coefficients, distortion_model=name), FRAME, 640, 480)
    assert (camera.model, camera.coefficients) == (model, tuple(coefficients[:used]))


def test_binning_and_region_of_interest():
    """What a pixel of the small image sees is what the same spot of the full one does."""
    full = camera_from_info(info(d=[]), FRAME, 640, 480)
    region = RegionOfInterest(x_offset=100, y_offset=60, width=320, height=240)
    part = camera_from_info(info(d=[], binning_x=2, binning_y=2, roi=region), FRAME, 160, 120)
    assert part == Intrinsics(300, 305, (320 - 100) / 2, (240 - 60) / 2)
    spot = np.array([180.0, 140.0])
    assert np.allclose(part.rays((spot - (100, 60)) / 2), full.rays(spot))
    whole = camera_from_info(info(d=[], binning_x=2, binning_y=2), FRAME, 320, 240)
    assert np.allclose(whole.rays(spot / 2), full.rays(spot))


def test_without_a_size_the_numbers_are_the_images_own():
    camera = camera_from_info(info(width=0, height=0, d=[]), FRAME, 1280, 720)
    assert camera == Intrinsics(600, 610, 320, 240)


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("changes", "said", "kind"),
    [
        ({"k": [0.0] * 9}, "not calibrated", "not calibrated"),
        ({"k": [NAN, *K[1:]]}, "must be finite", "impossible numbers"),
        ({"k": [*K[:4], INFINITE, *K[5:]]}, "must be finite", "impossible numbers"),
        ({"k": [-600.0, *K[1:]]}, "focal lengths positive", "impossible numbers"),
        ({"k": [0.0, *K[1:]]}, "focal lengths positive", "impossible numbers"),
        ({"k": [*K[:2], NAN, *K[3:]]}, "must be finite", "impossible numbers"),
        ({"width": 1280, "height": 960}, "1280 x 960 px .* the image has 640 x 480", "wrong size"),
        ({"binning_x": 2, "binning_y": 2}, "320 x 240 px .*binning 2 x 2", "wrong size"),
        (
            {"roi": RegionOfInterest(width=100, height=80)},
            "100 x 80 px .*region 100 x 80",
            "wrong size",
        ),
        (
            {"distortion_model": "thin_prism"},
            "'thin_prism' is not known; known are plumb_bob",
            "wrong distortion",
        ),
        ({"d": [0.1, 0.2]}, "takes 4 or 5 coefficients, not 2", "wrong distortion"),
        ({"d": [NAN] * 5}, "D.0.: distortion coefficient is nan", "impossible numbers"),
        # Fault 29: values that no camera has.
        (
            {"k": [1e-30, *K[1:]]},
            "fx: focal length / sensor size is 1.5.*e-33",
            "impossible numbers",
        ),
        ({"k": [1e30, *K[1:]]}, "fx: focal length / sensor size", "impossible numbers"),
        ({"k": [*K[:4], 1e5, *K[5:]]}, "fy: focal length / sensor size", "impossible numbers"),
        ({"k": [60.0, *K[1:]]}, "fx / fy is 0.098", "impossible numbers"),
        ({"k": [*K[:2], 1e9, *K[3:]]}, "cx: principal point", "impossible numbers"),
        ({"k": [*K[:5], -1e6, *K[6:]]}, "cy: principal point", "impossible numbers"),
        (
            {"d": [1e10, 0, 0, 0, 0.0]},
            "D.0.: distortion coefficient is 1e.10",
            "impossible numbers",
        ),
        ({"binning_x": 2**32 - 1}, "binning_x: binning is 4.29", "impossible numbers"),
        (
            {"roi": RegionOfInterest(x_offset=10**6, width=640, height=480)},
            "region of interest .* outside of the sensor of 640 x 480",
            "impossible numbers",
        ),
        (
            {"header": Header(frame_id="other")},
            "frame 'other', the image in 'optical'",
            "wrong frame",
        ),
    ],
)
def test_bad_camera_info_is_refused_with_the_reason(changes, said, kind):
    with pytest.raises(BadCameraInfoError, match=said) as error:
        camera_from_info(info(**changes), FRAME, 640, 480)
    assert error.value.kind == kind


def depth_message(values: np.ndarray, encoding: str, padding: int = 0, big: bool = False) -> Image:
    height, width = values.shape
    values = values.astype(values.dtype.newbyteorder(">" if big else "<"))
    rows = [row.tobytes() + b"\xaa" * padding for row in values]
    return Image(
        header=Header(stamp=Time(sec=1), frame_id="optical"),
        height=height,
        width=width,
        encoding=encoding,
        step=len(rows[0]),
        is_bigendian=big,
        data=array("B", b"".join(rows)),
    )


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 6])
def test_depth_is_metres_whatever_the_camera_sends(padding, big):
    millimetres = np.array([[0, 1, 1500], [65535, 2000, 10]], np.uint16)
    metres = np.array([[0, 0.001, 1.5], [65.535, 2, 0.01]], np.float32)
    for encoding in ("16UC1", "mono16"):
        found = depth_from_image(depth_message(millimetres, encoding, padding, big))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, metres, rtol=1e-6)
    metres[0, 0], metres[0, 1] = np.nan, np.inf
    found = depth_from_image(depth_message(metres, "32FC1", padding, big))
    np.testing.assert_array_equal(found, metres)


def test_bad_depth_images_are_refused_with_the_reason():
    good = depth_message(np.ones((4, 6), np.uint16), "16UC1")

    def changed(**changes) -> Image:
        fields = {name: getattr(good, name) for name in good.get_fields_and_field_types()}
        return Image(**(fields | changes))

    for message, said in (
        (changed(encoding="rgb8"), "16UC1 .millimetres. or 32FC1 .metres., not 'rgb8'"),
        (changed(encoding="32FC1"), "step is 12 bytes, but a row of 6 pixels in 32FC1 has 24"),
        (changed(data=good.data[:-1]), "truncated: there are 47 bytes"),
        (changed(data=good.data + array("B", bytes(999))), "too long: there are 1047 bytes"),
        (changed(height=0), "empty"),
        (changed(step=0), "step is 0"),
    ):
        with pytest.raises(BadDepthError, match=said):
            depth_from_image(message)


def test_depth_must_be_registered_to_the_image():
    message = depth_message(np.full((48, 64), 2000, np.uint16), "16UC1")
    depth = registered_depth(message, "optical", 640, 480)
    assert depth.at(np.array([[320.0, 240.0]]))[0] == 2.0
    assert registered_depth(message, "", 64, 48).metres.shape == (48, 64)
    with pytest.raises(BadDepthError, match="frame 'optical', the image in 'other'"):
        registered_depth(message, "other", 640, 480)
    dot = depth_message(np.full((1, 1), 2000, np.uint16), "16UC1")
    with pytest.raises(BadDepthError, match="1 x 1 px; below 16 px a side") as error:
        registered_depth(dot, "optical", 640, 480)
    assert error.value.kind == "too small"
    with pytest.raises(BadDepthError, match="64 x 48, is no copy of the colour image, 640 x 360"):
        registered_depth(message, "optical", 640, 360)


@pytest.mark.parametrize(
    ("values", "encoding"),
    [
        (np.zeros((48, 64), np.uint16), "16UC1"),
        (np.full((48, 64), np.nan, np.float32), "32FC1"),
        (np.full((48, 64), np.inf, np.float32), "32FC1"),
    ],
)
def test_a_depth_image_without_any_depth_is_refused(values, encoding):
    with pytest.raises(BadDepthError, match="no data") as error:
        registered_depth(depth_message(values, encoding), "optical", 64, 48)
    assert error.value.kind == "no data"
    values[3, 4] = 2000 if encoding == "16UC1" else 2  # all the rest may be holes
    assert registered_depth(depth_message(values, encoding), "optical", 64, 48)


def test_depth_is_believed_within_a_range_only():
    """Fault 16: 1e38 m was."""
    values = np.full((48, 64), 1e38, np.float32)
    values[:, :8] = 2.0
    depth = registered_depth(depth_message(values, "32FC1"), "optical", 64, 48)
    found = depth.at(np.array([[4.0, 24.0], [40.0, 24.0]]))
    assert found[0] == 2.0 and np.isnan(found[1])
    with pytest.raises(BadDepthError, match="outside of min_depth and max_depth .3 to 50 m."):
        registered_depth(depth_message(values, "32FC1"), "optical", 64, 48, (3.0, 50.0))


def test_an_unstamped_or_repeated_message_replaces_the_one_of_its_stamp():
    recent = Recent(count=2)
    for height in (1, 2, 3):
        recent.add(Image(height=height))
    recent.add(Image(header=Header(stamp=Time(sec=1)), height=4))
    assert recent.nearest(0).height == 3
    assert recent.nearest(10**9).height == 4


def stamped(nanoseconds: int) -> Image:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return Image(header=Header(stamp=Time(sec=seconds, nanosec=rest)), height=nanoseconds % 1000)


def test_messages_are_found_by_the_nearest_stamp():
    recent = Recent(count=4)
    assert recent.nearest(5) is None
    messages = [stamped(10**9 * second) for second in range(1, 7)]
    for message in messages:
        recent.add(message)
    assert recent.nearest(int(4.4e9)) is messages[3]
    assert recent.nearest(int(4.6e9)) is messages[4]
    assert recent.nearest(0) is messages[2]  # the first two are forgotten
    assert recent.nearest(10**12) is messages[5]
    assert recent.nearest(int(4.4e9), tolerance=int(0.4e9)) is messages[3]
    assert recent.nearest(int(4.4e9), tolerance=int(0.39e9)) is None
    recent.clear()
    assert recent.nearest(int(4e9)) is None


def test_messages_may_come_late_and_the_clock_may_start_again():
    recent = Recent(count=3)
    for second in (5, 7, 6):
        recent.add(stamped(10**9 * second))
    assert recent.nearest(6 * 10**9).header.stamp.sec == 6
    recent.add(stamped(10**9))
    assert recent.nearest(7 * 10**9).header.stamp.sec == 1


def test_what_belongs_to_the_image_at_work_is_not_forgotten():
    """A depth image that comes after its image, and many more while a slow model runs."""
    recent = Recent()
    at_work = 1_000_000_000
    before = stamped(at_work - 40_000_000)
    recent.add(before)
    recent.hold(at_work)
    own = stamped(at_work + 2_000_000)
    recent.add(own)
    for number in range(1, 21):
        recent.add(stamped(at_work + number * 33_000_000))
    assert recent.nearest(at_work) is own
    # The others are forgotten as ever, and this one when the next image is at work.
    assert recent.nearest(at_work - 40_000_000) is own
    assert recent.nearest(at_work + 9 * 33_000_000, tolerance=10**6) is None
    recent.hold(at_work + 20 * 33_000_000)
    for number in range(21, 41):
        recent.add(stamped(at_work + number * 33_000_000))
    assert recent.nearest(at_work, tolerance=10**8) is None
    assert recent.nearest(at_work + 20 * 33_000_000, tolerance=0) is not None


def test_without_stamps_the_newest_is_taken():
    recent = Recent(count=3)
    messages = [stamped(0) for _ in range(5)]
    for message in messages:
        recent.add(message)
        assert recent.nearest(0) is message


def test_nothing_of_ros_is_imported():
    import subprocess

    program = (
        "import sys, dope_ros.messages.camera_info as _; "
        "print([m for m in sys.modules if m.endswith('.msg')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
