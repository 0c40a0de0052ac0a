"""Regressors by least squares: a part's poses as linear functions of what its heads get.

For a part of one shape, as faces are, the landmarks that have a heat map say together where each of
them is, those with a weak heat map and those without one too. Gradient steps find that slowly, and
L1 leaves what is uncertain in the middle; the best linear functions come from one system of
equations. In 2D they are of the points of the part's own heat maps, in 3D of the whole vector and
the class.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dope_model.network.config import REGRESSION_WEIGHT
from dope_model.network.dope import DopeNetwork
from dope_model.network.heads import PartHead
from dope_model.network.keypoint_head import point_columns
from dope_model.training.data import Batch
from dope_model.training.step import LossSettings, boxes_for_heads
from dope_model.training.targets import targets_of_boxes

# Boxes that are off by this count half: labels may be wrong, and so may be heat maps.
DOUBT_2D = 0.03  # of the box
DOUBT_3D = 0.02  # m
STRENGTH_2D = 0.01
STRENGTH_3D = 0.3
_ROUNDS = 4
_REGRESSOR = -5.0  # logit of the fusion gate: the regressor alone counts


@dataclass
class PositiveRois:
    """P boxes of one part with all joints known.

    Attributes:
        vectors: (P, channels) what its heads get.
        classes: (P,) from 0.
        poses: (P, J, 5) 2D in units of the box, 3D in metres.
    """

    vectors: Tensor
    classes: Tensor
    poses: Tensor


@torch.no_grad()
def positive_rois(
    network: DopeNetwork, part: str, batches: Iterable[Batch], settings: LossSettings
) -> PositiveRois:
    """The boxes of one part in batches of views, chosen as a training step draws them."""
    network.eval()
    network.rpn.train()  # so many proposals as there
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    generator = torch.Generator().manual_seed(0)
    for batch in batches:
        features = network.features(batch.images)
        chosen, _ = boxes_for_heads(network, batch, features, settings, generator)
        targets = targets_of_boxes(chosen, batch.targets[part])
        rows = targets.positive
        rows = rows[targets.valid[rows].all(dim=2).all(dim=1)]
        kept = [chosen.boxes[rows[chosen.image[rows] == i]] for i in range(len(batch.images))]
        vectors = network.roi_vectors(network.pool(features, kept)).vector.float()
        found.append((vectors, targets.labels[rows] - 1, targets.relative_poses(rows)))
    network.eval()
    return PositiveRois(*(torch.cat(values).cpu() for values in zip(*found, strict=True)))


def robust_ridge(x: Tensor, y: Tensor, strength: float, doubt: float) -> tuple[Tensor, Tensor]:
    """Ridge regression in which rows that do not fit count less (iteratively reweighted).

    Args:
        x: (N, F); the penalty is on weights of features of variance one.
        y: (N, K, D): K points, whose mean distance is a row's error.
        strength: of the penalty, per row.
        doubt: a row with that error counts half.

    Returns:
        Weights (F, K, D) and biases (K, D): `x @ weights + biases` is about y.
    """
    x, y = x.double(), y.double()
    mean, deviation = x.mean(dim=0), x.std(dim=0).clamp(min=1e-6)
    scaled = torch.cat([(x - mean) / deviation, x.new_ones(len(x), 1)], dim=1)
    penalty = torch.full((scaled.shape[1],), strength * len(x), dtype=x.dtype)
    penalty[-1] = 0
    share = x.new_ones(len(x), 1)
    for _ in range(_ROUNDS):
        weighted = scaled * share
        solved = torch.linalg.solve(weighted.T @ scaled + penalty.diag(), weighted.T @ y.flatten(1))
        error = (scaled @ solved - y.flatten(1)).view_as(y).norm(dim=2).mean(dim=1, keepdim=True)
        share = 1 / (1 + (error / doubt) ** 2)
    weights = solved[:-1] / deviation[:, None]
    biases = solved[-1] - mean @ weights
    return weights.view(-1, *y.shape[1:]).float(), biases.view(y.shape[1:]).float()


@torch.no_grad()
def fit_regressors(head: PartHead, part: str, rois: PositiveRois) -> None:
    """Put the best linear functions into a part's regressors, and close its gate to heat maps.

    Raises:
        ValueError: there are too few boxes for the number of weights.
    """
    classes, joints = head.part.anchor_poses, head.part.joints
    channels = rois.vectors.shape[1]
    if len(rois.vectors) < 1000:
        raise ValueError(
            f"{len(rois.vectors)} boxes of a whole {part} are too few to fit its regressors to; "
            "take more views"
        )
    points = point_columns(part, channels, joints).flatten()
    flat, flat_bias = robust_ridge(
        rois.vectors[:, points], rois.poses[..., :2], STRENGTH_2D, DOUBT_2D
    )
    of_class = F.one_hot(rois.classes, classes).float()
    everything = torch.cat([rois.vectors, of_class], dim=1)
    deep, deep_bias = robust_ridge(everything, rois.poses[..., 2:], STRENGTH_3D, DOUBT_3D)
    deep, deep_biases = deep[:channels], deep_bias + deep[channels:]  # one of each class
    weight = head.pose_pred.weight.view(classes, 5 * joints, channels)
    bias = head.pose_pred.bias.view(classes, 5 * joints)
    anchors = head.anchor_poses
    split = 2 * joints  # u, v of all joints, then x, y, z of all
    weight[:, :split] = 0
    weight[:, :split, points] = REGRESSION_WEIGHT * flat.flatten(1).T
    weight[:, split:] = REGRESSION_WEIGHT * deep.flatten(1).T
    bias[:, :split] = REGRESSION_WEIGHT * (flat_bias - anchors[..., :2]).flatten(1)
    bias[:, split:] = REGRESSION_WEIGHT * (deep_biases - anchors[..., 2:]).flatten(1)
    head.map_trust.trust.weight.zero_()
    head.map_trust.trust.bias.fill_(_REGRESSOR)
