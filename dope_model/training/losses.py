"""The losses of section 3.2: classification, regression and distillation (equations 2 and 3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dope_model.network.config import REGRESSION_WEIGHT
from dope_model.network.heads import PartOutput
from dope_model.network.keypoint_head import Fusion, sharpened
from dope_model.training.distributed import mean_over_processes
from dope_model.training.targets import BoxTargets

# A peak is right within this share of its box, of the joint.
RIGHT = 0.1


def classification_loss(logits: Tensor, targets: BoxTargets) -> Tensor:
    """Softmax cross-entropy averaged over the boxes with a valid target.

    Args:
        logits: (R, C + 1).
    """
    total = F.cross_entropy(logits, targets.labels.clamp(min=0), reduction="none")
    return (total * targets.labelled).sum() / _count(targets.labelled)


def regression_loss(output: PartOutput, anchor_poses: Tensor, targets: BoxTargets) -> Tensor:
    """L1 between predicted and true offsets from the anchor pose of the true class.

    Summed over the five coordinates, averaged over the valid joints of a box, and averaged over
    all boxes with a valid target, as in Fast R-CNN.
    """
    positive, classes, wanted = targets.offsets(anchor_poses)
    error = _pose_error(output.deltas[positive, classes], wanted, targets.valid[positive])
    return error.sum() / _count(targets.labelled)


def heatmap_loss(heatmaps: Tensor, of_joint: dict[int, int], targets: BoxTargets) -> Tensor:
    """Cross-entropy between where in a RoI the heat map of a joint points and where the joint is.

    As of Mask R-CNN's keypoint head (He et al., ICCV 2017), but a joint's place is shared by the
    four cells around it. Averaged over the joints that are in a box, and over the positive boxes.

    Args:
        heatmaps: (R, M, S, S) pooled from the boxes.
        of_joint: by joint, its heat map.
    """
    positive = targets.positive
    side = heatmaps.shape[-1]
    own = heatmaps[positive][:, list(of_joint.values())].float()
    logits = sharpened(own).log_softmax(dim=2)
    place, inside = _joints_in_boxes(of_joint, targets, side)
    place = place.clamp(0, side - 1)
    low = place.floor().clamp(max=side - 2)
    part = place - low
    total = logits.new_zeros(inside.shape)
    for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)):
        cell = (low[..., 1] + y) * side + low[..., 0] + x
        share = (part[..., 0] - (1 - x)).abs() * (part[..., 1] - (1 - y)).abs()
        total = total - share * logits.gather(2, cell.long()[..., None])[..., 0]
    per_box = (total * inside).sum(dim=1) / inside.sum(dim=1).clamp(min=1)
    return per_box.sum() / _count(torch.ones_like(positive))


def confidence_loss(
    heatmaps: Tensor, of_joint: dict[int, int], targets: BoxTargets, nobody: Tensor
) -> Tensor:
    """Binary cross-entropy of the height of a heat map's peak in a RoI against whether it is right.

    `heatmap_loss` does not see the height of a peak, which a joint's confidence is made of. On a
    positive box a peak is right within a tenth of the box around the joint; in a picture that shows
    nobody every peak is wrong. The mean over the first and that over the second weigh the same.

    Args:
        heatmaps: (R, M, S, S) pooled from the boxes.
        of_joint: by joint, its heat map.
        nobody: (R,) bool, boxes in pictures that show nobody.
    """
    positive, index = targets.positive, list(of_joint.values())
    side = heatmaps.shape[-1]
    peaks, cells = heatmaps[positive][:, index].float().flatten(2).max(dim=2)
    place, inside = _joints_in_boxes(of_joint, targets, side)
    found = torch.stack([cells % side, cells // side], dim=2)
    right = ((found - place).norm(dim=2) < RIGHT * side).float()
    seen = F.binary_cross_entropy_with_logits(peaks, right, reduction="none")
    empty = F.softplus(heatmaps[nobody][:, index].float().flatten(2).amax(dim=2))
    return (seen * inside).sum() / _count(inside) + empty.sum() / _count(torch.ones_like(empty))


def _joints_in_boxes(
    of_joint: dict[int, int], targets: BoxTargets, side: int
) -> tuple[Tensor, Tensor]:
    """Where the K joints with a heat map are in the positive boxes: cells (P, K, 2) of a heat map
    of `side` cells, and (P, K) bool: labelled, and in the box."""
    positive, joints = targets.positive, list(of_joint)
    place = targets.relative_poses(positive)[:, joints, :2] * side - 0.5
    inside = ((place >= -0.5) & (place <= side - 0.5)).all(dim=2)
    return place, inside & targets.valid[positive][:, joints, 0]


def gate_loss(fusion: Fusion, anchor_poses: Tensor, targets: BoxTargets) -> Tensor:
    """Binary cross-entropy of the fusion gate against whether a joint's heat map is nearer than the
    regressor, averaged over the valid joints of the positive boxes."""
    positive, classes, wanted = targets.offsets(anchor_poses)
    joints = fusion.joints
    wanted, valid = wanted[:, joints, :2], targets.valid[positive][:, joints, 0]
    with torch.no_grad():
        decoded = (fusion.decoded[positive, classes] - wanted).norm(dim=2)
        regressed = (fusion.regressed[positive, classes][:, joints] - wanted).norm(dim=2)
        nearer = (decoded < regressed).float()
    total = F.binary_cross_entropy_with_logits(fusion.logits[positive], nearer, reduction="none")
    return (total * valid).sum() / _count(valid)


def _pose_error(deltas: Tensor, wanted: Tensor, valid: Tensor) -> Tensor:
    """(P,) weighted L1 over the five coordinates, averaged over the valid joints."""
    error = (deltas - wanted).abs() * REGRESSION_WEIGHT
    per_kind = torch.stack([error[..., :2].sum(dim=2), error[..., 2:].sum(dim=2)], dim=2)
    # A missing joint must not weaken the others: the mean is over the valid ones.
    return ((per_kind * valid).sum(dim=1) / valid.sum(dim=1).clamp(min=1)).sum(dim=1)


def distillation_class_loss(logits: Tensor, expert_scores: Tensor) -> Tensor:
    """Cross-entropy with the expert's scores as soft labels, averaged over its positive boxes.

    Args:
        logits: (P, C + 1) of the whole-body network.
        expert_scores: (P, C + 1) softmax of the part expert.
    """
    total = -(expert_scores * F.log_softmax(logits, dim=1)).sum()
    return total / _count(logits.new_ones(len(logits)))


def distillation_pose_loss(deltas: Tensor, expert_deltas: Tensor, classes: Tensor) -> Tensor:
    """L1 between the two networks' offsets for the true class, averaged over positive boxes.

    Both start from the same anchor poses, so that offsets differ as poses do.

    Args:
        deltas, expert_deltas: (P, C, J, 5).
        classes: (P,) true class, from 0.
    """
    index = torch.arange(len(classes), device=classes.device)
    mine, experts = deltas[index, classes], expert_deltas[index, classes]
    everything = torch.ones(*mine.shape[:2], 2, dtype=torch.bool, device=mine.device)
    return _pose_error(mine, experts, everything).sum() / _count(torch.ones_like(index))


def _count(which: Tensor) -> Tensor:
    """How many are true or not 0, the mean over all processes, and 1 at least."""
    return mean_over_processes(which.count_nonzero()).clamp(min=1)
