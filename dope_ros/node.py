"""dope_node: images in, whole-body poses out.

Subscribes `image`; publishes `poses`, and while someone listens `markers` and `image_annotated`.
All names are relative: the launch file puts them into the namespace /dope.
"""

from __future__ import annotations

import traceback

from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
)
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from dope_model.detector import WholeBodyDetector
from dope_model.drawing import draw_people
from dope_model.placement import Intrinsics
from dope_model.poses import WholeBody
from dope_msgs.msg import WholeBodyPoseArray
from dope_ros import parameters
from dope_ros.conversions import BadImageError, image_to_rgb, people_to_message, rgb_to_image
from dope_ros.markers import PersonMarkers
from dope_ros.running import run_node

# A camera's images are best effort, and only the newest is of interest: with a depth of 1 an image
# that comes while another is being worked on replaces the one that waits.
NEWEST_IMAGE = QoSProfile(
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

_LOG_INTERVAL = 5.0
"""s between two log lines about the same kind of trouble."""


def above_score(people: list[WholeBody], min_score: float) -> list[WholeBody]:
    """`people` without parts that score less than `min_score`, and without empty people."""
    kept = []
    for person in people:
        parts = {slot: pose for slot, pose in person.parts() if pose.score >= min_score}
        if parts:
            kept.append(WholeBody(**parts, track_id=person.track_id))
    return kept


class DopeNode(Node):
    """Finds people in every image it gets and publishes them.

    A frame that cannot be read or worked on is counted, logged and skipped: the node lives on.

    Raises:
        ParameterError: a parameter is wrong, or its model cannot be loaded; the text names it.
    """

    def __init__(self, namespace: str | None = None) -> None:
        super().__init__(
            "dope_node",
            namespace=namespace,
            automatically_declare_parameters_from_overrides=True,
        )
        self.settings = parameters.declare(self, parameters.DOPE_NODE)
        self.bad_images = 0
        self.failed_images = 0

        self.get_logger().info(f"loading model {self.settings.model!r}")
        try:
            self._detector = WholeBodyDetector.load(
                model=self.settings.model, device=self.settings.device, mode=self.settings.mode
            )
        except (ValueError, OSError, ImportError) as error:
            raise parameters.ParameterError(
                f"parameters 'model' {self.settings.model!r}, 'device' {self.settings.device!r}, "
                f"'mode' {self.settings.mode!r}: {error}"
            ) from error
        self._markers = PersonMarkers(self.settings.marker_lifetime)

        self._poses = self.create_publisher(WholeBodyPoseArray, "poses", RESULTS)
        self._marker_publisher = self.create_publisher(MarkerArray, "markers", RESULTS)
        self._annotated = self.create_publisher(Image, "image_annotated", RESULTS)
        self._images = self.create_subscription(Image, "image", self._on_image, NEWEST_IMAGE)
        self.get_logger().info(
            f"{self._detector.description}; waiting for images on {self._images.topic_name}"
        )

    def _on_image(self, message: Image) -> None:
        try:
            self._process(message)
        except BadImageError as error:
            self.bad_images += 1
            self.get_logger().warning(
                f"skipped a bad image ({self.bad_images} so far): {error}",
                throttle_duration_sec=_LOG_INTERVAL,
            )
        except Exception:  # one image on which the model fails must not end the node
            self.failed_images += 1
            self.get_logger().error(
                f"skipped an image on which the detector failed ({self.failed_images} so far):\n"
                + traceback.format_exc(),
                throttle_duration_sec=_LOG_INTERVAL,
            )

    def _process(self, message: Image) -> None:
        rgb = image_to_rgb(message)
        height, width = rgb.shape[:2]
        people = above_score(self._detector(rgb), self.settings.min_score)
        self._poses.publish(people_to_message(people, message.header, width, height))

        if self._marker_publisher.get_subscription_count():
            intrinsics = Intrinsics.assumed(width, height, self.settings.horizontal_fov)
            self._marker_publisher.publish(self._markers.build(people, message.header, intrinsics))
        else:
            self._markers.forget()
        if self._annotated.get_subscription_count():
            self._annotated.publish(rgb_to_image(draw_people(rgb, people), message.header))


def main() -> None:
    """Run the node until it is told to stop; exit code 1 if it cannot start."""
    run_node("dope_node", DopeNode, (parameters.ParameterError,))


if __name__ == "__main__":
    main()
