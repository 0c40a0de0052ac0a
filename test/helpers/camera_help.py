"""Small images as messages, for the tests of the node."""

from __future__ import annotations

from array import array

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dope_ros.messages.conversions import rgb_to_image


def header_at(seconds: float) -> Header:
    """A header of the camera "left_camera"; the stamp tells one image from another."""
    whole = int(seconds)
    return Header(
        stamp=Time(sec=whole, nanosec=round((seconds - whole) * 1e9)), frame_id="left_camera"
    )


def seconds_of(header: Header) -> float:
    return header.stamp.sec + header.stamp.nanosec / 1e9


def grey(level: int) -> np.ndarray:
    """(48, 64, 3) uint8 of one grey."""
    return np.full((48, 64, 3), level, np.uint8)


def image_at(rgb: np.ndarray, seconds: float) -> Image:
    return rgb_to_image(rgb, header_at(seconds))


def compressed_at(rgb: np.ndarray, seconds: float, suffix: str = ".jpg") -> CompressedImage:
    _, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return compressed_of(data.tobytes(), seconds)


def compressed_of(data: bytes, seconds: float) -> CompressedImage:
    return CompressedImage(header=header_at(seconds), format="jpeg", data=array("B", data))
