"""ROS parameters, each declared once: name, default, meaning, range, unit, when it may change.

    python -m dope_ros.node.parameters       prints dope_node's as the table of docs/

The nodes refuse what they do not know and what is out of range, at start and later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from dope_model.network.config import MODE_NAMES
from dope_model.runtime import ENGINES
from dope_model.tracking.smoothing import OneEuroSettings
from dope_model.weights import DEFAULT_MODEL

Value = bool | int | float | str

# Parameters that every ROS 2 node has.
_OF_EVERY_NODE = ("use_sim_time", "start_type_description_service")

# When a parameter may change, and in which states of the life cycle that is.
LIVE = "at any time"
INACTIVE = "while not active"
UNCONFIGURED = "while unconfigured"
FIXED = "at start only"
_STATES = {
    LIVE: ("unconfigured", "inactive", "active", "finalized"),
    INACTIVE: ("unconfigured", "inactive"),
    UNCONFIGURED: ("unconfigured",),
    FIXED: (),
}
_TYPE_NAMES = {bool: "bool", int: "integer", float: "double", str: "string"}


class ParameterError(ValueError):
    """A parameter that the node cannot take; the text names it."""


@dataclass(frozen=True)
class Setting:
    """One parameter. Its type is that of `default`; `minimum` and `maximum` are for numbers.

    A text with a `pattern` matches that as a whole; `pattern_in_words` says what it allows.
    `changes` is one of LIVE, INACTIVE, UNCONFIGURED, FIXED.
    """

    name: str
    default: Value
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    pattern_in_words: str = ""
    unit: str = ""
    changes: str = FIXED

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
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise ParameterError(
                f"parameter {self.name!r} is {value!r}, but must be of {self.pattern_in_words}"
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

    def check_change(self, state: str) -> None:
        """Raises a ParameterError if the parameter cannot change in this life cycle state."""
        if state in _STATES[self.changes]:
            return
        way = {
            UNCONFIGURED: "deactivate and clean up the node, set it, then configure and activate",
            INACTIVE: "deactivate the node, set it, then activate",
            FIXED: "start the node anew with it",
        }[self.changes]
        raise ParameterError(
            f"parameter {self.name!r} changes only {self.changes}, and the node is {state}: {way}"
        )

    def descriptor(self) -> ParameterDescriptor:
        """What `ros2 param describe` shows."""
        unit = f" Unit: {self.unit}." if self.unit else ""
        descriptor = ParameterDescriptor(
            description=f"{self.description}{unit} Changes {self.changes}.",
            read_only=self.changes == FIXED,
            # rclpy refuses other types with the number of a type; `check` says it in words, and
            # takes 1 for 1.0.
            dynamic_typing=True,
        )
        if self.choices:
            descriptor.additional_constraints = "one of: " + ", ".join(self.choices)
        if self.pattern:
            descriptor.additional_constraints = self.pattern_in_words
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
        DEFAULT_MODEL,
        "What finds the people: 'dope_lite', or the path of a weights file, for a network; "
        "'experts' (the same as 'experts:fast'), 'experts:guided' or 'experts:thorough' for "
        "ready-made experts.",
        changes=UNCONFIGURED,
    ),
    Setting(
        "device",
        "auto",
        "Where a network runs: 'auto' (a GPU if there is one), 'cpu', 'cuda' or 'cuda:N'. The "
        "experts always run on the CPU.",
        changes=UNCONFIGURED,
    ),
    Setting(
        "mode",
        "realtime",
        "A network's configuration: 'realtime' (400 px, 50 proposals), 'paper' (800 px, 1000 "
        "proposals) or 'trained', that of its training. Without effect on the experts.",
        choices=MODE_NAMES,
        changes=UNCONFIGURED,
    ),
    Setting(
        "engine",
        "auto",
        "What a network runs on: 'auto', or one of the engines by name. Without effect on the "
        "experts.",
        choices=ENGINES,
        changes=UNCONFIGURED,
    ),
    Setting(
        "image_transport",
        "raw",
        "'raw' listens to the topic 'image', 'compressed' to the CompressedImages of the topic of "
        "that name with '/compressed' added.",
        choices=("raw", "compressed"),
        changes=INACTIVE,
    ),
    Setting(
        "tracking",
        True,
        "Give people track ids, the same from image to image.",
        changes=UNCONFIGURED,
    ),
    Setting(
        "publish_tf",
        False,
        "Publish a frame body_p1, body_p2, ... for each person on /tf, by id_prefix and track id. "
        "Needs camera_info, tracking and the package tf2_msgs.",
        changes=UNCONFIGURED,
    ),
    Setting(
        "publish_rep155",
        False,
        "Publish tracked bodies on the topics of REP-155, /humans/bodies/... Needs tracking and "
        "the package hri_msgs.",
        changes=UNCONFIGURED,
    ),
    Setting(
        "id_prefix",
        "p",
        "What the names of people begin with in TF frames and REP-155 topics. Another one for each "
        "of several nodes.",
        # For frames and topics. A digit last would let p1 + 2 and p + 12 meet.
        pattern="[A-Za-z]([A-Za-z0-9_]*[A-Za-z_])?",
        pattern_in_words="letters, digits and '_', with a letter first and no digit last",
        changes=UNCONFIGURED,
    ),
    Setting(
        "use_depth",
        False,
        "Listen to 'depth', images that are registered to those of 'image', and take distances "
        "from them. Needs camera_info.",
        changes=INACTIVE,
    ),
    Setting(
        "enabled",
        True,
        "Work on images; the service 'enable' sets it. Off, the node publishes one empty result.",
        changes=LIVE,
    ),
    Setting(
        "always_run",
        False,
        "Run the model even while nobody listens to any output.",
        changes=LIVE,
    ),
    Setting("bodies", True, "Give bodies.", changes=LIVE),
    Setting("hands", True, "Give hands.", changes=LIVE),
    Setting("faces", True, "Give faces.", changes=LIVE),
    *(
        Setting(
            f"min_{part}_score",
            0.0,
            f"{parts} that score less are left out, and people of whom no part is left.",
            minimum=0.0,
            maximum=1.0,
            changes=LIVE,
        )
        for part, parts in (("body", "Bodies"), ("hand", "Hands"), ("face", "Faces"))
    ),
    Setting(
        "rectified",
        False,
        "The images are rectified (image_rect): P of camera_info holds, and no distortion. Else K "
        "and D hold.",
        changes=LIVE,
    ),
    Setting(
        "depth_tolerance",
        0.05,
        "How far the stamps of an image and of its depth image may be apart.",
        minimum=0.0,
        maximum=10.0,
        unit="s",
        changes=LIVE,
    ),
    Setting(
        "smoothing",
        False,
        "Smooth the joints of tracked people over time with the One-Euro filter, which holds no "
        "image back.",
        changes=LIVE,
    ),
    Setting(
        "smoothing_min_cutoff",
        OneEuroSettings.min_cutoff,
        "Cut-off frequency for joints at rest; lower is steadier.",
        minimum=0.01,
        maximum=100.0,
        unit="Hz",
        changes=LIVE,
    ),
    Setting(
        "smoothing_beta",
        OneEuroSettings.beta,
        "By how much the cut-off rises with speed, when a joint moves by the size of its part in "
        "one second; higher is prompter.",
        minimum=0.0,
        maximum=1000.0,
        unit="Hz",
        changes=LIVE,
    ),
    Setting(
        "marker_lifetime",
        1.0,
        "How long RViz shows a marker that is not renewed; 0: until it is deleted.",
        minimum=0.0,
        maximum=3600.0,
        unit="s",
        changes=LIVE,
    ),
    Setting(
        "horizontal_fov",
        60.0,
        "Field of view across the image's width that is assumed for the markers where there is no "
        "camera_info. Too small a value places people too far away.",
        minimum=1.0,
        maximum=179.0,
        unit="degrees",
        changes=LIVE,
    ),
    Setting(
        "annotated_background",
        "image",
        "What image_annotated shows under the poses: the 'image', or 'black', which shows nobody's "
        "face.",
        choices=("image", "black"),
        changes=LIVE,
    ),
    Setting(
        "annotated_max_side",
        0,
        "A larger image_annotated is scaled down to this longer side; 0: as large as the image.",
        minimum=0,
        maximum=16384,
        unit="px",
        changes=LIVE,
    ),
    Setting(
        "silent_after",
        2.0,
        "Diagnostics warn when no image has come for so long.",
        minimum=0.1,
        maximum=3600.0,
        unit="s",
        changes=LIVE,
    ),
    Setting(
        "max_latency",
        1.0,
        "Diagnostics warn when images arrive, or results are published, so long after the image's "
        "stamp.",
        minimum=0.001,
        maximum=3600.0,
        unit="s",
        changes=LIVE,
    ),
    Setting(
        "autostart",
        True,
        "Configure and activate at start; false leaves that to others.",
    ),
    Setting(
        "exit_if_start_fails",
        False,
        "End with exit code 1 when autostart fails, for supervisors that look at it; false keeps "
        "the node, which can then be configured again.",
    ),
)

DEMO_CAMERA = (
    Setting(
        "source",
        "people",
        "What is published: 'people' (a picture of two rendered people), 'clip' (two who walk), "
        "'astronaut' (scikit-image's photo), a picture, a folder of pictures, a video, or a camera "
        "as /dev/videoN or N.",
    ),
    Setting("rate", 15.0, "Images per second.", minimum=0.1, maximum=240.0, unit="Hz"),
    Setting(
        "motion",
        True,
        "Move over still pictures like a hand-held camera: slow pan, zoom and roll.",
    ),
    Setting(
        "seconds_per_picture",
        3.0,
        "How long each picture of a folder is shown.",
        minimum=0.1,
        maximum=3600.0,
        unit="s",
    ),
    Setting(
        "max_side",
        640,
        "Larger images are scaled down to this longer side.",
        minimum=16,
        maximum=8192,
        unit="px",
    ),
    Setting("frame_id", "camera_optical_frame", "frame_id of the images."),
)

RECORDER = (
    Setting("out", "out", "Folder for the annotated pictures and poses.jsonl."),
    Setting(
        "seconds",
        15.0,
        "How long to record, counted from the first poses.",
        minimum=0.1,
        maximum=86400.0,
        unit="s",
    ),
    Setting(
        "patience",
        120.0,
        "How long to wait for the first poses.",
        minimum=1.0,
        maximum=3600.0,
        unit="s",
    ),
    Setting(
        "picture_interval",
        1.0,
        "Time between two annotated pictures that are kept.",
        minimum=0.0,
        maximum=3600.0,
        unit="s",
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


def changed(
    values: SimpleNamespace,
    settings: tuple[Setting, ...],
    changes: Iterable[Parameter],
    state: str,
) -> SimpleNamespace:
    """`values` with `changes`, all of them or none; those that `settings` do not name are others'.

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


def markdown_table(settings: tuple[Setting, ...]) -> str:
    """The parameters as a table for the README."""
    lines = [
        "| parameter | type | default | range | unit | changes | |",
        "|---|---|---|---|---|---|---|",
    ]
    for setting in settings:
        default = str(setting.default)
        if isinstance(setting.default, bool):
            default = default.lower()
        span = ", ".join(f"`{choice}`" for choice in setting.choices)
        if setting.pattern:
            span = setting.pattern_in_words
        if setting.minimum is not None:
            span = f"{setting.minimum:g} to {setting.maximum:g}"
        kind = _TYPE_NAMES[type(setting.default)]
        lines.append(
            f"| `{setting.name}` | {kind} | `{default}` | {span} | {setting.unit} | "
            f"{setting.changes} | {setting.description} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown_table(DOPE_NODE))
