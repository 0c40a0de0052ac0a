"""Backbones: the convolutions before the RPN, and those that are applied to every RoI."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

from torch import nn
from torchvision.models import mobilenet_v2, resnet50
from torchvision.ops.misc import FrozenBatchNorm2d

# Of every backbone's feature map: the anchors and the export count on it.
STRIDE = 16


@dataclass
class Backbone:
    """A network cut in two where the proposals come in.

    Attributes:
        features: image (B, 3, H, W) to feature map (B, channels, H / 16, W / 16).
        roi_features: pooled RoIs (R, channels, 7, 7) to (R, roi_channels, 4, 4).
    """

    features: nn.Module
    roi_features: nn.Module
    channels: int
    roi_channels: int


def _resnet50(batch_norm_eps: float, stride_in_first: bool = False) -> Backbone:
    """torchvision's ResNet-50; its blocks halve the map in the 3x3, the original in the first 1x1.

    Weights fit both, and work best where they were trained.
    """
    net = resnet50(weights=None, norm_layer=partial(FrozenBatchNorm2d, eps=batch_norm_eps))
    if stride_in_first:
        for block in (net.layer2[0], net.layer3[0], net.layer4[0]):
            block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
    before = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
    return Backbone(
        features=nn.Sequential(OrderedDict((name, getattr(net, name)) for name in before)),
        roi_features=nn.Sequential(OrderedDict(layer4=net.layer4)),
        channels=1024,
        roi_channels=2048,
    )


def _mobilenet_v2(batch_norm_eps: float) -> Backbone:
    """MobileNetV2, cut where its map is halved for the last time: for machines without a GPU."""
    net = mobilenet_v2(norm_layer=partial(FrozenBatchNorm2d, eps=batch_norm_eps)).features
    return Backbone(features=net[:14], roi_features=net[14:], channels=96, roi_channels=1280)


_BUILDERS = {
    "resnet50": _resnet50,
    "resnet50_original": partial(_resnet50, stride_in_first=True),
    "mobilenet_v2": _mobilenet_v2,
}


def build_backbone(name: str, batch_norm_eps: float) -> Backbone:
    """A backbone with fresh weights and frozen batch norms.

    Raises:
        ValueError: there is no backbone called `name`.
    """
    if name not in _BUILDERS:
        raise ValueError(f"unknown backbone {name!r}; known: {', '.join(_BUILDERS)}")
    return _BUILDERS[name](batch_norm_eps)
