"""ROS parameters, each declared in one place with its default, meaning and range.

All are read once at start; the node refuses what it does not know and what is out of range.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

Value = bool | int | float | str

# Parameters that every ROS 2 node has.
_OF_EVERY_NODE = ("use_sim_time", "start_type_description_service")


class ParameterError(ValueError):
    """A parameter that the node cannot start with; the text names it."""


@dataclass(frozen=True)
class Setting:
    """One parameter. Its type is that of `default`; `minimum` and `maximum` are for numbers."""

    name: str
    default: Value
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: object) -> Value:
        """`value` in the parameter's type.

        Raises:
            ParameterError: it has another type or is out of range.
        """
        wanted = type(self.default)
        if wanted is float and type(value) is int:
            value = float(value)  # YAML reads 1 as an integer
        if type(value) is not wanted:
            raise ParameterError(
                f"parameter {self.name!r} is {value!r}, but must be of type {wanted.__name__}"
            )
        if self.choices and value not in self.choices:
            raise ParameterError(
                f"parameter {self.name!r} is {value!r}, but must be one of "
                + ", ".join(map(repr, self.choices))
            )
        # Written so that NaN is refused as well.
        if self.minimum is not None and not value >= self.minimum:
            raise ParameterError(
                f"parameter {self.name!r} is {value}, but must be at least {self.minimum}"
            )
        if self.maximum is not None and not value <= self.maximum:
            raise ParameterError(
                f"parameter {self.name!r} is {value}, but must be at most {self.maximum}"
            )
        return value

    def descriptor(self) -> ParameterDescriptor:
        """What `ros2 param describe` shows."""
        descriptor = ParameterDescriptor(description=self.description, read_only=True)
        if self.choices:
            descriptor.additional_constraints = "one of: " + ", ".join(self.choices)
        if self.minimum is not None and self.maximum is not None:
            if isinstance(self.default, float):
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=self.minimum, to_value=self.maximum)
                ]
            else:
                descriptor.integer_range = [
                    IntegerRange(from_value=int(self.minimum), to_value=int(self.maximum))
                ]
        return descriptor


DOPE_NODE = (
    Setting(
        "model",
        "experts",
        "What finds the people: 'experts' (the same as 'experts:fast'), 'experts:thorough', or "
        "the path of a weights file.",
    ),
    Setting(
        "device",
        "auto",
        "Where a network runs: 'auto' (a GPU if there is one), 'cpu', 'cuda' or 'cuda:N'. The "
        "experts always run on the CPU.",
    ),
    Setting(
        "mode",
        "realtime",
        "A network's configuration: 'realtime' (400 px, 50 proposals) or the 'paper' one (800 px, "
        "1000 proposals). Without effect on the experts.",
        choices=("realtime", "paper"),
    ),
    Setting(
        "min_score",
        0.0,
        "Parts that score less are left out, and people of whom no part is left.",
        minimum=0.0,
        maximum=1.0,
    ),
    Setting(
        "marker_lifetime",
        1.0,
        "How long RViz shows a marker that is not renewed, s; 0: until it is deleted.",
        minimum=0.0,
        maximum=3600.0,
    ),
    Setting(
        "horizontal_fov",
        60.0,
        "Field of view across the image's width that is assumed when people are placed in 3D for "
        "the markers, degrees. Too small a value places people too far away.",
        minimum=1.0,
        maximum=179.0,
    ),
)

DEMO_CAMERA = (
    Setting(
        "source",
        "astronaut",
        "What is published: 'astronaut' (scikit-image's picture), 'clip' (two rendered people), a "
        "picture, a folder of pictures, a video, or a camera as /dev/videoN or N.",
    ),
    Setting("rate", 15.0, "Images per second.", minimum=0.1, maximum=240.0),
    Setting(
        "motion",
        True,
        "Move over still pictures like a hand-held camera: slow pan, zoom and roll.",
    ),
    Setting(
        "seconds_per_picture",
        3.0,
        "How long each picture of a folder is shown, s.",
        minimum=0.1,
        maximum=3600.0,
    ),
    Setting(
        "max_side",
        640,
        "Larger images are scaled down to this longer side, px.",
        minimum=16,
        maximum=8192,
    ),
    Setting("frame_id", "camera_optical_frame", "frame_id of the images."),
)

RECORDER = (
    Setting("out", "out", "Folder for the annotated pictures and poses.jsonl."),
    Setting(
        "seconds",
        15.0,
        "How long to record, counted from the first poses, s.",
        minimum=0.1,
        maximum=86400.0,
    ),
    Setting(
        "patience",
        120.0,
        "How long to wait for the first poses, s.",
        minimum=1.0,
        maximum=3600.0,
    ),
    Setting(
        "picture_interval",
        1.0,
        "An annotated picture is kept every so many seconds.",
        minimum=0.0,
        maximum=3600.0,
    ),
)


def declare(node: Node, settings: tuple[Setting, ...]) -> SimpleNamespace:
    """Declare `settings` on `node`; their values as attributes.

    The node must have been made with `automatically_declare_parameters_from_overrides=True`:
    that is how rclpy tells which parameters were given.

    Raises:
        ParameterError: a parameter was given that is unknown, of a wrong type or out of range.
    """
    given = {
        name: parameter.value
        for name, parameter in node.get_parameters_by_prefix("").items()
        if name not in _OF_EVERY_NODE
    }
    known = {setting.name: setting for setting in settings}
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ParameterError(
            f"unknown parameter {', '.join(map(repr, unknown))}; known are {', '.join(known)}"
        )
    values = {
        name: setting.check(given.get(name, setting.default)) for name, setting in known.items()
    }
    for name in given:
        node.undeclare_parameter(name)
    for name, setting in known.items():
        node.declare_parameter(name, values[name], setting.descriptor(), ignore_override=True)
    return SimpleNamespace(**values)
