"""What each box should answer: classes and poses of section 3.2, equation 2."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from dope_model.network.proposals import IGNORED_COVER, IGNORED_IOU, covered_share
from dope_model.training.anchor_poses import AnchorPoses
from dope_model.training.augmentation import View

# A box is an instance's from this IoU on, as in Faster R-CNN.
POSITIVE_IOU = 0.5

IGNORE = -1
BACKGROUND = 0


@dataclass
class PartTargets:
    """Targets of one part for the boxes of one image, or its ground truth for N instances.

    Attributes:
        boxes: (N, 4) instances' boxes, px of the canvas.
        classes: (N,) anchor pose, from 1.
        poses: (N, J, 5) 2D in px, 3D in metres.
        valid: (N, J, 2) bool: 2D, 3D.
        ignored: (M, 4) boxes.
        complete: whether a box without instance is background.
    """

    boxes: Tensor
    classes: Tensor
    poses: Tensor
    valid: Tensor
    ignored: Tensor
    complete: bool

    def to(self, device: torch.device) -> PartTargets:
        """The same on another device."""
        tensors = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return PartTargets(**tensors, complete=self.complete)


def targets_of(
    view: View, anchors: dict[str, AnchorPoses], partial_is_background: bool = False
) -> dict[str, PartTargets]:
    """The ground truth of a view for the parts in `anchors`.

    Args:
        partial_is_background: take what is not annotated for background, as training without
            distillation does in section 3.2; otherwise such parts ask nothing of boxes.
    """
    targets = {}
    for part, anchor_poses in anchors.items():
        joints = anchor_poses.poses.shape[1]
        instances = view.instances.get(part)
        if instances is None or not len(instances):
            poses, valid = np.zeros((0, joints, 5)), np.zeros((0, joints, 2), bool)
            boxes, classes = np.zeros((0, 4)), np.zeros(0, int)
        else:
            poses = np.concatenate([instances.keypoints_2d, instances.keypoints_3d], axis=2)
            valid = np.stack([instances.valid_2d, instances.valid_3d], axis=2)
            boxes, classes = instances.boxes, anchor_poses.classify(instances) + 1
        targets[part] = PartTargets(
            torch.as_tensor(boxes, dtype=torch.float32),
            torch.as_tensor(classes, dtype=torch.int64),
            torch.as_tensor(poses, dtype=torch.float32),
            torch.as_tensor(valid),
            torch.as_tensor(
                view.ignored.get(part, np.zeros((0, 4))), dtype=torch.float32
            ).reshape(-1, 4),
            view.complete.get(part, False) or partial_is_background,
        )  # fmt: skip
    return targets


def match_boxes(boxes: Tensor, targets: PartTargets) -> tuple[Tensor, Tensor]:
    """Label R boxes for one part.

    Returns:
        Labels (R,): the instance's class, `BACKGROUND`, or `IGNORE` where nothing is asked; and the
        matched instance (R,), meaningful for positives.
    """
    labels = boxes.new_full((len(boxes),), BACKGROUND, dtype=torch.int64)
    matched = torch.zeros_like(labels)
    if not targets.complete:
        labels[:] = IGNORE
    if len(targets.ignored):
        iou = box_iou(boxes, targets.ignored)
        ignored = (iou > IGNORED_IOU) | (covered_share(boxes, targets.ignored) > IGNORED_COVER)
        labels[ignored.any(dim=1)] = IGNORE
    if len(targets.boxes):
        iou, matched = box_iou(boxes, targets.boxes).max(dim=1)
        positive = iou >= POSITIVE_IOU
        labels[positive] = targets.classes[matched[positive]]
    return labels, matched


def sample_boxes(
    boxes: Tensor,
    targets: dict[str, PartTargets],
    count: int,
    positive_share: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Boxes to compute losses on: up to `count` of proposals and instances, some of each kind.

    A box that is positive for any part counts as positive; of the positives of each part an equal
    number is drawn, so that faces do not crowd out hands.
    """
    everything = torch.cat([boxes, *(t.boxes for t in targets.values())])
    by_part = [match_boxes(everything, t)[0] for t in targets.values()]
    positive = torch.stack([labels > BACKGROUND for labels in by_part])
    asked = torch.stack([labels != IGNORE for labels in by_part]).any(dim=0)
    chosen = torch.zeros(len(everything), dtype=torch.bool, device=boxes.device)
    share = max(1, int(count * positive_share) // len(targets))
    for mask in positive:
        chosen[_draw(mask, share, generator)] = True
    background = asked & ~positive.any(dim=0)
    chosen[_draw(background, count - int(chosen.sum()), generator)] = True
    return everything[chosen]


def _draw(mask: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Up to `count` random indices of the true entries of `mask`."""
    indices = mask.nonzero().flatten()
    order = torch.randperm(len(indices), generator=generator).to(mask.device)
    return indices[order[: max(0, count)]]
