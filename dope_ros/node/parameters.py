"""ROS parameters from a table of settings: declared, described, checked at start and later."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from types import SimpleNamespace

import yaml
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from dope_ros.settings import FIXED, ParameterError, Setting

# Parameters that every ROS 2 node has.
_OF_EVERY_NODE = ("use_sim_time", "start_type_description_service")
_OF_TOPICS = "qos_overrides."


def _descriptor(setting: Setting) -> ParameterDescriptor:
    """What `ros2 param describe` shows."""
    unit = f" Unit: {setting.unit}." if setting.unit else ""
    descriptor = ParameterDescriptor(
        description=f"{setting.description}{unit} Changes {setting.changes}.",
        read_only=setting.changes == FIXED,
    )
    if setting.minimum is None or setting.maximum is None:
        descriptor.additional_constraints = setting.allowed
    elif isinstance(setting.default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=setting.minimum, to_value=setting.maximum)
        ]
    else:
        descriptor.integer_range = [
            IntegerRange(from_value=int(setting.minimum), to_value=int(setting.maximum))
        ]
    return descriptor


def declare(node: Node, settings: tuple[Setting, ...]) -> SimpleNamespace:
    """Declare `settings` on `node`; their values as attributes.

    The node must have been made with `automatically_declare_parameters_from_overrides=True`:
    that is how rclpy knows which parameters were given. As usual in ROS, unknown parameters that a
    file gives to all nodes ("/**") cause a warning only; qos_overrides are handled elsewhere.

    Raises:
        ParameterError: a parameter given to this node is unknown, has a wrong type or is out of
            range.
    """
    given = {
        name: parameter.value
        for name, parameter in node.get_parameters_by_prefix("").items()
        if name not in _OF_EVERY_NODE and not name.startswith(_OF_TOPICS)
    }
    known = {setting.name: setting for setting in settings}
    for name in given:
        node.undeclare_parameter(name)
    unknown = sorted(set(given) - set(known))
    others = _given_to_all_nodes(sys.argv) if unknown else set()
    mine = [name for name in unknown if name not in others]
    if mine:
        raise ParameterError(
            f"unknown parameter {', '.join(map(repr, mine))}; known are {', '.join(known)}"
        )
    if unknown:
        node.get_logger().warning(
            f"ignored parameters of /** that this node does not have: {', '.join(unknown)}"
        )
    values = {
        name: setting.check(given.get(name, setting.default)) for name, setting in known.items()
    }
    for name, setting in known.items():
        node.declare_parameter(name, values[name], _descriptor(setting), ignore_override=True)
    return SimpleNamespace(**values)


def _given_to_all_nodes(arguments: Sequence[str]) -> set[str]:
    """Parameters that only the sections for all nodes of the parameter files name."""
    to_all: set[str] = set()
    to_some: set[str] = set()
    for option, value in zip(arguments, arguments[1:], strict=False):
        if option in ("-p", "--param"):
            to_some.add(value.partition(":=")[0].rpartition(":")[2])
        if option == "--params-file":
            with open(value) as stream:
                sections = yaml.safe_load(stream) or {}
            for node, section in _sections(sections):
                (to_all if node == "/**" else to_some).update(_names(section))
    return to_all - to_some


def _sections(content: dict, node: str = "") -> Iterable[tuple[str, dict]]:
    for name, inside in content.items():
        if name == "ros__parameters":
            yield node, inside or {}
        elif isinstance(inside, dict):
            yield from _sections(inside, f"{node}/{name.lstrip('/')}")


def _names(section: dict, prefix: str = "") -> Iterable[str]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _names(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def changed(
    values: SimpleNamespace,
    settings: tuple[Setting, ...],
    changes: Iterable[Parameter],
    state: str,
) -> SimpleNamespace:
    """`values` with all `changes` or none; names that are not in `settings` are left to others.

    Args:
        state: of the node's life cycle.

    Raises:
        ParameterError: one has a wrong type, is out of range or cannot change in this state.
    """
    known = {setting.name: setting for setting in settings}
    new = dict(vars(values))
    for parameter in changes:
        setting = known.get(parameter.name)
        if setting is None:
            continue
        value = setting.check(parameter.value)
        if value != new[setting.name]:
            setting.check_change(state)
        new[setting.name] = value
    return SimpleNamespace(**new)


class CheckedParameters:
    """Mix-in of a node: invalid values are rejected with a readable reason, and an integer for a
    double is converted.

    Attributes:
        table: the node's settings.
    """

    table: tuple[Setting, ...] = ()

    def set_parameters(self, parameter_list: list[Parameter]) -> list[SetParametersResult]:
        """As rclpy's, one by one."""
        return [self.set_parameters_atomically([parameter]) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """As rclpy's, all or none."""
        try:
            checked = [self._typed(parameter) for parameter in parameter_list]
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return super().set_parameters_atomically(checked)

    def _typed(self, parameter: Parameter) -> Parameter:
        for setting in self.table:
            if setting.name == parameter.name:
                return Parameter(setting.name, value=setting.check(parameter.value))
        if not self.has_parameter(parameter.name):
            known = ", ".join(setting.name for setting in self.table)
            raise ParameterError(f"unknown parameter {parameter.name!r}; known are {known}")
        return parameter
