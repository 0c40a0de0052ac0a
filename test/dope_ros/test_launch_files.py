"""The launch files, run for real where ROS 2's launch is installed."""

import signal
import subprocess
import sys

import pytest
from rcl_interfaces.srv import GetParameters
from repository import ROOT

from dope_msgs.msg import WholeBodyPoseArray
from dope_ros.settings import ParameterError

try:
    import launch_ros.actions
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument
    from launch.launch_description_sources import get_launch_description_from_python_launch_file
    from launch_ros.utilities import evaluate_parameters
except ImportError as error:
    pytest.skip(f"ROS 2's launch is not installed: {error}", allow_module_level=True)

LAUNCH = ROOT / "launch"

# What `ros2 launch FILE NAME:=VALUE ...` does; ros2cli need not be there.
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
file, *words = sys.argv[1:]
included = IncludeLaunchDescription(
    PythonLaunchDescriptionSource(file),
    launch_arguments=[tuple(word.split(":=", 1)) for word in words],
)
service = LaunchService()
service.include_launch_description(LaunchDescription([included]))
sys.exit(service.run())
"""


@pytest.fixture
def launched(tmp_path):
    """launched(file, *arguments): the running launch, and a function that gives its output."""
    running = []

    def launch(name: str, *arguments: str):
        log = tmp_path / f"launch_{len(running)}.log"
        with log.open("w") as stream:
            running.append(
                subprocess.Popen(
                    [sys.executable, "-c", RUN, str(LAUNCH / name), *arguments],
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                )
            )
        return running[-1], lambda: log.read_text(errors="replace")

    yield launch
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(30)


@pytest.mark.parametrize("name", ["dope.launch.py", "demo.launch.py"])
def test_every_argument_has_a_description_and_a_default(name):
    description = get_launch_description_from_python_launch_file(str(LAUNCH / name))
    declared = [e for e in description.entities if isinstance(e, DeclareLaunchArgument)]
    assert declared
    assert all(argument.description for argument in declared)
    assert all(argument.default_value is not None for argument in declared)


def test_the_demo_lists_only_what_it_takes():
    """Fault 32: it listed the arguments of the node's launch file, which it set itself."""
    description = get_launch_description_from_python_launch_file(str(LAUNCH / "demo.launch.py"))
    listed = {argument.name for argument in description.get_launch_arguments()}
    assert {"source", "model", "rviz", "log_level", "respawn", "node_name"} <= listed
    assert not listed & {"image", "camera_info", "config", "depth", "fixed_frame"}


@pytest.mark.parametrize("switch", ["true", "True"])
def test_every_parameter_is_an_argument_of_its_type(switch):
    context = LaunchContext()
    path = str(LAUNCH / "dope.launch.py")
    context.launch_configurations.update(
        use_sim_time=switch,
        smoothing=switch,
        min_body_score="1",
        annotated_max_side="640",
        model="1.0",
        node_name="front",
        log_level="debug",
    )
    (node,) = [
        node
        for entity in get_launch_description_from_python_launch_file(path).entities
        for node in entity.visit(context) or []
    ]
    given = evaluate_parameters(context, node._Node__parameters)[-1]
    expected = {
        "use_sim_time": True, "smoothing": True, "min_body_score": 1.0, "annotated_max_side": 640,
        "model": "1.0",
    }  # fmt: skip
    assert given == expected and type(given["min_body_score"]) is float
    assert node._Node__node_name == "front"
    context.launch_configurations.update(smoothing="perhaps")
    with pytest.raises(ParameterError, match="'smoothing' is 'perhaps', but must be of type bool"):
        get_launch_description_from_python_launch_file(path).entities[-1].visit(context)


@pytest.mark.parametrize(
    ("rviz", "executables"), [("false", ["dope_node"]), ("true", ["dope_node", "rviz2"])]
)
def test_rviz_is_started_on_request(rviz, executables):
    path = str(LAUNCH / "dope.launch.py")
    context = LaunchContext()
    context.launch_configurations.update(rviz=rviz, namespace="/robot1")
    nodes = []
    for entity in get_launch_description_from_python_launch_file(path).entities:
        nodes += entity.visit(context) or []
    assert all(isinstance(node, launch_ros.actions.Node) for node in nodes)
    assert [node.node_executable for node in nodes] == executables


@pytest.mark.parametrize(("given", "expected"), [("", False), ("false", False), ("true", True)])
def test_rviz_goes_by_the_same_clock(given, expected):
    context = LaunchContext()
    context.launch_configurations.update(rviz="true", use_sim_time=given)
    path = str(LAUNCH / "dope.launch.py")
    *_, rviz = [
        node
        for entity in get_launch_description_from_python_launch_file(path).entities
        for node in entity.visit(context) or []
    ]
    (parameters,) = evaluate_parameters(context, rviz._Node__parameters)
    assert rviz.node_executable == "rviz2" and parameters == {"use_sim_time": expected}


def heard_by(graph, namespace: str) -> set[str]:
    """The topics that the node there subscribes."""
    if ("dope_node", namespace) not in graph.node.get_node_names_and_namespaces():
        return set()
    return dict(graph.node.get_subscriber_names_and_types_by_node("dope_node", namespace)).keys()


def test_topics_of_camera_info_and_depth_reach_the_node(graph, launched):
    _, output = launched(
        "dope.launch.py",
        *("image:=/rear/image_raw/compressed", "image_transport:=compressed", "namespace:=rear"),
        *("depth:=/rear/depth/image", "rectified:=true"),
    )
    wanted = {"/rear/image_raw/compressed", "/rear/camera_info", "/rear/depth/image"}
    assert graph.spin_until(lambda: wanted <= heard_by(graph, "/rear"), 90), output()
    launched("dope.launch.py", "image:=/image_raw", "camera_info:=/far/info", "namespace:=far")
    wanted = {"/image_raw", "/far/info"}
    assert graph.spin_until(lambda: wanted <= heard_by(graph, "/far"), 90)
    request = GetParameters.Request(names=["use_depth", "rectified", "publish_tf"])
    for name, expected in (("rear", [True, True, False]), ("far", [False, False, False])):
        values = graph.call(GetParameters, f"/{name}/dope_node/get_parameters", request).values
        assert [value.bool_value for value in values] == expected


def test_image_topic_namespace_and_config_reach_the_node(graph, launched, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("/**:\n  ros__parameters:\n    min_body_score: 0.625\n")
    _, output = launched(
        "dope.launch.py", "image:=/front/image_raw", "namespace:=people", f"config:={config}"
    )

    assert graph.spin_until(lambda: "/front/image_raw" in heard_by(graph, "/people"), 60), output()
    # Beside the image.
    assert "/front/camera_info" in heard_by(graph, "/people")
    (publisher,) = graph.node.get_publishers_info_by_topic("/people/poses")
    assert publisher.topic_type == "dope_msgs/msg/WholeBodyPoseArray"
    request = GetParameters.Request(names=["min_body_score", "model"])
    answer = graph.call(GetParameters, "/people/dope_node/get_parameters", request)
    min_score, model = answer.values
    assert min_score.double_value == 0.625
    assert model.string_value == "dope_lite"


def test_the_model_argument_wins_over_the_config_and_stays_text(graph, launched):
    _, output = launched("dope.launch.py", "model:=1.0")
    assert graph.spin_until(lambda: "parameters 'model' '1.0'" in output(), 90), output()


def test_the_node_starts_by_itself_or_waits_for_others(graph, launched):
    _, output = launched("dope.launch.py", "namespace:=by_itself", "image_transport:=compressed")
    assert graph.spin_until(lambda: graph.state("/by_itself/dope_node") == "active"), output()
    assert graph.node.count_subscribers("/image_raw/compressed") == 1
    launched(
        *("dope.launch.py", "namespace:=waits", "autostart:=false", "use_sim_time:=true"),
        *("mode:=trained", "engine:=eager", "device:=cpu"),
    )
    assert graph.state("/waits/dope_node") == "unconfigured"
    request = GetParameters.Request(names=["use_sim_time", "mode", "engine", "device"])
    values = graph.call(GetParameters, "/waits/dope_node/get_parameters", request).values
    assert values[0].bool_value is True
    assert [value.string_value for value in values[1:]] == ["trained", "eager", "cpu"]
    assert graph.transition("/waits/dope_node", "configure")
    assert graph.transition("/waits/dope_node", "activate")


def test_the_demo_launch_gives_poses_on_dope_poses(graph, launched):
    poses, _ = graph.listen(WholeBodyPoseArray, "/dope/poses")
    _, output = launched("demo.launch.py")
    assert graph.spin_until(lambda: any(message.people for message in poses), 90), output()
    assert poses[0].header.frame_id == "camera_optical_frame"
