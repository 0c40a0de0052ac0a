"""The optimiser of a network, and the memory format and precision of fast training steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from dope_model.network.backbone import pretrained_parameters
from dope_model.network.dope import DopeNetwork
from dope_model.network.roi_features import Features
from dope_model.training.folding import fold_frozen_norms
from dope_model.training.settings import TrainingSettings

_MOMENTUM = 0.9  # section 3.3


def make_optimizer(
    network: DopeNetwork, settings: TrainingSettings, sizes: dict[str, float]
) -> torch.optim.Optimizer:
    """The optimiser of what learns in a network.

    Args:
        sizes: of the pretrained parameters, by name. AdamW's steps do not follow the size of the
            gradient, and weights from elsewhere may be of any size, so it takes steps in units of
            these.
    """
    on_gpu = next(network.parameters()).is_cuda
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        group = {"params": [p for _, p in trained], "share": 1.0}
        return torch.optim.SGD([group], rate, momentum=_MOMENTUM, weight_decay=decay)
    if settings.optimizer == "adamw":
        alike: dict[float, list[nn.Parameter]] = {}
        for name, parameter in trained:
            alike.setdefault(sizes.get(name, 1.0), []).append(parameter)
        groups = [{"params": some, "share": size} for size, some in alike.items()]
        # On a GPU one kernel for all operations on a tensor.
        return torch.optim.AdamW(groups, rate, weight_decay=decay, fused=on_gpu or None)
    raise ValueError(f"unknown optimizer {settings.optimizer!r}; known: sgd, adamw")


def sizes_of(network: DopeNetwork) -> dict[str, float]:
    """Root mean squares of the pretrained parameters that learn, by name, rounded to a quarter of
    an octave: each group of an optimiser costs time."""
    pretrained = {id(p) for p in pretrained_parameters(network.backbone)}
    sizes = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and id(parameter) in pretrained:
            size = parameter.detach().square().mean().sqrt().item() or 1.0
            sizes[name] = 2.0 ** (round(4 * math.log2(size)) / 4)
    return sizes


def made_fast(network: DopeNetwork, device: torch.device, half: bool) -> DopeNetwork:
    """The same network on `device`, where a training step takes about half the time."""
    fold_frozen_norms(network)
    if half and device.type == "cpu" and _multiplies_bfloat16():
        # Only the backbone: boxes and poses need more digits.
        network.backbone.forward = partial(_in_bfloat16, network.backbone.forward)
    return network.to(device, memory_format=torch.channels_last)


def _in_bfloat16(
    forward: Callable[[Tensor], Tensor | Features], images: Tensor
) -> Tensor | Features:
    with torch.autocast("cpu", torch.bfloat16):
        return forward(images).float()


def _multiplies_bfloat16() -> bool:
    """Whether this processor has matrix products of bfloat16 (AMX); others take far longer."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())
