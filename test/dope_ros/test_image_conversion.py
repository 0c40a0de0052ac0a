"""Image messages to RGB, against images made by hand."""

import sys
from array import array

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dope_ros import conversions
from dope_ros.conversions import BadImageError, image_to_rgb, rgb_to_image

RGB = np.array(
    [
        [[255, 0, 0], [0, 255, 0], [0, 0, 255], [1, 2, 3]],
        [[0, 0, 0], [255, 255, 255], [10, 200, 30], [90, 80, 70]],
    ],
    np.uint8,
)
ALPHA = np.full((2, 4, 1), 17, np.uint8)


def message(values: np.ndarray, encoding: str, padding: int = 0, big_endian: bool = False) -> Image:
    """An image message of `values`, rows padded by some bytes of nonsense."""
    height, width = values.shape[:2]
    values = values.astype(values.dtype.newbyteorder(">" if big_endian else "<"))
    rows = [row.tobytes() + b"\xaa" * padding for row in values]
    return Image(
        height=height,
        width=width,
        encoding=encoding,
        step=len(rows[0]),
        is_bigendian=big_endian,
        data=array("B", b"".join(rows)),
    )


def mosaic(pattern: str, color: dict[str, int], dtype=np.uint8) -> np.ndarray:
    """An 8 x 8 Bayer mosaic of one colour."""
    tile = np.array([color[letter] for letter in pattern], dtype).reshape(2, 2)
    return np.tile(tile, (4, 4))


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "values"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("rgba8", np.concatenate([RGB, ALPHA], axis=2)),
        ("bgra8", np.concatenate([RGB[..., ::-1], ALPHA], axis=2)),
    ],
)
def test_eight_bit_colours(encoding, values, padding):
    rgb = image_to_rgb(message(values, encoding, padding))
    np.testing.assert_array_equal(rgb, RGB)
    assert rgb.dtype == np.uint8


def test_rgb8_shares_the_memory_of_the_message():
    sent = message(RGB, "rgb8")
    assert np.shares_memory(image_to_rgb(sent), np.frombuffer(sent.data, np.uint8))


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_is_the_same_in_all_channels(encoding):
    grey = np.array([[0, 1, 128], [254, 255, 77]], np.uint8)
    np.testing.assert_array_equal(
        image_to_rgb(message(grey, encoding, padding=1)), np.stack([grey] * 3, axis=2)
    )


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 6])
def test_sixteen_bit_is_scaled_to_eight_and_rounded(big_endian, padding):
    # 257 = 65535 / 255, so 257 * n is exactly n; half a step more rounds up.
    grey = np.array([[0, 257 * 1, 257 * 128], [257 * 254, 65535, 257 * 77 + 129]], np.uint16)
    expected = np.array([[0, 1, 128], [254, 255, 78]], np.uint8)
    rgb = image_to_rgb(message(grey, "mono16", padding, big_endian))
    np.testing.assert_array_equal(rgb, np.stack([expected] * 3, axis=2))


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [
        ("rgb16", [0, 1, 2]),
        ("bgr16", [2, 1, 0]),
        ("rgba16", [0, 1, 2, 0]),
        ("bgra16", [2, 1, 0, 0]),
    ],
)
def test_sixteen_bit_colours(encoding, order, big_endian):
    values = RGB[..., order].astype(np.uint16) * 257
    np.testing.assert_array_equal(image_to_rgb(message(values, encoding, 0, big_endian)), RGB)


def bt601(y: int, u: int, v: int) -> np.ndarray:
    """RGB of a limited-range BT.601 colour."""
    luma, u, v = 1.164 * (y - 16), u - 128, v - 128
    rgb = [luma + 1.596 * v, luma - 0.813 * v - 0.391 * u, luma + 2.018 * u]
    return np.clip(np.round(rgb), 0, 255)


@pytest.mark.parametrize(
    ("encoding", "byte_order"),
    [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")],
)
def test_yuv(encoding, byte_order):
    left, right, u, v = 180, 60, 100, 160
    packed = {"uyvy": [u, left, v, right], "yuyv": [left, u, right, v]}[byte_order]
    values = np.tile(np.array(packed, np.uint8).reshape(1, 2, 2), (2, 1, 1))
    rgb = image_to_rgb(message(values, encoding, padding=3)).astype(float)
    for row in rgb:
        np.testing.assert_allclose(row[0], bt601(left, u, v), atol=1)
        np.testing.assert_allclose(row[1], bt601(right, u, v), atol=1)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer(pattern, bits):
    scale, dtype = (1, np.uint8) if bits == 8 else (257, np.uint16)
    values = mosaic(pattern, {"r": 200 * scale, "g": 100 * scale, "b": 50 * scale}, dtype)
    rgb = image_to_rgb(message(values, f"bayer_{pattern}{bits}", padding=2))
    np.testing.assert_array_equal(rgb, np.broadcast_to(np.uint8([200, 100, 50]), (8, 8, 3)))


def change(**fields) -> Image:
    changed = message(RGB, "rgb8")
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (change(data=array("B", bytes(23))), "truncated"),
        (change(data=array("B")), "truncated"),
        (change(data=array("B", bytes(25))), "too long"),
        (change(width=0), "empty"),
        (change(height=0, data=array("B")), "empty"),
        (change(step=11), "step"),
        (change(step=0), "step"),
        (change(encoding="rgb9"), "'rgb9'"),
        (change(encoding=""), "''"),
        (change(encoding="8UC3"), "'8UC3'"),
        (change(encoding="mono16", height=1000), "truncated"),
        (change(encoding="yuv422", width=3, step=12), "odd"),
        (change(encoding="bayer_rggb8", width=24, height=1, step=24), "no colour"),
        (Image(), "not known"),
    ],
)
def test_a_malformed_image_is_refused_with_the_reason(bad, reason):
    with pytest.raises(BadImageError, match=reason):
        image_to_rgb(bad)


def test_every_encoding_of_the_table_is_read():
    for encoding, (depth, channels) in conversions._LAYOUT.items():
        values = np.full((4, 4, channels), 100, np.uint8 if depth == 1 else np.uint16)
        assert image_to_rgb(message(values, encoding)).shape == (4, 4, 3)


def test_image_message_of_an_array_reads_back():
    header = Header(frame_id="camera")
    sent = rgb_to_image(RGB[:, ::-1], header)  # not contiguous
    assert (sent.width, sent.height, sent.step, sent.encoding) == (4, 2, 12, "rgb8")
    assert sent.header.frame_id == "camera"
    assert bytes(sent.data) == RGB[:, ::-1].tobytes()
    np.testing.assert_array_equal(image_to_rgb(sent), RGB[:, ::-1])


def test_cv_bridge_and_rosbags_image_agree(monkeypatch):
    if conversions.COLOR_LIBRARY != "cv_bridge":
        pytest.skip("this ROS has no working cv_bridge")
    message_to_cvimage = pytest.importorskip("rosbags.image").message_to_cvimage
    rng = np.random.default_rng(0)
    for encoding, (depth, channels) in conversions._LAYOUT.items():
        top, dtype = (256, np.uint8) if depth == 1 else (65536, np.uint16)
        sent = message(
            rng.integers(0, top, (6, 8, channels), dtype), encoding, 2, sys.byteorder == "big"
        )
        by_cv_bridge = image_to_rgb(sent)
        with monkeypatch.context() as patch:
            patch.setattr(conversions, "_to_color", message_to_cvimage)
            np.testing.assert_array_equal(image_to_rgb(sent), by_cv_bridge, err_msg=encoding)
