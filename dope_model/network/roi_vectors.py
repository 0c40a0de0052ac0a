"""From the features of a RoI to the vector that its branches get."""

from __future__ import annotations

import torch
from torch import Tensor, nn

POINT_VALUES = 5
"""What a map says: x, y, how sure it is, and x and y times that."""
POINT_SCALE = 5.0
"""Places in a RoI are -1/2 to 1/2 times this, which is the size of the other values."""
SHARPNESS = 4.0
"""What logits are multiplied by before their softmax: MoveNet's, which were trained for a sigmoid,
point at the middle otherwise. Right joints (PCK@0.2) on true boxes of 100 pictures of Leeds Sports
Pose, before any training: 0.31 with 1, 0.48 with 2, 0.55 with 4."""


class MeanOverPlaces(nn.Module):
    """Maps (R, C, H, W) to their means (R, C): ResNet's way (section 3.1)."""

    def forward(self, maps: Tensor, fine: Tensor | None = None) -> Tensor:
        return maps.mean(dim=(2, 3))


class AllPlaces(nn.Module):
    """Maps (R, C, H, W) of `inputs` values to vectors (R, channels), by one full layer.

    A mean forgets where in the RoI something was seen: the convolutions before have to learn to say
    it in their channels, which takes far more training than a layer that sees all places.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.full = _full(inputs, channels)

    def forward(self, maps: Tensor, fine: Tensor | None = None) -> Tensor:
        return torch.relu(self.full(maps.flatten(1)))


class PlacesAndPoints(nn.Module):
    """Two full layers on a RoI's maps, with the place that each of its fine maps points at.

    The vector ends with these places, so that the regressors find a joint's in one of their inputs.
    """

    def __init__(self, inputs: int, maps: int, channels: int) -> None:
        super().__init__()
        self.points = POINT_VALUES * maps
        self.places = _full(inputs, channels)
        self.both = _full(channels + self.points, channels)
        self.channels = channels + self.points

    def forward(self, maps: Tensor, fine: Tensor) -> Tensor:
        points = points_of(fine).to(maps.dtype)
        places = torch.relu(self.places(maps.flatten(1)))
        both = torch.relu(self.both(torch.cat([places, points], dim=1)))
        return torch.cat([both, points], dim=1)


def points_of(maps: Tensor) -> Tensor:
    """What fine maps (R, M, S, S) of logits point at, (R, 5 M): see `POINT_VALUES`; x first, for
    all maps.

    A place is the mean over the softmax of a map (Sun et al., "Integral Human Pose Regression",
    ECCV 2018), and a map is as sure as its highest value.
    """
    maps = maps.float()
    side = maps.shape[-1]
    weights = (SHARPNESS * maps).flatten(2).softmax(dim=2).reshape(maps.shape)
    place = ((torch.arange(side, device=maps.device) + 0.5) / side - 0.5) * POINT_SCALE
    x = (weights.sum(dim=2) * place).sum(dim=2)
    y = (weights.sum(dim=3) * place).sum(dim=2)
    sure = maps.amax(dim=(2, 3)).sigmoid()
    return torch.cat([x, y, sure, x * sure, y * sure], dim=1)


def _full(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
