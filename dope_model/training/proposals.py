"""The RPN's training (Ren et al., "Faster R-CNN", NeurIPS 2015): as torchvision's, for all images
of a batch at once, and with ignore regions.

torchvision goes through the images one by one, which costs a GPU more time than the network does.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers

from dope_model.network.proposals import ProposalNetwork
from dope_model.training.distributed import mean_over_processes
from dope_model.training.targets import (
    BACKGROUND,
    IGNORE,
    BatchTargets,
    is_ignored,
    overlaps,
    sampled,
)

OBJECT = 1


def proposals_and_losses(
    rpn: ProposalNetwork,
    images: Tensor,
    features: Tensor,
    targets: dict[str, BatchTargets],
    generator: torch.Generator | None = None,
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Proposals (P, 4) of each image, px of the canvas, and the RPN's two losses, by name.

    Args:
        images: (B, 3, H, W), for their sizes.
        features: (B, C, H / 16, W / 16).
        generator: for drawing anchors, on the CPU.
    """
    count, shape = len(images), tuple(images.shape[-2:])
    logits, deltas = rpn.head([features])
    logits, deltas = concat_box_prediction_layers(logits, deltas)
    (anchors,) = rpn.anchor_generator(ImageList(images[:1], [shape]), [features])
    decoded = rpn.box_coder.decode(deltas.detach(), [anchors] * count).view(count, -1, 4)
    proposals, _ = rpn.filter_proposals(decoded, logits, [shape] * count, [len(anchors)])
    labels, matched = label_anchors(rpn, anchors, targets)
    return proposals, anchor_losses(rpn, logits[:, 0], deltas, anchors, labels, matched, generator)


def label_anchors(
    rpn: ProposalNetwork, anchors: Tensor, targets: dict[str, BatchTargets]
) -> tuple[Tensor, Tensor]:
    """What the RPN should say of A anchors (A, 4) in B images.

    Instances of all parts are objects. An anchor is one's that covers it well, or best of all.

    Returns:
        Labels (B, A): `OBJECT`, `BACKGROUND`, or `IGNORE`; and the boxes (B, A, 4) of the best
        covered instances, any where there is none.
    """
    boxes = torch.cat([t.boxes for t in targets.values()], dim=1)
    present = torch.cat([t.present for t in targets.values()], dim=1)
    labels = torch.full((len(boxes), len(anchors)), BACKGROUND, device=anchors.device)
    matched = anchors.expand(len(boxes), -1, -1)
    if boxes.shape[1]:
        iou, _ = overlaps(anchors[None, :, None], boxes[:, None])
        iou = iou.masked_fill(~present[:, None], 0)
        best, which = iou.max(dim=2)
        matched = boxes.gather(1, which[..., None].expand(-1, -1, 4))
        highest = iou.amax(dim=1, keepdim=True)
        best_of_all = ((iou == highest) & (highest > 0)).any(dim=2)
        limits = rpn.proposal_matcher
        labels = labels.masked_fill(best >= limits.low_threshold, IGNORE)
        labels = labels.masked_fill((best >= limits.high_threshold) | best_of_all, OBJECT)
    ignored = torch.cat([t.ignored for t in targets.values()], dim=1)
    if ignored.shape[1]:
        on_ignored = is_ignored(anchors[None], ignored[:, None])
        labels = labels.masked_fill((labels == BACKGROUND) & on_ignored, IGNORE)
    return labels, matched


def anchor_losses(
    rpn: ProposalNetwork,
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    labels: Tensor,
    matched: Tensor,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Objectness and boxes of some anchors, drawn as in Faster R-CNN.

    Args:
        logits, deltas: (B A,) and (B A, 4) of all anchors.
        anchors: (A, 4).
        labels, matched: see `label_anchors`.
    """
    sampler = rpn.fg_bg_sampler
    keys = torch.rand((2, *labels.shape), generator=generator).to(labels.device)
    most = torch.tensor(int(sampler.batch_size_per_image * sampler.positive_fraction))
    positive = sampled(labels == OBJECT, most, keys[0])
    rest = sampler.batch_size_per_image - positive.sum(dim=1, keepdim=True)
    chosen = positive | sampled(labels == BACKGROUND, rest, keys[1])
    index = chosen.flatten().nonzero()[:, 0]
    objects = positive.flatten().nonzero()[:, 0]
    wanted = rpn.box_coder.encode_single(
        matched.reshape(-1, 4)[objects], anchors[objects % len(anchors)]
    )
    box_loss = F.smooth_l1_loss(deltas[objects], wanted, beta=1 / 9, reduction="sum")
    class_loss = F.binary_cross_entropy_with_logits(
        logits[index], positive.flatten()[index].float(), reduction="sum"
    )
    count = mean_over_processes(len(index), logits.device).clamp(min=1)
    return {"rpn/objectness": class_loss / count, "rpn/boxes": box_loss / count}
