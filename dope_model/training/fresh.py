"""Untrained networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops.misc import FrozenBatchNorm2d

from dope_model.checkpoint import Checkpoint, load_checkpoint
from dope_model.network.config import Mode, NetworkConfig, PartConfig
from dope_model.network.dope import DopeNetwork
from dope_model.training.anchor_poses import AnchorPoses
from dope_model.training.movenet import open_gates


def fresh_checkpoint(
    anchors: dict[str, AnchorPoses],
    backbone: str,
    mode: Mode,
    backbone_weights: Mapping[str, Tensor] | None = None,
    seed: int = 0,
) -> Checkpoint:
    """An untrained network with anchor poses, on known features where weights are given.

    Args:
        backbone_weights: the tensors `backbone.*` and `roi_features.*`, see
            `pretrained.convert_backbone`.
    """
    torch.manual_seed(seed)
    config = NetworkConfig(
        parts={
            part: PartConfig(joints=a.poses.shape[1], anchor_poses=a.poses.shape[0])
            for part, a in anchors.items()
        },
        backbone=backbone,
    )
    network = DopeNetwork(config, mode)
    # torchvision's 0.01 fits 1024 channels; with fewer the signal would be weak and learning slow.
    nn.init.kaiming_normal_(network.rpn.head.conv[0][0].weight)
    for part, a in anchors.items():
        branches = network.branches[part]
        branches.anchor_poses.copy_(torch.from_numpy(a.poses))
        # As in Faster R-CNN: start near the anchor poses, all classes alike.
        nn.init.normal_(branches.cls_score.weight, std=0.01)
        nn.init.normal_(branches.pose_pred.weight, std=0.001)
        nn.init.zeros_(branches.cls_score.bias)
        nn.init.zeros_(branches.pose_pred.bias)
    if backbone_weights is not None:
        network.load_state_dict(backbone_weights, strict=False)
        if network.has_heatmaps:
            open_gates(network)
    else:
        _calibrate_batch_norms(network)
    return Checkpoint(config, network.state_dict(), mode)


@torch.no_grad()
def _calibrate_batch_norms(network: DopeNetwork) -> None:
    """Give the frozen batch norms of random weights the statistics of random images.

    Without them the signal of a deep random network vanishes and it cannot be trained.
    """

    def calibrate(norm: FrozenBatchNorm2d, inputs: tuple[Tensor]) -> None:
        norm.running_mean.copy_(inputs[0].mean(dim=(0, 2, 3)))
        norm.running_var.copy_(inputs[0].var(dim=(0, 2, 3)).clamp(min=1e-4))

    norms = [m for m in network.modules() if isinstance(m, FrozenBatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(calibrate) for norm in norms]
    coarse = torch.randn(4, 3, 16, 16)
    features = network.features(F.interpolate(coarse, size=(128, 128), mode="bicubic"))
    network.roi_features(features.coarse[:, :, :7, :7])
    for hook in hooks:
        hook.remove()


def load_expert(path: Path, part: str) -> DopeNetwork:
    """A part expert for distillation.

    Raises:
        ValueError: the checkpoint does not detect that part.
    """
    checkpoint = load_checkpoint(path)
    if part not in checkpoint.config.parts:
        found = ", ".join(checkpoint.config.parts)
        raise ValueError(
            f"{path} is no {part} expert: it detects {found}; train one with python -m dope_model "
            f"train --recipe paper_{part}"
        )
    return checkpoint.build()
