"""Engines that run a network; each takes an RGB image and gives pose candidates by part."""

from __future__ import annotations

import importlib.util
import logging
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dope_model.network.config import Mode
from dope_model.postprocess.candidates import Candidates

if TYPE_CHECKING:
    from dope_model.checkpoint import Checkpoint

log = logging.getLogger(__name__)

ENGINES = ("auto", "torch", "openvino")


class Engine(Protocol):
    """What `load_engine` gives."""

    description: str

    def __call__(self, rgb: np.ndarray) -> dict[str, Candidates]:
        """Candidates of an image (H, W, 3) uint8, by part, in its pixels."""
        ...


def load_engine(name: str, checkpoint: Checkpoint, mode: Mode, device: str) -> Engine:
    """An engine for a checkpoint.

    Args:
        name: "torch"; "openvino", for the CPU; or "auto": PyTorch on a GPU, and on the CPU OpenVINO
            where it is installed, PyTorch otherwise.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        ValueError: an unknown engine or device, or an engine that does not run on that device.
        ImportError: the engine is not installed; the text has the command that brings it.
    """
    from dope_model.runtime.torch_engine import TorchEngine, pick_device

    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}; known: {', '.join(ENGINES)}")
    picked = pick_device(device)
    if name == "openvino" and picked.type != "cpu":
        if device != "auto":
            raise ValueError(f"engine openvino runs on the CPU here, not on {device!r}")
        picked = pick_device("cpu")
    if name == "auto" and picked.type == "cpu":
        missing = [p for p in ("openvino", "onnx", "onnxscript") if not importlib.util.find_spec(p)]
        if missing:
            log.warning(
                "running on PyTorch; OpenVINO is faster on a CPU: pip install %s", " ".join(missing)
            )
        name = "torch" if missing else "openvino"
    if name == "openvino":
        from dope_model.runtime.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(checkpoint, mode)
    return TorchEngine(checkpoint, mode, str(picked))
