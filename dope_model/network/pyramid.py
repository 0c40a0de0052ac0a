"""A feature pyramid on MobileNetV2 whose finest level holds heat maps of joints.

The layout is that of MoveNet MultiPose (Google, Apache-2.0): MobileNetV2 of width 1.5, top-down
sums (Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017) down to stride 4, and
there a small head with a heat map for each keypoint. A second head, larger, has heat maps of the
joints of hands and faces, and corrections to the keypoints' heat maps. The regressors of section
3.1, which see pooled RoIs, would need far more images than heat maps to be as accurate.
"""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v2
from torchvision.ops.misc import FrozenBatchNorm2d

from dope_model.network.keypoint_head import HAND_HEATMAPS, HEATMAPS, KEYPOINTS
from dope_model.network.roi_features import Features

HEATMAP_STRIDE = 4
WIDTH = 1.5
_PEOPLE_WIDTH, _PART_WIDTH = 128, 64
# Root mean squares of MoveNet's features on pictures of people: what comes after gets values of
# about one. By stride, of the blocks and of the sums.
_BLOCK_SIZE = {16: 6.0, 8: 2.3, 4: 5.0}
_SUM_SIZE = {16: 84.0, 4: 30.0}


class ConvSame(nn.Conv2d):
    """A convolution of stride 2 on maps of even sizes, padded after them as TensorFlow does."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        learns = weight.requires_grad and torch.is_grad_enabled()
        if learns and self.groups > 1 and x.dtype == torch.bfloat16 and x.device.type == "cpu":
            # A quarter of a convolution of stride 1 is the same, and its gradients take a fraction
            # of the time: oneDNN is slow at bfloat16's in depthwise ones of stride 2.
            whole = F.conv2d(x, weight, bias, padding="same", groups=self.groups)
            return whole[:, :, 1::2, 1::2]
        return super()._conv_forward(F.pad(x, (0, 1, 0, 1)), weight, bias)

    @classmethod
    def instead_of(cls, conv: nn.Conv2d) -> ConvSame:
        """Takes over the shape of a padded convolution of stride 2."""
        return cls(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, 0,
            groups=conv.groups, bias=conv.bias is not None,
        )  # fmt: skip


class KeypointPyramid(nn.Module):
    """Images (B, 3, H, W) to `Features`: of stride 16, of people and of hands, and heat maps of
    stride 4, in the order of `keypoint_head`."""

    channels = _PEOPLE_WIDTH + _PART_WIDTH
    float_in_int8 = (
        *(f"blocks.{number}." for number in range(8)),
        *(f"part_maps.hands.blocks.{number}." for number in range(4, 8)),
        "top.", "lateral.", "smooth.", "keypoints.", "joined.",
    )  # fmt: skip
    """Of the names of weights, beginnings of those that stay in float: with them in eight bits
    10.7 % of the joints change instead of 4.1 %, in 0.87 of the time (640 x 480 px, VNNI).
    Depthwise ones have ranges far apart (Sheng et al., "A Quantization-Friendly Separable
    Convolution for MobileNets", EMC2 2018), and the sums have no activation that would bound
    them."""

    def __init__(self, batch_norm_eps: float) -> None:
        super().__init__()
        norm = partial(FrozenBatchNorm2d, eps=batch_norm_eps)
        self.blocks = mobilenet_v2(width_mult=WIDTH, norm_layer=norm).features[:18]
        for module in list(self.blocks.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Conv2d) and child.stride == (2, 2):
                    setattr(module, name, ConvSame.instead_of(child))
        self.top = nn.Conv2d(480, 1280, 1)
        self.lateral = nn.ModuleDict(
            {
                "32": nn.Conv2d(1280, 64, 1),
                "16": nn.Conv2d(96, 64, 1),
                "8": nn.Conv2d(48, 32, 1),
                "4": nn.Conv2d(40, 24, 1),
            }
        )
        self.smooth = nn.ModuleDict(
            {"16": _separable(64, 32), "8": _separable(32, 24), "4": _separable(24, 24)}
        )
        self.keypoints = nn.Sequential(_separable(24, 96), nn.Conv2d(96, KEYPOINTS, 1))
        self.joined = _Joined()
        self.part_maps = PartHeatmaps(self.blocks)

    def forward(self, images: Tensor) -> Features:
        x, levels = images, {}
        for number, block in enumerate(self.blocks):
            x = block(x)
            levels[number] = x
        top = self.lateral["32"](F.relu6(self.top(x)))
        sixteen = _twice(top) + self.lateral["16"](levels[10])
        eight = _twice(self.smooth["16"](sixteen)) + self.lateral["8"](levels[6])
        four = _twice(self.smooth["8"](eight)) + self.lateral["4"](levels[3])
        keypoints = self.keypoints(self.smooth["4"](four))
        people = self.joined(levels[13], sixteen)
        maps, hands = self.part_maps(people, sixteen, levels[6], levels[3], four)
        maps = torch.cat([keypoints + maps[:, :KEYPOINTS], maps[:, KEYPOINTS:]], dim=1)
        return Features(torch.cat([people, hands], dim=1), maps)


class PartHeatmaps(nn.Module):
    """Heat maps of all joints, from features of strides 16, 8 and 4.

    Those of MoveNet's keypoints are corrections, zero at the start. MoveNet's features have no
    fingers, so most of the work is done here: at stride 16, to find out which limb of which person
    it is, and then at strides 8 and 4.
    """

    def __init__(self, blocks: nn.Sequential) -> None:
        super().__init__()
        self.sixteen = _limbs()
        self.people = _HeatmapHead(HEATMAPS - len(HAND_HEATMAPS), blocks=(2, 1))
        self.hands = HandHeatmaps(blocks)
        nn.init.zeros_(self.people.last.weight[:KEYPOINTS])
        nn.init.zeros_(self.people.last.bias[:KEYPOINTS])

    def forward(
        self, people: Tensor, sixteen: Tensor, eight: Tensor, four: Tensor, sum_of_four: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Heat maps, and features of hands at stride 16.

        Args:
            people: features of people at stride 16.
            sixteen, sum_of_four: the pyramid's sums at strides 16 and 4.
            eight, four: the blocks' results at strides 8 and 4.
        """
        finest = torch.cat([four / _BLOCK_SIZE[4], sum_of_four / _SUM_SIZE[4]], dim=1)
        maps = self.people(self.sixteen(people), eight, finest)
        of_hands, hands = self.hands(four, sixteen, finest)
        before, after = maps[:, : HAND_HEATMAPS.start], maps[:, HAND_HEATMAPS.start :]
        return torch.cat([before, of_hands, after], dim=1), hands


class HandHeatmaps(nn.Module):
    """Heat maps of hands' joints, in layers of their own from MobileNetV2's fifth block on.

    In shared layers they learn too slowly: bodies and faces are learned first and use the capacity.
    The layers start as copies of MoveNet's blocks, which alone are not enough for fingers.
    """

    first, halved, last = 4, 6, 13
    """Of the blocks that are hands' own: the first, the last of stride 8, and the last."""

    def __init__(self, blocks: nn.Sequential) -> None:
        super().__init__()
        self.blocks = deepcopy(blocks[self.first : self.last + 1])
        self.joined = _Joined()
        self.sixteen = _limbs()
        self.fine = _HeatmapHead(len(HAND_HEATMAPS), blocks=(3, 2))

    def forward(self, four: Tensor, sixteen: Tensor, finest: Tensor) -> tuple[Tensor, Tensor]:
        """Heat maps, and features of hands at stride 16, from the last shared block, the pyramid's
        sum at stride 16, and all features at stride 4."""
        at_eight = self.halved + 1 - self.first
        eight = self.blocks[:at_eight](four)
        hands = self.sixteen(self.joined(self.blocks[at_eight:](eight), sixteen))
        return self.fine(hands, eight, finest), hands


class _Joined(nn.Conv2d):
    """Features of stride 16 from the blocks' result there and the pyramid's sum."""

    def __init__(self) -> None:
        super().__init__(144 + 64, _PEOPLE_WIDTH, 1)
        nn.init.kaiming_normal_(self.weight)

    def forward(self, blocks: Tensor, sums: Tensor) -> Tensor:
        both = torch.cat([blocks / _BLOCK_SIZE[16], sums / _SUM_SIZE[16]], dim=1)
        return F.relu(super().forward(both))


def _limbs() -> nn.Sequential:
    channels, width = _PEOPLE_WIDTH, _PART_WIDTH
    return nn.Sequential(
        _Residual(channels, width), _Residual(channels, width), _normed(channels, width, 1)
    )


class _HeatmapHead(nn.Module):
    """Some of the heat maps: first at stride 8, where a hand is a few cells wide, then at stride 4,
    which is as fine as they are.

    Args:
        blocks: how many at each of the two.
    """

    def __init__(self, maps: int, blocks: tuple[int, int]) -> None:
        super().__init__()
        width = _PART_WIDTH
        self.lateral = nn.ModuleDict(
            {"8": _normed(48, width, 1), "4": _normed(40 + 24, width, 1)}
        )  # fmt: skip
        eight, four = ([_Residual(width, width) for _ in range(count)] for count in blocks)
        self.eight, self.four = nn.Sequential(*eight), nn.Sequential(*four)
        self.last = nn.Conv2d(width, maps, 1)

    def forward(self, sixteen: Tensor, eight: Tensor, four: Tensor) -> Tensor:
        """Heat maps from the features at stride 16, the blocks' result at stride 8, and all
        features at stride 4."""
        eight = self.lateral["8"](eight / _BLOCK_SIZE[8]) + _twice(sixteen)
        x = self.eight(F.relu(eight))
        return self.last(self.four(F.relu(self.lateral["4"](four) + _twice(x))))


class _Residual(nn.Module):
    """Two convolutions 3 x 3 beside the identity; at the start only the identity."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = _normed(channels, width, 3)
        self.second = _normed(width, channels, 3)
        nn.init.zeros_(self.second[1].weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


def _normed(inputs: int, outputs: int, size: int) -> nn.Sequential:
    """A convolution and a trainable batch norm: these layers have no pretrained weights."""
    conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def _separable(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, out, 1),
        nn.ReLU(),
    )


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
