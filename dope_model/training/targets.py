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
        return PartTargets(**{k: v.to(device) for k, v in self._tensors()}, complete=self.complete)

    def __reduce__(self) -> tuple:
        # Between processes torch opens a file for each tensor, and a batch has hundreds of these.
        return _from_arrays, ({k: v.numpy() for k, v in self._tensors()}, self.complete)

    def _tensors(self) -> list[tuple[str, Tensor]]:
        return [(k, v) for k, v in vars(self).items() if isinstance(v, Tensor)]


def _from_arrays(arrays: dict[str, np.ndarray], complete: bool) -> PartTargets:
    return PartTargets(**{k: torch.from_numpy(v) for k, v in arrays.items()}, complete=complete)


@dataclass
class BoxTargets:
    """What R boxes should answer for one part.

    Attributes:
        boxes: (R, 4) px.
        labels: (R,) the matched instance's class from 1, `BACKGROUND`, or `IGNORE` where nothing is
            asked.
        poses: (R, J, 5) of the matched instances, 2D in px; any value where not positive.
        valid: (R, J, 2) bool, 2D and 3D.
    """

    boxes: Tensor
    labels: Tensor
    poses: Tensor
    valid: Tensor

    @property
    def positive(self) -> Tensor:
        """(P,) indices of the boxes that have an instance."""
        return (self.labels > BACKGROUND).nonzero().flatten()

    @property
    def asked(self) -> Tensor:
        """(R,) bool: boxes that are instances or background."""
        return self.labels != IGNORE

    def offsets(self, anchor_poses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the positive boxes: their indices (P,), their classes from 0 (P,), and the offsets
        (P, J, 5) of their poses from the anchor poses (C, J, 5) of these."""
        positive = self.positive
        classes = self.labels[positive] - 1
        anchors = anchor_poses[classes].float()
        return positive, classes, self.relative_poses(positive) - anchors

    def relative_poses(self, rows: Tensor) -> Tensor:
        """The poses (P, J, 5) of some of the boxes, their 2D in units of the box."""
        boxes, poses = self.boxes[rows], self.poses[rows]
        corner, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
        return torch.cat([(poses[..., :2] - corner) / size.clamp(min=1e-3), poses[..., 2:]], dim=2)


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


def targets_of_boxes(boxes: list[Tensor], targets: list[PartTargets]) -> BoxTargets:
    """What the boxes of all images, end to end, should answer for one part."""
    found = [_of_one_image(*pair) for pair in zip(boxes, targets, strict=True)]
    labels, poses, valid = (torch.cat(values) for values in zip(*found, strict=True))
    return BoxTargets(torch.cat(boxes), labels, poses, valid)


def _of_one_image(boxes: Tensor, targets: PartTargets) -> tuple[Tensor, Tensor, Tensor]:
    labels, matched = match_boxes(boxes, targets)
    if len(targets.boxes):
        return labels, targets.poses[matched], targets.valid[matched]
    joints = targets.poses.shape[1]
    nothing = targets.poses.new_zeros(len(boxes), joints, 5)
    return labels, nothing, targets.valid.new_zeros(len(boxes), joints, 2)


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
