"""Between ROS messages and arrays: images to RGB and back, people to messages and back."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from geometry_msgs.msg import Point
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dope_model.poses import PART_SLOTS, PartPose, WholeBody
from dope_msgs.msg import PartPose as PartPoseMessage
from dope_msgs.msg import WholeBodyPose, WholeBodyPoseArray
from dope_ros.messages.errors import BadMessageError

_BAYER = tuple(f"bayer_{pattern}" for pattern in ("rggb", "bggr", "gbrg", "grbg"))

# Bytes per channel and channels of the encodings that say what their values mean.
_LAYOUT = (
    {"mono8": (1, 1), "rgb8": (1, 3), "bgr8": (1, 3), "rgba8": (1, 4), "bgra8": (1, 4)}
    | {"mono16": (2, 1), "rgb16": (2, 3), "bgr16": (2, 3), "rgba16": (2, 4), "bgra16": (2, 4)}
    | {f"{pattern}8": (1, 1) for pattern in _BAYER}
    | {f"{pattern}16": (2, 1) for pattern in _BAYER}
    | {"yuv422": (1, 2), "yuv422_yuy2": (1, 2), "nv12": (1, 1), "nv21": (1, 1)}
)

# Newer names, as those that every version of the libraries knows. And OpenCV's names of arrays,
# which say nothing of colours: OpenCV's own order is meant.
_OTHER_NAMES = {"uyvy": "yuv422", "yuyv": "yuv422_yuy2"} | {
    "8UC1": "mono8",
    "8UC3": "bgr8",
    "8UC4": "bgra8",
}

# YUV 4:2:0: all of the luma, then the chroma at half the resolution in half as many rows.
_PLANAR = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}

# First and last bytes of the pictures that cameras compress to; a picture that was cut off has no
# end, but most decoders fill up the rest with grey.
_COMPRESSED = {"JPEG": (b"\xff\xd8", b"\xff\xd9"), "PNG": (b"\x89PNG", b"IEND")}


class BadImageError(BadMessageError):
    """An image message that cannot be read; the text says why."""


def _color_converter() -> tuple[str, Callable[[Image, str], np.ndarray]]:
    """The library that turns encodings into colours: its name, and f(message, encoding)."""
    try:
        from cv_bridge import CvBridge

        # The compiled half; it is missing or broken where it was built for another NumPy.
        from cv_bridge.boost.cv_bridge_boost import cvtColor2  # noqa: F401

        return "cv_bridge", CvBridge().imgmsg_to_cv2
    except (ImportError, AttributeError):
        from rosbags.image import message_to_cvimage

        return "rosbags-image", message_to_cvimage


COLOR_LIBRARY, _to_color = _color_converter()


def image_to_rgb(message: Image) -> np.ndarray:
    """The image as (H, W, 3) uint8 RGB; shares the message's memory where it is rgb8 already.

    16-bit images are scaled to 8 bit. The colours come from cv_bridge where ROS provides it and
    from rosbags-image otherwise; layout, row padding and byte order are checked and undone here,
    because the two differ in that.

    Raises:
        BadImageError: the image is empty or truncated, its encoding is not known, or its sizes
            contradict each other.
    """
    encoding = _OTHER_NAMES.get(message.encoding, message.encoding)
    if encoding not in _LAYOUT:
        raise BadImageError(
            "unknown encoding",
            f"encoding {message.encoding!r} is not known; known are "
            + ", ".join(sorted({*_LAYOUT, *_OTHER_NAMES})),
        )
    height, width, step, size = message.height, message.width, message.step, len(message.data)
    if height == 0 or width == 0:
        raise BadImageError("empty", f"the image is empty: {width} x {height} pixels")
    depth, channels = _LAYOUT[encoding]
    row = width * depth * channels
    if step < row:
        raise BadImageError(
            "wrong step",
            f"step is {step} bytes, but a row of {width} pixels in {message.encoding} has {row}",
        )
    planar = encoding in _PLANAR
    if (encoding.startswith("yuv422") or planar) and width % 2 or planar and height % 2:
        raise BadImageError(
            "odd size", f"an image in {message.encoding} is {width} x {height} pixels, which is odd"
        )
    row_count = height * 3 // 2 if planar else height
    if size != row_count * step:
        kind = "truncated" if size < row_count * step else "too long"
        raise BadImageError(
            kind,
            f"the image is {kind}: there are {size} bytes of data, but {row_count} rows of {step} "
            f"bytes are {row_count * step}",
        )
    if encoding.startswith("bayer") and min(width, height) < 2:
        raise BadImageError(
            "too small", f"a {message.encoding} image of {width} x {height} pixels has no colour"
        )

    data = message.data
    swapped = depth == 2 and bool(message.is_bigendian) != (sys.byteorder == "big")
    if step != row or swapped:
        rows = np.frombuffer(data, np.uint8).reshape(row_count, step)[:, :row]
        if swapped:
            rows = np.ascontiguousarray(rows).view(np.uint16).byteswap()
        data = array("B")
        data.frombytes(np.ascontiguousarray(rows).tobytes())
    if encoding == "rgb8":
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)
    if planar:
        luma_and_chroma = np.frombuffer(data, np.uint8).reshape(row_count, width)
        return cv2.cvtColor(luma_and_chroma, _PLANAR[encoding])

    plain = Image(
        height=height, width=width, encoding=encoding, step=row, is_bigendian=sys.byteorder == "big"
    )
    plain.data = data
    try:
        image = _to_color(plain, "rgb8" if depth == 1 else "rgb16")
    except Exception as error:  # the libraries raise many kinds
        raise BadImageError(
            "not decodable", f"{COLOR_LIBRARY} cannot convert {message.encoding}: {error}"
        ) from error
    if depth == 2:
        # By one rule for both libraries, of which one rounds and the other truncates.
        image = cv2.convertScaleAbs(image, alpha=255 / 65535)
    return image


def used_range(message: Image) -> float | None:
    """The share of its values' range that a 16-bit image uses, of a sample of its pixels, without
    the lowest and the highest hundredth; None for other images. For one that `image_to_rgb` takes.
    """
    encoding = _OTHER_NAMES.get(message.encoding, message.encoding)
    depth, channels = _LAYOUT[encoding]
    if depth != 2:
        return None
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    rows = np.ascontiguousarray(rows[:: max(1, message.height // 64)])
    values = rows[:, : message.width * depth * channels].copy().view(np.uint16)
    values = values[:, :: max(1, values.shape[1] // 64)]
    if bool(message.is_bigendian) != (sys.byteorder == "big"):
        values = values.byteswap()
    low, high = np.percentile(values, (1, 99))
    return float(high - low) / 65535


def compressed_to_rgb(message: CompressedImage) -> np.ndarray:
    """The picture in a compressed message, JPEG or PNG, as (H, W, 3) uint8 RGB.

    What `format` says is not needed: the data say what they are. An orientation in the picture's
    metadata is not applied, as pixels must stay where the camera's intrinsics say.

    Raises:
        BadImageError: the data are empty, cut off, neither JPEG nor PNG, or cannot be decoded.
    """
    data = np.frombuffer(message.data, np.uint8)
    start = data[:4].tobytes()
    if not len(data):
        raise BadImageError("empty", "the compressed image has no data")
    ends = [end for begin, end in _COMPRESSED.values() if start.startswith(begin)]
    if not ends:
        raise BadImageError(
            "unknown encoding",
            f"the compressed image (format {message.format!r}) is neither JPEG nor PNG; it begins "
            f"with the bytes {start.hex(' ')}",
        )
    # Anywhere: drivers that publish their whole buffer leave zeros or an older picture behind it.
    content = data.tobytes()
    if content.find(ends[0], _after_header(content)) < 0:
        raise BadImageError(
            "truncated", f"the compressed image is cut off: {len(data)} bytes without the end"
        )
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise BadImageError("not decodable", f"the image cannot be decoded: {error}") from error
    if bgr is None:
        raise BadImageError("not decodable", "the compressed image cannot be decoded")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def _after_header(data: bytes) -> int:
    """Where a JPEG's pixels begin: a thumbnail in the segments before has an end of its own."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] not in (b"\xda", b"\xd9"):
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at


def rgb_to_image(rgb: np.ndarray, header: Header) -> Image:
    """An rgb8 message of (H, W, 3) uint8 with `header`."""
    height, width, _ = rgb.shape
    message = Image(header=header, height=height, width=width, encoding="rgb8", step=3 * width)
    # An array.array is taken as it is; an ndarray or bytes would be checked value by value.
    data = array("B")
    data.frombytes(memoryview(np.ascontiguousarray(rgb, np.uint8)).cast("B"))
    message.data = data
    return message


def _floats(values: np.ndarray) -> array:
    # Likewise for float32[], and 14 times faster than a list.
    return array("f", np.ascontiguousarray(values, np.float32).tobytes())


def _part_to_message(pose: PartPose | None) -> PartPoseMessage:
    message = PartPoseMessage(root=Point(x=math.nan, y=math.nan, z=math.nan))
    if pose is not None:
        message.score = float(pose.score)
        message.keypoints_2d = _floats(pose.keypoints_2d)
        message.keypoints_3d = _floats(pose.keypoints_3d)
        message.confidence = _floats(pose.confidence)
        message.trusted = pose.trusted.tolist()
        if pose.root is not None:
            message.root.x, message.root.y, message.root.z = map(float, pose.root)
    return message


def people_to_message(
    people: Sequence[WholeBody], header: Header, width: int, height: int
) -> WholeBodyPoseArray:
    """The message for `people` found in an image of `width` x `height` px with `header`."""
    return WholeBodyPoseArray(
        header=header,
        image_width=width,
        image_height=height,
        people=[
            WholeBodyPose(
                track_id=person.track_id,
                score=float(person.score),
                **{slot: _part_to_message(getattr(person, slot)) for slot in PART_SLOTS},
            )
            for person in people
        ],
    )


def _part_from_message(message: PartPoseMessage) -> PartPose | None:
    if not message.keypoints_2d:
        return None
    keypoints_2d = np.array(message.keypoints_2d, np.float32).reshape(-1, 2)
    keypoints_3d = np.array(message.keypoints_3d, np.float32).reshape(-1, 3)
    root = np.array([message.root.x, message.root.y, message.root.z])
    return PartPose(
        message.score,
        keypoints_2d,
        keypoints_3d,
        np.array(message.confidence, np.float32),
        root=None if np.isnan(root).any() else root,
    )


def message_to_people(message: WholeBodyPoseArray) -> list[WholeBody]:
    """The people of a message."""
    return [
        WholeBody(
            **{slot: _part_from_message(getattr(person, slot)) for slot in PART_SLOTS},
            track_id=person.track_id,
        )
        for person in message.people
    ]
