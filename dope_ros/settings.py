"""The parameters of dope_node, each declared once: name, default, meaning, range, unit, and when it
may change. The launch file, the bag tool, config/dope.yaml and docs/ use this table.

    python -m dope_ros.settings         prints them as the table of docs/
    python -m dope_ros.settings yaml    prints them as config/dope.yaml

Nothing here imports ROS.
"""

from __future__ import annotations

import re
import sys
import textwrap
from dataclasses import dataclass

from dope_model.camera.rotation import ROTATIONS
from dope_model.network.config import MODE_NAMES
from dope_model.runtime import ENGINES
from dope_model.tracking.smoothing import OneEuroSettings
from dope_model.weights import DEFAULT_MODEL

Value = bool | int | float | str

TYPE_NAMES = {bool: "bool", int: "integer", float: "double", str: "string"}
"""ROS's names of the types."""

# When a parameter may change, and the life cycle states in which that is.
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


class ParameterError(ValueError):
    """An invalid parameter; the text names it."""


@dataclass(frozen=True)
class Setting:
    """One parameter. Its type is that of `default`; `minimum` and `maximum` are for numbers.

    A text must match `pattern` as a whole; `pattern_in_words` explains it.
    `changes` is one of LIVE, INACTIVE, UNCONFIGURED, FIXED. Those `in_pipeline` are also options of
    the bag tool.
    """

    name: str
    default: Value
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Value, ...] = ()
    pattern: str = ""
    pattern_in_words: str = ""
    unit: str = ""
    changes: str = FIXED
    in_pipeline: bool = False

    @property
    def type_name(self) -> str:
        """ROS's name of the type."""
        return TYPE_NAMES[type(self.default)]

    @property
    def allowed(self) -> str:
        """The allowed values in words; empty if only the type is fixed."""
        if self.choices:
            return "one of " + ", ".join(map(repr, self.choices))
        if self.minimum is not None:
            return f"{self.minimum:g} to {self.maximum:g}"
        return self.pattern_in_words

    def check(self, value: object) -> Value:
        """`value` in the parameter's type.

        Raises:
            ParameterError: it has another type or is out of range.
        """
        wanted = type(self.default)
        if wanted is float and type(value) is int:
            value = float(value)  # YAML reads 1 as an integer
        if value is None:
            raise ParameterError(f"parameter {self.name!r} cannot be deleted")
        if type(value) is not wanted:
            raise self._wrong(value, f"of type {self.type_name}")
        if self.choices and value not in self.choices:
            raise self._wrong(value, self.allowed)
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise self._wrong(value, self.pattern_in_words)
        # Written so that NaN is rejected as well.
        if self.minimum is not None and not value >= self.minimum:
            raise self._wrong(value, f"at least {self.minimum}")
        if self.maximum is not None and not value <= self.maximum:
            raise self._wrong(value, f"at most {self.maximum}")
        return value

    def _wrong(self, value: object, must_be: str) -> ParameterError:
        return ParameterError(f"parameter {self.name!r} is {value!r}, but must be {must_be}")

    def parse(self, text: str) -> Value:
        """The value of a launch argument or command line option.

        Raises:
            ParameterError: it has another type, or is out of range.
        """
        try:
            if isinstance(self.default, bool):
                return {"true": True, "false": False}[text.strip().lower()]
            value = type(self.default)(text)
        except (KeyError, ValueError):
            raise self._wrong(text, f"of type {self.type_name}") from None
        return self.check(value)

    def check_change(self, state: str) -> None:
        """Raises a ParameterError if the parameter cannot change in this life cycle state."""
        if state in _STATES[self.changes]:
            return
        way = {
            UNCONFIGURED: "deactivate and clean up the node, set it, then configure and activate",
            INACTIVE: "deactivate the node, set it, then activate",
            FIXED: "restart the node with it",
        }[self.changes]
        raise ParameterError(
            f"parameter {self.name!r} changes only {self.changes}, and the node is {state}: {way}"
        )


DOPE_NODE = (
    Setting(
        "model",
        DEFAULT_MODEL,
        "The model: 'dope_lite', or the path of a weights file, for a network; 'experts' (the same "
        "as 'experts:fast'), 'experts:guided' or 'experts:thorough' for the part experts. "
        "'experts:thorough' takes seconds per image.",
        changes=UNCONFIGURED,
    ),
    Setting(
        "device",
        "auto",
        "Where the network runs: 'auto' (a GPU if there is one), 'cpu', 'cuda' or 'cuda:N'. The "
        "experts always run on the CPU.",
        changes=UNCONFIGURED,
    ),
    Setting(
        "mode",
        "auto",
        "The network's configuration: 'auto' (what the weights were made for), 'realtime' (400 px, "
        "50 proposals), 'paper' (800 px, 1000 proposals, several times slower) or 'trained' (as in "
        "training). Ignored by the experts.",
        choices=MODE_NAMES,
        changes=UNCONFIGURED,
    ),
    Setting(
        "engine",
        "auto",
        "What the network runs on: 'auto' (the fastest installed) or the name of an engine. "
        "Ignored by the experts.",
        choices=ENGINES,
        changes=UNCONFIGURED,
    ),
    Setting(
        "expected_size",
        "",
        "Size of the images, such as 640x480: the engine is prepared for it in 'configure' instead "
        "of at the first image. Empty: at the first image.",
        pattern=r"|[1-9]\d{1,4}x[1-9]\d{1,4}",
        pattern_in_words="WIDTHxHEIGHT or empty",
        unit="px",
        changes=UNCONFIGURED,
    ),
    Setting(
        "image_transport",
        "raw",
        "'raw' subscribes to 'image', 'compressed' to 'image/compressed'.",
        choices=("raw", "compressed"),
        changes=INACTIVE,
    ),
    Setting(
        "image_rotation",
        0,
        "Clockwise rotation that makes the images upright, for a camera that hangs upside down or "
        "sideways. Results are in the original image.",
        choices=ROTATIONS,
        unit="degrees",
        changes=LIVE,
        in_pipeline=True,
    ),
    Setting(
        "tracking",
        True,
        "Give each person a track id that is the same from image to image. Needs Norfair (pip "
        "install norfair-enough); without it all ids are -1.",
        changes=UNCONFIGURED,
        in_pipeline=True,
    ),
    Setting(
        "publish_tf",
        False,
        "Publish a TF frame for each person: body_p1, body_p2, ... (id_prefix and track id). Needs "
        "camera_info, tracking and the package tf2_msgs.",
        changes=UNCONFIGURED,
    ),
    Setting(
        "publish_rep155",
        False,
        "Publish tracked bodies on the REP-155 topics /humans/bodies/... Needs tracking and the "
        "package hri_msgs.",
        changes=UNCONFIGURED,
    ),
    Setting(
        "id_prefix",
        "p",
        "Prefix of the people's names in TF frames and REP-155 topics. Give each of several nodes "
        "its own.",
        # Valid in frame and topic names. With a final digit, p1 + 2 and p + 12 would be the same.
        pattern="[A-Za-z]([A-Za-z0-9_]*[A-Za-z_])?",
        pattern_in_words="letters, digits and '_', with a letter first and no digit last",
        changes=UNCONFIGURED,
    ),
    Setting(
        "use_depth",
        False,
        "Take distances from the topic 'depth': images registered to those of 'image', 16UC1 (mm) "
        "or 32FC1 (m). Needs camera_info.",
        changes=INACTIVE,
    ),
    Setting(
        "enabled",
        True,
        "Process images; the service 'enable' sets it. When switched off, the node publishes one "
        "empty result.",
        changes=LIVE,
    ),
    Setting(
        "always_run",
        False,
        "Run the model even if no output has a subscriber.",
        changes=LIVE,
    ),
    *(
        Setting(parts, True, f"Give {parts}.", changes=LIVE, in_pipeline=True)
        for parts in ("bodies", "hands", "faces")
    ),
    *(
        Setting(
            f"min_{part}_score",
            0.0,
            f"Leave out {parts} with a lower score, and people without any part left. 0 keeps all "
            "that pass the model's own threshold.",
            minimum=0.0,
            maximum=1.0,
            changes=LIVE,
            in_pipeline=True,
        )
        for part, parts in (("body", "bodies"), ("hand", "hands"), ("face", "faces"))
    ),
    Setting(
        "rectified",
        False,
        "The images are rectified (image_rect): use P of camera_info and no distortion, instead of "
        "K and D.",
        changes=LIVE,
        in_pipeline=True,
    ),
    Setting(
        "depth_tolerance",
        0.05,
        "Largest difference between the stamps of an image and its depth image.",
        minimum=0.0,
        maximum=10.0,
        unit="s",
        changes=LIVE,
        in_pipeline=True,
    ),
    *(
        Setting(
            f"{which}_depth",
            default,
            f"Depth values {side} than this are ignored.",
            minimum=0.0,
            maximum=1000.0,
            unit="m",
            changes=LIVE,
            in_pipeline=True,
        )
        for which, default, side in (("min", 0.1, "nearer"), ("max", 50.0, "farther"))
    ),
    Setting(
        "smoothing",
        False,
        "Smooth the joints of tracked people over time with the One-Euro filter, which delays no "
        "image.",
        changes=LIVE,
        in_pipeline=True,
    ),
    Setting(
        "smoothing_min_cutoff",
        OneEuroSettings.min_cutoff,
        "Cut-off frequency for joints at rest; lower is steadier.",
        minimum=0.01,
        maximum=100.0,
        unit="Hz",
        changes=LIVE,
        in_pipeline=True,
    ),
    Setting(
        "smoothing_beta",
        OneEuroSettings.beta,
        "Increase of the cut-off for a joint that moves by the size of its part in one second; "
        "higher is more responsive.",
        minimum=0.0,
        maximum=1000.0,
        unit="Hz",
        changes=LIVE,
        in_pipeline=True,
    ),
    Setting(
        "marker_lifetime",
        1.0,
        "RViz removes a marker that is not renewed for this long; 0: never. Markers flicker if it "
        "is shorter than the time of the slowest image.",
        minimum=0.0,
        maximum=3600.0,
        unit="s",
        changes=LIVE,
        in_pipeline=True,
    ),
    Setting(
        "horizontal_fov",
        60.0,
        "Field of view across the image's width, assumed for the markers without camera_info. If "
        "too small, people are placed too far away.",
        minimum=1.0,
        maximum=179.0,
        unit="degrees",
        changes=LIVE,
        in_pipeline=True,
    ),
    Setting(
        "annotated_background",
        "image",
        "Background of image_annotated: the 'image', or, for privacy, 'blurred', the image with "
        "the faces of the people who were found blurred, or 'black'.",
        choices=("image", "blurred", "black"),
        changes=LIVE,
        in_pipeline=True,
    ),
    Setting(
        "annotated_max_side",
        0,
        "image_annotated is scaled down to at most this longer side; 0: never.",
        minimum=0,
        maximum=16384,
        unit="px",
        changes=LIVE,
        in_pipeline=True,
    ),
    Setting(
        "silent_after",
        2.0,
        "Diagnostics warn if no image arrives for this long.",
        minimum=0.1,
        maximum=3600.0,
        unit="s",
        changes=LIVE,
    ),
    Setting(
        "max_latency",
        1.0,
        "Diagnostics warn if images arrive, or results are published, later than this after the "
        "image's stamp.",
        minimum=0.001,
        maximum=3600.0,
        unit="s",
        changes=LIVE,
    ),
    Setting(
        "autostart",
        True,
        "Configure and activate at start; false leaves that to a life cycle manager.",
    ),
    Setting(
        "exit_if_start_fails",
        False,
        "Exit with code 1 if autostart fails, for supervisors; if false, the node stays and can be "
        "configured again.",
    ),
)


def _as_yaml(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value or '""' if isinstance(value, str) else str(value)


def markdown_table(settings: tuple[Setting, ...]) -> str:
    """The parameters as a table for docs/."""
    lines = [
        "| parameter | type | default | range | unit | changes | |",
        "|---|---|---|---|---|---|---|",
    ]
    for setting in settings:
        span = ", ".join(f"`{choice}`" for choice in setting.choices) or setting.allowed
        lines.append(
            f"| `{setting.name}` | {setting.type_name} | `{_as_yaml(setting.default)}` | {span} | "
            f"{setting.unit} | {setting.changes} | {setting.description} |"
        )
    return "\n".join(lines)


def yaml_file(settings: tuple[Setting, ...]) -> str:
    """The parameters as a file for --params-file, with their defaults."""
    lines = [
        "# Parameters of dope_node, written by `python -m dope_ros.settings yaml`.",
        '# "/**" holds for any namespace and node name.',
        "/**:",
        "  ros__parameters:",
    ]
    for setting in settings:
        unit = f" {setting.unit}." if setting.unit else ""
        span = f" {setting.allowed[0].upper()}{setting.allowed[1:]}." if setting.allowed else ""
        text = f"{setting.description}{unit}{span} Changes {setting.changes}."
        lines += textwrap.wrap(
            text, 100, initial_indent="    # ", subsequent_indent="    # ", break_on_hyphens=False
        )
        lines += [f"    {setting.name}: {_as_yaml(setting.default)}", ""]
    return "\n".join(lines[:-1])


if __name__ == "__main__":
    print((yaml_file if "yaml" in sys.argv[1:] else markdown_table)(DOPE_NODE))
