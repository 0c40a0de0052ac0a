"""RoIAlign (He et al., "Mask R-CNN", ICCV 2017) as torchvision has it, and the same maths in
operations that export everywhere, and whose gradients use all cores of a CPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align


@dataclass(frozen=True)
class Grid:
    """How a RoI is sampled.

    Attributes:
        bins: S, on each side.
        samples: of each bin, along each axis.
        aligned: a cell's value is that of its middle, not of its corner.
    """

    bins: int
    samples: int
    aligned: bool


def pool_by_op(features: Tensor, boxes: list[Tensor], stride: int, grid: Grid) -> Tensor:
    """torchvision's RoIAlign of (B, C, H, W) for each image's boxes (K, 4), px: (R, C, S, S)."""
    return roi_align(features, boxes, grid.bins, 1 / stride, grid.samples, aligned=grid.aligned)


def pool_for_gradients(features: Tensor, boxes: list[Tensor], stride: int, grid: Grid) -> Tensor:
    """As `pool_by_op`, with gradients.

    On a CPU torchvision computes them on one core: a step of training on two cores took 2.4 s with
    its operation and 1.8 s with matrix products. On a GPU its operation gets one tensor for all
    images, which torchvision would put together image by image.
    """
    if features.device.type != "cpu":
        counts = torch.tensor([len(own) for own in boxes])
        image = torch.arange(len(boxes)).repeat_interleave(counts).to(features)
        rois = torch.cat([image[:, None], torch.cat(boxes)], dim=1)
        return roi_align(features, rois, grid.bins, 1 / stride, grid.samples, aligned=grid.aligned)
    pooled = [
        pool_by_matrices(image[None], own / stride, grid)
        for image, own in zip(features, boxes, strict=True)
    ]
    return torch.cat(pooled)


def pool_by_matrices(features: Tensor, boxes: Tensor, grid: Grid) -> Tensor:
    """RoIAlign of (1, C, H, W) for boxes (K, 4) in cells as two matrix products: (K, C, S, S).

    Bilinear interpolation is separable: along each axis a bin is a weighted sum of cells.
    """
    bins = grid.bins
    channels, height, width = features.shape[1:]

    def weights(low: Tensor, high: Tensor, size: int) -> Tensor:
        points, inside = _sampling_points(low, high, size, grid)
        cells = torch.arange(size, device=points.device, dtype=points.dtype)
        hat = (1 - (points[..., None] - cells).abs()).clamp(min=0) * inside[..., None]
        return hat.reshape(-1, bins, grid.samples, size).mean(dim=2)

    along_y = weights(boxes[:, 1], boxes[:, 3], height)
    along_x = weights(boxes[:, 0], boxes[:, 2], width)
    count = boxes.shape[0]
    columns = features[0].permute(2, 1, 0).reshape(width, height * channels)
    rows = torch.mm(along_x.reshape(count * bins, width), columns)
    rows = rows.reshape(count, bins, height, channels)
    pooled = torch.matmul(along_y[:, None], rows)  # (K, x, y, C)
    return pooled.permute(0, 3, 2, 1)


def pool_by_grid(features: Tensor, boxes: Tensor, grid: Grid) -> Tensor:
    """RoIAlign of (1, C, H, W) for boxes (K, 4) in cells by grid sampling: (K, C, S, S).

    It takes less memory for many RoIs than `pool_by_matrices`.
    """
    channels, height, width = features.shape[1:]
    bins, steps = grid.bins, grid.bins * grid.samples
    x, x_inside = _sampling_points(boxes[:, 0], boxes[:, 2], width, grid)
    y, y_inside = _sampling_points(boxes[:, 1], boxes[:, 3], height, grid)
    count = boxes.shape[0]
    x, y = x * (2.0 / (width - 1)) - 1, y * (2.0 / (height - 1)) - 1
    shape = (count, steps, steps)
    places = torch.stack([x[:, None].expand(shape), y[:, :, None].expand(shape)], dim=-1)
    sampled = F.grid_sample(
        features, places.reshape(1, count * steps, steps, 2), mode="bilinear",
        padding_mode="border", align_corners=True,
    )  # fmt: skip
    inside = (y_inside[:, :, None] * x_inside[:, None]).reshape(1, 1, count * steps, steps)
    sampled = sampled * inside
    pooled = F.avg_pool2d(sampled, grid.samples) if grid.samples > 1 else sampled
    return pooled.reshape(channels, count, bins, bins).permute(1, 0, 2, 3)


def _sampling_points(low: Tensor, high: Tensor, size: int, grid: Grid) -> tuple[Tensor, Tensor]:
    """Where RoIAlign samples along one axis, in cells, and 0 for those outside: both (K, steps)."""
    length = high - low
    if grid.aligned:
        low = low - 0.5
    else:
        length = length.clamp(min=1.0)
    steps = grid.bins * grid.samples
    t = (torch.arange(steps, device=low.device, dtype=low.dtype) + 0.5) / steps
    points = low[:, None] + t[None] * length[:, None]
    inside = ((points >= -1) & (points <= size)).to(low.dtype)
    return points.clamp(0, size - 1), inside
