"""From image messages to people, and from people to messages; shared by dope_node and the bag tool.

    image -> RGB -> detector -> filtering -> tracking -> smoothing -> placement -> messages

Messages may be ROS's own or their substitutes (`messages.message_types`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from dope_model.camera.depth import DepthImage
from dope_model.camera.placement import Camera, Intrinsics, place_people
from dope_model.poses import WholeBody
from dope_model.tracking.smoothing import OneEuroSettings, PoseSmoother
from dope_ros.filtering import annotated, chosen_parts
from dope_ros.messages.camera_info import (
    BadCameraInfoError,
    BadDepthError,
    Recent,
    camera_from_info,
    registered_depth,
    stamp_of,
)
from dope_ros.messages.conversions import (
    BadImageError,
    compressed_to_rgb,
    image_to_rgb,
    people_to_message,
    used_range,
)
from dope_ros.messages.errors import BadMessageError
from dope_ros.messages.markers import PersonMarkers

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image
    from std_msgs.msg import Header
    from visualization_msgs.msg import MarkerArray

    from dope_model.detector import WholeBodyDetector
    from dope_model.tracking.tracker import PersonTracker
    from dope_msgs.msg import WholeBodyPoseArray

    ImageMessage = Image | CompressedImage

SMALLEST_SIDE = 32
"""Smallest side of an image, px: in smaller images joints cannot be distinguished."""

SMALLEST_RANGE = 1 / 12
"""Smallest share of the value range that a 16-bit image should use. Less is under 21 of 256 levels
in 8 bits: 12 of 16 bits (1/16), 10 of 16 bits (1/64), or a room in centikelvin (1/30)."""

UNKNOWN = "none"
"""The source of positions if there are none."""


class ValueRangeError(BadMessageError):
    """An image that uses too little of its value range; it is processed nevertheless."""


class StageTimes:
    """Times of the stages of one image: `with times("detect"): ...`; s by name in `times`."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.times[stage] = time.perf_counter() - start


@dataclass(frozen=True)
class Found:
    """The people in an image.

    Attributes:
        header: of the image.
        width, height: of the image, px.
        people: with roots, if known.
        positions: what the roots were computed from: "camera_info", "camera_info and depth",
            `UNKNOWN`, or empty if not needed.
    """

    header: Header
    width: int
    height: int
    people: list[WholeBody]
    positions: str


class Pipeline:
    """Processes the images of one camera, one after the other.

    Args:
        detector: finds people.
        tracker: gives track ids; None: no ids.
        settings: the values of the `in_pipeline` entries of `settings.DOPE_NODE`, and `use_depth`
            and `needs_camera_info`.
        infos: camera_info messages so far.
        tell_fault: called with the bad input beside an image ("camera_info", "depth" or "value
            range"), the consequence, and the error.
        topics: names of the topics of camera_info and depth.
        depths: depth images; None: keep the last few.

    Attributes:
        settings: may be replaced at any time; an image keeps those it began with.
        infos, depths: filled by the caller as messages arrive.
    """

    def __init__(
        self,
        detector: WholeBodyDetector,
        tracker: PersonTracker | None,
        settings: SimpleNamespace,
        infos: Recent,
        tell_fault: Callable[[str, str, BadMessageError], None],
        topics: Mapping[str, str],
        depths: Recent | None = None,
    ) -> None:
        self.settings = settings
        self.infos = infos
        self.depths: Recent = Recent() if depths is None else depths
        self._detector = detector
        self._tracker = tracker
        self._smoother = PoseSmoother()
        self._tell_fault, self._topics = tell_fault, topics
        self._markers = PersonMarkers(settings.marker_lifetime)

    def read(self, message: ImageMessage) -> np.ndarray:
        """The image (H, W, 3) uint8 RGB.

        Raises:
            BadImageError: it cannot be read, or is too small.
        """
        compressed = hasattr(message, "format")
        rgb = compressed_to_rgb(message) if compressed else image_to_rgb(message)
        height, width = rgb.shape[:2]
        if min(height, width) < SMALLEST_SIDE:
            raise BadImageError(
                "too small",
                f"the image is {width} x {height} px; people can be found from {SMALLEST_SIDE} px "
                "a side on",
            )
        share = None if compressed else used_range(message)
        if share is not None and share < SMALLEST_RANGE:
            error = ValueRangeError(
                "narrow",
                f"the {message.encoding} image uses {100 * share:.1f} % of the range of its "
                "values, so it is nearly black or grey in 8 bits: the driver should scale it, or "
                "give mono8",
            )
            self._tell_fault("value range", "people can hardly be seen", error)
        return rgb

    def find(
        self,
        rgb: np.ndarray,
        message: ImageMessage,
        stamp: float,
        times: StageTimes,
        place: bool = True,
        detect: Callable[[WholeBodyDetector, np.ndarray], list[WholeBody]] | None = None,
    ) -> Found:
        """The people in an image.

        Args:
            rgb: as `read` gives it.
            message: the image as received.
            stamp: the image's time for tracking, s.
            times: receives the times of the stages.
            place: whether to compute positions.
            detect: replaces the call of the detector, if given.
        """
        settings = self.settings
        # A slow model outlasts the kept messages, and some depth images follow their image.
        for recent in (self.infos, self.depths):
            recent.hold(stamp_of(message))
        with times("detect"):
            self._detector.rotation = settings.image_rotation
            people = detect(self._detector, rgb) if detect else self._detector(rgb)
        people = chosen_parts(people, settings)
        if self._tracker is not None:
            with times("track"):
                people = self._smoothed(self._tracker.update(people, stamp), stamp, settings)
        height, width = rgb.shape[:2]
        positions = ""
        if place:
            with times("place"):
                camera = self._camera(message, width, height, settings)
                depth = self._depth(message, width, height, settings) if camera else None
                positions = UNKNOWN
                if camera is not None:
                    people = place_people(people, camera, depth)
                    positions = "camera_info" if depth is None else "camera_info and depth"
        return Found(message.header, width, height, people, positions)

    def poses(self, found: Found) -> WholeBodyPoseArray:
        """The message with the poses."""
        return people_to_message(found.people, found.header, found.width, found.height)

    def markers(self, found: Found) -> MarkerArray:
        """Markers of the people; if positions are not known, with the assumed field of view."""
        people = found.people
        if found.positions in ("", UNKNOWN):
            fov = self.settings.horizontal_fov
            people = place_people(people, Intrinsics.assumed(found.width, found.height, fov))
        self._markers.lifetime = self.settings.marker_lifetime
        return self._markers.build(people, found.header)

    def forget_markers(self) -> None:
        """The markers have no subscriber: earlier ones have expired."""
        self._markers.forget()

    def annotated(self, rgb: np.ndarray, found: Found) -> np.ndarray:
        """The image (H, W, 3) uint8 with the 2D poses drawn over it."""
        return annotated(rgb, found.people, self.settings)

    def _smoothed(
        self, people: list[WholeBody], stamp: float, settings: SimpleNamespace
    ) -> list[WholeBody]:
        wanted = OneEuroSettings(settings.smoothing_min_cutoff, settings.smoothing_beta)
        if not settings.smoothing or wanted != self._smoother.settings:
            self._smoother = PoseSmoother(wanted)
        return self._smoother.update(people, stamp) if settings.smoothing else people

    def _camera(
        self, message: ImageMessage, width: int, height: int, settings: SimpleNamespace
    ) -> Camera | None:
        info = self.infos.nearest(stamp_of(message))
        try:
            if info is not None:
                frame_id = message.header.frame_id
                return camera_from_info(info, frame_id, width, height, settings.rectified)
            if settings.needs_camera_info:
                topic = self._topics["camera_info"]
                raise BadCameraInfoError("missing", f"no camera_info has come on {topic}")
        except BadCameraInfoError as error:
            self._tell_fault("camera_info", "positions are not known", error)
        return None

    def _depth(
        self, message: ImageMessage, width: int, height: int, settings: SimpleNamespace
    ) -> DepthImage | None:
        if not settings.use_depth:
            return None
        tolerance = settings.depth_tolerance
        depth = self.depths.nearest(stamp_of(message), round(tolerance * 1e9))
        believed = settings.min_depth, settings.max_depth
        try:
            if depth is None:
                raise BadDepthError(
                    "missing",
                    f"no depth image within {tolerance:g} s of the image has come on "
                    f"{self._topics['depth']}",
                )
            return registered_depth(depth, message.header.frame_id, width, height, believed)
        except BadDepthError as error:
            self._tell_fault("depth", "distances are not measured", error)
        return None
