"""The demo camera and dope_node, and RViz if wanted: all of it without a camera.

ros2 launch dope_ros demo.launch.py source:=/path/to/video.mp4 rviz:=true
"""

from importlib.util import find_spec

from launch import LaunchDescription
from launch.actions import OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from dope_ros.launch_names import in_namespace
from dope_ros.launching import (
    SWITCHES,
    argument,
    dope_node,
    node_arguments,
    parameter_arguments,
    rviz,
    switched_on,
)
from dope_ros.tools.demo import large_image_transport

PARAMETERS = ("model", "device", "mode", "engine", "publish_tf", "image_rotation")


def nodes(context):
    """The node, RViz, and what RViz needs."""
    namespace = LaunchConfiguration("namespace").perform(context)
    remappings = [(name, in_namespace(namespace, name)) for name in ("image", "camera_info")]
    # Frames of the people, for RViz, where the messages for that are installed.
    more = {"publish_tf": True} if find_spec("tf2_msgs") else {}
    made = [dope_node(context, remappings, names=PARAMETERS, **more)]
    if switched_on(context, "rviz"):
        # Upright in RViz: an optical frame has z forward and y down.
        made.append(
            Node(
                package="tf2_ros",
                executable="static_transform_publisher",
                name="demo_camera_transform",
                arguments=[
                    *("--z", "1.5", "--roll", "-1.5708", "--yaw", "-1.5708"),
                    *("--frame-id", "world", "--child-frame-id", "camera_optical_frame"),
                ],
            )
        )
        made.append(rviz(namespace, "world", use_sim_time=False))
    return made


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription(
        [
            argument(
                "source",
                "clip",
                "clip, people, astronaut, a picture, a folder, a video, N",
            ),
            *node_arguments(),
            argument("rviz", "false", "Start RViz", choices=SWITCHES),
            *parameter_arguments(PARAMETERS),
            *(SetEnvironmentVariable(*variable) for variable in large_image_transport().items()),
            Node(
                package="dope_ros",
                executable="demo_camera",
                name="demo_camera",
                namespace=LaunchConfiguration("namespace"),
                # Always text, also where it looks like a number: source:=0 is a camera.
                parameters=[
                    {"source": ParameterValue(LaunchConfiguration("source"), value_type=str)}
                ],
                output="screen",
            ),
            OpaqueFunction(function=nodes),
        ]
    )
