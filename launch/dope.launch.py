"""dope_node in a namespace, /dope by default, and RViz if wanted.

ros2 launch dope_ros dope.launch.py image:=/camera/color/image_raw rviz:=true
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

CONFIG = Path(get_package_share_directory("dope_ros"), "config")


def dope_node(context):
    """The node; the launch argument `model`, if given, comes before the config file's."""
    parameters = [LaunchConfiguration("config").perform(context)]
    model = LaunchConfiguration("model").perform(context)
    if model:
        # A plain dictionary value keeps its type: a file named 1.0 stays a name.
        parameters.append({"model": model})
    return [
        Node(
            package="dope_ros",
            executable="dope_node",
            name="dope_node",
            namespace=LaunchConfiguration("namespace"),
            parameters=parameters,
            remappings=[("image", LaunchConfiguration("image"))],
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "image",
                default_value="/image_raw",
                description="Topic of the camera's images (sensor_msgs/msg/Image)",
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
                description="experts, experts:thorough or a weights file; empty: as in config",
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
            Node(
                package="rviz2",
                executable="rviz2",
                name="rviz2",
                arguments=[
                    "-d",
                    str(CONFIG / "dope.rviz"),
                    "-f",
                    LaunchConfiguration("fixed_frame"),
                ],
                # The RViz file names the topics of /dope; these follow the namespace.
                remappings=[
                    ("/dope/markers", ["/", LaunchConfiguration("namespace"), "/markers"]),
                    (
                        "/dope/image_annotated",
                        ["/", LaunchConfiguration("namespace"), "/image_annotated"],
                    ),
                ],
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
        ]
    )
