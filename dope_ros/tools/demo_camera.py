"""demo_camera: publishes a picture, a folder of pictures, a video or a camera as `image`, with
`camera_info` of an assumed field of view.

Still pictures are moved over as a hand-held camera would.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dope_model.camera.placement import Intrinsics
from dope_model.hints import pip_install
from dope_model.pictures import PICTURE_SUFFIXES, pictures_in, read_rgb
from dope_model.sample import CLIP, PEOPLE
from dope_ros.messages.conversions import rgb_to_image
from dope_ros.node import parameters
from dope_ros.node.process import run_node
from dope_ros.settings import ParameterError, Setting

AS_CAMERAS_DO = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
)


DEMO_CAMERA = (
    Setting(
        "source",
        "people",
        "What is published: 'people' (a picture of two rendered people), 'clip' (two who walk), "
        "'astronaut' (scikit-image's photo), a picture, a folder of pictures, a video, or a camera "
        "as /dev/videoN or N.",
    ),
    Setting("rate", 15.0, "Images per second.", minimum=0.1, maximum=240.0, unit="Hz"),
    Setting(
        "motion",
        True,
        "Move over still pictures like a hand-held camera: slow pan, zoom and roll.",
    ),
    Setting(
        "seconds_per_picture",
        3.0,
        "How long each picture of a folder is shown.",
        minimum=0.1,
        maximum=3600.0,
        unit="s",
    ),
    Setting(
        "max_side",
        640,
        "Larger images are scaled down to this longer side.",
        minimum=16,
        maximum=8192,
        unit="px",
    ),
    Setting("frame_id", "camera_optical_frame", "frame_id of the images."),
    Setting(
        "horizontal_fov",
        60.0,
        "Field of view across the images' width that camera_info tells.",
        minimum=1.0,
        maximum=179.0,
        unit="degrees",
    ),
)


class SourceError(ValueError):
    """A source that cannot be opened or read; the text says why."""


def hand_held_view(width: int, height: int, seconds: float) -> np.ndarray:
    """Where a slowly swaying camera looks at time `seconds`: an affine map, (2, 3).

    It takes pixel indices of the view to pixel indices of the picture, both `width` x `height`.
    The view is a little smaller than the picture and rolled, and stays inside it.
    """
    roll = math.radians(2) * math.sin(2 * math.pi * seconds / 11)
    zoom = 1.10 + 0.05 * math.sin(2 * math.pi * seconds / 7)
    # The picture's middle and its farthest pixels, seen from there.
    reach = np.array([width - 1, height - 1]) / 2
    turn = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]]) / zoom
    # A long and narrow picture leaves a rolled view no room: then the view shrinks further.
    turn /= max(np.max(np.abs(turn) @ reach / np.maximum(reach, 1e-9)), 1)
    room = reach - np.abs(turn) @ reach
    phase = np.array([math.sin(2 * math.pi * seconds / 9), math.sin(2 * math.pi * seconds / 13)])
    shift = reach + room * phase - turn @ reach
    return np.column_stack([turn, shift])


def move(picture: np.ndarray, seconds: float) -> np.ndarray:
    """The picture (H, W, 3) as the swaying camera sees it at time `seconds`, of the same size."""
    height, width = picture.shape[:2]
    return cv2.warpAffine(
        picture,
        hand_held_view(width, height, seconds),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def fit(picture: np.ndarray, max_side: int) -> np.ndarray:
    """The picture scaled down so that its longer side is at most `max_side` px."""
    height, width = picture.shape[:2]
    scale = max_side / max(width, height)
    if scale >= 1:
        return picture
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def read_picture(path: Path) -> np.ndarray:
    """As `read_rgb`; what cannot be read is a SourceError."""
    try:
        return read_rgb(path)
    except ValueError as error:
        raise SourceError(str(error)) from error


class Pictures:
    """Still pictures, one after the other, again and again, without those that cannot be read.

    Args:
        pictures: files, or arrays (H, W, 3) uint8 RGB.
        settings: those of `DEMO_CAMERA`.
    """

    def __init__(self, pictures: Sequence[Path | np.ndarray], settings: SimpleNamespace):
        self._pictures = list(pictures)
        self._settings = settings
        self._shown: tuple[int, np.ndarray] | None = None
        self.rate = settings.rate

    def frame(self, seconds: float) -> np.ndarray:
        """The view at time `seconds` since the start, (H, W, 3) uint8 RGB.

        Raises:
            SourceError: a picture cannot be read: once for each, then always if there is no other.
        """
        if not self._pictures:
            raise SourceError("none of the pictures can be read")
        number = int(seconds / self._settings.seconds_per_picture) % len(self._pictures)
        if self._shown is None or self._shown[0] != number:
            picture = self._pictures[number]
            if isinstance(picture, Path):
                try:
                    picture = read_picture(picture)
                except SourceError:
                    del self._pictures[number]
                    raise
            self._shown = number, fit(picture, self._settings.max_side)
        picture = self._shown[1]
        return move(picture, seconds) if self._settings.motion else picture


class Video:
    """A video file, again and again, or a camera. `source` is the file or the camera's number."""

    def __init__(self, source: str | int, settings: SimpleNamespace):
        self._source = source
        self._max_side = settings.max_side
        self._capture = cv2.VideoCapture(source)
        self._is_file = isinstance(source, str)
        self.rate = settings.rate
        if not self._capture.isOpened():
            raise SourceError(
                f"{source} is not a picture or video that can be read"
                if self._is_file
                else f"camera {source} cannot be opened: is it there, and may you read it?"
            )
        frames_per_second = self._capture.get(cv2.CAP_PROP_FPS)
        if self._is_file and 0.1 <= frames_per_second <= 240:
            self.rate = frames_per_second

    def frame(self, seconds: float) -> np.ndarray:
        """The next frame, (H, W, 3) uint8 RGB."""
        read, bgr = self._capture.read()
        if not read and self._is_file:
            # Opened anew: not every file can be wound back.
            self._capture.release()
            self._capture = cv2.VideoCapture(self._source)
            read, bgr = self._capture.read()
        if not read:
            raise SourceError(f"{self._source} gives no more frames")
        return fit(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), self._max_side)


def _astronaut() -> np.ndarray:
    try:
        from skimage.data import astronaut
    except ImportError as error:
        raise SourceError(
            f"source 'astronaut' is a picture of scikit-image ({error}): "
            f"{pip_install('scikit-image')}; 'clip' needs no further package"
        ) from error
    return astronaut()


def open_source(settings: SimpleNamespace) -> Pictures | Video:
    """What `settings.source` names; see `DEMO_CAMERA`.

    Raises:
        SourceError: there is no such source, or it cannot be read.
    """
    source = settings.source
    camera = re.fullmatch(r"(?:/dev/video)?(\d+)", source)
    if camera:
        return Video(int(camera[1]), settings)
    if source == "astronaut":
        return Pictures([_astronaut()], settings)
    path = {"people": PEOPLE, "clip": CLIP}.get(source, Path(source).expanduser())
    if path.is_dir():
        pictures = pictures_in(path)
        if not pictures:
            raise SourceError(f"folder {path} holds no pictures ({' '.join(PICTURE_SUFFIXES)})")
        return Pictures(pictures, settings)
    if not path.exists():
        raise SourceError(
            f"source {source!r}: there is no such file or folder, and it is none of 'people', "
            "'clip', 'astronaut' or a camera"
        )
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return Pictures([read_picture(path)], settings)
    return Video(str(path), settings)


def camera_info(header: Header, width: int, height: int, settings: SimpleNamespace) -> CameraInfo:
    """What a camera without distortion, of the field of view that is set, says about itself."""
    focal = Intrinsics.assumed(width, height, settings.horizontal_fov).fx
    # ROS's pixels have their centres at whole numbers.
    cx, cy = width / 2 - 0.5, height / 2 - 0.5
    return CameraInfo(
        header=header,
        width=width,
        height=height,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=[focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


class DemoCamera(Node):
    """Publishes the frames of a source at its rate, stamped with the time they were taken.

    Raises:
        ParameterError, SourceError: it cannot start; the text says why.
    """

    def __init__(self) -> None:
        super().__init__("demo_camera", automatically_declare_parameters_from_overrides=True)
        self.settings = parameters.declare(self, DEMO_CAMERA)
        self._source = open_source(self.settings)
        self._publisher = self.create_publisher(Image, "image", AS_CAMERAS_DO)
        self._info_publisher = self.create_publisher(CameraInfo, "camera_info", AS_CAMERAS_DO)
        self._fault = ""
        self._started = time.monotonic()
        self._timer = self.create_timer(1 / self._source.rate, self._publish)
        self.get_logger().info(
            f"publishing {self.settings.source} on {self._publisher.topic_name} "
            f"at {self._source.rate:g} Hz"
        )

    def _publish(self) -> None:
        stamp = self.get_clock().now().to_msg()
        try:
            rgb = self._source.frame(time.monotonic() - self._started)
        except SourceError as error:
            if str(error) != self._fault:
                self._fault = str(error)
                self.get_logger().warning(f"no image: {error}")
            return
        header = Header(stamp=stamp, frame_id=self.settings.frame_id)
        # First, so that the node has it when it works on the image.
        self._info_publisher.publish(camera_info(header, *rgb.shape[1::-1], self.settings))
        self._publisher.publish(rgb_to_image(rgb, header))


def main() -> None:
    """Publish until a signal stops it; exit code 1 if it cannot start."""
    run_node("demo_camera", DemoCamera, (ParameterError, SourceError))


if __name__ == "__main__":
    main()
