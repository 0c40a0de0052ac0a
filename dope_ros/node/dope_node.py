"""dope_node: images in, whole-body poses out.

Subscribes `image`, `camera_info` and, on request, `depth`; publishes `poses`, `markers` and
`image_annotated`, each while someone listens, and /diagnostics; on request TF frames and the topics
of REP-155. Relative names are put into the namespace /dope by the launch file.

A managed node: `configure` loads the model, `activate` listens to the images. It does both by
itself at start unless its parameter `autostart` is false. The executor's thread only takes images
in; a thread of the node's own works on the newest one, so that services, parameters and
diagnostics answer while a slow model runs. Another one decodes the next image meanwhile, where
that takes long enough to be worth it.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool
from visualization_msgs.msg import MarkerArray

from dope_model.camera.depth import DepthImage
from dope_model.camera.placement import Camera, Intrinsics, Placed, place_people
from dope_model.detector import WholeBodyDetector
from dope_model.poses import WholeBody
from dope_model.tracking.smoothing import OneEuroSettings, PoseSmoother
from dope_model.tracking.tracker import PersonTracker
from dope_msgs.msg import WholeBodyPoseArray
from dope_ros.filtering import annotated, chosen_parts
from dope_ros.messages.camera_info import (
    BadCameraInfoError,
    BadDepthError,
    Recent,
    camera_from_info,
    nanoseconds,
    registered_depth,
    stamp_of,
)
from dope_ros.messages.conversions import (
    BadImageError,
    compressed_to_rgb,
    image_to_rgb,
    people_to_message,
    rgb_to_image,
)
from dope_ros.messages.errors import BadMessageError
from dope_ros.messages.markers import PersonMarkers
from dope_ros.messages.rep155 import HumansPublisher, MissingHriMessagesError, hri_messages
from dope_ros.messages.transforms import (
    MissingFrameIdError,
    MissingTfError,
    fill_roots,
    person_transforms,
    tf_message_class,
)
from dope_ros.node import parameters
from dope_ros.node.diagnostics import FrameStatistics, StageTimes, camera_status, detector_status
from dope_ros.node.latest_worker import LatestWorker
from dope_ros.node.running import run_node

# Best effort hears both best effort and reliable cameras. Only the newest message is of interest:
# with a depth of 1 one that comes replaces the one that waits.
NEWEST_MESSAGE = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
RESULTS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=5,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
# What tf2 listens with.
TRANSFORMS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)

_LOG_INTERVAL = 5.0
"""s between two log lines about the same kind of trouble."""
_DIAGNOSTICS_PERIOD = 1.0
"""s"""

Frame = Image | CompressedImage


class StartError(RuntimeError):
    """The node could not configure and activate itself; the text says why."""


WORTH_DECODING_AHEAD = 0.05
"""Share of the detector's time from which on the next image is decoded beside it. Below, it would
only cost computing for images that a newer one replaces."""


class _Incoming:
    """An image on its way to the detector.

    Attributes:
        message: as it came.
        times: of its stages so far.
    """

    def __init__(self, message: Frame) -> None:
        self.message = message
        self.times = StageTimes()
        self._rgb: np.ndarray | None = None

    def decoded(self) -> np.ndarray:
        """The image (H, W, 3) uint8 RGB, decoded once.

        Raises:
            BadImageError: it cannot be decoded.
        """
        if self._rgb is None:
            with self.times("decode"):
                compressed = isinstance(self.message, CompressedImage)
                self._rgb = (compressed_to_rgb if compressed else image_to_rgb)(self.message)
        return self._rgb


@dataclass(frozen=True)
class _Places:
    """Where the people of an image stand.

    Attributes:
        source: what that was worked out from; "none": from an assumed field of view.
        placed: as `place_people` gives it.
    """

    source: str
    placed: list[Placed]

    @property
    def known(self) -> bool:
        return self.source != "none"


class DopeNode(LifecycleNode):
    """Finds people in the newest image and publishes them.

    An image that cannot be read or worked on is counted, logged and skipped: the node lives on.

    Args:
        name, namespace: of the node.
        parameter_overrides: parameters that come before those of the command line, for those who
            run several nodes in one process.

    Raises:
        ParameterError: a parameter is wrong; the text names it.
    """

    def __init__(
        self,
        name: str = "dope_node",
        namespace: str | None = None,
        parameter_overrides: Sequence[Parameter] = (),
    ) -> None:
        # rclpy destroys also a node whose parameters are refused below.
        self._decoder: LatestWorker[Frame] | None = None
        self._worker: LatestWorker[_Incoming] | None = None
        self._decoding_share = 0.0  # of the newest image, relative to its detection
        self._listening: list[Subscription] = []
        self._humans: HumansPublisher | None = None
        self._infos: Recent[CameraInfo] = Recent()
        self._depths: Recent[Image] = Recent()
        self._tracker: PersonTracker | None = None
        self._smoother = PoseSmoother()
        super().__init__(
            name,
            namespace=namespace,
            parameter_overrides=list(parameter_overrides),
            automatically_declare_parameters_from_overrides=True,
        )
        self.settings = parameters.declare(self, parameters.DOPE_NODE)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.statistics = FrameStatistics()
        self.state = "unconfigured"

        self._detector: WholeBodyDetector | None = None
        self._transforms: Publisher | None = None
        self._track_ids = "off"
        self._start_error = ""
        self._last_header = Header()
        self._markers = PersonMarkers(self.settings.marker_lifetime)
        # Held while results are published: what clears the displays must come after them.
        self._publishing = Lock()

        self._poses = self.create_lifecycle_publisher(WholeBodyPoseArray, "poses", RESULTS)
        self._marker_publisher = self.create_lifecycle_publisher(MarkerArray, "markers", RESULTS)
        self._annotated = self.create_lifecycle_publisher(Image, "image_annotated", RESULTS)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", RESULTS)
        self._enable = self.create_service(SetBool, "enable", self._on_enable)
        # Of the clock on the wall: simulated time may stand still.
        wall = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=wall)
        self._autostart = self.create_timer(0.001, self._start, clock=wall)
        if not self.settings.autostart:
            self._autostart.cancel()

    # Life cycle

    def _start(self) -> None:
        self._autostart.cancel()
        success = TransitionCallbackReturn.SUCCESS
        started = self.trigger_configure() == success and self.trigger_activate() == success
        if not started and self.settings.exit_if_start_fails:
            raise StartError(self._start_error)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and what else is asked for. A failure says why, in the log and in the
        diagnostics.
        """
        try:
            self._start_error = self._load()
        except Exception:  # a bug; rclpy would swallow it
            self._start_error = f"unexpected error:\n{traceback.format_exc()}"
        if self._start_error:
            self._unload()
            self.get_logger().error(
                f"cannot configure: {self._start_error}\nSet what is wrong and configure again."
            )
            return TransitionCallbackReturn.FAILURE
        self.state = "inactive"
        self.get_logger().info(self._detector.description)
        return super().on_configure(state)

    def _load(self) -> str:
        """Load; an empty text, or why that does not work."""
        settings = self.settings
        if settings.tracking:
            try:
                self._tracker = PersonTracker()
                self._track_ids = "on"
            except ImportError as error:
                self._track_ids = str(error)
                self.get_logger().warning(f"people have no track ids: {error}")
        for name in ("publish_tf", "publish_rep155"):
            if getattr(settings, name) and self._tracker is None:
                why = f": {self._track_ids}" if settings.tracking else ", and 'tracking' is off"
                return f"parameter {name!r} is on, which needs track ids{why}"
        try:
            if settings.publish_tf:
                self._transforms = self.create_publisher(tf_message_class(), "/tf", TRANSFORMS)
            if settings.publish_rep155:
                hri_messages()
        except MissingTfError as error:
            return f"parameter 'publish_tf' is on: {error}"
        except MissingHriMessagesError as error:
            return f"parameter 'publish_rep155' is on: {error}"
        wanted = {name: getattr(settings, name) for name in ("device", "mode", "engine")}
        self.get_logger().info(f"loading model {settings.model!r}")
        try:
            self._detector = WholeBodyDetector.load(model=settings.model, **wanted)
        except (ValueError, OSError, ImportError, RuntimeError) as error:
            told = ", ".join(f"{name!r} {value!r}" for name, value in wanted.items())
            return f"parameters 'model' {settings.model!r}, {told}: {error}"
        return ""

    def _unload(self) -> None:
        """Let go of what configure brought."""
        self._detector = self._tracker = None
        self._track_ids = "off"
        if self._transforms is not None:
            self.destroy_publisher(self._transforms)
            self._transforms = None

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to the images."""
        try:
            self._listen()
        except Exception:  # rclpy would swallow it
            self.get_logger().error(f"cannot activate:\n{traceback.format_exc()}")
            self._stop()
            return TransitionCallbackReturn.FAILURE
        self.state = "active"
        self.get_logger().info(f"active; waiting for images on {self._image_topic()}")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; the last results are empty, so that displays clear."""
        self._stop()
        self._publish_nobody()
        self.state = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the model."""
        self._unload()
        self.state = "unconfigured"
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything, for good."""
        if self.state == "active":
            self.on_deactivate(state)
        self._unload()
        self.state = "finalized"
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition raised: back to unconfigured, from where it can be tried again."""
        self._stop()
        self._unload()
        self.state = "unconfigured"
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Also ends the node's thread."""
        self._stop()
        super().destroy_node()

    def _image_topic(self) -> str:
        topic = self.resolve_topic_name("image")
        if self.settings.image_transport == "compressed":
            topic = topic.removesuffix("/compressed") + "/compressed"
        return topic

    def _listen(self) -> None:
        settings = self.settings
        self.statistics.restart_windows(time.monotonic())
        if settings.publish_rep155:
            self._humans = HumansPublisher(self, settings.id_prefix)
        self._worker = LatestWorker(self._work, f"{self.get_name()} detector")
        self._decoder = LatestWorker(self._take, f"{self.get_name()} decoder")
        wanted = [(CameraInfo, "camera_info", self._infos.add)]
        if settings.use_depth:
            wanted.append((Image, "depth", self._depths.add))
        kind = CompressedImage if settings.image_transport == "compressed" else Image
        # Last, so that what belongs to the first image is heard.
        wanted.append((kind, self._image_topic(), self._on_image))
        for one in wanted:
            self._listening.append(self.create_subscription(*one, NEWEST_MESSAGE))

    def _stop(self) -> None:
        """End what `_listen` began, and forget everybody."""
        while self._listening:
            self.destroy_subscription(self._listening.pop())
        # First the one that feeds the other.
        for worker in (self._decoder, self._worker):
            if worker is not None and worker.stop():
                self.statistics.skipped("deactivated")
        self._decoder = self._worker = None
        humans, self._humans = self._humans, None
        if humans is not None and self.context.ok():
            humans.close()
        self._infos.clear()
        self._depths.clear()
        self._smoother.reset()
        if self._tracker is not None:
            self._tracker.reset()

    # Images

    def _on_image(self, message: Frame, info: dict) -> None:
        publisher = info.get("publisher_gid")
        self.statistics.received(
            time.monotonic(),
            self._age(message.header),
            publisher and bytes(publisher["data"]),
            info.get("publication_sequence_number"),
            unstamped=not stamp_of(message),
        )
        self._last_header = message.header
        resting = self._why_resting()
        if resting:
            self.statistics.skipped(resting)
        elif self._decoder.offer(message):
            self.statistics.skipped("newer image")

    def _why_resting(self) -> str:
        """Why images are not worked on; empty if they are."""
        if not self.settings.enabled:
            return "disabled"
        outputs = (
            self._poses,
            self._marker_publisher,
            self._annotated,
            self._transforms,
            self._humans,
        )
        if self.settings.always_run or any(map(_heard, outputs)):
            return ""
        return "nobody listens"

    def _take(self, message: Frame) -> None:
        """Hand an image to the detector, decoded meanwhile if that gains enough, and brought to
        its device if that is a GPU."""
        incoming = _Incoming(message)
        prefetch = self._detector.prefetch
        if prefetch or self._decoding_share > WORTH_DECODING_AHEAD:
            # The detector's thread will meet the same error, and tell it.
            with suppress(Exception):
                rgb = incoming.decoded()
                if prefetch:
                    prefetch(rgb)
        if self._worker.offer(incoming):
            self.statistics.skipped("newer image")

    def _work(self, incoming: _Incoming) -> None:
        """One image from beginning to end, in the node's own thread."""
        settings, message, times = self.settings, incoming.message, incoming.times
        try:
            # A slow model outlasts what is kept, and some depth images come after their image.
            for recent in (self._infos, self._depths):
                recent.hold(stamp_of(message))
            rgb = incoming.decoded()
            with times("detect"):
                people = self._detector(rgb)
            self._decoding_share = times.times["decode"] / max(times.times["detect"], 1e-6)
            people = chosen_parts(people, settings)
            if self._tracker is not None:
                with times("track"):
                    people = self._tracked(people, message)
            places = None
            if any(map(_heard, (self._poses, self._marker_publisher, self._transforms))):
                with times("place"):
                    places = self._places(people, message, *rgb.shape[1::-1])
            with self._publishing:
                # Asked again: it may have been switched off meanwhile, and the displays cleared.
                if not self.settings.enabled:
                    self.statistics.skipped("disabled")
                    return
                latency = self._publish(rgb, people, places, message.header, times)
            compressed = isinstance(message, CompressedImage)
            encoding = message.format if compressed else message.encoding
            self.statistics.answered(
                time.monotonic(),
                latency,
                times.times,
                f"{rgb.shape[1]} x {rgb.shape[0]} {encoding}",
                places.source if places else "",
            )
        except BadImageError as error:
            self.statistics.bad(time.monotonic(), error.kind, str(error))
            self.get_logger().warning(
                f"skipped a bad image: {error}", throttle_duration_sec=_LOG_INTERVAL
            )
        except Exception as error:  # one image on which the model fails must not end the node
            if not self.context.ok():
                return  # told to stop in the middle of an image
            self.statistics.failed(time.monotonic(), f"{type(error).__name__}: {error}")
            self.get_logger().error(
                "skipped an image on which the detector failed:\n" + traceback.format_exc(),
                throttle_duration_sec=_LOG_INTERVAL,
            )

    def _tracked(self, people: list[WholeBody], message: Frame) -> list[WholeBody]:
        """The people with their track ids, smoothed if that is asked for."""
        settings = self.settings
        stamp = self._tracked_at(message.header)
        people = self._tracker.update(people, stamp)
        wanted = OneEuroSettings(settings.smoothing_min_cutoff, settings.smoothing_beta)
        if not settings.smoothing or wanted != self._smoother.settings:
            self._smoother = PoseSmoother(wanted)
        return self._smoother.update(people, stamp) if settings.smoothing else people

    def _tracked_at(self, header: Header) -> float:
        """The time for which an image tells who is there, s."""
        return (nanoseconds(header.stamp) or self.get_clock().now().nanoseconds) / 1e9

    def _places(self, people: list[WholeBody], message: Frame, width: int, height: int) -> _Places:
        """Where the people stand, by `camera_info` and depth as far as these are there and good."""
        camera = self._camera(message, width, height)
        if camera is None:
            assumed = Intrinsics.assumed(width, height, self.settings.horizontal_fov)
            return _Places("none", place_people(people, assumed))
        distances = self._depth(message, width, height)
        source = "camera_info" if distances is None else "camera_info and depth"
        return _Places(source, place_people(people, camera, distances))

    def _camera(self, message: Frame, width: int, height: int) -> Camera | None:
        info = self._infos.nearest(stamp_of(message))
        try:
            if info is not None:
                return camera_from_info(info, width, height, self.settings.rectified)
            if self.settings.use_depth or self.settings.publish_tf:
                topic = self.resolve_topic_name("camera_info")
                raise BadCameraInfoError("missing", f"no camera_info has come on {topic}")
        except BadCameraInfoError as error:
            self._tell_fault("camera_info", "positions are not known", error)
        return None

    def _depth(self, message: Frame, width: int, height: int) -> DepthImage | None:
        if not self.settings.use_depth:
            return None
        tolerance = self.settings.depth_tolerance
        depth = self._depths.nearest(stamp_of(message), round(tolerance * 1e9))
        try:
            if depth is None:
                raise BadDepthError(
                    "missing",
                    f"no depth image within {tolerance:g} s of the image has come on "
                    f"{self.resolve_topic_name('depth')}",
                )
            return registered_depth(depth, message.header.frame_id, width, height)
        except BadDepthError as error:
            self._tell_fault("depth", "distances are not measured", error)
        return None

    def _tell_fault(self, source: str, effect: str, error: BadMessageError) -> None:
        self.statistics.fault(time.monotonic(), source, error.kind, str(error))
        self.get_logger().warning(f"{effect}: {error}", throttle_duration_sec=_LOG_INTERVAL)

    def _publish(
        self,
        rgb: np.ndarray,
        people: list[WholeBody],
        places: _Places | None,
        header: Header,
        times: StageTimes,
    ) -> float | None:
        """Each output for those who listen to it; the latency of the first one, s.

        Args:
            places: None while no output needs them.
        """
        settings = self.settings
        height, width = rgb.shape[:2]
        latencies = []
        if _heard(self._poses):
            with times("message"):
                message = people_to_message(people, header, width, height)
                if places and places.known:
                    fill_roots(message, places.placed)
                self._poses.publish(message)
            latencies.append(self._age(header))
        if places and _heard(self._marker_publisher):
            with times("markers"):
                self._markers.lifetime = settings.marker_lifetime
                self._marker_publisher.publish(self._markers.build(places.placed, header))
            latencies.append(self._age(header))
        else:
            self._markers.forget()
        if _heard(self._annotated):
            with times("annotate"):
                self._annotated.publish(rgb_to_image(annotated(rgb, people, settings), header))
            latencies.append(self._age(header))
        if places and places.known and _heard(self._transforms):
            with times("transforms"):
                self._publish_transforms(places.placed, header)
            latencies.append(self._age(header))
        if _heard(self._humans):
            with times("rep155"):
                self._humans.publish(people, header, width, height, self._tracked_at(header))
            latencies.append(self._age(header))
        return latencies[0] if latencies else None

    def _publish_transforms(self, placed: list[Placed], header: Header) -> None:
        try:
            transforms = person_transforms(placed, header, self.settings.id_prefix)
        except MissingFrameIdError as error:
            self._tell_fault("frame_id", "there are no TF frames", error)
            return
        self._transforms.publish(self._transforms.msg_type(transforms=transforms))

    def _publish_nobody(self) -> None:
        with self._publishing:
            header = Header(
                stamp=self.get_clock().now().to_msg(), frame_id=self._last_header.frame_id
            )
            self._poses.publish(people_to_message([], header, 0, 0))
            self._marker_publisher.publish(self._markers.clear(header))
            if self._humans is not None:
                self._humans.clear(header)

    def _age(self, header: Header) -> float | None:
        """How long ago the node's clock showed the stamp, s; None without a stamp or a clock."""
        stamp = nanoseconds(header.stamp)
        now = self.get_clock().now().nanoseconds
        return (now - stamp) / 1e9 if stamp > 0 and now > 0 else None

    # Parameters, service, diagnostics

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            new = parameters.changed(self.settings, parameters.DOPE_NODE, changes, self.state)
        except parameters.ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        switched_off = self.settings.enabled and not new.enabled
        self.settings = new
        if switched_off and self.state == "active":
            self._publish_nobody()
        return SetParametersResult(successful=True)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        (result,) = self.set_parameters([Parameter("enabled", value=request.data)])
        response.success = result.successful
        switched = "enabled" if request.data else "disabled"
        response.message = result.reason or f"{switched}; the node is {self.state}"
        return response

    def _publish_diagnostics(self) -> None:
        settings, summary = self.settings, self.statistics.summary(time.monotonic())
        name, active = self.get_fully_qualified_name().strip("/"), self.state == "active"
        topic = self._image_topic()
        camera = camera_status(
            name,
            summary,
            active,
            topic,
            self.count_publishers(topic),
            settings.silent_after,
            settings.max_latency,
            has_clock=self.get_clock().now().nanoseconds > 0,
        )
        detector = detector_status(
            name,
            summary,
            self.state,
            self._why_resting() if active else "",
            self._start_error,
            settings.model,
            self._detector.description if self._detector else "",
            settings.device,
            self._track_ids,
            settings.max_latency,
        )
        self._diagnostics.publish(
            DiagnosticArray(
                header=Header(stamp=self.get_clock().now().to_msg()), status=[camera, detector]
            )
        )


def _heard(output: Publisher | HumansPublisher | None) -> bool:
    return output is not None and output.get_subscription_count() > 0


def main() -> None:
    """Run the node until it is told to stop; exit code 1 if it cannot start."""
    run_node("dope_node", DopeNode, (parameters.ParameterError, StartError))


if __name__ == "__main__":
    main()
