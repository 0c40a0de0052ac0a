"""INT8 on a CPU: convolutions in eight bits, with input ranges from pictures of people.

The weights file has the names of these convolutions and the range of each one's inputs
(`Checkpoint.input_ranges`). The stage `Int8` of a recipe measures these, and the loss.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference" (CVPR 2018). The sums between convolutions stay in float32.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from dope_model.checkpoint import Checkpoint
from dope_model.network.config import Mode
from dope_model.pictures import read_rgb
from dope_model.poses import PartDetections
from dope_model.postprocess.fusion import detect_parts
from dope_model.runtime.canvas import Canvas, canvas_for
from dope_model.runtime.engine import Engine
from dope_model.runtime.openvino_engine import OpenVinoEngine
from dope_model.runtime.processor import adds_int8_in_32_bits

log = logging.getLogger(__name__)

_CONVOLUTIONS = ("Convolution", "GroupConvolution")
LEAST_PICTURES = 10
_SIZE = 480, 640
"""Height and width of the calibration pictures."""
JOINT_TOLERANCE = 0.05
"""Share of an instance's size within which a joint counts as found at the same place."""
LEAST_SCORE = 0.3
"""Lowest score of the detections in the comparison."""

Ranges = Mapping[str, tuple[float, float]]
"""See `Checkpoint.input_ranges`."""


@dataclass(frozen=True)
class Loss:
    """The difference between the INT8 graph and the float graph, on pictures that were not used for
    calibration.

    Attributes:
        percent: 100 less the F1 score of the joints, in percent: of all joints that the two detect
            with LEAST_SCORE, those that only one has, or that are further apart than
            JOINT_TOLERANCE.
        by_part: the same part by part; None where neither finds anything.
        distance_3d: mean distance of the 3D joints of matching detections, mm, or None.
        pictures: compared.
    """

    percent: float
    by_part: dict[str, float | None]
    distance_3d: float | None
    pictures: int

    def __str__(self) -> str:
        parts = ", ".join(
            f"{part} {value:.2f} %" for part, value in self.by_part.items() if value is not None
        )
        distance = "" if self.distance_3d is None else f"; {self.distance_3d:.1f} mm in 3D"
        return f"{self.percent:.2f} % of the joints ({parts}){distance}, {self.pictures} pictures"


class Int8Engine(OpenVinoEngine):
    """Runs a checkpoint's network on the CPU, its convolutions in eight bits.

    Raises:
        ImportError: OpenVINO is not installed.
        ValueError: the weights have no calibrated input ranges.
    """

    def __init__(self, checkpoint: Checkpoint, mode: Mode, device: str = "cpu") -> None:
        super().__init__(checkpoint, mode, device)
        if not checkpoint.input_ranges:
            raise ValueError(
                "engine int8: these weights have no calibrated input ranges: make them by a recipe "
                "with the stage Int8, such as dope_lite, or use the engine openvino"
            )

    @property
    def description(self) -> str:
        return "OpenVINO INT8 on cpu"

    def read(self, canvas: Canvas):
        model = super().read(canvas)
        quantise(model, self.checkpoint.input_ranges)
        return model


def quantise(model, ranges: Ranges) -> None:
    """Put convolutions of an OpenVINO graph in eight bits: inputs from 0 to 255, weights from -127
    to 127 (64 on x86 without VNNI), those of each output channel by themselves.

    Args:
        model: as it was exported: its weights have the network's names. It is changed.
        ranges: see `Checkpoint.input_ranges`.

    Raises:
        ValueError: the graph has no such convolution.
    """
    from openvino import opset13 as ops

    convolutions = _convolutions(model)
    if unknown := sorted(set(ranges) - set(convolutions)):
        raise ValueError(
            f"the weights have input ranges of {len(unknown)} convolutions that the network lacks, "
            f"such as {unknown[0]}: measure them again, by the stage Int8 of a recipe"
        )
    # Where sums of two products are cut off at 16 bits: 2 * 255 * 64 is under 2 ** 15.
    steps = 127 if adds_int8_in_32_bits() else 64
    chosen = [(each, ends) for name, ends in ranges.items() for each in convolutions[name]]
    for convolution, (low, high) in chosen:
        low, high = _with_exact_zero(low, high)
        ends = [ops.constant(np.float32(end)) for end in (low, high, low, high)]
        seen = ops.fake_quantize(convolution.input_value(0), *ends, 256)
        convolution.input(0).replace_source_output(seen.output(0))

        source = convolution.input_value(1)
        shape = list(source.get_shape())
        by_channel = shape[:2] if convolution.get_type_name() == "GroupConvolution" else shape[:1]
        weights = _weights(convolution)[1].reshape(np.prod(by_channel), -1)
        largest = np.maximum(np.abs(weights).max(axis=1), 1e-30) * 127 / steps
        largest = largest.reshape(by_channel + [1] * (len(shape) - len(by_channel)))
        ends = [ops.constant(np.float32(end)) for end in (-largest, largest) * 2]
        convolution.input(1).replace_source_output(ops.fake_quantize(source, *ends, 255).output(0))
    model.validate_nodes_and_infer_types()


def _with_exact_zero(low: float, high: float) -> tuple[float, float]:
    """The nearest range of 256 steps that includes 0, the padding value of convolutions."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = max(high - low, 1e-6) / 255
    below = round(-low / step)
    step = max(step, -low / below if below else 0.0, high / (255 - below) if below < 255 else 0.0)
    return -below * step, (255 - below) * step


def measure_ranges(
    checkpoint: Checkpoint, mode: Mode, images: Sequence[np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Values for `Checkpoint.input_ranges`: the extremes over images of one size, of both scales.

    The layers that stay in float32 are left out: those of the backbone's `float_layers_of`, the
    RPN's last ones, whose outputs are box coordinates and scores, and the finest, whose noise would
    reach all others.

    Args:
        images: (H, W, 3) uint8 each, for one canvas.

    Raises:
        ImportError: OpenVINO is missing.
    """
    from dope_model.network.backbone import float_layers_of

    canvas = canvas_for(*images[0].shape[:2], mode)
    in_float = tuple(
        f"backbone.{layer}" for layer in float_layers_of(checkpoint.build(mode).backbone)
    )
    engine = OpenVinoEngine(checkpoint, mode)
    model = engine.read(canvas)
    convolutions = _convolutions(model)
    # The first scale's.
    finest = max(_places(each[0]) for each in convolutions.values())
    chosen = {
        name: each
        for name, each in convolutions.items()
        if _places(each[0]) < finest
        and not _leaves_the_map(each[0])
        and not name.startswith(in_float)
    }
    seen_by = [convolution for each in chosen.values() for convolution in each]
    observed = engine.openvino.Model(_extremes(seen_by), model.get_parameters())
    compiled = engine.compile(observed)
    ends = [np.stack(list(compiled(canvas.fit(image)).values())) for image in images]
    low, high = np.min(ends, axis=0)[0], np.max(ends, axis=0)[1]
    first = np.cumsum([0, *(len(each) for each in chosen.values())])[:-1]
    low, high = np.minimum.reduceat(low, first), np.maximum.reduceat(high, first)
    return dict(zip(chosen, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def _extremes(convolutions):
    """The minima and maxima of the inputs of OpenVINO's convolutions, as two outputs."""
    from openvino import opset13 as ops

    axes, first = ops.constant(np.arange(4)), ops.constant(0)
    seen = [convolution.input_value(0) for convolution in convolutions]
    return [
        ops.concat([ops.unsqueeze(end(values, axes), first) for values in seen], 0)
        for end in (ops.reduce_min, ops.reduce_max)
    ]


def calibrate(
    checkpoint: Checkpoint, mode: Mode, pictures: Sequence[Path]
) -> tuple[Checkpoint, Loss]:
    """A checkpoint for the engine "int8" (`Checkpoint.input_ranges`), and that engine's loss.

    Every second picture is for calibration, the others for the comparison. They are scaled and cut
    to one size, which the ranges hardly depend on.

    Raises:
        ImportError: OpenVINO is missing.
        ValueError: too few pictures, or no people in them.
    """
    if len(pictures) < LEAST_PICTURES:
        raise ValueError(
            f"INT8 needs {LEAST_PICTURES} pictures or more, better 100, not {len(pictures)}"
        )
    images = [fit(read_rgb(path), *_SIZE) for path in pictures]
    log.info("measuring in %d pictures", len(images[::2]))
    calibrated = replace(checkpoint, input_ranges=measure_ranges(checkpoint, mode, images[::2]))
    exact, rough = (kind(calibrated, mode) for kind in (OpenVinoEngine, Int8Engine))
    log.info("comparing on %d others", len(images[1::2]))
    return calibrated, measure_loss(checkpoint, exact, rough, images[1::2])


def _convolutions(model) -> dict[str, list]:
    """An exported graph's convolutions, one per scale, by the names of the network's layers."""
    found: dict[str, list] = {}
    for operation in model.get_ordered_ops():
        if operation.get_type_name() in _CONVOLUTIONS:
            layer = _weights(operation)[0].rpartition("network.")[2].removesuffix(".weight")
            found.setdefault(layer, []).append(operation)
    return found


def _weights(convolution) -> tuple[str, np.ndarray]:
    """Name and values of a convolution's weights, in float32 and with a batch norm in them."""
    node, scale = convolution.input_value(1).get_node(), np.float32(1)
    while node.get_type_name() != "Constant":  # by groups, converted, or multiplied
        if node.get_type_name() == "Multiply":
            scale = node.input_value(1).get_node().get_data()
        node = node.input_value(0).get_node()
    return node.get_friendly_name(), node.get_data().astype(np.float32) * scale


def _places(convolution) -> int:
    height, width = convolution.output(0).get_shape()[2:]
    return height * width


def _leaves_the_map(convolution) -> bool:
    """Whether the output is transposed before any further convolution."""
    followers = [convolution]
    while followers:
        operation = followers.pop()
        for target in operation.output(0).get_target_inputs():
            following = target.get_node()
            kind = following.get_type_name()
            if kind == "Transpose":
                return True
            bias = kind == "Add" and following.input_value(1).get_node().get_type_name()
            if bias in ("Constant", "Reshape"):
                followers.append(following)
    return False


def fit(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of an image (H, W, 3), scaled so that it fills (height, width, 3)."""
    scale = max(height / rgb.shape[0], width / rgb.shape[1])
    if scale != 1:
        size = (max(width, round(rgb.shape[1] * scale)), max(height, round(rgb.shape[0] * scale)))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        rgb = cv2.resize(rgb, size, interpolation=way)
    top, left = (rgb.shape[0] - height) // 2, (rgb.shape[1] - width) // 2
    return np.ascontiguousarray(rgb[top : top + height, left : left + width])


def measure_loss(
    checkpoint: Checkpoint,
    exact: Engine,
    rough: Engine,
    images: Sequence[np.ndarray],
) -> Loss:
    """Compare an engine's detections with the exact ones.

    Raises:
        ValueError: neither detects anything.
    """

    same = dict.fromkeys(checkpoint.config.parts, 0)
    total = dict.fromkeys(checkpoint.config.parts, 0)
    distances: list[float] = []
    for image in images:
        known = checkpoint.integration, image.shape, checkpoint.curves
        expected, found = detect_parts(exact(image), *known), detect_parts(rough(image), *known)
        for part in expected:
            counted = compare(expected[part], found[part], distances)
            same[part] += counted[0]
            total[part] += counted[1]
    if not sum(total.values()):
        raise ValueError(
            f"the network detects nobody in the {len(images)} pictures of the comparison, so "
            "INT8 cannot be evaluated; use pictures of people"
        )

    def percent(same: int, total: int) -> float:
        return 100 * (1 - 2 * same / total)

    return Loss(
        percent(sum(same.values()), sum(total.values())),
        {part: percent(same[part], total[part]) if total[part] else None for part in total},
        1e3 * float(np.mean(distances)) if distances else None,
        len(images),
    )


def compare(
    expected: PartDetections, found: PartDetections, distances: list[float]
) -> tuple[int, int]:
    """Joints that two sets of detections share, and all joints of both.

    Detections are paired one to one, the most shared joints first.

    Args:
        distances: mean 3D distances of the pairs, m, are appended.
    """
    expected, found = (
        (d.keypoints_2d[d.scores >= LEAST_SCORE], d.keypoints_3d[d.scores >= LEAST_SCORE])
        for d in (expected, found)
    )
    joints = expected[0].shape[1]
    total = joints * (len(expected[0]) + len(found[0]))
    size = np.ptp(expected[0], axis=1).max(axis=1, initial=1.0)
    offsets = np.linalg.norm(expected[0][:, None] - found[0][None], axis=-1)
    near = (offsets <= JOINT_TOLERANCE * size[:, None, None]).sum(axis=-1)
    same = 0
    while near.size and near.max() > 0:
        row, column = np.unravel_index(near.argmax(), near.shape)
        same += int(near[row, column])
        apart = np.linalg.norm(expected[1][row] - found[1][column], axis=-1)
        distances.append(float(apart.mean()))
        near[row], near[:, column] = 0, 0
    return same, total
