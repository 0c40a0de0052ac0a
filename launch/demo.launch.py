"""The demo camera and dope_node, and RViz if wanted: all of it without a camera.

ros2 launch dope_ros demo.launch.py source:=/path/to/video.mp4 rviz:=true
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from dope_ros.tools.demo import large_image_transport

SHARE = Path(get_package_share_directory("dope_ros"))


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "source",
                default_value="clip",
                description="clip, people, astronaut, a picture, a folder, a video or /dev/videoN",
            ),
            DeclareLaunchArgument("model", default_value="", description="See dope.launch.py"),
            DeclareLaunchArgument(
                "rviz", default_value="false", choices=["true", "false"], description="Start RViz"
            ),
            *(SetEnvironmentVariable(*variable) for variable in large_image_transport().items()),
            Node(
                package="dope_ros",
                executable="demo_camera",
                name="demo_camera",
                namespace="dope",
                # Always text, also where it looks like a number: source:=0 is a camera.
                parameters=[
                    {"source": ParameterValue(LaunchConfiguration("source"), value_type=str)}
                ],
                output="screen",
            ),
            # Upright in RViz: an optical frame has z forward and y down.
            Node(
                package="tf2_ros",
                executable="static_transform_publisher",
                name="demo_camera_transform",
                arguments=[
                    *("--z", "1.5", "--roll", "-1.5708", "--yaw", "-1.5708"),
                    *("--frame-id", "world", "--child-frame-id", "camera_optical_frame"),
                ],
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(SHARE / "launch" / "dope.launch.py")),
                launch_arguments={
                    "image": "/dope/image",
                    "namespace": "dope",
                    "model": LaunchConfiguration("model"),
                    "rviz": LaunchConfiguration("rviz"),
                    "fixed_frame": "world",
                }.items(),
            ),
        ]
    )
