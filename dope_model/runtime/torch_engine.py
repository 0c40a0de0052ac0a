"""The network on PyTorch: CUDA in FP16 or float32, CPU in float32."""

from __future__ import annotations

import numpy as np
import torch

from dope_model.checkpoint import Checkpoint
from dope_model.network.config import Mode
from dope_model.network.dope import PartCandidates
from dope_model.postprocess.candidates import Candidates


def pick_device(device: str) -> torch.device:
    """The device called `device`; "auto" is the first CUDA device, or else the CPU.

    Raises:
        ValueError: no such device, or CUDA asked for where there is none.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N") from error
    if picked.type not in ("cpu", "cuda"):
        raise ValueError(f"unsupported device {device!r}; use auto, cpu, cuda or cuda:N")
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {device!r} is not here: PyTorch sees {torch.cuda.device_count()} CUDA "
            "devices; use device cpu, or install a CUDA build of PyTorch and the driver"
        )
    return picked


class TorchEngine:
    """Runs a checkpoint's network on images: `engine(rgb)` gives candidates by part."""

    def __init__(self, checkpoint: Checkpoint, mode: Mode, device: str = "auto") -> None:
        self.device = pick_device(device)
        self.half = mode.half and self.device.type == "cuda"
        network = checkpoint.build(mode)
        self.network = (network.half() if self.half else network).to(self.device)
        self.min_scores = checkpoint.min_candidate_scores()

    @property
    def description(self) -> str:
        precision = "FP16" if self.half else "float32"
        return f"PyTorch {precision} on {self.device}"

    def __call__(self, rgb: np.ndarray) -> dict[str, Candidates]:
        """Candidates of an image (H, W, 3) uint8, by part, in its pixels."""
        image = torch.from_numpy(np.ascontiguousarray(rgb)).to(self.device).permute(2, 0, 1)
        found = self.network(image, self.min_scores)
        return {name: _to_arrays(name, candidates) for name, candidates in found.items()}


def _to_arrays(part: str, found: PartCandidates) -> Candidates:
    return Candidates(
        part,
        found.classes.cpu().numpy(),
        found.scores.cpu().numpy(),
        found.boxes.cpu().numpy(),
        found.keypoints_2d.cpu().numpy(),
        found.keypoints_3d.cpu().numpy(),
    )
