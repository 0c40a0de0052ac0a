"""Engines that run a network; each takes an RGB image and gives pose candidates by part."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dope_model.hints import pip_install
from dope_model.network.config import Mode
from dope_model.postprocess.candidates import Candidates
from dope_model.runtime.processor import has_vnni

if TYPE_CHECKING:
    from dope_model.checkpoint import Checkpoint

log = logging.getLogger(__name__)

ENGINES = ("auto", "torch", "eager", "openvino", "int8", "tensorrt")
CPU_ONLY = ("openvino", "int8")
_FASTEST = {
    "cuda": ("tensorrt", ("tensorrt", "onnx", "onnxscript"), "TensorRT is faster on a GPU"),
    "cpu": ("openvino", ("openvino", "onnx", "onnxscript"), "OpenVINO is faster on a CPU"),
}
# Of a desktop's driver, and of a Jetson.
_NVIDIA_FILES = (Path("/proc/driver/nvidia/version"), Path("/etc/nv_tegra_release"))


class Engine(Protocol):
    """What `load_engine` gives."""

    @property
    def description(self) -> str:
        """The engine, its precision and its device, in one line."""
        ...

    @property
    def prefetch(self) -> Callable[[np.ndarray], None] | None:
        """Starts to bring an image to the engine's device, if that is another than the CPU; the
        next call with the same array finds it there."""
        ...

    def __call__(self, rgb: np.ndarray) -> dict[str, Candidates]:
        """Candidates of an image (H, W, 3) uint8, by part, in its pixels."""
        ...


def load_engine(name: str, checkpoint: Checkpoint, mode: Mode, device: str) -> Engine:
    """An engine for a checkpoint, which looks once.

    Args:
        name: "tensorrt", for a GPU; "torch": on a GPU a CUDA graph, or if none can be made the
            eager network, and on a CPU the eager network; "eager", for pictures of many sizes: a
            graph is for one, and takes seconds to make; "openvino", for the CPU; "int8", on
            OpenVINO, for weights that say what their convolutions see; or "auto": the first of
            "tensorrt" and "torch" that there is on a GPU, and of "openvino" and "torch" on a CPU;
            "int8" for "openvino" where the mode allows half precision, the weights are made for it
            and the processor is fast at it (VNNI).
        device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        ValueError: an unknown engine or device, or an engine that does not run on that device.
        ImportError: the engine is not installed; the text has the command that brings it.
    """
    return _engines(name, checkpoint, [mode], device)[0]


def load_looks(name: str, checkpoint: Checkpoint, mode: Mode, device: str) -> Engine:
    """`load_engine`, with the second look that a checkpoint may ask for."""
    from dope_model.runtime.two_looks import as_one

    return as_one(_engines(name, checkpoint, checkpoint.looks(mode), device), checkpoint, mode)


def _engines(name: str, checkpoint: Checkpoint, modes: list[Mode], device: str) -> list[Engine]:
    engine, where = picked(name, device, int8_allowed(checkpoint, modes[0]))
    if name == "auto":
        _say_what_is_faster(device, where)
    make = _make_or_torch if name == "auto" else _make
    return [make(engine, checkpoint, mode, where) for mode in modes]


def int8_allowed(checkpoint: Checkpoint, mode: Mode) -> bool:
    """Whether "auto" may take "int8": the mode allows half precision, and the weights are made
    for it."""
    return mode.half and bool(checkpoint.input_ranges)


def picked(name: str, device: str, allows_int8: bool) -> tuple[str, str]:
    """Engine and device that `load_engine` takes for these, neither of them "auto".

    Args:
        allows_int8: see `int8_allowed`.

    Raises:
        ValueError: as `load_engine`.
    """
    from dope_model.runtime.torch_engine import pick_device

    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}; known: {', '.join(ENGINES)}")
    where = pick_device(device)
    if name in CPU_ONLY and where.type != "cpu":
        if device != "auto":
            raise ValueError(f"engine {name} runs on the CPU here, not on {device!r}")
        where = pick_device("cpu")
    if name == "auto":
        name = _best_engine(where.type)
        if name == "openvino" and allows_int8 and has_vnni():
            name = "int8"
    return name, str(where)


def _best_engine(kind: str) -> str:
    """The fastest engine on that kind of device whose packages are installed, for all weights."""
    best, needed, _ = _FASTEST[kind]
    return "torch" if _missing(needed) else best


def _missing(packages: tuple[str, ...]) -> list[str]:
    return [package for package in packages if not importlib.util.find_spec(package)]


def _say_what_is_faster(device: str, where: str) -> None:
    """Warn where something is not installed that would make the engine "auto" faster."""
    if device == "auto" and where == "cpu" and any(file.exists() for file in _NVIDIA_FILES):
        import torch

        log.warning(
            "running on the CPU, though this machine has an NVIDIA GPU: PyTorch %s does not see "
            "it; install one built for the machine's CUDA (on a Jetson, NVIDIA's for its JetPack)",
            torch.__version__,
        )
    _, needed, hint = _FASTEST[where.partition(":")[0]]
    if missing := _missing(needed):
        log.warning("running on PyTorch; %s: %s", hint, pip_install(*missing))


def _make_or_torch(name: str, checkpoint: Checkpoint, mode: Mode, device: str) -> Engine:
    """The engine `name`, or PyTorch where it cannot be made or fails."""
    from dope_model.runtime.graph_engine import WithFallback

    if name == "torch":
        return _make(name, checkpoint, mode, device)
    try:
        engine = _make(name, checkpoint, mode, device)
    except ImportError as error:
        log.warning("running on PyTorch; %s", error)
        return _make("torch", checkpoint, mode, device)
    return WithFallback(engine, lambda: _make("torch", checkpoint, mode, device))


def _make(name: str, checkpoint: Checkpoint, mode: Mode, device: str) -> Engine:
    if name == "openvino":
        from dope_model.runtime.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(checkpoint, mode)
    if name == "int8":
        from dope_model.runtime.int8 import Int8Engine

        return Int8Engine(checkpoint, mode)
    if name == "tensorrt":
        from dope_model.runtime.tensorrt_engine import TensorRtEngine

        return TensorRtEngine(checkpoint, mode, device)
    from dope_model.runtime.graph_engine import WithFallback
    from dope_model.runtime.torch_engine import EagerEngine, StaticEngine

    if name == "torch" and device.startswith("cuda"):
        return WithFallback(
            StaticEngine(checkpoint, mode, device), lambda: EagerEngine(checkpoint, mode, device)
        )
    return EagerEngine(checkpoint, mode, device)
