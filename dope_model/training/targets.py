"""The targets of each box: classes and poses of section 3.2, equation 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dope_model.training.anchor_poses import AnchorPoses
from dope_model.training.augmentation import View

# Lowest IoU of a positive box with its instance, as in Faster R-CNN.
POSITIVE_IOU = 0.5
# A box that lies this much in an ignore region, or is this like it, is not background: neither for
# the RPN nor for the branches.
IGNORED_COVER = 0.7
IGNORED_IOU = 0.3

IGNORE = -1
BACKGROUND = 0


@dataclass
class PartTargets:
    """Ground truth of one part in one image, for N instances.

    Attributes:
        boxes: (N, 4) float32 instances' boxes, px of the canvas.
        classes: (N,) int64 anchor pose, from 1.
        poses: (N, J, 5) float32 2D in px, 3D in metres.
        valid: (N, J, 2) bool: 2D, 3D.
        ignored: (M, 4) float32 boxes.
        complete: whether a box without instance is background.
    """

    boxes: np.ndarray
    classes: np.ndarray
    poses: np.ndarray
    valid: np.ndarray
    ignored: np.ndarray
    complete: bool


@dataclass
class BatchTargets:
    """Ground truth of one part in B images, padded to N instances and M ignored boxes each.

    One tensor for all images keeps a GPU busy, which a loop over them does not.

    Attributes:
        boxes: (B, N, 4), empty where there is no instance.
        classes: (B, N) anchor pose, from 1; 0 where there is no instance.
        poses: (B, N, J, 5) 2D in px, 3D in metres.
        valid: (B, N, J, 2) bool: 2D, 3D.
        ignored: (B, M, 4), empty ones included.
        complete: (B,) bool.
    """

    boxes: Tensor
    classes: Tensor
    poses: Tensor
    valid: Tensor
    ignored: Tensor
    complete: Tensor

    @classmethod
    def stack(cls, images: Sequence[PartTargets]) -> BatchTargets:
        """The targets of several images."""
        padded = {
            name: torch.from_numpy(_padded([getattr(image, name) for image in images]))
            for name in ("boxes", "classes", "poses", "valid", "ignored")
        }
        return cls(**padded, complete=torch.tensor([image.complete for image in images]))

    @property
    def present(self) -> Tensor:
        """(B, N) bool: which are instances, and not padding."""
        return self.classes > 0

    def to(self, device: torch.device) -> BatchTargets:
        """The same on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> BatchTargets:
        """The same where a GPU can fetch it."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> BatchTargets:
        return BatchTargets(**{name: change(tensor) for name, tensor in vars(self).items()})

    def __reduce__(self) -> tuple:
        # Between processes torch opens a file for each tensor.
        return _from_arrays, ({name: tensor.numpy() for name, tensor in vars(self).items()},)


def _padded(arrays: list[np.ndarray]) -> np.ndarray:
    """Arrays (N, ...) of several N as one, with zeros after them."""
    most = max(len(array) for array in arrays)
    whole = np.zeros((len(arrays), most, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(whole, arrays, strict=True):
        row[: len(array)] = array
    return whole


def _from_arrays(arrays: dict[str, np.ndarray]) -> BatchTargets:
    return BatchTargets(**{name: torch.from_numpy(array) for name, array in arrays.items()})


@dataclass
class ImageBoxes:
    """R boxes of a batch's images, one image after the other.

    Attributes:
        boxes: (R, 4) px.
        counts: of each image.
        image: (R,) the image of each box.
    """

    boxes: Tensor
    counts: list[int]
    image: Tensor

    @classmethod
    def of(cls, boxes: Sequence[Tensor]) -> ImageBoxes:
        """From the boxes (K, 4) of each image."""
        counts = [len(own) for own in boxes]
        image = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        return cls(torch.cat(list(boxes)), counts, image.to(boxes[0].device, non_blocking=True))

    @classmethod
    def chosen(cls, boxes: Tensor, which: Tensor) -> ImageBoxes:
        """Those of (B, R, 4) that a mask (B, R) has."""
        image = which.nonzero()[:, 0]
        return cls(boxes[which], which.sum(dim=1).tolist(), image)

    def split(self) -> list[Tensor]:
        """The boxes (K, 4) of each image."""
        return list(self.boxes.split(self.counts))


@dataclass
class BoxTargets:
    """The targets of R boxes for one part.

    Attributes:
        boxes: (R, 4) px.
        labels: (R,) the matched instance's class from 1, `BACKGROUND`, or `IGNORE`: neither.
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
    def labelled(self) -> Tensor:
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
            boxes.astype(np.float32),
            classes.astype(np.int64),
            poses.astype(np.float32),
            valid,
            view.ignored.get(part, np.zeros((0, 4))).reshape(-1, 4).astype(np.float32),
            view.complete.get(part, False) or partial_is_background,
        )
    return targets


def match_boxes(found: ImageBoxes, targets: BatchTargets) -> tuple[Tensor, Tensor]:
    """Label R boxes for one part.

    Returns:
        Labels (R,): the instance's class, `BACKGROUND`, or `IGNORE`; and the
        matched instance of the box's image (R,), meaningful for positives.
    """
    boxes, image = found.boxes, found.image
    labels = torch.where(targets.complete[image], BACKGROUND, IGNORE)
    if targets.ignored.shape[1]:
        labels = labels.masked_fill(is_ignored(boxes, targets.ignored[image]), IGNORE)
    matched = torch.zeros_like(labels)
    if targets.boxes.shape[1]:
        iou, matched = overlaps(boxes[:, None], targets.boxes[image])[0].max(dim=1)
        classes = targets.classes[image, matched]
        labels = torch.where((iou >= POSITIVE_IOU) & (classes > 0), classes, labels)
    return labels, matched


def targets_of_boxes(found: ImageBoxes, targets: BatchTargets) -> BoxTargets:
    """The targets of the boxes of all images, concatenated, for one part."""
    labels, matched = match_boxes(found, targets)
    if targets.boxes.shape[1]:
        poses, valid = (t[found.image, matched] for t in (targets.poses, targets.valid))
    else:
        joints = targets.poses.shape[2]
        poses = targets.poses.new_zeros(len(labels), joints, 5)
        valid = targets.valid.new_zeros(len(labels), joints, 2)
    return BoxTargets(found.boxes, labels, poses, valid)


def shows_nobody(targets: dict[str, BatchTargets]) -> Tensor:
    """(B,) bool: images that are known to show no instance of any part."""
    empty = [
        t.complete & ~t.present.any(dim=1) & (t.ignored == 0).all(dim=2).all(dim=1)
        for t in targets.values()
    ]
    return torch.stack(empty).all(dim=0)


def sample_boxes(
    proposals: Sequence[Tensor],
    targets: dict[str, BatchTargets],
    count: int,
    positive_share: float,
    generator: torch.Generator | None = None,
) -> ImageBoxes:
    """Boxes to compute losses on: of each image up to `count` of its proposals (P, 4) and
    instances, some of each kind.

    A box that is positive for any part counts as positive; of the positives of each part an equal
    number is sampled, so faces do not crowd out hands.

    Args:
        generator: on the CPU.
    """
    lengths = torch.tensor([len(boxes) for boxes in proposals])
    padded = pad_sequence(list(proposals), batch_first=True)
    real = torch.arange(padded.shape[1]) < lengths[:, None]
    everything = torch.cat([padded, *(t.boxes for t in targets.values())], dim=1)
    real = torch.cat([real.to(padded.device), *(t.present for t in targets.values())], dim=1)
    images, boxes = real.shape
    flat = ImageBoxes.of(list(everything))
    by_part = [match_boxes(flat, t)[0].view(images, boxes) for t in targets.values()]
    positive = torch.stack([labels > BACKGROUND for labels in by_part]) & real
    valid = torch.stack([labels != IGNORE for labels in by_part]).any(dim=0) & real
    keys = torch.rand((len(targets) + 1, images, boxes), generator=generator).to(padded.device)
    share = max(1, int(count * positive_share) // len(targets))
    chosen = sampled(positive, torch.tensor(share), keys[:-1]).any(dim=0)
    background = valid & ~positive.any(dim=0)
    rest = (count - chosen.sum(dim=1, keepdim=True)).clamp(min=0)
    return ImageBoxes.chosen(everything, chosen | sampled(background, rest, keys[-1]))


def sampled(mask: Tensor, count: Tensor, keys: Tensor) -> Tensor:
    """Of each row of a mask (..., R) up to `count` true entries at random, as a mask.

    Args:
        count: broadcasts to (..., 1).
        keys: (..., R) random numbers from 0 to 1, of which the largest win.
    """
    order = keys.masked_fill(~mask, -1).argsort(dim=-1, descending=True)
    rank = torch.empty_like(order)
    places = torch.arange(mask.shape[-1], device=mask.device)
    rank.scatter_(-1, order, places.expand_as(order))
    return mask & (rank < count.to(mask.device))


def overlaps(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """How much boxes and others overlap, both (..., 4) that broadcast: IoU, and the share of each
    box's area that lies in the other."""
    low = torch.maximum(boxes[..., :2], others[..., :2])
    high = torch.minimum(boxes[..., 2:], others[..., 2:])
    both = (high - low).clamp(min=0).prod(dim=-1)
    own, theirs = ((b[..., 2:] - b[..., :2]).prod(dim=-1) for b in (boxes, others))
    return both / (own + theirs - both).clamp(min=1e-6), both / own.clamp(min=1e-6)


def is_ignored(boxes: Tensor, ignored: Tensor) -> Tensor:
    """Which boxes (..., 4) lie on some of their own ignore regions (..., M, 4), or are like one."""
    iou, share = overlaps(boxes[..., None, :], ignored)
    return ((iou > IGNORED_IOU) | (share > IGNORED_COVER)).any(dim=-1)
