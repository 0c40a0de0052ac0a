"""dope_node: images in, whole-body poses out.

Subscribes `image`, `camera_info` and, on request, `depth`; publishes `poses`, `markers` and
`image_annotated`, each while someone listens, and /diagnostics; on request TF frames and the topics
of REP-155. Relative names are put into the namespace /dope by the launch file.

A managed node: `configure` loads the model, `activate` subscribes to the images. It does both by
itself at start unless the parameter `autostart` is false. The executor's thread only receives
images; a worker thread processes the newest one, so services, parameters and diagnostics answer
while a slow model runs. Another thread decodes the next image meanwhile if decoding is slow enough.
Deactivation and shutdown do not wait for the current image; its results are dropped.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool

from dope_model.detector import WholeBodyDetector
from dope_model.tracking.tracker import PersonTracker
from dope_ros.messages.camera_info import Recent, nanoseconds, stamp_of
from dope_ros.messages.errors import BadMessageError
from dope_ros.messages.rep155 import MissingHriMessagesError, hri_messages
from dope_ros.messages.transforms import MissingTfError
from dope_ros.node import parameters
from dope_ros.node.activation import LOG_INTERVAL, Activation, Frame
from dope_ros.node.diagnostics import camera_status, detector_status
from dope_ros.node.outputs import Outputs
from dope_ros.node.process import run_node
from dope_ros.node.qos import LATCHED, NEWEST_MESSAGE, RESULTS, overridable
from dope_ros.node.statistics import FrameStatistics
from dope_ros.pipeline import Pipeline
from dope_ros.settings import DOPE_NODE, ParameterError

_DIAGNOSTICS_PERIOD = 1.0
"""s"""


class StartError(RuntimeError):
    """The node could not configure and activate itself; the text says why."""


class DopeNode(parameters.CheckedParameters, LifecycleNode):
    """Finds people in the newest image and publishes them.

    An image that cannot be read or processed is counted, logged and skipped; the node goes on.

    Args:
        name, namespace: of the node.
        parameter_overrides: parameters with precedence over the command line, for several nodes in
            one process.

    Raises:
        ParameterError: a parameter is wrong; the text names it.
    """

    table = DOPE_NODE
    # rclpy destroys also a node whose parameters are refused.
    activation: Activation | None = None
    outputs: Outputs | None = None
    _diagnosing: threading.Thread | None = None

    def __init__(
        self,
        name: str = "dope_node",
        namespace: str | None = None,
        parameter_overrides: Sequence[Parameter] = (),
    ) -> None:
        self._ended = threading.Event()
        self._images: list[Subscription] = []
        self._camera_infos: list[Subscription] = []
        super().__init__(
            name,
            namespace=namespace,
            parameter_overrides=list(parameter_overrides),
            automatically_declare_parameters_from_overrides=True,
        )
        self.settings = parameters.declare(self, DOPE_NODE)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.statistics = FrameStatistics()
        self.state = "unconfigured"

        self._detector: WholeBodyDetector | None = None
        self._tracker: PersonTracker | None = None
        self._preparing = ""
        # An image of an earlier activation may still be processed.
        self._detecting = threading.Lock()
        self._infos: Recent[CameraInfo] = Recent()
        self._track_ids = "off"
        self._start_error = ""
        self._frame_id = ""

        try:
            self.outputs = Outputs(self, self.age, self._tell_fault)
        except (RuntimeError, AttributeError) as error:
            raise ParameterError(f"parameters 'qos_overrides...' of a result: {error}") from error
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", RESULTS)
        self._enable = self.create_service(SetBool, "enable", self._on_enable)
        # A wall-clock timer: simulated time may stop.
        wall = Clock(clock_type=ClockType.STEADY_TIME)
        self._latched = self.create_timer(0.5, self._hear_latched_camera_info, clock=wall)
        self._latched.cancel()
        self._autostart = self.create_timer(0.001, self._start, clock=wall)
        if not self.settings.autostart:
            self._autostart.cancel()
        # In their own thread, so they go on during a long transition.
        self._diagnosing = threading.Thread(target=self._diagnose, name="diagnostics", daemon=True)
        self._diagnosing.start()

    # Life cycle

    def _start(self) -> None:
        self._autostart.cancel()
        success = TransitionCallbackReturn.SUCCESS
        started = self.trigger_configure() == success and self.trigger_activate() == success
        if not started and self.settings.exit_if_start_fails:
            raise StartError(self._start_error)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and whatever the parameters need. A failure is explained in the log and in
        the diagnostics.
        """
        try:
            self._start_error = self._load()
        except Exception:  # a bug; rclpy would swallow it
            self._start_error = f"unexpected error:\n{traceback.format_exc()}"
        self._preparing = ""
        if self._start_error:
            self._unload()
            self.get_logger().error(
                f"cannot configure: {self._start_error}\nCorrect it and configure again."
            )
            return TransitionCallbackReturn.FAILURE
        self.state = "inactive"
        self.get_logger().info(self._detector.description)
        return super().on_configure(state)

    def _load(self) -> str:
        """Load; returns an empty text, or why that failed."""
        settings = self.settings
        if settings.tracking:
            try:
                PersonTracker()
                self._track_ids = "on"
            except ImportError as error:
                self._track_ids = str(error)
                self.get_logger().warning(f"people have no track ids: {error}")
        for name in ("publish_tf", "publish_rep155"):
            if getattr(settings, name) and self._track_ids != "on":
                why = f": {self._track_ids}" if settings.tracking else ", and 'tracking' is off"
                return f"parameter {name!r} is on, which needs track ids{why}"
        try:
            if settings.publish_tf:
                self.outputs.create_transforms()
            if settings.publish_rep155:
                hri_messages()
        except MissingTfError as error:
            return f"parameter 'publish_tf' is on: {error}"
        except MissingHriMessagesError as error:
            return f"parameter 'publish_rep155' is on: {error}"
        # From now on: some cameras publish it only once.
        self._hear_camera_info(NEWEST_MESSAGE)
        self._latched.reset()
        self._hear_latched_camera_info()
        wanted = {name: getattr(settings, name) for name in ("device", "mode", "engine")}
        self._preparing = f"the model {settings.model!r}"
        self.get_logger().info(f"loading model {settings.model!r}")
        try:
            self._detector = WholeBodyDetector.load(model=settings.model, **wanted)
            if settings.expected_size:
                width, height = map(int, settings.expected_size.split("x"))
                self._detector.rotation = settings.image_rotation
                self._preparing = f"for images of {width} x {height} px"
                self._detector(np.full((height, width, 3), 128, np.uint8))
        except (ValueError, OSError, ImportError, RuntimeError) as error:
            told = ", ".join(f"{name!r} {value!r}" for name, value in wanted.items())
            return f"parameters 'model' {settings.model!r}, {told}: {error}"
        return ""

    def _hear_camera_info(self, profile: QoSProfile) -> None:
        self._camera_infos.append(
            self.create_subscription(CameraInfo, "camera_info", self._infos.add, profile)
        )

    def _hear_latched_camera_info(self) -> None:
        """Subscribe with transient local durability, too, once a publisher has it: others would
        warn that it does not fit.
        """
        publishers = self.get_publishers_info_by_topic(self._camera_infos[0].topic_name)
        if any(one.qos_profile.durability == LATCHED.durability for one in publishers):
            self._latched.cancel()
            self._hear_camera_info(LATCHED)

    def _unload(self) -> None:
        """Free what configure loaded."""
        if self._detector is not None:
            self._detector.close()
        self._detector = self._tracker = None
        self._track_ids = "off"
        self._infos.clear()
        self._latched.cancel()
        while self._camera_infos:
            self.destroy_subscription(self._camera_infos.pop())
        self.outputs.destroy_transforms()

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the images."""
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
        """Unsubscribe; one last empty result clears the displays. The current image is not waited
        for, and its results are dropped.
        """
        self._stop()
        self._publish_nobody()
        self.state = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        self._unload()
        self.state = "unconfigured"
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, finally."""
        if self.state == "active":
            self.on_deactivate(state)
        self._unload()
        self.state = "finalized"
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition raised an error: back to unconfigured, to be tried again."""
        self._stop()
        self._unload()
        self.state = "unconfigured"
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Also stops the node's threads and clears the displays."""
        self._ended.set()
        if self.outputs is not None:
            active = self.activation is not None
            self._stop()
            if active and self.context.ok():
                self._publish_nobody()
                self.outputs.wait_until_taken()
        if self._diagnosing is not None:
            self._diagnosing.join()
        super().destroy_node()

    def _image_topic(self) -> str:
        topic = self.resolve_topic_name("image")
        if self.settings.image_transport == "compressed":
            # Which may be remapped by itself.
            topic = self.resolve_topic_name(topic.removesuffix("/compressed") + "/compressed")
        return topic

    def _listen(self) -> None:
        settings = self.settings
        self.statistics.restart_windows(time.monotonic())
        if settings.publish_rep155:
            self.outputs.open_humans(settings.id_prefix)
        if self._track_ids == "on":
            # Another one, as an image of an earlier activation may still be at work.
            self._tracker = PersonTracker(last_id=self._tracker.last_id if self._tracker else 0)
        pipeline = Pipeline(
            self._detector,
            self._tracker,
            self._pipeline_settings(settings),
            self._infos,
            self._tell_fault,
            topics={name: self.resolve_topic_name(name) for name in ("camera_info", "depth")},
        )
        self.activation = Activation(self, pipeline, self._detecting)
        wanted = [(Image, "depth", pipeline.depths.add)] if settings.use_depth else []
        kind = CompressedImage if settings.image_transport == "compressed" else Image
        # Last, so the inputs of the first image are received.
        wanted.append((kind, self._image_topic(), self._on_image))
        for one in wanted:
            self._images.append(self.create_subscription(*one, **overridable(NEWEST_MESSAGE)))

    @staticmethod
    def _pipeline_settings(settings: SimpleNamespace) -> SimpleNamespace:
        needs_camera_info = settings.use_depth or settings.publish_tf
        return SimpleNamespace(**vars(settings), needs_camera_info=needs_camera_info)

    def _stop(self) -> None:
        """Undo `_listen`."""
        while self._images:
            self.destroy_subscription(self._images.pop())
        with self.outputs.lock:
            activation, self.activation = self.activation, None
        for _ in range(activation.stop() if activation else 0):
            self.statistics.skipped("deactivated")
        self.outputs.close_humans()

    # Images

    def _on_image(self, message: Frame, info: dict) -> None:
        publisher = info.get("publisher_gid")
        self.statistics.received(
            time.monotonic(),
            self.age(message.header),
            publisher and bytes(publisher["data"]),
            info.get("publication_sequence_number"),
            unstamped=not stamp_of(message),
        )
        self._frame_id = message.header.frame_id
        resting = self._why_resting()
        if resting:
            self.statistics.skipped(resting)
        elif self.activation.offer(message):
            self.statistics.skipped("newer image")

    def _why_resting(self) -> str:
        """Why images are not processed; empty if they are."""
        if not self.settings.enabled:
            return "disabled"
        return "" if self.settings.always_run or self.outputs.heard() else "nobody listens"

    def _tell_fault(self, source: str, effect: str, error: BadMessageError) -> None:
        self.statistics.fault(time.monotonic(), source, error.kind, str(error))
        self.get_logger().warning(f"{effect}: {error}", throttle_duration_sec=LOG_INTERVAL)

    def _publish_nobody(self) -> None:
        with self.outputs.lock:
            stamp = self.get_clock().now().to_msg()
            self.outputs.publish_nobody(Header(stamp=stamp, frame_id=self._frame_id))

    def age(self, header: Header) -> float | None:
        """The age of a stamp by the node's clock, s; None without a stamp or a clock."""
        stamp = nanoseconds(header.stamp)
        now = self.get_clock().now().nanoseconds
        return (now - stamp) / 1e9 if stamp > 0 and now > 0 else None

    # Parameters, service, diagnostics

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            new = parameters.changed(self.settings, DOPE_NODE, changes, self.state)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        switched_off = self.settings.enabled and not new.enabled
        self.settings = new
        if self.activation is not None:
            self.activation.pipeline.settings = self._pipeline_settings(new)
        if switched_off and self.state == "active":
            self._publish_nobody()
        return SetParametersResult(successful=True)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        (result,) = self.set_parameters([Parameter("enabled", value=request.data)])
        response.success = result.successful
        switched = "enabled" if request.data else "disabled"
        response.message = result.reason or f"{switched}; the node is {self.state}"
        return response

    def _diagnose(self) -> None:
        while not self._ended.wait(_DIAGNOSTICS_PERIOD):
            if self.context.ok():
                # A node that is being destroyed has no state.
                with suppress(Exception):
                    self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        settings, summary = self.settings, self.statistics.summary(time.monotonic())
        name, active = self.get_fully_qualified_name().strip("/"), self.state == "active"
        topic = self._image_topic()
        detector, me = self._detector, (self.get_name(), self.get_namespace())
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
        detection = detector_status(
            name,
            summary,
            self.state,
            self._why_resting() if active else "",
            self._start_error,
            settings.model,
            detector.description if detector else "",
            settings.device,
            self._track_ids,
            settings.max_latency,
            self._preparing or (self.activation.preparing if self.activation else ""),
            same_name=self.get_node_names_and_namespaces().count(me) > 1,
        )
        self._diagnostics.publish(
            DiagnosticArray(
                header=Header(stamp=self.get_clock().now().to_msg()), status=[camera, detection]
            )
        )


def main() -> None:
    """Run the node until a signal stops it; exit code 1 if it cannot start."""
    run_node("dope_node", DopeNode, (ParameterError, StartError))
