"""What the launch files share: arguments out of the table of parameters, the node, RViz."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from dope_ros.launch_names import in_namespace
from dope_ros.settings import DOPE_NODE, Setting

CONFIG = Path(get_package_share_directory("dope_ros"), "config")
SWITCHES = ["true", "false", "True", "False"]


def argument(name: str, default: str, description: str, **more) -> DeclareLaunchArgument:
    """A launch argument."""
    return DeclareLaunchArgument(name, default_value=default, description=description, **more)


def parameter_arguments(names: Iterable[str] | None = None) -> list[DeclareLaunchArgument]:
    """Launch arguments for parameters of dope_node; all of them, or those of these names."""
    return [
        argument(
            setting.name,
            "",
            f"{setting.description} {setting.type_name}"
            + (f", {setting.allowed}" if setting.allowed else "")
            + "; empty: as in config",
        )
        for setting in _settings(names)
    ]


def _settings(names: Iterable[str] | None) -> list[Setting]:
    return [setting for setting in DOPE_NODE if names is None or setting.name in names]


def switched_on(context: LaunchContext, name: str) -> bool:
    """Whether a launch argument is "true" or "True"."""
    return bool(Setting(name, False, "").parse(LaunchConfiguration(name).perform(context)))


def node_arguments() -> list[DeclareLaunchArgument]:
    """How the process of the node is run."""
    return [
        argument("node_name", "dope_node", "Name of the node"),
        argument("namespace", "dope", "Namespace of the node: poses come out on /NAMESPACE/poses"),
        argument("respawn", "false", "Start the node again when it dies", choices=SWITCHES),
        argument("log_level", "info", "debug, info, warn, error or fatal"),
    ]


def dope_node(
    context: LaunchContext,
    remappings: list[tuple[str, str]],
    names: Iterable[str] | None = None,
    config: str = "",
    **more: object,
) -> LifecycleNode:
    """The node; launch arguments that are given come before the config file's parameters.

    Args:
        names: of the parameters that are launch arguments; None: all.
        config: the parameter file; empty for none.
        more: other parameters that come before the file's.

    Raises:
        ParameterError: a launch argument is none of its parameter's values.
    """
    # Plain dictionary values keep their types: a file named 1.0 stays a name.
    given: dict[str, object] = dict(more)
    for setting in _settings(names):
        if text := LaunchConfiguration(setting.name).perform(context):
            given[setting.name] = setting.parse(text)
    # The node configures and activates itself. As a LifecycleNode it can also take part in the
    # events of another launch file.
    return LifecycleNode(
        package="dope_ros",
        executable="dope_node",
        name=LaunchConfiguration("node_name").perform(context),
        namespace=LaunchConfiguration("namespace").perform(context),
        parameters=([config] if config else []) + ([given] if given else []),
        remappings=remappings,
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level").perform(context)],
        respawn=switched_on(context, "respawn"),
        respawn_delay=2.0,
        output="screen",
    )


def rviz(namespace: str, fixed_frame: str, use_sim_time: bool) -> Node:
    """RViz. Its file names the topics of /dope; here they follow the namespace."""
    return Node(
        package="rviz2",
        executable="rviz2",
        name="rviz2",
        arguments=["-d", str(CONFIG / "dope.rviz"), "-f", fixed_frame],
        parameters=[{"use_sim_time": use_sim_time}],
        remappings=[
            (f"/dope/{name}", in_namespace(namespace, name))
            for name in ("markers", "image_annotated")
        ],
    )
