"""Where people stand and who they are, on a real graph: a person whose place is known is filmed by
a camera that says what it is.
"""

import math
import sys
from array import array
from contextlib import ExitStack

import numpy as np
import pytest
from camera_help import grey, header_at, image_at
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from light_node import LightDetector, spinning
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

import dope_model.tracking.tracker
from dope_model.poses import PartPose, WholeBody
from dope_msgs.msg import WholeBodyPoseArray
from dope_ros.node import dope_node, outputs
from dope_ros.node.qos import LATCHED
from dope_ros.tools.demo_camera import AS_CAMERAS_DO

RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)

# Of images of 64 x 48 px, in ROS's convention: the centre of the top-left pixel is (0, 0).
K = [60.0, 0.0, 31.0, 0.0, 62.0, 24.0, 0.0, 0.0, 1.0]
LENS = [-0.2, 0.05, 0.001, -0.002, 0.0]
RECTIFIED = [50.0, 0.0, 31.5, 0.0, 0.0, 50.0, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0]

# Facing the camera: the right side is on the left of the image, y points down. m from the hips.
STANDING = [
    (-0.1, 0.9), (0.1, 0.9), (-0.1, 0.45), (0.1, 0.45), (-0.1, 0), (0.1, 0),
    (-0.7, -0.5), (0.7, -0.5), (-0.45, -0.5), (0.45, -0.5), (-0.2, -0.5), (0.2, -0.5), (0, -0.75),
]  # fmt: skip
JOINTS = np.column_stack([np.array(STANDING), np.zeros(13)])


def seen(points: np.ndarray, lens: bool) -> np.ndarray:
    """Pixels of points, m, as the camera of K sees them, with or without the lens LENS; by the
    formulas of the ROS message and OpenCV's manual.
    """
    x, y = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
    if lens:
        k1, k2, p1, p2, k3 = LENS
        r2 = x * x + y * y
        radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        x, y = (
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        )
    # The project's pixels: the centre of the top-left one is (0.5, 0.5).
    return np.column_stack([K[0] * x + K[2] + 0.5, K[4] * y + K[5] + 0.5])


def body_at(root, lens: bool = False) -> WholeBody:
    pixels = seen(JOINTS + root, lens).astype(np.float32)
    return WholeBody(body=PartPose(0.9, pixels, JOINTS.astype(np.float32), np.ones(13, bool)))


class Stage(LightDetector):
    """Finds the people of `cast`, who may change from image to image: by the image's red."""

    def __init__(self) -> None:
        super().__init__()
        self.cast = lambda number: [body_at(ROOT)]

    def __call__(self, rgb: np.ndarray) -> list[WholeBody]:
        super().__call__(rgb)
        return self.cast(int(rgb[0, 0, 0]))


ROOT = np.array([0.3, -0.2, 4.0])


@pytest.fixture
def play(graph, monkeypatch):
    """play(**parameters): the active node around a `Stage`, and that."""
    with ExitStack() as stack:

        def begin(active: bool = True, **parameters):
            stage = Stage()
            monkeypatch.setattr(dope_node.WholeBodyDetector, "load", stage.load)
            node = dope_node.DopeNode(
                namespace=graph.node.get_namespace(),
                parameter_overrides=[Parameter(name, value=v) for name, v in parameters.items()],
            )
            stack.enter_context(spinning(node))
            if active:
                assert graph.spin_until(lambda: node.state == "active")
            return node, stage

        yield begin


class Camera:
    """Publishes images, and what belongs to each of them before it."""

    def __init__(self, graph, depth: bool = False, qos=AS_CAMERAS_DO):
        self._graph = graph
        self._images = graph.node.create_publisher(Image, "image", qos)
        self._infos = graph.node.create_publisher(CameraInfo, "camera_info", qos)
        self._depths = graph.node.create_publisher(Image, "depth", qos) if depth else None
        self.poses, _ = graph.listen(WholeBodyPoseArray, "poses")

    def film(self, seconds: float, info=None, depth=None, level: int = 9) -> WholeBodyPoseArray:
        """The poses of an image at `seconds`, which goes out until they come; a new stamp each."""
        image = image_at(grey(level), seconds)

        def answer() -> list[WholeBodyPoseArray]:
            return [message for message in self.poses if message.header == image.header]

        for _ in range(60):
            # Each by itself, so that what belongs to the image is there before it.
            for publisher, message in ((self._infos, info), (self._depths, depth)):
                if message is not None:
                    message.header.stamp = image.header.stamp
                    publisher.publish(message)
            self._graph.spin_for(0.1)
            self._images.publish(image)
            if self._graph.spin_until(answer, 1.0):
                return answer()[-1]
        raise AssertionError("no answer")


def camera_info(**changes) -> CameraInfo:
    values = {
        "header": header_at(0), "width": 64, "height": 48, "k": K, "d": [], "p": [0.0] * 12,
        "distortion_model": "plumb_bob",
    }  # fmt: skip
    return CameraInfo(**(values | changes))


def depth_image(value: float, encoding: str = "16UC1", **changes) -> Image:
    """Everything is `value` away, in the encoding's unit."""
    kind = np.float32 if encoding == "32FC1" else np.uint16
    data = array("B", np.full(64 * 48, value, kind).tobytes())
    step = 64 * np.dtype(kind).itemsize
    values = {
        "header": header_at(0), "height": 48, "width": 64, "encoding": encoding, "step": step,
        "data": data,
    }  # fmt: skip
    return Image(**(values | changes))


def root_of(message: WholeBodyPoseArray, person: int = 0) -> np.ndarray:
    root = message.people[person].body.root
    return np.array([root.x, root.y, root.z])


def spheres(message: MarkerArray) -> np.ndarray:
    shown = [one for one in message.markers if one.action == Marker.ADD]
    (marker,) = (one for one in shown if one.ns == "body/joints")
    return np.array([(point.x, point.y, point.z) for point in marker.points])


@pytest.mark.parametrize("qos", [AS_CAMERAS_DO, RELIABLE], ids=["best", "rel"])
def test_people_stand_in_metres_where_the_camera_says_what_it_is(graph, play, qos):
    node, stage = play()
    camera = Camera(graph, qos=qos)
    markers, _ = graph.listen(MarkerArray, "markers")

    # Nothing is known of the camera: no positions, and markers by an assumed field of view.
    message = camera.film(1.0)
    assert np.isnan(root_of(message)).all()
    assert graph.spin_until(lambda: markers)
    before = spheres(markers[-1])
    assert np.linalg.norm(before.mean(axis=0) - (JOINTS + ROOT).mean(axis=0)) > 0.1
    markers.clear()

    message = camera.film(2.0, camera_info())
    np.testing.assert_allclose(root_of(message), ROOT, atol=1e-3)
    for absent in ("right_hand", "left_hand", "face"):
        assert math.isnan(getattr(message.people[0], absent).root.z)
    assert graph.spin_until(lambda: any(m.markers[0].header.stamp.sec == 2 for m in markers))
    np.testing.assert_allclose(spheres(markers[-1]), JOINTS + ROOT, atol=1e-3)
    assert markers[-1].markers[0].header.frame_id == "left_camera"
    assert node.statistics.summary(0.0).positions == "camera_info"

    # The next image has no camera_info of its own: the last one holds.
    np.testing.assert_allclose(root_of(camera.film(3.0)), ROOT, atol=1e-3)

    # Through the lens.
    stage.cast = lambda _: [body_at(ROOT, lens=True)]
    bent = camera_info(d=LENS)
    np.testing.assert_allclose(root_of(camera.film(4.0, bent)), ROOT, atol=2e-3)


def test_rectified_images_are_taken_for_such_while_the_node_runs(graph, play):
    node, _ = play(rectified=True)
    camera = Camera(graph)
    info = camera_info(d=LENS, p=RECTIFIED)
    # With P's shorter focal length the same pixels are nearer.
    z = root_of(camera.film(1.0, info))[2]
    assert z == pytest.approx(ROOT[2] * 50 / 61, rel=0.02)
    assert graph.set_parameter(node.get_fully_qualified_name(), "rectified", False) == ""
    assert root_of(camera.film(2.0, camera_info(p=RECTIFIED)))[2] == pytest.approx(4, abs=1e-3)


NAN = float("nan")
BAD_INFO = {
    "NaN": (camera_info(k=[NAN, *K[1:]]), "impossible numbers"),
    "all NaN": (camera_info(k=[NAN] * 9), "impossible numbers"),
    "infinite centre": (camera_info(k=[*K[:2], math.inf, *K[3:]]), "impossible numbers"),
    "negative focal length": (camera_info(k=[-60.0, *K[1:]]), "impossible numbers"),
    "not calibrated": (camera_info(k=[0.0] * 9), "not calibrated"),
    "of larger images": (camera_info(width=640, height=480), "wrong size"),
    "unknown lens": (camera_info(d=LENS, distortion_model="odd"), "wrong distortion"),
    "too few coefficients": (camera_info(d=[0.1]), "wrong distortion"),
    "NaN coefficients": (camera_info(d=[NAN] * 5), "impossible numbers"),
}


@pytest.mark.parametrize("name", BAD_INFO)
def test_bad_camera_info_is_told_and_the_image_is_answered(graph, play, capfd, name):
    info, kind = BAD_INFO[name]
    node, _ = play()
    camera = Camera(graph)
    message = camera.film(1.0, info)
    assert len(message.people) == 1 and np.isnan(root_of(message)).all()
    summary = node.statistics.summary(0.0)
    assert set(summary.faults["camera_info"]) == {kind}
    assert summary.positions == "none"
    assert not summary.bad and not summary.failed
    assert f"positions are not known: {summary.last_fault['camera_info']}" in capfd.readouterr().err
    np.testing.assert_allclose(root_of(camera.film(2.0, camera_info())), ROOT, atol=1e-3)


@pytest.mark.parametrize(("value", "encoding"), [(5000, "16UC1"), (5.0, "32FC1")])
def test_depth_moves_people_to_where_it_is_measured(graph, play, value, encoding):
    node, _ = play(use_depth=True)
    camera = Camera(graph, depth=True)
    markers, _ = graph.listen(MarkerArray, "markers")
    depth = depth_image(value, encoding)
    root = root_of(camera.film(1.0, camera_info(), depth))
    # The surface is at 5 m, and the joints some centimetres under it.
    assert 5.0 < root[2] < 5.15
    assert graph.spin_until(lambda: markers)
    np.testing.assert_allclose(spheres(markers[-1]).mean(axis=0), JOINTS.mean(0) + root, atol=1e-3)
    assert node.statistics.summary(0.0).positions == "camera_info and depth"


BAD_DEPTH = {
    "all zero": (depth_image(0), "no data"),
    "all NaN": (depth_image(NAN, "32FC1"), "no data"),
    "in another frame": (
        depth_image(5000, header=Header(frame_id="depth_camera")),
        "wrong frame",
    ),
    "of other proportions": (
        depth_image(5000, width=32, height=48, step=64, data=array("B", bytes([9]) * 64 * 48)),
        "wrong size",
    ),
    "truncated": (depth_image(5000, data=array("B", bytes(100))), "truncated"),
    "too small a step": (depth_image(5000, step=64), "wrong step"),
    "no step": (depth_image(5000, step=0), "wrong step"),
    "empty": (depth_image(5000, width=0, height=0, step=0, data=array("B")), "empty"),
    "colour": (depth_image(5000, "rgb8"), "unknown encoding"),
}


@pytest.mark.parametrize("name", BAD_DEPTH)
def test_bad_depth_is_told_and_the_image_is_answered_by_camera_info(graph, play, capfd, name):
    depth, kind = BAD_DEPTH[name]
    node, _ = play(use_depth=True)
    camera = Camera(graph, depth=True)
    message = camera.film(1.0, camera_info(), depth)
    np.testing.assert_allclose(root_of(message), ROOT, atol=1e-3)
    summary = node.statistics.summary(0.0)
    assert set(summary.faults["depth"]) == {kind}
    assert summary.positions == "camera_info"
    assert not summary.bad and not summary.failed
    assert summary.last_fault["depth"] in capfd.readouterr().err
    assert 5.0 < root_of(camera.film(2.0, camera_info(), depth_image(5000)))[2] < 5.15


def test_camera_info_that_was_published_once_is_heard_and_kept(graph, play):
    """Fault 13: from before the node listened to images, latched or not, and while it rests."""
    latched = graph.node.create_publisher(CameraInfo, "camera_info", LATCHED)
    latched.publish(camera_info())
    node, _ = play()
    name, camera = node.get_fully_qualified_name(), Camera(graph)
    assert root_of(camera.film(1.0)) == pytest.approx(ROOT, abs=1e-3)
    for label in ("deactivate", "activate"):
        assert graph.transition(name, label)
    assert root_of(camera.film(2.0)) == pytest.approx(ROOT, abs=1e-3)
    for label in ("deactivate", "cleanup"):
        assert graph.transition(name, label)
    graph.node.destroy_publisher(latched)
    assert graph.transition(name, "configure")
    # Of a driver that does not repeat it, either.
    assert graph.spin_until(lambda: camera._infos.get_subscription_count())
    camera._infos.publish(camera_info())
    graph.spin_for(0.5)
    assert graph.transition(name, "activate")
    assert root_of(camera.film(3.0)) == pytest.approx(ROOT, abs=1e-3)
    # Nobody's camera is told that its quality of service does not fit.
    listeners = graph.node.get_subscriptions_info_by_topic(camera._infos.topic_name)
    assert [one.qos_profile.durability for one in listeners] == [DurabilityPolicy.VOLATILE]


def test_what_is_asked_for_and_does_not_come_is_told(graph, play):
    node, _ = play(use_depth=True, depth_tolerance=0.5)
    namespace = graph.node.get_namespace()
    camera = Camera(graph, depth=True)
    told = {}

    def hear(message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f"{namespace[1:]}/dope_node: camera":
                told["newest"] = status

    graph.node.create_subscription(DiagnosticArray, "/diagnostics", hear, 10)
    camera.film(1.0)
    assert graph.spin_until(
        lambda: (
            told and f"no camera_info has come on {namespace}/camera_info" in told["newest"].message
        )
    )
    camera.film(2.0, camera_info())
    missing = f"no depth image within 0.5 s of the image has come on {namespace}/depth"
    assert graph.spin_until(lambda: missing in told["newest"].message), told
    values = {pair.key: pair.value for pair in told["newest"].values}
    assert int(values["bad camera_info: missing"]) >= 1
    assert int(values["bad depth: missing"]) >= 1
    assert values["positions"] == "camera_info"

    # One that is too old does not count, within the tolerance it does.
    assert 5.0 < root_of(camera.film(3.0, camera_info(), depth_image(5000)))[2] < 5.15
    assert root_of(camera.film(3.75, camera_info()))[2] == pytest.approx(4, abs=1e-3)
    name = node.get_fully_qualified_name()
    assert graph.set_parameter(name, "depth_tolerance", 1.0) == ""
    assert 5.0 < root_of(camera.film(3.875, camera_info()))[2] < 5.15


def test_the_depth_of_an_image_is_not_lost_while_a_slow_model_runs(graph, play):
    _, stage = play(use_depth=True)
    images = graph.node.create_publisher(Image, "image", RELIABLE)
    infos = graph.node.create_publisher(CameraInfo, "camera_info", RELIABLE)
    depths = graph.node.create_publisher(Image, "depth", RELIABLE)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    stage.gate.clear()
    for number in range(20):
        later = header_at(1 + number / 10)
        infos.publish(camera_info(header=later))
        depths.publish(depth_image(5000 if number == 0 else 9000, header=later))
        graph.spin_for(0.1)
        if number == 0:
            assert graph.publish_until(images, image_at(grey(9), 1), lambda: stage.seen)
    stage.gate.set()
    assert graph.spin_until(lambda: poses)
    assert 5.0 < root_of(poses[0])[2] < 5.15


def test_depth_can_be_switched_while_the_node_rests(graph, play):
    node, _ = play()
    name = node.get_fully_qualified_name()
    assert not graph.node.count_subscribers("depth")
    assert "while not active" in graph.set_parameter(name, "use_depth", True)
    assert graph.transition(name, "deactivate")
    assert graph.set_parameter(name, "use_depth", True) == ""
    assert graph.transition(name, "activate")
    assert graph.spin_until(lambda: graph.node.count_subscribers("depth") == 1)
    # What was known of the camera before is asked for again.
    camera = Camera(graph, depth=True)
    assert np.isnan(root_of(camera.film(1.0))).all()
    assert 5.0 < root_of(camera.film(2.0, camera_info(), depth_image(5000)))[2] < 5.15


# Ids


def pair_at(number: int) -> list[WholeBody]:
    """Two people who walk past each other; who is first in the list changes."""
    along = -1.0 + 0.1 * number
    people = [body_at((along, 0, 4.0)), body_at((-along, 0.1, 5.5))]
    return people if number % 3 else people[::-1]


def ids_of(message: WholeBodyPoseArray) -> dict[str, int]:
    """Track ids of those in front and behind, who are taller and smaller in the image."""

    def height(person) -> float:
        return np.ptp(np.reshape(person.body.keypoints_2d, (-1, 2))[:, 1])

    front, behind = sorted(message.people, key=height, reverse=True)
    return {"front": front.track_id, "behind": behind.track_id}


def test_ids_stay_with_their_people_and_are_new_after_deactivation(graph, play):
    node, stage = play()
    stage.cast = pair_at
    camera = Camera(graph)
    found = [ids_of(camera.film(1 + number / 10, level=number)) for number in range(1, 20)]
    assert all(ids == found[0] for ids in found), found
    assert sorted(found[0].values()) == [1, 2]

    name = node.get_fully_qualified_name()
    assert graph.transition(name, "deactivate")
    assert graph.transition(name, "activate")
    camera.poses.clear()
    new = ids_of(camera.film(3.0, level=19))
    assert set(new.values()) == {3, 4}


def test_without_tracking_nobody_has_an_id(graph, play):
    _, stage = play(tracking=False)
    stage.cast = pair_at
    message = Camera(graph).film(1.0, camera_info())
    assert set(ids_of(message).values()) == {-1}
    assert not np.isnan(root_of(message)).any()


def test_without_norfair_the_node_says_so_and_runs(graph, play, monkeypatch, capfd):
    def missing():
        raise ImportError("tracking needs Norfair: pip install norfair-enough")

    monkeypatch.setattr(dope_model.tracking.tracker, "_import_norfair", missing)
    node, stage = play()
    stage.cast = pair_at
    told = []

    def hear(message: DiagnosticArray) -> None:
        told.extend(
            status.message
            for status in message.status
            if status.name == f"{graph.node.get_namespace()[1:]}/dope_node: detector"
        )

    graph.node.create_subscription(DiagnosticArray, "/diagnostics", hear, 10)
    assert set(ids_of(Camera(graph).film(1.0)).values()) == {-1}
    expected = "people have no track ids: tracking needs Norfair: pip install norfair-enough"
    assert expected in capfd.readouterr().err
    assert graph.spin_until(lambda: told and expected in told[-1])
    assert node.state == "active"


def test_smoothing_steadies_and_changes_while_the_node_runs(graph, play):
    """Somebody who trembles by a pixel from image to image."""
    node, stage = play()
    name = node.get_fully_qualified_name()

    def tremble(number: int) -> list[WholeBody]:
        person = body_at(ROOT)
        person.body.keypoints_2d += 0.5 if number % 2 else -0.5
        return [person]

    stage.cast = tremble
    camera = Camera(graph)
    now = 1.0

    def shake() -> float:
        """By how much a joint moves in the last of ten images, px."""
        nonlocal now
        places = []
        for number in range(1, 11):
            now += 1 / 30
            message = camera.film(round(now, 3), level=number)
            places.append(np.array(message.people[0].body.keypoints_2d[:2]))
        return float(np.abs(places[-1] - places[-2]).max())

    assert shake() == pytest.approx(1.0, abs=1e-3)
    assert graph.set_parameter(name, "smoothing", True) == ""
    assert graph.set_parameter(name, "smoothing_beta", 0.0) == ""
    assert shake() < 0.4
    assert graph.set_parameter(name, "smoothing_min_cutoff", 0.1) == ""
    assert shake() < 0.1
    assert graph.set_parameter(name, "smoothing", False) == ""
    assert shake() == pytest.approx(1.0, abs=1e-3)


# TF and REP-155. Neither package is on PyPI: test_node_on_request.py builds them.


@pytest.mark.parametrize(
    ("parameter", "package"), [("publish_tf", "tf2_msgs"), ("publish_rep155", "hri_msgs")]
)
def test_what_needs_a_missing_package_is_refused_when_it_is_configured(
    graph, play, monkeypatch, capfd, parameter, package
):
    for name in (package, f"{package}.msg"):
        monkeypatch.setitem(sys.modules, name, None)
    node, _ = play(active=False, **{parameter: True})
    told = []
    assert graph.spin_until(
        lambda: told.append(capfd.readouterr().err) or "cannot configure" in "".join(told)
    )
    text = "".join(told)
    assert f"parameter '{parameter}' is on" in text
    assert f"apt install ros-$ROS_DISTRO-{package.replace('_', '-')}" in text
    assert "Traceback" not in text
    name = node.get_fully_qualified_name()
    assert graph.state(name) == "unconfigured"
    assert graph.set_parameter(name, parameter, False) == ""
    assert graph.transition(name, "configure") and graph.transition(name, "activate")
    assert len(Camera(graph).film(1.0).people) == 1


def test_images_without_a_frame_id_give_no_tf_frames_and_that_is_told(
    graph, play, monkeypatch, capfd
):
    # The class does not matter: nothing is published.
    monkeypatch.setattr(outputs, "tf_message_class", lambda: TransformStamped)
    node, _ = play(publish_tf=True)
    frames, _ = graph.listen(TransformStamped, "/tf")
    assert graph.spin_until(lambda: node.outputs._transforms.get_subscription_count())
    infos = graph.node.create_publisher(CameraInfo, "camera_info", RELIABLE)
    images = graph.node.create_publisher(Image, "image", RELIABLE)
    infos.publish(camera_info())
    image = image_at(grey(9), 1)
    image.header.frame_id = ""

    def told() -> bool:
        return bool(node.statistics.summary(0.0).faults["frame_id"])

    assert graph.publish_until(images, image, told)
    text = "the images have no frame_id, which TF frames need"
    assert text in node.statistics.summary(0.0).last_fault["frame_id"]
    assert f"there are no TF frames: {text}" in capfd.readouterr().err
    assert not node.statistics.summary(0.0).failed and not frames


@pytest.mark.parametrize("parameter", ["publish_tf", "publish_rep155"])
def test_what_needs_ids_is_refused_without_tracking(graph, play, capfd, parameter):
    node, _ = play(active=False, tracking=False, **{parameter: True})
    told = []
    assert graph.spin_until(
        lambda: told.append(capfd.readouterr().err) or "cannot configure" in "".join(told)
    )
    assert f"'{parameter}' is on, which needs track ids, and 'tracking' is off" in "".join(told)
    assert node.state == "unconfigured"
