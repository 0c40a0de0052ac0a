"""Image messages to RGB, against images made by hand."""

import sys
from array import array

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dope_ros.messages import conversions
from dope_ros.messages.conversions import (
    BadImageError,
    compressed_to_rgb,
    image_to_rgb,
    rgb_to_image,
)

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
        ("8UC3", RGB[..., ::-1]),
        ("8UC4", np.concatenate([RGB[..., ::-1], ALPHA], axis=2)),
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


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize(("encoding", "chroma"), [("nv12", (90, 170)), ("nv21", (170, 90))])
def test_semi_planar_yuv(encoding, chroma, padding):
    luma = np.array([[60, 60, 180, 180]] * 2, np.uint8)
    rows = np.concatenate([luma, np.tile(np.uint8(chroma), (1, 2))])
    sent = message(rows, encoding, padding)
    sent.height = 2
    rgb = image_to_rgb(sent).astype(float)
    assert rgb.shape == (2, 4, 3)
    np.testing.assert_allclose(rgb[0, 0], bt601(60, 90, 170), atol=1)
    np.testing.assert_allclose(rgb[1, 3], bt601(180, 90, 170), atol=1)


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
        (change(encoding="16UC1"), "'16UC1'"),
        (change(encoding="mono16", height=1000), "truncated"),
        (change(encoding="yuv422", width=3, step=12), "odd"),
        (change(encoding="nv12", width=6, height=3, step=6), "odd"),
        (change(encoding="nv12", width=4, height=6, step=4), "9 rows of 4"),
        (change(encoding="bayer_rggb8", width=24, height=1, step=24), "no colour"),
        (Image(), "not known"),
    ],
)
def test_a_malformed_image_is_refused_with_the_reason(bad, reason):
    with pytest.raises(BadImageError, match=reason):
        image_to_rgb(bad)


def test_every_encoding_of_the_table_is_read():
    for encoding, (depth, channels) in conversions._LAYOUT.items():
        rows = 6 if encoding.startswith("nv") else 4
        values = np.full((rows, 4, channels), 100, np.uint8 if depth == 1 else np.uint16)
        sent = message(values, encoding)
        sent.height = 4
        assert image_to_rgb(sent).shape == (4, 4, 3)


def gradient() -> np.ndarray:
    """A smooth picture in colours, as JPEG likes it."""
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([columns * 4, rows * 6, 255 - columns * 2], axis=2).astype(np.uint8)


def compressed(suffix: str, rgb: np.ndarray, format: str = "") -> CompressedImage:
    _, data = cv2.imencode(suffix, rgb[..., ::-1])
    return CompressedImage(format=format, data=array("B", data.tobytes()))


@pytest.mark.parametrize("format", ["jpeg", "rgb8; jpeg compressed bgr8", ""])
def test_jpeg(format):
    rgb = compressed_to_rgb(compressed(".jpg", gradient(), format))
    assert rgb.dtype == np.uint8
    assert np.abs(rgb.astype(int) - gradient()).mean() < 3


def test_png_is_exact_and_grey_has_three_channels():
    np.testing.assert_array_equal(compressed_to_rgb(compressed(".png", gradient())), gradient())
    grey = compressed(".png", gradient()[..., :1])
    np.testing.assert_array_equal(compressed_to_rgb(grey), gradient()[..., [0, 0, 0]])


def test_sixteen_bit_png_is_scaled_to_eight():
    values = np.array([[0, 257 * 100, 65535]], np.uint16)
    _, data = cv2.imencode(".png", values)
    rgb = compressed_to_rgb(CompressedImage(data=array("B", data.tobytes())))
    np.testing.assert_array_equal(rgb[0, :, 0], [0, 100, 255])


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_what_a_buffer_holds_after_the_end_is_nothing_bad(suffix):
    """Drivers that publish the whole buffer leave zeros or the rest of an older picture."""
    plain = compressed(suffix, gradient())
    older = bytes(compressed(suffix, np.random.default_rng(0).integers(0, 256, (99, 99, 3))).data)
    for rest in (bytes(100_000), older[len(plain.data) :], older[len(plain.data) : -2]):
        padded = CompressedImage(data=array("B", bytes(plain.data) + rest))
        np.testing.assert_array_equal(compressed_to_rgb(padded), compressed_to_rgb(plain))


def test_the_end_of_a_thumbnail_is_not_that_of_the_picture():
    plain = bytes(compressed(".jpg", gradient()).data)
    segment = b"\xff\xe1" + (len(plain) + 2).to_bytes(2, "big") + plain
    whole = plain[:2] + segment + plain[2:]
    assert compressed_to_rgb(CompressedImage(data=array("B", whole))).shape == (40, 60, 3)
    with pytest.raises(BadImageError, match="cut off"):
        compressed_to_rgb(CompressedImage(data=array("B", whole[:-9])))


def test_an_orientation_in_the_metadata_turns_nothing():
    """Pixels stay where the camera's intrinsics say."""
    plain = bytes(compressed(".jpg", gradient()).data)
    # An APP1 segment with one TIFF entry: orientation (0x0112) 6, "rotate by 90 degrees".
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    turned = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
    decoded = cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (60, 40, 3), "OpenCV does not see the orientation"
    rgb = compressed_to_rgb(CompressedImage(data=array("B", turned)))
    assert rgb.shape == (40, 60, 3)


JPEG = bytes(compressed(".jpg", gradient()).data)
PNG = bytes(compressed(".png", gradient()).data)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b"\xff", "unknown encoding"),
        (b"GIF89a" + bytes(100), "unknown encoding"),
        (bytes(12) + PNG, "unknown encoding"),  # as compressedDepth has it
        (JPEG[: len(JPEG) // 2], "truncated"),
        (JPEG[:-1], "truncated"),
        (PNG[: len(PNG) // 2], "truncated"),
        (b"\xff\xd8\xff\xd9", "not decodable"),
        (JPEG[:2] + bytes(range(200)) + JPEG[-2:], "not decodable"),
        (PNG[:16] + bytes(17) + PNG[33:], "not decodable"),
    ],
)
def test_a_malformed_compressed_image_is_refused(data, kind):
    with pytest.raises(BadImageError) as error:
        compressed_to_rgb(CompressedImage(data=array("B", data)))
    assert error.value.kind == kind


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
        if encoding in conversions._PLANAR:
            continue  # neither library is asked
        top, dtype = (256, np.uint8) if depth == 1 else (65536, np.uint16)
        sent = message(
            rng.integers(0, top, (6, 8, channels), dtype), encoding, 2, sys.byteorder == "big"
        )
        by_cv_bridge = image_to_rgb(sent)
        with monkeypatch.context() as patch:
            patch.setattr(conversions, "_to_color", message_to_cvimage)
            np.testing.assert_array_equal(image_to_rgb(sent), by_cv_bridge, err_msg=encoding)
