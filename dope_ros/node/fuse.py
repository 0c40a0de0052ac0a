"""fuse: the people of several dope_nodes, each once, in one frame.

Subscribes the poses of every camera, camera_info on request, /tf and /tf_static; publishes `poses`
and `markers`, which have one set of track ids, and /diagnostics. What cannot be used, such as poses
without a transform, is counted, told once and left out.

    python -m dope_ros.node.fuse        prints the parameters as a table for docs/
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from builtin_interfaces.msg import Time
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from dope_model.camera.fusion import ErrorModel, View, fuse
from dope_model.camera.placement import Camera
from dope_model.poses import WholeBody
from dope_model.tracking.tracker import PersonTracker
from dope_msgs.msg import WholeBodyPoseArray
from dope_ros.list_setting import ListSetting
from dope_ros.messages.camera_info import (
    BadCameraInfoError,
    Recent,
    camera_from_info,
    nanoseconds,
    stamp_of,
)
from dope_ros.messages.conversions import people_to_message
from dope_ros.messages.errors import BadMessageError
from dope_ros.messages.markers import PersonMarkers
from dope_ros.messages.transform_buffer import NoTransformError
from dope_ros.node import parameters
from dope_ros.node.health import Health
from dope_ros.node.listening import (
    BadPosesError,
    is_placed,
    listen_to_transforms,
    people_of,
    seconds_of,
)
from dope_ros.node.process import run_node
from dope_ros.node.qos import NEWEST_MESSAGE, RESULTS
from dope_ros.settings import ParameterError, Setting, markdown_table
from dope_ros.synchronizer import Synchronizer

FUSE = (
    ListSetting("cameras", [""], "The topics with the poses of each camera. Needed."),
    ListSetting(
        "camera_infos",
        [""],
        "The topics of camera_info, in the order of `cameras`. With them, joints are taken from "
        "their pixels, which is more exact.",
    ),
    Setting("rectified", False, "As in dope_node: the images are rectified."),
    Setting("frame", "world", "The frame that everybody is placed in."),
    Setting(
        "distance_error",
        ErrorModel.distance,
        "How wrong a camera's distances are: the standard deviation as a share of the distance. "
        "0.12 is what dope_lite has without depth; take 0.02 with depth.",
        minimum=0.001,
        maximum=1.0,
    ),
    Setting(
        "time_tolerance",
        0.1,
        "Largest difference between the stamps of poses that are joined. Who walks moves 0.14 m in "
        "0.1 s.",
        minimum=0.0,
        maximum=10.0,
        unit="s",
    ),
    Setting(
        "max_wait",
        0.3,
        "How long poses wait for those of the other cameras.",
        minimum=0.0,
        maximum=10.0,
        unit="s",
    ),
    Setting(
        "silent_after",
        2.0,
        "A camera that says nothing for this long is not waited for, and diagnostics warn.",
        minimum=0.1,
        maximum=3600.0,
        unit="s",
    ),
)
_TICK = 0.02
"""s between two looks for poses that have waited long enough."""
_MARKER_LIFETIME = 1.0


class FuseNode(parameters.CheckedParameters, Node):
    """Joins the people of several cameras.

    Raises:
        ParameterError: a parameter is wrong, or a package is missing; the text says which.
    """

    table = FUSE

    def __init__(
        self, namespace: str | None = None, parameter_overrides: Sequence[Parameter] = ()
    ) -> None:
        super().__init__(
            "fuse",
            namespace=namespace,
            parameter_overrides=list(parameter_overrides),
            automatically_declare_parameters_from_overrides=True,
        )
        self.settings = settings = parameters.declare(self, FUSE)
        cameras, infos = (ListSetting.names(v) for v in (settings.cameras, settings.camera_infos))
        if not cameras:
            raise ParameterError("parameter 'cameras' is needed: the topics of the cameras' poses")
        if infos and len(infos) != len(cameras):
            raise ParameterError(
                f"parameter 'camera_infos' has {len(infos)} topics, 'cameras' {len(cameras)}: give "
                "one for each, or none"
            )
        self._model = ErrorModel(distance=settings.distance_error)
        self._transforms = listen_to_transforms(self)
        try:
            fuse([])
            self._tracker = PersonTracker(in_metres=True)
        except ImportError as error:
            raise ParameterError(str(error)) from error
        self._markers = PersonMarkers(_MARKER_LIFETIME)
        self._published = 0
        self._poses = self.create_publisher(WholeBodyPoseArray, "poses", RESULTS)
        self._marker_topic = self.create_publisher(MarkerArray, "markers", RESULTS)
        self._infos: dict[str, Recent[CameraInfo]] = {}
        try:
            topics = [self._listen(place, topic, infos) for place, topic in enumerate(cameras)]
        # rclpy's own error for some wrong names, rcl's for others
        except (InvalidTopicNameException, RuntimeError) as error:
            raise ParameterError(f"parameters 'cameras', 'camera_infos': {error}") from error
        self._cameras = topics
        self._started = time.monotonic()
        self._sync: Synchronizer[tuple[WholeBodyPoseArray, list[WholeBody]]] = Synchronizer(
            topics, settings.time_tolerance, settings.max_wait, settings.silent_after
        )
        self._health = Health(self, "fusion")
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._waiting = self.create_timer(_TICK, self._publish_ready, clock=steady)
        self.get_logger().info(f"joining {', '.join(topics)} in frame {settings.frame!r}")

    def _listen(self, place: int, name: str, infos: list[str]) -> str:
        """Subscribe to a camera; its topic's full name."""
        topic = self.resolve_topic_name(name)

        def on_poses(message: WholeBodyPoseArray) -> None:
            self._on_poses(topic, message)

        self.create_subscription(WholeBodyPoseArray, topic, on_poses, RESULTS)
        if infos and infos[place]:
            self._infos[topic] = Recent()
            add = self._infos[topic].add
            self.create_subscription(CameraInfo, infos[place], add, NEWEST_MESSAGE)
        return topic

    def _on_poses(self, camera: str, message: WholeBodyPoseArray) -> None:
        try:
            stamp, people = people_of(message)
        except BadPosesError as error:
            self._health.fault(camera, error, "they are left out")
            return
        for kind in ("no stamp", "no frame", "malformed"):
            self._health.well(camera, kind)
        lost = [person for person in people if not is_placed(person)]
        for _ in lost:
            error = BadPosesError(
                "no position", "a person has no position (has the dope_node no camera_info?)"
            )
            self._health.fault(camera, error, "such people are left out")
        if people and not lost:
            self._health.well(camera, "no position")
        self._sync.add(camera, stamp, (message, people), time.monotonic())
        self._publish_ready()

    def _publish_ready(self) -> None:
        for stamp, found in self._sync.take(time.monotonic()):
            views = []
            for camera in self._cameras:
                if camera in found:
                    view = self._view(camera, *found[camera])
                    views += [view] if view is not None else []
            if views:
                # Of the message itself: seconds as a number are not exact to the nanosecond.
                (exact, *_) = (m.header.stamp for m, _ in found.values() if seconds_of(m) == stamp)
                people = [one.person for one in fuse(views, self._model)]
                self._publish(exact, self._tracker.update(people, stamp))

    def _view(
        self, camera: str, message: WholeBodyPoseArray, people: list[WholeBody]
    ) -> View | None:
        """What a camera saw; None if it is not known where the camera is."""
        header = message.header
        try:
            turn, shift = self._transforms.lookup(
                self.settings.frame, header.frame_id, nanoseconds(header.stamp)
            )
        except NoTransformError as error:
            self._health.fault(camera, error, "its people are left out")
            return None
        for kind in ("no transform", "no transform of that time"):
            self._health.well(camera, kind)
        return View(people, turn, shift, self._lens(camera, message))

    def _lens(self, camera: str, message: WholeBodyPoseArray) -> Camera | None:
        if camera not in self._infos:
            return None
        try:
            info = self._infos[camera].nearest(stamp_of(message))
            if info is None:
                raise BadCameraInfoError("no camera_info", "no camera_info has come")
            size = message.image_width, message.image_height
            lens = camera_from_info(info, message.header.frame_id, *size, self.settings.rectified)
        except BadCameraInfoError as error:
            self._health.fault(f"{camera}, camera_info", error, "it is fused without its lens")
            return None
        self._health.well(f"{camera}, camera_info")
        return lens

    def _publish(self, stamp: Time, people: list[WholeBody]) -> None:
        header = Header(stamp=stamp, frame_id=self.settings.frame)
        self._poses.publish(people_to_message(people, header, 0, 0))
        if self._marker_topic.get_subscription_count():
            self._marker_topic.publish(self._markers.build(people, header))
        else:
            self._markers.forget()
        self._published += 1

    def describe(self) -> tuple[list[str], dict[str, object]]:
        """Troubles and values for the diagnostics."""
        settings, sync, now = self.settings, self._sync, time.monotonic()
        values: dict[str, object] = {"published": self._published}
        for camera in self._cameras:
            silent = now - sync.heard.get(camera, self._started)
            if silent > settings.silent_after:
                error = BadMessageError("silent", f"no poses for {silent:.0f} s")
                self._health.fault(camera, error, "its people are missing")
            else:
                self._health.well(camera, "silent")
            self._check_clock(camera)
            values[f"{camera}: unmatched"] = sync.unmatched[camera]
        return [], values

    def _check_clock(self, camera: str) -> None:
        """Whether a camera's stamps are near those of the others."""
        sync, now, settings = self._sync, time.monotonic(), self.settings
        newest = {
            name: stamp
            for name, stamp in sync.stamps.items()
            if now - sync.heard[name] <= settings.silent_after
        }
        behind = max(newest.values(), default=0.0) - newest.get(camera, float("inf"))
        if behind > settings.silent_after + settings.time_tolerance:
            error = BadMessageError(
                "clock",
                f"the stamps are {behind:.1f} s behind those of other cameras: clocks differ, or "
                "it is very slow",
            )
            self._health.fault(camera, error, "its people are not joined with theirs")
        else:
            self._health.well(camera, "clock")


def main() -> None:
    """Run the node until a signal stops it; exit code 1 if it cannot start."""
    run_node("fuse", FuseNode, (ParameterError,))


if __name__ == "__main__":
    print(markdown_table(FUSE))
