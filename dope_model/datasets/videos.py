"""Frames of videos by their index, and pictures that labels name, which may be such frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dope_model.pictures import read_rgb


class VideoFrames:
    """Frames of the video that was read last. Going forward is fast, going back starts over."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._next = 0
        self._capture: cv2.VideoCapture | None = None

    def __call__(self, path: Path, frame: int) -> np.ndarray:
        """Frame `frame` of a video as (H, W, 3) uint8 RGB.

        Raises:
            ValueError: the file is no video, or has no such frame.
        """
        if path != self._path or frame < self._next:
            self._capture = _opened(path)
            self._path, self._next = path, 0
        # Seeking by number is not exact in many formats: frames are counted by reading them.
        while self._next < frame:
            if not self._capture.grab():
                raise ValueError(f"{path} ends after {self._next} frames; frame {frame} is asked")
            self._next += 1
        good, bgr = self._capture.read()
        if not good:
            raise ValueError(f"{path} ends after {self._next} frames; frame {frame} is asked")
        self._next += 1
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


_frames = VideoFrames()


def file_of(path: Path) -> Path:
    """The file of what labels name: "clip.mp4#12" is frame 12 of a video."""
    return path if path.is_file() else path.with_name(path.name.partition("#")[0])


def read_labelled(path: Path) -> np.ndarray:
    """A picture that labels name, or a video's frame as in `file_of`: (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the file is not a picture, no video, or has no such frame.
    """
    name, _, frame = path.name.partition("#")
    if path.is_file() or not frame.isdigit():
        return read_rgb(path)
    return _frames(path.with_name(name), int(frame))


def _opened(path: Path) -> cv2.VideoCapture:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # on which OpenCV crashes
        raise ValueError(f"{path}: a video's path must be UTF-8") from error
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise ValueError(f"{path} is not a video that OpenCV can read, or is damaged")
    return capture


def video_size(path: Path) -> tuple[int, int]:
    """Width and height of a video, px.

    Raises:
        ValueError: the file is no video.
    """
    capture = _opened(path)
    size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    capture.release()
    return size
