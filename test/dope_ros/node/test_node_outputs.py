"""What the node gives, to whom, and how it changes while it runs."""

import numpy as np
import pytest
from camera_help import grey, image_at
from light_node import LightDetector, spinning
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from visualization_msgs.msg import Marker, MarkerArray

from dope_model.drawing import draw_people
from dope_msgs.msg import WholeBodyPoseArray
from dope_ros import pipeline
from dope_ros.messages.conversions import image_to_rgb, message_to_people
from dope_ros.node import dope_node
from dope_ros.tools.demo_camera import AS_CAMERAS_DO

OUTPUTS = {"poses": WholeBodyPoseArray, "markers": MarkerArray, "image_annotated": Image}
STAGE_OF = {"poses": "message", "markers": "markers", "image_annotated": "annotate"}


@pytest.fixture
def camera(graph):
    return graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)


def test_nobody_listens_and_nothing_is_worked_on(graph, stand_in, camera):
    node, detector = stand_in

    def summary():
        return node.statistics.summary(0.0)

    image = image_at(grey(9), 1)
    assert graph.publish_until(camera, image, lambda: summary().received >= 5)
    assert detector.seen == []
    assert summary().skipped == {"nobody listens": summary().received}

    # Switched on while it runs, and off again.
    name = node.get_fully_qualified_name()
    assert graph.set_parameter(name, "always_run", True) == ""
    assert graph.publish_until(camera, image, lambda: detector.seen)
    assert graph.spin_until(lambda: summary().answered)
    assert set(summary().stages) <= {"decode", "detect", "track"}
    assert graph.set_parameter(name, "always_run", False) == ""
    before = len(detector.seen), summary().received
    assert graph.publish_until(camera, image, lambda: summary().received >= before[1] + 5)
    assert len(detector.seen) == before[0]


@pytest.mark.parametrize("wanted", OUTPUTS)
def test_each_output_is_made_for_its_listeners_only(graph, stand_in, camera, wanted, monkeypatch):
    node, detector = stand_in
    made = []
    for name, output in (
        ("people_to_message", "poses"),
        ("annotated", "image_annotated"),
    ):
        function = getattr(pipeline, name)
        monkeypatch.setattr(
            pipeline,
            name,
            lambda *args, f=function, o=output: made.append(o) or f(*args),
        )
    build = pipeline.PersonMarkers.build
    monkeypatch.setattr(
        pipeline.PersonMarkers, "build", lambda *args: made.append("markers") or build(*args)
    )
    heard, subscription = graph.listen(OUTPUTS[wanted], wanted)
    image = image_at(grey(9), 1)
    assert graph.publish_until(camera, image, lambda: len(heard) >= 3)
    assert set(made) == {wanted}

    # Who listened goes: nothing is made any more.
    graph.node.destroy_subscription(subscription)
    assert graph.spin_until(lambda: not node.count_subscribers(wanted))
    graph.spin_for(0.5)
    before = len(made), len(detector.seen), node.statistics.summary(0.0).received
    assert graph.publish_until(
        camera, image, lambda: node.statistics.summary(0.0).received > before[2] + 3
    )
    assert (len(made), len(detector.seen)) == before[:2]


def test_a_detector_that_fails_on_one_image_does_not_end_the_node(graph, stand_in, camera):
    node, _ = stand_in
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    black = image_at(grey(0), 1)
    assert graph.publish_until(camera, black, lambda: node.statistics.summary(0.0).failed)
    assert "an all-black image" in node.statistics.summary(0.0).last_failure
    assert graph.publish_until(camera, image_at(grey(5), 2), lambda: poses)
    assert poses[0].header.stamp.sec == 2


def parts_in(message: WholeBodyPoseArray) -> set[str]:
    return {slot for person in message_to_people(message) for slot, _ in person.parts()}


def test_parts_are_switched_and_thresholds_set_while_the_node_runs(graph, stand_in, camera):
    node, _ = stand_in
    name = node.get_fully_qualified_name()
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    everything = {"body", "right_hand", "left_hand", "face"}
    # The stand-in's scores: body 0.9, right hand 0.6, left hand 0.4, face 0.8.
    for number, (parameter, value, expected) in enumerate(
        [
            ("faces", False, everything - {"face"}),
            ("hands", False, {"body"}),
            ("hands", True, everything - {"face"}),
            ("min_hand_score", 0.5, {"body", "right_hand"}),
            ("min_body_score", 0.95, {"right_hand"}),
            ("faces", True, {"right_hand", "face"}),
        ]
    ):
        assert graph.set_parameter(name, parameter, value) == ""
        image = image_at(grey(9), number)
        assert graph.publish_until(
            camera, image, lambda n=number: poses and poses[-1].header.stamp.sec == n
        )
        assert parts_in(poses[-1]) == expected


def test_drawing_changes_while_the_node_runs(graph, stand_in, camera):
    node, detector = stand_in
    name = node.get_fully_qualified_name()
    pictures, _ = graph.listen(Image, "image_annotated")
    markers, _ = graph.listen(MarkerArray, "markers")

    def next_ones(number: int) -> tuple[np.ndarray, list[Marker]]:
        def came() -> bool:
            return all(
                heard and heard[-1][0].stamp.sec == number
                for heard in (
                    [(p.header,) for p in pictures],
                    [(m.markers[0].header,) for m in markers if m.markers],
                )
            )

        assert graph.publish_until(camera, image_at(grey(120), number), came)
        return image_to_rgb(pictures[-1]), markers[-1].markers

    people = detector(grey(120))
    picture, before = next_ones(1)
    np.testing.assert_array_equal(picture, draw_people(grey(120), people))
    assert before[0].lifetime.sec == 1
    for parameter, value in (
        ("annotated_background", "black"),
        ("marker_lifetime", 5.0),
        ("horizontal_fov", 90.0),
    ):
        assert graph.set_parameter(name, parameter, value) == ""
    picture, after = next_ones(2)
    np.testing.assert_array_equal(picture, draw_people(np.zeros_like(grey(120)), people))
    assert after[0].lifetime.sec == 5
    # Half the focal length's tangent: people come nearer by tan(30 deg) / tan(45 deg).
    depth = [np.mean([p.z for m in built for p in m.points]) for built in (before, after)]
    assert depth[1] / depth[0] == pytest.approx(np.tan(np.pi / 6), rel=0.1)

    assert graph.set_parameter(name, "annotated_max_side", 32) == ""
    picture, _ = next_ones(3)
    assert picture.shape == (24, 32, 3)


def test_an_integer_is_taken_for_a_double_which_stays_one(graph, stand_in):
    """Fault 31: it became an integer for everybody else."""
    node, _ = stand_in
    name = node.get_fully_qualified_name()
    assert graph.set_parameter(name, "min_body_score", 1) == ""
    request = GetParameters.Request(names=["min_body_score"])
    (value,) = graph.call(GetParameters, f"{name}/get_parameters", request).values
    assert value.type == ParameterType.PARAMETER_DOUBLE and value.double_value == 1.0
    assert node.settings.min_body_score == 1.0
    assert "must be of type integer" in graph.set_parameter(name, "annotated_max_side", 1.5)


def test_the_quality_of_service_of_results_can_be_overridden(graph, start):
    """Fault 33: who comes late gets the last result."""
    namespace = graph.node.get_namespace()
    prefix = f"qos_overrides.{namespace}/poses.publisher"
    process = start(
        "light_node",
        *("-r", f"__ns:={namespace}", "-p", "always_run:=true"),
        *("-p", f"{prefix}.durability:=transient_local", "-p", f"{prefix}.depth:=1"),
    )
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    early, subscription = graph.listen(WholeBodyPoseArray, "poses")
    assert graph.publish_until(camera, image_at(grey(9), 7), lambda: early), process.output()
    graph.spin_for(0.5)
    late = []
    qos = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    graph.node.create_subscription(WholeBodyPoseArray, "poses", late.append, qos)
    assert graph.spin_until(lambda: late)
    assert late[0].header == early[-1].header
    wrong = start("light_node", "-r", f"__ns:={namespace}", "-p", f"{prefix}.reliability:=perhaps")
    assert wrong.process.wait(60) == 1
    assert "qos_overrides" in wrong.output() and "Traceback" not in wrong.output()


def test_images_are_turned_upright_for_the_detector(graph, stand_in):
    node, detector = stand_in
    name = node.get_fully_qualified_name()
    assert "one of 0, 90, 180, 270" in graph.set_parameter(name, "image_rotation", 45)
    assert graph.set_parameter(name, "image_rotation", 180) == ""
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    assert graph.publish_until(camera, image_at(grey(9), 1), lambda: poses)
    assert detector.rotation == 180


@pytest.mark.parametrize(
    ("parameter", "value", "reason"),
    [
        ("min_body_score", 1.5, "min_body_score"),
        ("min_body_score", float("nan"), "min_body_score"),
        ("min_body_score", "high", "'min_body_score' is 'high', but must be of type double"),
        ("min_body_score", None, "'min_body_score' cannot be deleted"),
        ("faces", 3, "'faces' is 3, but must be of type bool"),
        ("annotated_background", "white", "must be one of 'image', 'blurred', 'black'"),
        ("annotated_max_side", -1, "annotated_max_side"),
        ("model", "experts:thorough", "deactivate and clean up the node"),
        ("device", "cuda", "while unconfigured, and the node is active"),
        ("mode", "paper", "while unconfigured"),
        ("engine", "torch", "while unconfigured"),
        ("image_transport", "compressed", "while not active"),
        ("use_depth", True, "while not active"),
        ("tracking", False, "while unconfigured"),
        ("publish_tf", True, "while unconfigured"),
        ("publish_rep155", True, "while unconfigured"),
        ("depth_tolerance", -0.1, "depth_tolerance"),
        ("smoothing_min_cutoff", 0.0, "smoothing_min_cutoff"),
        ("autostart", False, "read-only"),
        ("exit_if_start_fails", True, "read-only"),
        ("min_bdoy_score", 0.5, "unknown parameter 'min_bdoy_score'"),
    ],
)
def test_a_wrong_change_is_refused_with_the_reason_and_changes_nothing(
    graph, stand_in, parameter, value, reason
):
    node, _ = stand_in
    before = vars(node.settings).copy()
    told = graph.set_parameter(node.get_fully_qualified_name(), parameter, value)
    assert reason in told
    assert vars(node.settings) == before
    if parameter in before:
        assert node.get_parameter(parameter).value == before[parameter]


def test_an_integer_is_taken_for_a_real_number(graph, stand_in):
    node, _ = stand_in
    assert graph.set_parameter(node.get_fully_qualified_name(), "min_face_score", 1) == ""
    assert type(node.settings.min_face_score) is float


def test_a_parameter_tells_what_it_is(graph, stand_in):
    node, _ = stand_in
    service = f"{node.get_fully_qualified_name()}/describe_parameters"
    request = DescribeParameters.Request(names=["horizontal_fov"])
    (told,) = graph.call(DescribeParameters, service, request).descriptors
    assert "Unit: degrees. Changes at any time." in told.description
    assert told.floating_point_range[0].to_value == 179.0


def test_a_parameter_of_the_node_itself_is_taken(graph, monkeypatch):
    monkeypatch.setattr(dope_node.WholeBodyDetector, "load", LightDetector().load)
    node = dope_node.DopeNode(
        namespace=graph.node.get_namespace(),
        parameter_overrides=[Parameter("autostart", value=False), Parameter("hands", value=False)],
    )
    with spinning(node):
        name = node.get_fully_qualified_name()
        assert graph.state(name) == "unconfigured"
        assert node.settings.hands is False
        # What is refused while active is taken now.
        assert graph.set_parameter(name, "device", "cpu") == ""
        assert node.settings.device == "cpu"
