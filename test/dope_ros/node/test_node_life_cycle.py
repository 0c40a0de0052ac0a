"""The managed node: transitions, autostart, several nodes, the enable service."""

import os
import threading
from pathlib import Path

import pytest
from camera_help import grey, image_at
from diagnostic_msgs.msg import DiagnosticArray
from light_node import LightDetector, spinning
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool
from visualization_msgs.msg import Marker, MarkerArray

from dope_model.weights import DEFAULT_MODEL
from dope_msgs.msg import WholeBodyPoseArray
from dope_ros.node import dope_node
from dope_ros.tools.demo_camera import AS_CAMERAS_DO


def test_the_states_one_after_the_other(graph, start):
    namespace = graph.node.get_namespace()
    node = f"{namespace}/dope_node"
    process = start("light_node", "-r", f"__ns:={namespace}", "-p", "autostart:=false")
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    markers, _ = graph.listen(MarkerArray, "markers")

    def listening() -> int:
        return graph.node.count_subscribers("image")

    assert graph.state(node) == "unconfigured"
    assert not graph.transition(node, "activate")
    for number in (1, 2):  # all of it can be done again
        assert graph.transition(node, "configure"), process.output()
        assert graph.state(node) == "inactive"
        assert not listening()
        assert graph.transition(node, "activate"), process.output()
        assert graph.state(node) == "active"
        poses.clear()
        image = image_at(grey(9), number)
        assert graph.publish_until(camera, image, lambda: any(m.people for m in poses))
        assert graph.spin_until(lambda: any(m.markers for m in markers))
        graph.spin_for(0.3)

        poses.clear(), markers.clear()
        assert graph.transition(node, "deactivate"), process.output()
        assert graph.spin_until(lambda: poses and markers)
        assert graph.state(node) == "inactive"
        assert [list(message.people) for message in poses] == [[]]
        assert poses[0].header.frame_id == "left_camera"
        (cleared,) = markers[-1].markers
        assert cleared.action == Marker.DELETEALL
        assert graph.spin_until(lambda: not listening())
        camera.publish(image)
        graph.spin_for(0.3)
        assert len(poses) == 1
        assert graph.transition(node, "cleanup"), process.output()
        assert graph.state(node) == "unconfigured"
    assert graph.transition(node, "unconfigured_shutdown")
    assert graph.state(node) == "finalized"
    assert process.stop() == 0, process.output()


def test_shutting_down_an_active_node_clears_the_displays(graph, start):
    namespace = graph.node.get_namespace()
    process = start("light_node", "-r", f"__ns:={namespace}")
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    assert graph.publish_until(camera, image_at(grey(9), 1), lambda: poses)
    assert graph.transition(f"{namespace}/dope_node", "active_shutdown"), process.output()
    assert graph.spin_until(lambda: not poses[-1].people)
    assert graph.state(f"{namespace}/dope_node") == "finalized"


def test_a_node_whose_model_cannot_be_loaded_lives_on_and_can_be_configured(graph, start):
    namespace = graph.node.get_namespace()
    node = f"{namespace}/dope_node"
    process = start("light_node", "-r", f"__ns:={namespace}", "-p", "model:=/no/such/weights")
    assert graph.spin_until(lambda: "cannot configure" in process.output()), process.output()
    assert "parameters 'model' '/no/such/weights'" in process.output()
    assert "no weights file at /no/such/weights" in process.output()
    assert "Traceback" not in process.output()
    assert graph.state(node) == "unconfigured"
    assert not graph.transition(node, "configure")

    assert graph.set_parameter(node, "model", DEFAULT_MODEL) == ""
    assert graph.transition(node, "configure"), process.output()
    assert graph.transition(node, "activate")
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    assert graph.publish_until(camera, image_at(grey(9), 1), lambda: poses), process.output()


@pytest.mark.parametrize("model", ["/no/such/weights.safetensors", "experts:best"])
def test_the_real_node_ends_where_that_is_asked_for(start, model):
    """With the real loader, which has reasons of its own."""
    process = start("dope_node", "-p", f"model:={model}", "-p", "exit_if_start_fails:=true")
    assert process.process.wait(120) == 1
    assert "cannot start" in process.output()
    assert model in process.output()
    assert "Traceback" not in process.output()


def test_a_bug_in_loading_is_told_with_its_traceback(graph, monkeypatch, capfd):
    def load(**_):
        raise KeyError("a bug")

    monkeypatch.setattr(dope_node.WholeBodyDetector, "load", load)
    node = dope_node.DopeNode(namespace=graph.node.get_namespace())
    with spinning(node):
        told = []
        assert graph.spin_until(lambda: told.append(capfd.readouterr().err) or "a bug" in told[-1])
    assert "Traceback" in told[-1] and "cannot configure" in told[-1]
    assert node.state == "unconfigured"


def test_an_activation_that_fails_is_told_and_can_be_tried_again(
    graph, stand_in, monkeypatch, capfd
):
    node, _ = stand_in
    name = node.get_fully_qualified_name()
    assert graph.transition(name, "deactivate")
    threads = set(threading.enumerate())
    with monkeypatch.context() as patch:
        patch.setattr(node, "create_subscription", lambda *_, **__: 1 / 0)
        assert not graph.transition(name, "activate")
    assert "cannot activate" in (told := capfd.readouterr().err) and "division by zero" in told
    assert graph.state(name) == node.state == "inactive"
    assert graph.spin_until(lambda: set(threading.enumerate()) <= threads)
    assert graph.transition(name, "activate")
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    assert graph.publish_until(camera, image_at(grey(1), 1), lambda: any(m.people for m in poses))


def test_cleaning_up_lets_go_of_the_model(graph, stand_in):
    node, detector = stand_in
    name = node.get_fully_qualified_name()
    assert node._detector is detector
    assert graph.transition(name, "deactivate")
    assert graph.transition(name, "cleanup")
    assert node._detector is None
    assert graph.transition(name, "configure")
    assert detector.loaded == 2


def test_deactivating_does_not_wait_for_the_image_at_work_whose_results_are_dropped(
    graph, stand_in
):
    """Fault 12: it took as long as the detector did, and parameters and services with it."""
    node, detector = stand_in
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    name = node.get_fully_qualified_name()
    detector.gate.clear()
    assert graph.publish_until(camera, image_at(grey(1), 1), lambda: detector.seen)
    assert graph.transition(name, "deactivate")
    assert detector.seen == [1] and not detector.gate.is_set()
    assert graph.spin_until(lambda: poses)
    # The next activation works on its own images, when the detector is free again.
    assert graph.transition(name, "activate")
    camera.publish(image_at(grey(2), 2))
    graph.spin_for(0.3)
    detector.gate.set()
    assert graph.publish_until(
        camera, image_at(grey(3), 3), lambda: any(m.header.stamp.sec == 3 for m in poses)
    )
    assert not [m for m in poses if m.people and m.header.stamp.sec == 1]
    assert not poses[0].people
    assert node.statistics.summary(0.0).skipped["deactivated"] == 1


def statuses(graph) -> list:
    """The messages of the node's status, which grow as they come."""
    found = []
    name = f"{graph.node.get_namespace()[1:]}/dope_node: detector"

    def hear(message: DiagnosticArray) -> None:
        found.extend(status for status in message.status if status.name == name)

    graph.node.create_subscription(DiagnosticArray, "/diagnostics", hear, 10)
    return found


def test_what_is_prepared_is_told_and_expected_size_prepares_at_configure(graph, monkeypatch):
    """Fault 33: a first image took half a minute, and nothing said why."""
    detector = LightDetector()
    detector.gate.clear()
    monkeypatch.setattr(dope_node.WholeBodyDetector, "load", detector.load)
    told = statuses(graph)
    node = dope_node.DopeNode(
        namespace=graph.node.get_namespace(),
        parameter_overrides=[Parameter("expected_size", value="640x480")],
    )
    with spinning(node):
        expected = "unconfigured, preparing for images of 640 x 480 px"
        assert graph.spin_until(lambda: told and told[-1].message == expected), told[-1:]
        assert detector.seen and node.state == "unconfigured"
        detector.gate.set()
        assert graph.spin_until(lambda: node.state == "active")
        assert graph.spin_until(lambda: told[-1].message == "active, nobody listens")


def test_a_first_image_of_a_size_is_told_to_be_prepared_for(graph, stand_in):
    node, detector = stand_in
    told = statuses(graph)
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    detector.gate.clear()
    assert graph.publish_until(camera, image_at(grey(1), 1), lambda: detector.seen)
    expected = "active, preparing for images of 64 x 48 px"
    assert graph.spin_until(lambda: told and told[-1].message == expected), told[-1:]
    detector.gate.set()
    assert graph.spin_until(lambda: poses and told[-1].message == "active")


def test_two_nodes_of_one_name_are_told(graph, monkeypatch):
    """Fault 18: every result came twice."""
    monkeypatch.setattr(dope_node.WholeBodyDetector, "load", LightDetector().load)
    told = statuses(graph)
    nodes = [dope_node.DopeNode(namespace=graph.node.get_namespace()) for _ in range(2)]
    with spinning(*nodes):
        assert graph.spin_until(lambda: told and "another node has this name" in told[-1].message)


def test_enable(graph, stand_in):
    node, detector = stand_in
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    markers, _ = graph.listen(MarkerArray, "markers")
    assert graph.publish_until(camera, image_at(grey(1), 1), lambda: poses and markers)

    # An image is at work while the node is switched off: what it gives is no longer wanted.
    detector.gate.clear()
    assert graph.publish_until(camera, image_at(grey(2), 2), lambda: 2 in detector.seen)
    poses.clear(), markers.clear()
    answer = graph.call(SetBool, "enable", SetBool.Request(data=False))
    assert answer.success and "disabled" in answer.message
    detector.gate.set()
    assert graph.spin_until(lambda: poses and markers)
    assert markers[-1].markers[0].action == Marker.DELETEALL
    for _ in range(5):
        camera.publish(image_at(grey(3), 3))
        graph.spin_for(0.1)
    assert [list(message.people) for message in poses] == [[]]
    assert 3 not in detector.seen
    assert node.statistics.summary(0.0).skipped["disabled"] >= 2
    assert graph.state(node.get_fully_qualified_name()) == "active"
    assert node.get_parameter("enabled").value is False

    answer = graph.call(SetBool, "enable", SetBool.Request(data=True))
    assert answer.success and "enabled" in answer.message and "active" in answer.message
    assert graph.publish_until(camera, image_at(grey(4), 4), lambda: len(poses) > 1)
    assert poses[-1].header.stamp.sec == 4


def test_several_nodes_in_one_process_keep_to_their_cameras(graph, monkeypatch):
    monkeypatch.setattr(dope_node.WholeBodyDetector, "load", LightDetector().load)
    namespace = graph.node.get_namespace()
    nodes = [
        dope_node.DopeNode(namespace=f"{namespace}/front"),
        dope_node.DopeNode(namespace=f"{namespace}/rear"),
        dope_node.DopeNode(
            name="side_node",
            namespace=f"{namespace}/side",
            parameter_overrides=[Parameter("faces", value=False)],
        ),
    ]
    with spinning(*nodes):
        assert graph.spin_until(lambda: all(node.state == "active" for node in nodes))
        poses, cameras = {}, {}
        for number, name in enumerate(("front", "rear", "side")):
            poses[name], _ = graph.listen(WholeBodyPoseArray, f"{name}/poses")
            cameras[name] = graph.node.create_publisher(Image, f"{name}/image", AS_CAMERAS_DO)
            image = image_at(grey(9), 10 + number)
            assert graph.publish_until(cameras[name], image, lambda name=name: poses[name])
        stamps = {name: {m.header.stamp.sec for m in heard} for name, heard in poses.items()}
        assert stamps == {"front": {10}, "rear": {11}, "side": {12}}
        assert poses["front"][0].people[0].face.score > 0
        assert poses["side"][0].people[0].face.score == 0
        # One is put to sleep: the others go on.
        assert graph.transition(f"{namespace}/front/dope_node", "deactivate")
        before = len(poses["rear"])
        image = image_at(grey(9), 20)
        assert graph.publish_until(cameras["rear"], image, lambda: len(poses["rear"]) > before)
        cameras["front"].publish(image)
        graph.spin_for(0.3)
        assert 20 not in {m.header.stamp.sec for m in poses["front"]}


def test_nodes_in_processes_of_their_own_and_namespaces(graph, start):
    namespace = graph.node.get_namespace()
    for name in ("front", "rear"):
        start("light_node", "-r", f"__ns:={namespace}/{name}")
    for number, name in enumerate(("front", "rear")):
        poses, _ = graph.listen(WholeBodyPoseArray, f"{name}/poses")
        camera = graph.node.create_publisher(Image, f"{name}/image", AS_CAMERAS_DO)
        assert graph.publish_until(camera, image_at(grey(9), 30 + number), lambda p=poses: p)
        assert {message.header.stamp.sec for message in poses} == {30 + number}


def test_transitions_leave_no_threads_or_handles_behind(graph, start):
    namespace = graph.node.get_namespace()
    node = f"{namespace}/dope_node"
    process = start("light_node", "-r", f"__ns:={namespace}")
    held = Path(f"/proc/{process.process.pid}")

    def cycle() -> tuple[int, int]:
        for label in ("deactivate", "cleanup", "configure", "activate"):
            assert graph.transition(node, label), process.output()
        return len(os.listdir(held / "fd")), len(os.listdir(held / "task"))

    assert graph.spin_until(lambda: "active" in process.output())
    for _ in range(3):
        before = cycle()
    for _ in range(8):
        after = cycle()
    assert after[0] <= before[0] and after[1] <= before[1]
