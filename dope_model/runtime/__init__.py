"""Engines that run a network; each takes an RGB image and gives pose candidates by part."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dope_model.hints import NETWORK_PACKAGES, pip_install
from dope_model.network.config import Mode
from dope_model.postprocess.candidates import Candidates
from dope_model.runtime.processor import has_vnni

if TYPE_CHECKING:
    from dope_model.checkpoint import Checkpoint
    from dope_model.runtime.engine import Engine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineKind:
    """A row of the table of engines.

    Attributes:
        devices: kinds of device that it runs on.
        packages: that it needs.
        made_by: module of this package and class, which takes checkpoint, mode and device.
        hint: the reason to install its packages, where "auto" would use it.
    """

    devices: tuple[str, ...]
    packages: tuple[str, ...]
    made_by: tuple[str, str]
    hint: str = ""


# The order is that in which "auto" tries them.
KINDS = {
    "tensorrt": EngineKind(
        ("cuda",), ("tensorrt", *NETWORK_PACKAGES, "onnx", "onnxscript"),
        ("tensorrt_engine", "TensorRtEngine"), "TensorRT is faster on a GPU",
    ),
    "torch": EngineKind(("cuda",), NETWORK_PACKAGES, ("torch_engine", "StaticEngine")),
    "int8": EngineKind(("cpu",), ("openvino",), ("int8", "Int8Engine")),
    "openvino": EngineKind(
        ("cpu",), ("openvino",), ("openvino_engine", "OpenVinoEngine"),
        "OpenVINO is faster on a CPU",
    ),
    "onnxruntime": EngineKind(
        ("cpu",), ("onnxruntime",), ("onnxruntime_engine", "OnnxRuntimeEngine")
    ),
    "eager": EngineKind(("cuda", "cpu"), NETWORK_PACKAGES, ("torch_engine", "EagerEngine")),
}  # fmt: skip
ENGINES = ("auto", *KINDS)
# Of the drivers of NVIDIA's GPUs on a desktop, on a Jetson and in WSL, and of AMD's.
_GPU_FILES = tuple(
    map(Path, ("/proc/driver/nvidia/version", "/etc/nv_tegra_release", "/dev/dxg", "/dev/kfd"))
)
# Errors of an installed package that does not run here: a missing library, an old driver, a GPU
# without kernels.
_FAILURES = (ImportError, OSError, TypeError, RuntimeError)


def load_engine(
    name: str, checkpoint: Checkpoint, mode: Mode, device: str
) -> Engine | FirstThatRuns:
    """An engine for a checkpoint.

    Args:
        name: "tensorrt", for a GPU; "torch": on a GPU a CUDA graph, on a CPU as "eager"; "eager":
            PyTorch step by step; "openvino" and "onnxruntime", for a CPU; "int8", on OpenVINO, for
            weights with calibrated input ranges; or "auto": the first of these, in the order of
            `KINDS`, that is installed, suits the device and runs; "int8" only if the mode allows
            half precision and the processor has VNNI.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        ValueError: an unknown engine or device, or an engine that does not run on that device.
        ImportError: the engine is not installed; the text has the command that brings it.
    """
    chain = _chain(name, device, int8_allowed(checkpoint, mode))
    if name == "auto":
        _say_what_is_faster(device, chain)
    makers = [(engine, partial(_make, engine, checkpoint, mode, where)) for engine, where in chain]
    if chain[0][0] == "tensorrt" and len(chain) > 1:
        from dope_model.runtime.building import WhileBuilding

        (_, make), *others = makers
        makers[0] = "tensorrt", lambda: WhileBuilding(make(), lambda: FirstThatRuns(others))
    return FirstThatRuns(makers) if len(makers) > 1 else makers[0][1]()


def int8_allowed(checkpoint: Checkpoint, mode: Mode) -> bool:
    """Whether "auto" may use "int8": the mode allows half precision, and the weights have
    calibrated input ranges."""
    return mode.half and bool(checkpoint.input_ranges)


def picked(name: str, device: str, allows_int8: bool) -> tuple[str, str]:
    """Engine and device that `load_engine` tries first, neither of them "auto".

    Args:
        allows_int8: see `int8_allowed`.

    Raises:
        ValueError, ImportError: as `load_engine`.
    """
    return _chain(name, device, allows_int8)[0]


class FirstThatRuns:
    """The first of several engines that can be made; an engine that fails later is replaced for
    good.

    Args:
        makers: names, and functions that make the engines.

    Raises:
        Exception: that of the last one, if none can be made.
    """

    def __init__(self, makers: Sequence[tuple[str, Callable[[], Engine]]]) -> None:
        self._makers = list(makers)
        self._lock = threading.Lock()
        self._engine = self._next_one()

    @property
    def description(self) -> str:
        """The description of the engine in use."""
        return self._engine.description

    def close(self) -> None:
        """End what goes on in the background."""
        self._engine.close()

    def __call__(self, rgb: np.ndarray) -> dict[str, Candidates]:
        """Candidates of an image (H, W, 3) uint8, by part, in its pixels."""
        while True:
            engine = self._engine
            try:
                return engine(rgb)
            except _FAILURES as error:
                with self._lock:
                    if engine is self._engine:  # else another thread has replaced it
                        if not self._makers:
                            raise
                        self._tell(engine.description, error)
                        self._engine = self._next_one()

    def _next_one(self) -> Engine:
        while True:
            name, make = self._makers.pop(0)
            try:
                return make()
            except _FAILURES as error:
                if not self._makers:
                    raise
                self._tell(f"engine {name}", error)

    def _tell(self, what: str, error: Exception) -> None:
        log.warning("%s does not run: %s; trying %s", what, error, self._makers[0][0])


def _chain(name: str, device: str, allows_int8: bool) -> list[tuple[str, str]]:
    """Engines and devices in the order in which they are tried."""
    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}; known: {', '.join(ENGINES)}")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ValueError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N")
    if name != "auto" and name != "torch" and "cuda" not in KINDS[name].devices:
        if device not in ("auto", "cpu"):
            raise ValueError(f"engine {name} runs on the CPU here, not on {device!r}")
        device = "cpu"
    where = _device(device)
    kind = where.partition(":")[0]
    if name == "torch":
        names = [n for n in ("torch", "eager") if kind in KINDS[n].devices]
    elif name != "auto":
        if kind not in KINDS[name].devices and device != "auto":
            raise ValueError(f"engine {name} needs an NVIDIA GPU, not device {device!r}")
        names = [name]
    else:
        names = [n for n in KINDS if kind in KINDS[n].devices and not _missing(n)]
        if not (allows_int8 and has_vnni()):
            names = [n for n in names if n != "int8"]
    chain = [(n, where) for n in names]
    if name == "auto" and device == "auto" and kind != "cpu":
        chain += _chain("auto", "cpu", allows_int8)
    if not chain:
        raise ImportError(f"nothing here runs a network on {where}: {pip_install('openvino')}")
    return chain


def _device(device: str) -> str:
    """The device called `device`, with "auto" resolved."""
    if device == "auto" and (not any(f.exists() for f in _GPU_FILES) or _missing("eager")):
        return "cpu"
    if device == "cpu":
        return device
    try:
        from dope_model.runtime.torch_engine import pick_device
    except ImportError as error:
        raise ImportError(f"device {device}: {error}: {pip_install(*NETWORK_PACKAGES)}") from error
    return str(pick_device(device))


def _missing(engine: str) -> list[str]:
    """The packages of an engine that are not installed."""
    return [p for p in KINDS[engine].packages if not importlib.util.find_spec(p)]


def _say_what_is_faster(device: str, chain: list[tuple[str, str]]) -> None:
    """Warn if a package is missing that would make the engine "auto" faster."""
    where = chain[0][1]
    if device == "auto" and where == "cpu" and any(file.exists() for file in _GPU_FILES):
        log.warning(
            "running on the CPU, though this machine has a GPU: PyTorch %s; install one built for "
            "the machine's CUDA (on a Jetson, NVIDIA's for its JetPack)",
            "is not installed" if _missing("eager") else "does not see it",
        )
    for name, kind in KINDS.items():
        if kind.hint and where.partition(":")[0] in kind.devices and _missing(name):
            command = pip_install(*_missing(name))
            log.warning("running on %s; %s: %s", chain[0][0], kind.hint, command)


def _make(name: str, checkpoint: Checkpoint, mode: Mode, device: str) -> Engine:
    module, made_by = KINDS[name].made_by
    try:
        found = importlib.import_module(f"dope_model.runtime.{module}")
    except ImportError as error:
        raise ImportError(f"engine {name}: {error}: {pip_install(*_missing(name))}") from error
    return getattr(found, made_by)(checkpoint, mode, device)
