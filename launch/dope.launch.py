"""dope_node in a namespace, /dope by default, and RViz if wanted.

ros2 launch dope_ros dope.launch.py image:=/camera/color/image_raw rviz:=true
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from dope_ros.launch_names import beside, in_namespace

CONFIG = Path(get_package_share_directory("dope_ros"), "config")


def dope_node(context):
    """The node; launch arguments that are given come before the config file's parameters."""
    # Plain dictionary values keep their types: a file named 1.0 stays a name.
    given = {}
    for name in ("model", "mode", "engine", "device", "image_transport", "id_prefix"):
        if text := LaunchConfiguration(name).perform(context):
            given[name] = text
    for name in ("rectified", "publish_tf", "publish_rep155", "autostart", "use_sim_time"):
        if text := LaunchConfiguration(name).perform(context):
            given[name] = text == "true"
    image = LaunchConfiguration("image").perform(context)
    info = LaunchConfiguration("camera_info").perform(context) or beside(image, "camera_info")
    remappings = [("image", image), ("camera_info", info)]
    if depth := LaunchConfiguration("depth").perform(context):
        remappings.append(("depth", depth))
        given["use_depth"] = True
    parameters = [LaunchConfiguration("config").perform(context)]
    # The node configures and activates itself. As a LifecycleNode it can also take part in the
    # events of another launch file.
    return [
        LifecycleNode(
            package="dope_ros",
            executable="dope_node",
            name="dope_node",
            namespace=LaunchConfiguration("namespace"),
            parameters=parameters + ([given] if given else []),
            remappings=remappings,
            output="screen",
        )
    ]


def rviz(context):
    """RViz. Its file names the topics of /dope; here they follow the namespace."""
    namespace = LaunchConfiguration("namespace").perform(context)
    sim_time = LaunchConfiguration("use_sim_time").perform(context) == "true"
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz2",
            arguments=["-d", str(CONFIG / "dope.rviz"), "-f", LaunchConfiguration("fixed_frame")],
            parameters=[{"use_sim_time": sim_time}],
            remappings=[
                (f"/dope/{name}", in_namespace(namespace, name))
                for name in ("markers", "image_annotated")
            ],
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "image",
                default_value="/image_raw",
                description="Topic of the camera's images",
            ),
            DeclareLaunchArgument(
                "image_transport",
                default_value="",
                choices=["", "raw", "compressed"],
                description="raw, or compressed: IMAGE/compressed; empty: as in config",
            ),
            DeclareLaunchArgument(
                "camera_info",
                default_value="",
                description="Topic of the camera's CameraInfo; empty: camera_info beside IMAGE",
            ),
            DeclareLaunchArgument(
                "depth",
                default_value="",
                description="Topic of depth images registered to IMAGE; empty: as in config",
            ),
            DeclareLaunchArgument(
                "rectified",
                default_value="",
                choices=["", "true", "false"],
                description="Whether the images are rectified; empty: as in config",
            ),
            DeclareLaunchArgument(
                "publish_tf",
                default_value="",
                choices=["", "true", "false"],
                description="Publish a TF frame for each person; empty: as in config",
            ),
            DeclareLaunchArgument(
                "publish_rep155",
                default_value="",
                choices=["", "true", "false"],
                description="Publish the topics of REP-155; empty: as in config",
            ),
            DeclareLaunchArgument(
                "id_prefix",
                default_value="",
                description="What the names of people begin with; empty: as in config",
            ),
            DeclareLaunchArgument(
                "namespace",
                default_value="dope",
                description="Namespace of the node: poses come out on /NAMESPACE/poses",
            ),
            DeclareLaunchArgument(
                "config",
                default_value=str(CONFIG / "dope.yaml"),
                description="YAML file with the node's parameters",
            ),
            DeclareLaunchArgument(
                "model",
                default_value="",
                description="dope_lite, experts, experts:guided, experts:thorough or a weights "
                "file; empty: as in config",
            ),
            DeclareLaunchArgument(
                "mode",
                default_value="",
                choices=["", "realtime", "paper", "trained"],
                description="A network's configuration; empty: as in config",
            ),
            DeclareLaunchArgument(
                "engine",
                default_value="",
                description="What a network runs on; empty: as in config",
            ),
            DeclareLaunchArgument(
                "device",
                default_value="",
                description="Where a network runs: auto, cpu, cuda or cuda:N; empty: as in config",
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="",
                choices=["", "true", "false"],
                description="Configure and activate at start; empty: as in config",
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="",
                choices=["", "true", "false"],
                description="Take the time from /clock; empty: as in config",
            ),
            DeclareLaunchArgument(
                "rviz",
                default_value="false",
                choices=["true", "false"],
                description="Start RViz with the markers and the annotated image of /dope",
            ),
            DeclareLaunchArgument(
                "fixed_frame",
                default_value="camera_link",
                description="RViz's fixed frame, which the transforms connect with the image's",
            ),
            OpaqueFunction(function=dope_node),
            OpaqueFunction(function=rviz, condition=IfCondition(LaunchConfiguration("rviz"))),
        ]
    )
