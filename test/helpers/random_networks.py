"""Networks of random weights that the tests share."""

from __future__ import annotations

import torch
from torch import nn

from dope_model.checkpoint import Checkpoint
from dope_model.network.config import Mode, NetworkConfig, PartConfig
from dope_model.network.dope import DopeNetwork

# Joints and anchor poses of the paper's network.
PARTS = {"body": (13, 10), "hand": (21, 10), "face": (84, 10)}
SMALL = Mode(min_size=128, max_size=200, proposals=12, half=False)


def with_random_weights(module: nn.Module, seed: int) -> nn.Module:
    """Weights under which activations stay of ordinary size and classes differ between boxes."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if "running_var" in name:
            value.uniform_(0.8, 1.2, generator=generator)
        elif "running_mean" in name or name.endswith("bias"):
            value.normal_(0, 0.05, generator=generator)
        elif "bn3.weight" in name or name.endswith("second.1.weight"):
            value.fill_(0.3)
        elif "anchor_poses" in name:
            value.uniform_(0, 1, generator=generator)
        elif "cls_score.weight" in name or "cls_logits.weight" in name:
            value.normal_(0, 0.1, generator=generator)
        elif "pose_pred.weight" in name or "bbox_pred.weight" in name:
            value.normal_(0, 0.02, generator=generator)
    return module.eval()


def small_checkpoint(parts=("body", "hand", "face"), backbone="resnet50") -> Checkpoint:
    config = NetworkConfig(
        {n: PartConfig(j, c) for n, (j, c) in PARTS.items() if n in parts}, backbone=backbone
    )
    torch.manual_seed(3)
    network = with_random_weights(DopeNetwork(config, SMALL), seed=3)
    return Checkpoint(config, network.state_dict(), SMALL, about={"licence": "none, it is random"})
