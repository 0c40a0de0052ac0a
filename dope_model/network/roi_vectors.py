"""From the features of a RoI to the vector that its branches get."""

from __future__ import annotations

import torch
from torch import Tensor, nn

POINT_VALUES = 5
"""What a map says: its mean's x and y, how sure it is, and its peak's x and y."""
SURE = 2
"""Which of the values says how sure the map is."""
PEAK = 3
"""The first of the peak's values."""
POINT_SCALE = 5.0
"""Places in a RoI are -1/2 to 1/2 times this, which is the size of the other values."""
SHARPNESS = 4.0
"""What logits are multiplied by before their softmax: MoveNet's, which were trained for a sigmoid,
point at the middle otherwise. Right joints (PCK@0.2) on true boxes of 100 pictures of Leeds Sports
Pose, before any training: 0.31 with 1, 0.48 with 2, 0.55 with 4."""

PEAK_REACH = 3
"""Cells on each side of a map's peak that its place is the mean of. With all 28 cells, right joints
as above were 0.56 and 0.61 of persons of 190 and 145 px; with this, 0.62 and 0.64."""


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

    A mean is that over the softmax of a map (Sun et al., "Integral Human Pose Regression", ECCV
    2018). A peak is the mean around the highest value: a second one, another person's or the other
    side's, does not pull it into the middle. A map is as sure as its highest value.
    """
    side = maps.shape[-1]
    # Flat from here on, and without softmax and argmax, which go through a map many times on a CPU:
    # a fifth of the time.
    maps = maps.float().flatten(2)
    best = maps.amax(dim=2)
    cells = torch.arange(side, device=maps.device, dtype=maps.dtype)
    x, y = cells.repeat(side), cells.repeat_interleave(side)
    # The first of the highest values, row by row.
    number = torch.where(maps >= best[..., None], y * side + x, float(side**2)).amin(dim=2)
    row = torch.floor((number + 0.5) / side)
    column = number - row * side
    near = ((x - column[..., None]).abs() <= PEAK_REACH) & (
        (y - row[..., None]).abs() <= PEAK_REACH
    )
    weights = sharpened(maps - best.detach()[..., None]).exp()
    places = [((cell + 0.5) / side - 0.5) * POINT_SCALE for cell in (x, y)]
    sums = torch.stack([torch.ones_like(x), *places], dim=1)
    mean, peak = (_means(w @ sums) for w in (weights, weights * near))
    return torch.cat([*mean, best.sigmoid(), *peak], dim=1)


def _means(sums: Tensor) -> tuple[Tensor, Tensor]:
    """x and y (R, M) from sums of weights and of their products with x and y, (R, M, 3)."""
    total, x, y = sums.unbind(dim=2)
    return x / total, y / total


def sharpened(maps: Tensor) -> Tensor:
    """Logits (R, M, S * S) of where in its RoI each of the fine maps (R, M, S, S) points,
    which may be flat already."""
    return SHARPNESS * maps.flatten(2)


def _full(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
