"""INT8 on a CPU: by choice, and only with an accuracy loss that was measured and accepted.

    python -m dope_model export WEIGHTS --int8 --calibration PICTURES --max-loss 2

quantises the convolutions of the backbone, of the RPN and of the RoI features with NNCF, all but
the finest and those of `float_layers_of`, from pictures like those that the network will see;
everything else stays in float32. The graph is kept where the engine "int8" finds it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from dope_model.checkpoint import Checkpoint
from dope_model.hints import pip_install
from dope_model.network.backbone import float_layers_of
from dope_model.network.config import Mode
from dope_model.pictures import read_rgb
from dope_model.poses import PartDetections
from dope_model.postprocess.fusion import detect_parts
from dope_model.runtime.export import (
    GraphCache,
    Variant,
    graphs_folder,
    is_whole,
    mark_as_whole,
    noted_digests,
    stem_of_graphs,
)
from dope_model.runtime.graph_engine import (
    CANDIDATES,
    GraphEngine,
    GraphRunner,
    PartCandidatesFinder,
)
from dope_model.runtime.openvino_engine import OpenVinoEngine
from dope_model.runtime.signal_stack import kept_signal_stack
from dope_model.runtime.static_graph import PackedLayout
from dope_model.runtime.two_looks import as_one

log = logging.getLogger(__name__)

FOR_INT8 = Variant(pooling="op")
QUANTISATION = 3
"""Counts up where what is quantised changes: graphs of before are not taken."""
_PROCESSOR = Path("/proc/cpuinfo")
_SUMS_IN_32_BITS = {"amx_int8", "asimddp", "avx512_vnni", "avx_vnni"}
"""Flags there of processors that add products of INT8 in 32 bits."""
_CONVOLUTIONS = ("Convolution", "GroupConvolution")
_BETWEEN_CONVOLUTIONS = (
    "Add", "Clamp", "Concat", "Divide", "Interpolate", "Maximum", "Minimum", "Multiply", "Relu",
)  # fmt: skip
_NOTHING_TO_QUANTISE = ("Constant", "Parameter", "Result")
LEAST_PICTURES = 10
JOINT_TOLERANCE = 0.05
"""Share of an instance's size within which a joint counts as found at the same place."""
LEAST_SCORE = 0.3
"""Of the detections that the two networks are compared by."""


class TooLossyError(ValueError):
    """INT8 loses more accuracy than was allowed; the text says how much."""


@dataclass(frozen=True)
class Loss:
    """How far the INT8 graph is from the float one, on pictures it was not calibrated with.

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
    """Runs graphs that `quantise` has made.

    Raises (when a size of image comes for the first time):
        FileNotFoundError: there is no graph for it, or not a whole one; the text has the command
            that makes it.
    """

    @property
    def description(self) -> str:
        return "OpenVINO INT8 on cpu"

    def make_runner(self, height: int, width: int) -> GraphRunner:
        path = int8_path(self.graphs, height, width)
        if not all(f.is_file() and is_whole(f) for f in (path, path.with_suffix(".bin"))):
            raise FileNotFoundError(
                f"engine int8: these weights have no INT8 graph for images of {width} x {height} "
                f"in {graphs_folder()}; make it: python -m dope_model export WEIGHTS --int8 "
                f"--size {width}x{height} --calibration PICTURES --max-loss PERCENT, and --mode "
                "if it is another than realtime"
            )
        return self.compile(self.core.read_model(path))


def int8_path(graphs: GraphCache, height: int, width: int) -> Path:
    """Where the INT8 graph for images of that size is kept."""
    stem = graphs.stem(height, width, FOR_INT8)
    return graphs_folder() / f"{stem}{_ending()}.xml"


def _ending() -> str:
    """Of the files' names: another processor's graph may overflow on this one."""
    return f"-{QUANTISATION}-int8" + "-half" * (not _adds_in_32_bits())


def _adds_in_32_bits() -> bool:
    """Whether this processor adds products of INT8 in 32 bits. Others, x86 without VNNI, cut sums
    of two off at 16, so that weights may take half of the range only."""
    try:
        return not _SUMS_IN_32_BITS.isdisjoint(_PROCESSOR.read_text().split())
    except OSError:
        return False


def kept_graphs_hash(checkpoint: Checkpoint, mode: Mode) -> str:
    """Hash of the INT8 graphs that are kept, of all looks and sizes; calibrations differ."""
    looks = checkpoint.looks(mode)
    noted = [noted_digests(f"{stem_of_graphs(checkpoint, look)}-*{_ending()}.*") for look in looks]
    return hashlib.sha256("\n".join(noted).encode()).hexdigest()


def quantise(
    checkpoint: Checkpoint,
    mode: Mode,
    height: int,
    width: int,
    pictures: Sequence[Path],
    max_loss: float,
) -> tuple[list[Path], Loss]:
    """Make the INT8 graphs of all looks at images of one size, unless they lose too much.

    Every other picture serves for the calibration, the rest for the comparison. Pictures of
    another size are scaled and cut.

    Args:
        max_loss: bound on `Loss.percent`.

    Returns:
        The files that the engine "int8" reads, and what was lost.

    Raises:
        ImportError: OpenVINO or NNCF is missing.
        TooLossyError: the loss is above `max_loss`; no graph is kept.
        ValueError: too few pictures, or nobody in them to compare.
    """
    try:
        import nncf
    except ImportError as error:
        raise ImportError(f"INT8 needs NNCF ({error}): {pip_install('nncf')}") from error
    nncf.set_log_level(logging.WARNING)
    if len(pictures) < LEAST_PICTURES:
        raise ValueError(
            f"INT8 needs {LEAST_PICTURES} pictures or more, better 300, not {len(pictures)}"
        )
    calibration, judged = pictures[::2], pictures[1::2]

    def sample(path: Path) -> np.ndarray:
        return fit(read_rgb(path), height, width)

    engines = [OpenVinoEngine(checkpoint, look) for look in checkpoint.looks(mode)]
    layers = float_layers_of(checkpoint.build(mode).backbone)
    range_of_weights = nncf.OverflowFix.DISABLE if _adds_in_32_bits() else nncf.OverflowFix.ENABLE
    graphs = []
    for engine in engines:
        model = engine.core.read_model(engine.graphs.graph(height, width, FOR_INT8))
        in_float = float_operations(model, layers)  # by names, of which folding takes some
        fold_constants(model)
        log.info("calibrating with %d pictures", len(calibration))
        with kept_signal_stack():  # NNCF compiles the model with OpenVINO on its own
            graphs.append(
                nncf.quantize(
                    model,
                    nncf.Dataset(calibration, sample),
                    # Activations of both signs: the residual sums.
                    preset=nncf.QuantizationPreset.MIXED,
                    subset_size=len(calibration),
                    advanced_parameters=nncf.AdvancedQuantizationParameters(
                        overflow_fix=range_of_weights
                    ),
                    ignored_scope=nncf.IgnoredScope(names=in_float, validate=False),
                )
            )
    quantised = [
        _finder(engine, engine.compile(graph), height, width)
        for engine, graph in zip(engines, graphs, strict=True)
    ]
    log.info("comparing on %d pictures", len(judged))
    exact, rough = (as_one(finders, checkpoint, mode) for finders in (engines, quantised))
    loss = measure_loss(checkpoint, exact, rough, [sample(p) for p in judged])
    if not loss.percent <= max_loss:
        raise TooLossyError(
            f"INT8 was not taken: it changes {loss}; the bound is {max_loss} %. Calibrate with "
            "more pictures like those of the camera, allow more, or keep engine openvino"
        )
    report = {"loss": asdict(loss), "max_loss": max_loss, "calibration": len(calibration)}
    paths = []
    for engine, graph in zip(engines, graphs, strict=True):
        path = int8_path(engine.graphs, height, width)
        engine.openvino.save_model(graph, path, compress_to_fp16=False)
        for file in (path, path.with_suffix(".bin")):
            mark_as_whole(file)
        path.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
        paths.append(path)
    return paths, loss


def _finder(engine: GraphEngine, run: GraphRunner, height: int, width: int) -> PartCandidatesFinder:
    """`run`, another graph of an engine's network, as an engine."""
    layout = PackedLayout.for_images(
        engine.checkpoint.config, engine.mode, height, width, CANDIDATES
    )
    return lambda rgb: layout.unpack(run(rgb), engine.min_scores)


def float_operations(model, layers: tuple[str, ...]) -> list[str]:
    """Names of an OpenVINO graph's operations to leave in float.

    All but convolutions and what lies between them: in eight bits the places of peaks, of boxes and
    of joints would be off by many pixels. Of the convolutions those of `layers`, the RPN's last
    ones, whose outputs are box coordinates and scores, and the finest: all layers see their noise.

    Args:
        model: as it was exported: its weights have the network's names.
        layers: beginnings of the names of weights.
    """
    operations = model.get_ordered_ops()
    convolutions = [o for o in operations if o.get_type_name() in _CONVOLUTIONS]
    finest = max(map(_places, convolutions), default=0)
    quantised = [
        convolution
        for convolution in convolutions
        if _places(convolution) < finest
        and not _leaves_the_map(convolution)
        and not _weights_name(convolution).startswith(layers)
    ]
    names = {convolution.get_friendly_name() for convolution in quantised}
    ahead = [convolution.input_value(0).get_node() for convolution in quantised]
    while ahead:
        operation = ahead.pop()
        name = operation.get_friendly_name()
        if operation.get_type_name() in _BETWEEN_CONVOLUTIONS and name not in names:
            names.add(name)
            ahead += [value.get_node() for value in operation.input_values()]
    return [
        operation.get_friendly_name()
        for operation in operations
        if operation.get_type_name() not in _NOTHING_TO_QUANTISE
        and operation.get_friendly_name() not in names
    ]


def fold_constants(model) -> None:
    """Compute what is constant in an OpenVINO graph, the convolutions' biases above all: NNCF
    corrects those that it sees for what quantising shifts on average."""
    from openvino.passes import ConstantFolding, Manager

    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)


def _weights_name(convolution) -> str:
    weights = convolution.input_value(1).get_node()
    while weights.get_type_name() != "Constant":
        weights = weights.input_value(0).get_node()
    return weights.get_friendly_name().removeprefix("network.backbone.")


def _places(convolution) -> int:
    height, width = convolution.output(0).get_shape()[2:]
    return height * width


def _leaves_the_map(convolution) -> bool:
    """Whether no further convolution sees what this one gives before it is transposed."""
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
    exact: PartCandidatesFinder,
    rough: PartCandidatesFinder,
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
        expected = detect_parts(exact(image), checkpoint.integration)
        found = detect_parts(rough(image), checkpoint.integration)
        for part in expected:
            counted = compare(expected[part], found[part], distances)
            same[part] += counted[0]
            total[part] += counted[1]
    if not sum(total.values()):
        raise ValueError(
            f"the network detects nobody in the {len(images)} pictures to compare on, so that "
            "INT8 cannot be judged; take pictures of people"
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
