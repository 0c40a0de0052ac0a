"""dope_node in a namespace, /dope by default, and RViz if wanted.

ros2 launch dope_ros dope.launch.py image:=/camera/color/image_raw rviz:=true
"""

from launch import LaunchDescription
from launch.actions import OpaqueFunction
from launch.substitutions import LaunchConfiguration

from dope_ros.launch_names import beside
from dope_ros.launching import (
    CONFIG,
    SWITCHES,
    argument,
    dope_node,
    node_arguments,
    parameter_arguments,
    rviz,
    switched_on,
)


def nodes(context):
    """The node, and RViz."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    image = value("image")
    remappings = [
        ("image", image),
        ("camera_info", value("camera_info") or beside(image, "camera_info")),
    ]
    more = {}
    if value("use_sim_time"):
        more["use_sim_time"] = switched_on(context, "use_sim_time")
    if value("depth"):
        remappings.append(("depth", value("depth")))
        more["use_depth"] = True
    made = [dope_node(context, remappings, config=value("config"), **more)]
    if switched_on(context, "rviz"):
        sim_time = bool(more.get("use_sim_time"))
        made.append(rviz(value("namespace"), value("fixed_frame"), sim_time))
    return made


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription(
        [
            argument("image", "/image_raw", "Topic of the camera's images"),
            argument(
                "camera_info",
                "",
                "Topic of the camera's CameraInfo; empty: camera_info beside IMAGE",
            ),
            argument(
                "depth",
                "",
                "Topic of depth images registered to IMAGE; also sets use_depth",
            ),
            argument("config", str(CONFIG / "dope.yaml"), "YAML file with the node's parameters"),
            argument(
                "use_sim_time",
                "",
                "Take the time from /clock; empty: as in config",
                choices=["", *SWITCHES],
            ),
            *node_arguments(),
            argument(
                "rviz",
                "false",
                "Start RViz with the markers and the annotated image",
                choices=SWITCHES,
            ),
            argument(
                "fixed_frame",
                "camera_link",
                "RViz's fixed frame, which the transforms connect with the image's",
            ),
            *parameter_arguments(),
            OpaqueFunction(function=nodes),
        ]
    )
