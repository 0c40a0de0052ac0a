"""Reading and writing network weights; nothing in a file is ever executed.

Our own format is a safetensors file whose metadata hold the network's configuration, the
post-processing settings and a description as JSON. The checkpoints that the paper's authors
published (`DOPE_v1_0_0.pth.tgz`, `DOPErealtime_v1_0_0.pth.tgz`) load as they are.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dope_model.hints import NETWORK_PACKAGES, pip_install
from dope_model.network.config import (
    MODES,
    REGRESSION_WEIGHT,
    CoarseScale,
    Mode,
    NetworkConfig,
    PartConfig,
)
from dope_model.postprocess.scores import ScoreCurves
from dope_model.postprocess.settings import IntegrationSettings
from dope_model.weights import weights_file

if TYPE_CHECKING:
    from torch import Tensor

    from dope_model.network.dope import DopeNetwork

FORMAT_KEY = "dope_ros_format"
FORMAT_VERSION = "1"
RENAMED = {
    "second_look": "coarse_scale", "th_double": "th_duplicate", "sure_power": "confidence_exponent",
    "norms_learn": "train_batch_norms",
}  # fmt: skip
"""Settings in files of earlier versions, by their names there, and their names today."""
HEADER_STEP = 2**16
"""The tensors of our files start at a multiple of this, bytes."""


class CheckpointError(ValueError):
    """A weights file that cannot be used; the text says what it is and what to do."""


@dataclass
class Checkpoint:
    """A network's weights and all that is needed to use them.

    Attributes:
        state: tensors by the names of `DopeNetwork`'s state dictionary; empty where only the
            description was read (`read_checkpoint`).
        mode: the mode that the weights were made for.
        integration: by part.
        curves: by part, what makes probabilities of its scores; a part may have none.
        about: free text by topic: training data, licence, measured quality.
        coarse_scale: second scale for larger people; None: there is none.
        input_ranges: lowest and highest input of the convolutions that run in INT8, by the names of
            their layers; empty: not measured. They belong to the weights: drop them when the
            weights change.
        file: the file of the tensors, if only the description was read.
    """

    config: NetworkConfig
    state: dict[str, Tensor]
    mode: Mode = MODES["paper"]
    integration: dict[str, IntegrationSettings] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    curves: dict[str, ScoreCurves] = field(default_factory=dict)
    coarse_scale: CoarseScale | None = None
    input_ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    file: Path | None = None

    def __post_init__(self) -> None:
        for name, part in self.config.parts.items():
            classes = part.anchor_poses // 2 if name == "hand" else part.anchor_poses
            self.integration.setdefault(name, IntegrationSettings(K=classes))

    def min_candidate_scores(self) -> dict[str, float]:
        """By part, the lowest score of a candidate for the post-processing."""
        return {
            name: self.integration[name].min_candidate_score(part.anchor_poses)
            for name, part in self.config.parts.items()
        }

    def scale_modes(self, mode: Mode) -> list[Mode]:
        """The modes of both scales if `mode` is that of the first."""
        if self.coarse_scale is None:
            return [mode]
        return self.coarse_scale.modes(mode, self.config.parts)

    def build(self, mode: Mode | None = None) -> DopeNetwork:
        """The network with these weights, on the CPU in float32, in evaluation mode.

        Raises:
            CheckpointError: tensors are missing, unknown, or of the wrong shape.
            ImportError: PyTorch, torchvision or safetensors is missing.
        """
        state = self.state if self.file is None else _read_tensors(self.file)
        from dope_model.network.dope import DopeNetwork

        network = DopeNetwork(self.config, mode or self.mode)
        expected = network.state_dict()
        missing = sorted(set(expected) - set(state))
        unknown = sorted(set(state) - set(expected))
        wrong = sorted(
            f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
            for key in set(expected) & set(state)
            if state[key].shape != expected[key].shape
        )
        for problem, keys in (("missing", missing), ("unknown", unknown), ("misshapen", wrong)):
            if keys:
                raise CheckpointError(
                    f"weights do not fit their configuration: {len(keys)} tensors {problem}, "
                    f"such as {', '.join(keys[:3])}"
                )
        network.load_state_dict(state)
        return network.eval()


def save_checkpoint(checkpoint: Checkpoint, path: str | Path, half: bool = False) -> None:
    """Write our own format.

    Args:
        half: store floating-point tensors as FP16, at half the size.
    """
    from safetensors.torch import save_file

    state = {
        key: (tensor.half() if half and tensor.is_floating_point() else tensor).contiguous()
        for key, tensor in checkpoint.state.items()
    }
    description = {
        "network": checkpoint.config.to_dict(),
        "mode": vars(checkpoint.mode),
        "integration": {name: s.to_dict() for name, s in checkpoint.integration.items()},
        "curves": {name: curves.to_dict() for name, curves in checkpoint.curves.items()},
        "about": checkpoint.about,
    }
    if checkpoint.coarse_scale is not None:
        description["coarse_scale"] = asdict(checkpoint.coarse_scale)
    if checkpoint.input_ranges:
        description["input_ranges"] = {
            name: [float(f"{end:.5g}") for end in ends]
            for name, ends in checkpoint.input_ranges.items()
        }
    metadata = {FORMAT_KEY: FORMAT_VERSION, "description": json.dumps(description)}
    save_file(state, str(path), metadata)
    _pad_header(Path(path))


def with_todays_names(values: Any) -> Any:
    """What JSON gave, with the keys in RENAMED under their names of today."""
    if not isinstance(values, dict):
        return values
    return {RENAMED.get(name, name): with_todays_names(value) for name, value in values.items()}


def _pad_header(path: Path) -> None:
    """Pad the header of a safetensors file with spaces to a multiple of `HEADER_STEP`, so tensors
    keep their offsets when the description changes."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    padded = -(-(8 + length) // HEADER_STEP) * HEADER_STEP - 8
    header = content[8 : 8 + length].ljust(padded)
    path.write_bytes(padded.to_bytes(8, "little") + header + content[8 + length :])


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read our own format or one of the authors' checkpoints.

    Args:
        path: a file, or the name of weights that come with the package.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is something else, damaged, or would have to be executed.
        ImportError: PyTorch or safetensors is missing; the text has the command that brings them.
    """
    checkpoint = read_checkpoint(path)
    if checkpoint.file is not None:
        checkpoint.state, checkpoint.file = _read_tensors(checkpoint.file), None
    return checkpoint


def read_checkpoint(path: str | Path) -> Checkpoint:
    """As `load_checkpoint`, but of our own format without the tensors, which needs NumPy only."""
    path = weights_file(path)
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        raise CheckpointError(f"{path} is empty; copy or download it again")
    if _looks_like_safetensors(start):
        return _read_description(path)
    if start.startswith(b"PK\x03\x04") or start.startswith(b"\x80"):
        return _load_authors(path)
    raise CheckpointError(f"{path} is not a weights file: {_what_it_is(start)}")


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and where its tensors' data begin.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        begin = 8 + length
        tensors = [value for name, value in header.items() if name != "__metadata__"]
        end = begin + max((value["data_offsets"][1] for value in tensors), default=0)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(_damaged(path, error)) from error
    if path.stat().st_size != end:
        raise CheckpointError(_damaged(path, f"{path.stat().st_size} bytes instead of {end}"))
    return header, begin


def _damaged(path: Path, why: object) -> str:
    return f"{path} is a damaged safetensors file ({why}); copy or download it again"


def _looks_like_safetensors(start: bytes) -> bool:
    return len(start) > 9 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 10**8


def _what_it_is(start: bytes) -> str:
    if start.startswith(b"\x1f\x8b"):
        return (
            "it is a gzip archive (the authors' files are not, in spite of their name); unpack it"
        )
    if start.lstrip()[:1] == b"<":
        return "it is a web page, so the download went wrong; download it again"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the file itself with `git lfs pull`"
    return "expected a .safetensors file of this project or a checkpoint of the paper's authors"


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(
            f"the tensors of {path} need PyTorch and safetensors ({error}): "
            + pip_install(*NETWORK_PACKAGES)
        ) from error
    try:
        state = load_file(str(path))
    except SafetensorError as error:
        raise CheckpointError(_damaged(path, error)) from error
    return {k: t.float() if t.is_floating_point() else t for k, t in state.items()}


def _read_description(path: Path) -> Checkpoint:
    header, _ = read_header(path)
    metadata = header.get("__metadata__", {})
    if FORMAT_KEY not in metadata:
        raise CheckpointError(
            f"{path} is a safetensors file of another program: its metadata lack {FORMAT_KEY!r}"
        )
    if metadata[FORMAT_KEY] != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {metadata[FORMAT_KEY]}, this program reads "
            f"{FORMAT_VERSION}; update the program"
        )
    try:
        description = with_todays_names(json.loads(metadata["description"]))
        return Checkpoint(
            config=NetworkConfig.from_dict(description["network"]),
            state={},
            mode=Mode(**description["mode"]),
            integration={
                name: IntegrationSettings.from_dict(settings)
                for name, settings in description["integration"].items()
            },
            curves={
                name: ScoreCurves.from_dict(curves)
                for name, curves in description.get("curves", {}).items()
            },
            about=description["about"],
            coarse_scale=(
                CoarseScale(**description["coarse_scale"])
                if "coarse_scale" in description
                else None
            ),
            input_ranges={
                name: (float(low), float(high))
                for name, (low, high) in description.get("input_ranges", {}).items()
            },
            file=path,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its description cannot be used: {error!r}") from error


# --- the authors' checkpoints -------------------------------------------------------------------

# Their prefix to ours. The whole ResNet stands twice in the file; each half is taken once.
_AUTHORS_PREFIXES = (
    (r"backbone\.resnet_backbone\.((?:conv1|bn1|layer[123])\..*)", r"backbone.\1"),
    (r"roi_heads\.dope_head\.resnet_backbone\.(layer4\..*)", r"roi_features.\1"),
    (r"rpn\.head\.conv\.(weight|bias)", r"rpn.head.conv.0.0.\1"),
    (r"rpn\.head\.(.*)", r"rpn.head.\1"),
    (
        r"roi_heads\.dope_predictor\.(body|hand|face)_(cls_score|pose_pred)\.(weight|bias)",
        r"branches.\1.\2.\3",
    ),
    (r"roi_heads\.(body|hand|face)_anchor_poses", r"branches.\1.anchor_poses"),
)


def _load_authors(path: Path) -> Checkpoint:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path} needs PyTorch ({error}): {pip_install('torch', 'torchvision', 'safetensors')}"
        ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and plain values, and loading it would execute code; "
            f"it was not loaded ({str(error).splitlines()[0]})"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} is a damaged PyTorch file ({str(error).splitlines()[0]}); "
            "copy or download it again"
        ) from error
    needed = ("state_dict", "dope_kwargs")
    if not isinstance(content, Mapping) or any(key not in content for key in needed):
        found = sorted(map(str, content))[:5] if isinstance(content, Mapping) else type(content)
        raise CheckpointError(
            f"{path} is a PyTorch file, but not a DOPE checkpoint: {' and '.join(needed)} are "
            f"expected in it, it has {found}"
        )
    try:
        return _convert_authors(content)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its contents cannot be used: {error!r}") from error


def _divide_by_our_weight(
    state: dict[str, Tensor], name: str, part: PartConfig, kwargs: Mapping[str, Any]
) -> None:
    """Scale a part's regressors, whose outputs are divided by the weights that the file declares,
    for a network that divides them by `REGRESSION_WEIGHT`."""
    import torch

    factors = []
    for dimensions in (2, 3):
        declared = kwargs.get(f"pose{dimensions}d_reg_weights", REGRESSION_WEIGHT)
        weight = float(declared[name] if isinstance(declared, Mapping) else declared)
        factors += [REGRESSION_WEIGHT / weight] * (dimensions * part.joints)
    scale = torch.tensor(factors).repeat(part.anchor_poses)
    for tensor in ("weight", "bias"):
        rows = state[f"branches.{name}.pose_pred.{tensor}"]
        shape = (-1, 1) if rows.ndim == 2 else (-1,)
        state[f"branches.{name}.pose_pred.{tensor}"] = rows * scale.view(shape)


def _convert_authors(content: Mapping[str, Any]) -> Checkpoint:
    state = {}
    for key, tensor in content["state_dict"].items():
        for pattern, ours in _AUTHORS_PREFIXES:
            match = re.fullmatch(pattern, key)
            if match and not key.endswith("num_batches_tracked"):
                state[match.expand(ours)] = tensor.float()
                break
    parts = {
        name: PartConfig(
            joints=state[f"branches.{name}.anchor_poses"].shape[1],
            anchor_poses=state[f"branches.{name}.anchor_poses"].shape[0],
        )
        for name in ("body", "hand", "face")
        if f"branches.{name}.anchor_poses" in state
    }
    if not parts:
        raise CheckpointError("no anchor poses among its tensors")
    kwargs = content["dope_kwargs"]
    declared = kwargs.get("num_anchor_poses", {})
    for name, part in parts.items():
        if int(declared.get(name, part.anchor_poses)) != part.anchor_poses:
            raise CheckpointError(
                f"it declares {declared[name]} {name} anchor poses and has {part.anchor_poses}"
            )
    for name, part in parts.items():
        _divide_by_our_weight(state, name, part, kwargs)
    half = bool(content.get("half", False))
    config = NetworkConfig(
        parts=parts,
        # Their full-precision path ran torchvision 0.6's frozen batch norm with its default of 0.
        batch_norm_eps=1e-5 if half else 0.0,
        pre_nms_proposals=int(kwargs.get("rpn_pre_nms_top_n_test", 1000)),
        proposal_nms_iou=float(kwargs.get("rpn_nms_thresh", 0.7)),
    )
    paper = MODES["paper"]
    mode = Mode(
        min_size=int(kwargs.get("min_size", paper.min_size)),
        max_size=int(kwargs.get("max_size", paper.max_size)),
        proposals=int(kwargs.get("rpn_post_nms_top_n_test", paper.proposals)),
        half=half,
    )
    integration = {
        name: IntegrationSettings.from_dict(dict(content[f"{name}_ppi_kwargs"]))
        for name in parts
        if content.get(f"{name}_ppi_kwargs")
    }
    about = {"licence": "CC BY-NC-SA 4.0, non-commercial; made by the authors of the paper"}
    return Checkpoint(config, state, mode, integration, about)
