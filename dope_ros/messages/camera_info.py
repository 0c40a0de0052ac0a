"""camera_info messages to camera models, and depth images to metres.

Nothing here imports ROS: any object with a message's fields works.
"""

from __future__ import annotations

import math
import sys
from bisect import insort
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from dope_model.camera.depth import DepthImage
from dope_model.camera.lens import COEFFICIENT_COUNTS, LensCamera
from dope_model.camera.placement import Camera, Intrinsics
from dope_ros.messages.errors import BadMessageError

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time
    from sensor_msgs.msg import CameraInfo, Image

# Encodings of depth images: the type of a value, and metres per unit.
_DEPTH_ENCODINGS = {
    "16UC1": (np.uint16, 0.001),
    "mono16": (np.uint16, 0.001),
    "32FC1": (np.float32, 1.0),
}

PLAUSIBLE = {
    "focal length / sensor size": (0.05, 100, "from an all-round fisheye to half a degree"),
    "fx / fy": (0.1, 10, "pixels and binning may be oblong, but not by so much"),
    "principal point / sensor size": (-1, 2, "also where the lens is shifted, or P of a crop"),
    "distortion coefficient": (-1e4, 1e4, "rational models reach some hundreds"),
    "binning": (0, 32, "sensors join a few pixels; 0 stands for 1"),
    "depth image side (px)": (16, 65536, "smaller ones show no person"),
}
"""What values of camera_info and of depth images can be: from, to, and why. Others are refused, as
what they would place is nowhere near a person."""

_MODEL_NAMES = {"": "plumb_bob", "fisheye": "equidistant"}


class BadCameraInfoError(BadMessageError):
    """A camera_info message that cannot be used for an image; the text says why."""


class BadDepthError(BadMessageError):
    """A depth image that cannot be used; the text says why."""


def camera_from_info(
    message: CameraInfo, frame_id: str, width: int, height: int, rectified: bool = False
) -> Camera:
    """The camera that took an image in `frame_id` of `width` x `height` px.

    Binning and region of interest are honoured. The principal point is moved from ROS's pixel
    convention (centre of the top-left pixel at 0, 0) to the project's (0.5, 0.5).

    Args:
        rectified: the images are rectified (image_rect...): P holds then and there is no
            distortion. Otherwise K and D hold.

    Raises:
        BadCameraInfoError: it is not calibrated, is of another frame, its numbers cannot be (see
            `PLAUSIBLE`) or contradict the image's size, or its distortion model is not known.
    """
    check_frame(message.header.frame_id, frame_id, "camera_info", BadCameraInfoError)
    if rectified and any(message.p):
        name, fx, fy, cx, cy = "P", message.p[0], message.p[5], message.p[2], message.p[6]
    else:
        name, fx, fy, cx, cy = "K", message.k[0], message.k[4], message.k[2], message.k[5]
    numbers = [float(value) for value in (fx, fy, cx, cy)]
    if not any(numbers):
        raise BadCameraInfoError(
            "not calibrated",
            f"{name} of camera_info is all zero: the camera is not calibrated (camera_calibration "
            "does it; the driver must then load the file)",
        )
    if not all(map(math.isfinite, numbers)) or numbers[0] <= 0 or numbers[1] <= 0:
        raise BadCameraInfoError(
            "impossible numbers",
            f"{name} of camera_info has fx {fx}, fy {fy}, cx {cx}, cy {cy}: all must be finite, "
            "and the focal lengths positive",
        )
    sensor = message.width or width, message.height or height
    for axis, (focal, centre) in enumerate(zip(numbers[:2], numbers[2:], strict=True)):
        axis_name, side = "xy"[axis], sensor[axis]
        _check("focal length / sensor size", focal / side, f"{name} of camera_info: f{axis_name}")
        _check(
            "principal point / sensor size", centre / side, f"{name} of camera_info: c{axis_name}"
        )
    _check("fx / fy", numbers[0] / numbers[1], f"{name} of camera_info")
    intrinsics = _in_image(message, Intrinsics(*numbers), width, height)
    coefficients = tuple(float(value) for value in message.d)
    if rectified or not any(coefficients):
        return intrinsics
    for number, coefficient in enumerate(coefficients):
        _check("distortion coefficient", coefficient, f"D of camera_info: D[{number}]")
    model = _MODEL_NAMES.get(message.distortion_model, message.distortion_model)
    # Some drivers fill the list up with zeros.
    longest = max(COEFFICIENT_COUNTS.get(model, (0,)))
    if not any(coefficients[longest:]):
        coefficients = coefficients[:longest]
    try:
        return LensCamera(intrinsics, model, coefficients)
    except ValueError as error:
        raise BadCameraInfoError("wrong distortion", f"camera_info: {error}") from error


def _in_image(message: CameraInfo, full: Intrinsics, width: int, height: int) -> Intrinsics:
    """Intrinsics of the full sensor as those of the binned region that the image shows."""
    for axis, value in (("x", message.binning_x), ("y", message.binning_y)):
        _check("binning", value, f"camera_info: binning_{axis}")
    binning = max(1, message.binning_x), max(1, message.binning_y)
    region = message.roi
    left, top, wide, high = region.x_offset, region.y_offset, region.width, region.height
    if message.width and (left + wide > message.width or top + high > message.height):
        raise BadCameraInfoError(
            "impossible numbers",
            f"the region of interest in camera_info, {wide} x {high} px from ({left}, {top}) on, "
            f"lies outside of the sensor of {message.width} x {message.height} px",
        )
    if not (wide and high):
        left, top, wide, high = 0, 0, message.width, message.height
    expected = wide // binning[0], high // binning[1]
    # Without a size the numbers are taken to be the image's own.
    if all(expected) and expected != (width, height):
        part = (
            "" if (wide, high) == (message.width, message.height) else f", region {wide} x {high}"
        )
        binned = "" if binning == (1, 1) else f", binning {binning[0]} x {binning[1]}"
        raise BadCameraInfoError(
            "wrong size",
            f"camera_info is of images of {expected[0]} x {expected[1]} px (sensor "
            f"{message.width} x {message.height}{part}{binned}), but the image has "
            f"{width} x {height}: it must come from the same driver, or be resized together with "
            "the image (image_proc does)",
        )
    return Intrinsics(
        full.fx / binning[0],
        full.fy / binning[1],
        (full.cx + 0.5 - left) / binning[0],
        (full.cy + 0.5 - top) / binning[1],
    )


def check_frame(frame: str, image_frame: str, what: str, error: type[BadMessageError]) -> None:
    """Raises `error` if `what` is in another frame than the image; unnamed frames are not."""
    if frame and image_frame and frame.lstrip("/") != image_frame.lstrip("/"):
        raise error(
            "wrong frame",
            f"{what} is in frame {frame!r}, the image in {image_frame!r}: it must be of the same "
            "camera"
            + (
                ", registered to the image (depth_image_proc/register, or the driver's aligned "
                "depth)"
                if error is BadDepthError
                else ""
            ),
        )


def _check(what: str, value: float, where: str) -> None:
    """Raises a BadCameraInfoError if a value cannot be."""
    lowest, highest, _ = PLAUSIBLE[what]
    if not lowest <= value <= highest:
        raise BadCameraInfoError(
            "impossible numbers",
            f"{where}: {what} is {value:g}, but must be from {lowest:g} to {highest:g}",
        )


def depth_from_image(message: Image) -> np.ndarray:
    """A depth image as (H, W) float32 m; values without data stay 0, NaN or infinite.

    Raises:
        BadDepthError: it is empty or truncated, or neither 16UC1 (mm) nor 32FC1 (m).
    """
    if message.encoding not in _DEPTH_ENCODINGS:
        raise BadDepthError(
            "unknown encoding",
            f"depth images are 16UC1 (millimetres) or 32FC1 (metres), not {message.encoding!r}",
        )
    kind, unit = _DEPTH_ENCODINGS[message.encoding]
    height, width, step, size = message.height, message.width, message.step, len(message.data)
    if not (height and width):
        raise BadDepthError("empty", f"the depth image is empty: {width} x {height} pixels")
    row = width * np.dtype(kind).itemsize
    if step < row:
        raise BadDepthError(
            "wrong step",
            f"step is {step} bytes, but a row of {width} pixels in {message.encoding} has {row}",
        )
    if size != height * step:
        kind = "truncated" if size < height * step else "too long"
        raise BadDepthError(
            kind,
            f"the depth image is {kind}: there are {size} bytes of data, but {height} rows of "
            f"{step} bytes are {height * step}",
        )
    rows = np.frombuffer(message.data, np.uint8, height * step).reshape(height, step)[:, :row]
    values = np.ascontiguousarray(rows).view(kind)
    if bool(message.is_bigendian) != (sys.byteorder == "big"):
        values = values.byteswap()
    return values.astype(np.float32) * np.float32(unit)


def registered_depth(
    message: Image,
    frame_id: str,
    width: int,
    height: int,
    believed: tuple[float, float] = (0.1, 50.0),
) -> DepthImage:
    """The depth image that belongs to a colour image in `frame_id` of `width` x `height` px.

    Args:
        believed: the range of depths, m; others are no data.

    Raises:
        BadDepthError: it cannot be read, is in another frame, has other proportions, is too small,
            or has no data.
    """
    check_frame(message.header.frame_id, frame_id, "the depth image", BadDepthError)
    metres = depth_from_image(message)
    smallest, _, reason = PLAUSIBLE["depth image side (px)"]
    if min(metres.shape) < smallest:
        raise BadDepthError(
            "too small",
            f"the depth image is {message.width} x {message.height} px; below {smallest} px a side "
            f"it is not used: {reason}",
        )
    # Written so that NaN is none as well.
    metres[~((metres >= believed[0]) & (metres <= believed[1]))] = 0
    if not metres.any():
        raise BadDepthError(
            "no data",
            "all of the depth image is 0, NaN, infinite or outside of min_depth and max_depth "
            f"({believed[0]:g} to {believed[1]:g} m): no data",
        )
    try:
        return DepthImage(metres, width, height)
    except ValueError as error:
        raise BadDepthError("wrong size", str(error)) from error


def stamp_of(message: object) -> int:
    """The stamp of a message's header, ns."""
    return nanoseconds(message.header.stamp)


def nanoseconds(stamp: Time) -> int:
    """A time message as ns."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


Message = TypeVar("Message")


class Recent(Generic[Message]):
    """The last few messages of a topic, to be found by their stamps.

    Images do not wait for their depth: the node uses what has arrived. The last few messages of a
    camera cover a fraction of a second, less than a slow model takes, so `hold` keeps what belongs
    to the current image. One thread may add messages while another one searches.
    """

    def __init__(self, count: int = 8) -> None:
        self._count = count
        self._messages: list[tuple[int, int, Message]] = []
        self._number = 0
        self._held: int | None = None

    def add(self, message: Message) -> None:
        """Keep a message, the last one of each stamp. If there are too many, forget the one that
        came first and is not held.
        """
        stamp = stamp_of(message)
        self._messages = [kept for kept in self._messages if kept[0] != stamp]
        # Time went back, as when a recording starts again.
        if self._messages and stamp < self._messages[0][0]:
            self._messages.clear()
        self._number += 1
        insort(self._messages, (stamp, self._number, message))
        if len(self._messages) > self._count:
            held = None if self._held is None else _nearest(self._messages, self._held)
            others = [kept for kept in self._messages if kept is not held]
            self._messages.remove(min(others, key=lambda kept: kept[1]))

    def hold(self, stamp: int) -> None:
        """Keep the message whose stamp is nearest to `stamp`, ns, until a nearer one arrives; for
        one stamp at a time.
        """
        self._held = stamp

    def clear(self) -> None:
        self._messages.clear()

    def nearest(self, stamp: int, tolerance: int | None = None) -> Message | None:
        """The message whose stamp is nearest to `stamp`, ns; the newest one of several.

        Args:
            tolerance: ns that they may be apart; None: any, as for camera_info, which rarely
                changes.

        Returns:
            None where there is no such message.
        """
        messages = self._messages.copy()
        if not messages:
            return None
        best = _nearest(messages, stamp)
        if tolerance is not None and abs(best[0] - stamp) > tolerance:
            return None
        return best[2]


def _nearest(messages: list[tuple[int, int, Message]], stamp: int) -> tuple[int, int, Message]:
    """Of (stamp, number, message), the nearest; of several, as without stamps, the last to come."""
    return min(messages, key=lambda kept: (abs(kept[0] - stamp), -kept[1]))


def markdown_table() -> str:
    """`PLAUSIBLE` as a table for docs/."""
    lines = ["| value | from | to | why |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {low:g} | {high:g} | {why} |" for name, (low, high, why) in PLAUSIBLE.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown_table())
