"""Features of an image and of a RoI, and the input of a RoI's heads."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dope_model.network.keypoint_head import HEATMAPS, POINT_VALUES, decode_heatmaps


class Features(NamedTuple):
    """A backbone's features of B images, or, pooled, of R RoIs.

    Attributes:
        coarse: (B, channels, H / 16, W / 16), or (R, channels, 7, 7).
        heatmaps: logits (B, M, H / 4, W / 4), or (R, M, 28, 28); None: the backbone has none.
    """

    coarse: Tensor
    heatmaps: Tensor | None = None

    def float(self) -> Features:
        """The same in float32."""
        return Features(*(None if x is None else x.float() for x in self))


class RoiFeatures(NamedTuple):
    """The input of the heads of all parts for R RoIs.

    Attributes:
        vector: (R, channels) for the linear layers; where there are heat maps, it ends with
            `points`, flat.
        points: (R, 5, M) decoded heat maps, see `keypoint_head.decode_heatmaps`, or None.
    """

    vector: Tensor
    points: Tensor | None = None


class MeanOverPlaces(nn.Module):
    """Features (R, C, H, W) to their means (R, C): ResNet's way (section 3.1)."""

    def forward(self, coarse: Tensor, heatmaps: Tensor | None = None) -> RoiFeatures:
        return RoiFeatures(coarse.mean(dim=(2, 3)))


class AllPlaces(nn.Module):
    """Features (R, C, H, W) of `inputs` values to vectors (R, channels), by one full layer.

    A mean loses positions within the RoI: the convolutions before it have to encode them in their
    channels, which takes far more training than a layer that sees all positions.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.full = _full(inputs, channels)

    def forward(self, coarse: Tensor, heatmaps: Tensor | None = None) -> RoiFeatures:
        return RoiFeatures(torch.relu(self.full(coarse.flatten(1))))


class PlacesAndPoints(nn.Module):
    """Two full layers on a RoI's features, together with the points of its heat maps."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        points = POINT_VALUES * HEATMAPS
        self.places = _full(inputs, channels)
        self.both = _full(channels + points, channels)
        self.channels = channels + points

    def forward(self, coarse: Tensor, heatmaps: Tensor) -> RoiFeatures:
        points = decode_heatmaps(heatmaps).to(coarse.dtype)
        flat = points.flatten(1)
        places = torch.relu(self.places(coarse.flatten(1)))
        both = torch.relu(self.both(torch.cat([places, flat], dim=1)))
        return RoiFeatures(torch.cat([both, flat], dim=1), points)


def _full(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
