"""Backbones: the convolutions before the RPN, and those that are applied to every RoI."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

from torch import nn
from torchvision.models import resnet50
from torchvision.ops.misc import FrozenBatchNorm2d


@dataclass
class Backbone:
    """A network cut in two where the proposals come in.

    Attributes:
        features: image (B, 3, H, W) to feature map (B, channels, H / stride, W / stride).
        roi_features: pooled RoIs (R, channels, 7, 7) to (R, roi_channels, h, w).
    """

    features: nn.Module
    roi_features: nn.Module
    stride: int
    channels: int
    roi_channels: int


def _resnet50(batch_norm_eps: float) -> Backbone:
    net = resnet50(weights=None, norm_layer=partial(FrozenBatchNorm2d, eps=batch_norm_eps))
    before = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
    return Backbone(
        features=nn.Sequential(OrderedDict((name, getattr(net, name)) for name in before)),
        roi_features=nn.Sequential(OrderedDict(layer4=net.layer4)),
        stride=16,
        channels=1024,
        roi_channels=2048,
    )


_BUILDERS = {"resnet50": _resnet50}


def build_backbone(name: str, batch_norm_eps: float) -> Backbone:
    """A backbone with fresh weights and frozen batch norms.

    Raises:
        ValueError: there is no backbone called `name`.
    """
    if name not in _BUILDERS:
        raise ValueError(f"unknown backbone {name!r}; known: {', '.join(_BUILDERS)}")
    return _BUILDERS[name](batch_norm_eps)
