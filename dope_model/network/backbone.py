"""Backbones: the convolutions before the RPN, and those that are applied to every RoI."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

from torch import nn
from torchvision.models import mobilenet_v2, resnet50
from torchvision.ops.misc import FrozenBatchNorm2d

from dope_model.network.pyramid import KeypointPyramid
from dope_model.network.roi_features import AllPlaces, MeanOverPlaces, PlacesAndPoints


@dataclass
class Backbone:
    """A network cut in two where the proposals come in.

    Attributes:
        features: images (B, 3, H, W) to a feature map (B, channels, H / 16, W / 16), or to
            `Features` where there are heat maps.
        roi_features: pooled RoIs (R, channels, 7, 7) to smaller maps.
        roi_vector: those maps, and the heat maps of the RoIs (R, M, 28, 28) or None, to
            `RoiFeatures` with `roi_channels` for the heads.
        heatmaps: whether there are heat maps.
    """

    features: nn.Module
    roi_features: nn.Module
    roi_vector: nn.Module
    channels: int
    roi_channels: int
    heatmaps: bool = False


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
        roi_vector=MeanOverPlaces(),
        channels=1024,
        roi_channels=2048,
    )


def _mobilenet_v2(batch_norm_eps: float) -> Backbone:
    """MobileNetV2 without its last two blocks: for machines without a GPU."""
    net = mobilenet_v2(norm_layer=partial(FrozenBatchNorm2d, eps=batch_norm_eps)).features
    return Backbone(
        features=net[:14],
        roi_features=net[14:16],
        roi_vector=AllPlaces(160 * 4 * 4, 1024),
        channels=96,
        roi_channels=1024,
    )


def _mobilenet_v2_keypoints(batch_norm_eps: float) -> Backbone:
    """A wider MobileNetV2 with a feature pyramid and heat maps, as MoveNet MultiPose has.

    It starts from MoveNet's weights, which were trained on people and their joints.
    """
    pyramid = KeypointPyramid(batch_norm_eps)
    vector = PlacesAndPoints(64 * 7 * 7, 768)
    return Backbone(
        features=pyramid,
        roi_features=nn.Sequential(nn.Conv2d(pyramid.channels, 64, 1), nn.ReLU()),
        roi_vector=vector,
        channels=pyramid.channels,
        roi_channels=vector.channels,
        heatmaps=True,
    )


_BUILDERS = {
    "resnet50": _resnet50,
    "resnet50_original": partial(_resnet50, stride_in_first=True),
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v2_keypoints": _mobilenet_v2_keypoints,
}


def build_backbone(name: str, batch_norm_eps: float) -> Backbone:
    """A backbone with fresh weights and frozen batch norms.

    Raises:
        ValueError: there is no backbone called `name`.
    """
    if name not in _BUILDERS:
        raise ValueError(f"unknown backbone {name!r}; known: {', '.join(_BUILDERS)}")
    return _BUILDERS[name](batch_norm_eps)


def stages_of(features: nn.Module) -> list[nn.Module]:
    """The stages of a backbone's `features`, first to last, as `frozen_stages` counts them.

    A pyramid's are those that MoveNet has, 18 blocks, top, lateral and smoothing layers and the
    heat maps of keypoints, 22 in all, and as the 23rd the features of people that RPN and heads
    get. With these frozen only the heat maps of joints change, with the 24th only those of hands,
    and with the 25th only RPN and heads, which also get features from the layers of hands' heat
    maps and so have to learn after these.
    """
    if isinstance(features, KeypointPyramid):
        heatmaps = features.part_maps
        known = nn.ModuleList([heatmaps.sixteen, heatmaps.people])
        return [*_movenet_stages(features), features.joined, known, heatmaps.hands]
    return list(features.children())


def float_layers_of(features: nn.Module) -> tuple[str, ...]:
    """Beginnings of the names of weights in a backbone's `features` that INT8 leaves in float."""
    return features.float_in_int8 if isinstance(features, KeypointPyramid) else ()


def _movenet_stages(pyramid: KeypointPyramid) -> list[nn.Module]:
    further = [pyramid.top, pyramid.lateral, pyramid.smooth, pyramid.keypoints]
    return [*pyramid.blocks, *further]


def pretrained_parameters(features: nn.Module) -> list[nn.Parameter]:
    """The parameters of a backbone's `features` for which pretrained weights exist."""
    known = [features]
    if isinstance(features, KeypointPyramid):
        known = [*_movenet_stages(features), features.part_maps.hands.blocks]
    return [p for module in known for p in module.parameters()]
