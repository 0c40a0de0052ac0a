"""One training step: proposals, the experts' boxes among them, and all losses (equation 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dope_model.network.dope import DopeNetwork
from dope_model.network.keypoint_head import heatmap_of_joint
from dope_model.network.roi_features import Features
from dope_model.training.data import Batch
from dope_model.training.losses import (
    classification_loss,
    confidence_loss,
    distillation_class_loss,
    distillation_pose_loss,
    gate_loss,
    heatmap_loss,
    regression_loss,
)
from dope_model.training.proposals import proposals_and_losses
from dope_model.training.targets import (
    BatchTargets,
    ImageBoxes,
    match_boxes,
    sample_boxes,
    shows_nobody,
    targets_of_boxes,
)


@dataclass(frozen=True)
class LossSettings:
    """Sampling of boxes and weights of the losses.

    Attributes:
        boxes_per_image: Fast R-CNN samples 512; on a CPU 64 are enough.
        positive_share: largest share of positive boxes.
        proposals: boxes are sampled from this many of an image's best proposals. A small number, as
            the detector uses, gives harder negatives than 2000.
        expert_boxes: largest number of positive boxes of each expert that are added.
        regression, distillation: weights of the terms; 1 is equation 2.
        heatmaps: weight of the term for a backbone's heat maps, if it has any. It only makes up
            for their values, which are several times the others'.
        confidence: weight of the term for the heights of the heat maps' peaks.
    """

    boxes_per_image: int = 256
    positive_share: float = 0.5
    proposals: int = 2000
    expert_boxes: int = 32
    regression: float = 1.0
    distillation: float = 1.0
    heatmaps: float = 0.3
    confidence: float = 0.5


@dataclass
class ExpertBoxes:
    """The positive boxes of one part expert in one image.

    Attributes:
        boxes: (P, 4) px.
        scores: (P, C + 1) the expert's softmax.
        deltas: (P, C, J, 5) the expert's offsets.
        classes: (P,) true class, from 0.
    """

    boxes: Tensor
    scores: Tensor
    deltas: Tensor
    classes: Tensor


@torch.no_grad()
def expert_boxes(expert: DopeNetwork, part: str, batch: Batch, count: int) -> list[ExpertBoxes]:
    """Run a part expert on a batch and keep its positive boxes, image by image.

    Positive are the boxes that overlap an instance of the (pseudo) ground truth.
    """
    shapes = [tuple(batch.images.shape[-2:])] * len(batch.images)
    features = expert.features(batch.images)
    proposals = expert.propose(batch.images, shapes, features)
    found = ImageBoxes.of(proposals)
    labels = match_boxes(found, batch.targets[part])[0].split(found.counts)
    rows = [(own > 0).nonzero().flatten()[:count] for own in labels]
    kept = [boxes[index] for boxes, index in zip(proposals, rows, strict=True)]
    classes = [own[index] - 1 for own, index in zip(labels, rows, strict=True)]
    output = expert.classify(features, kept)[part]
    counts = [len(boxes) for boxes in kept]
    scores = output.logits.softmax(dim=1).split(counts)
    deltas = output.deltas.split(counts)
    return [ExpertBoxes(*values) for values in zip(kept, scores, deltas, classes, strict=True)]


def training_losses(
    network: DopeNetwork,
    batch: Batch,
    settings: LossSettings,
    experts: dict[str, DopeNetwork] | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """All terms of equation 2 for a batch, weighted; their sum is the loss.

    Args:
        network: in training mode.
        experts: part experts in evaluation mode, by part, for the distillation terms.
        generator: for drawing boxes, on the CPU.
    """
    features = network.features(batch.images)
    chosen, losses = boxes_for_heads(network, batch, features, settings, generator)
    sampled = chosen.split()
    from_experts = {
        part: expert_boxes(expert, part, batch, settings.expert_boxes)
        for part, expert in (experts or {}).items()
    }
    boxes = [
        torch.cat([own, *(found[i].boxes for found in from_experts.values())])
        for i, own in enumerate(sampled)
    ]
    together = ImageBoxes.of(boxes)
    pooled = network.pool(features, boxes)
    outputs = network.classify_pooled(pooled)
    nobody = shows_nobody(batch.targets)[together.image]
    for part, output in outputs.items():
        wanted = targets_of_boxes(together, batch.targets[part])
        anchors = network.branches[part].anchor_poses
        losses[f"{part}/class"] = classification_loss(output.logits, wanted)
        losses[f"{part}/pose"] = settings.regression * regression_loss(output, anchors, wanted)
        if pooled.heatmaps is not None:
            own = pooled.heatmaps, heatmap_of_joint(part, anchors.shape[1]), wanted
            losses[f"{part}/heatmaps"] = settings.heatmaps * heatmap_loss(*own)
            losses[f"{part}/confidence"] = settings.confidence * confidence_loss(*own, nobody)
            losses[f"{part}/gate"] = gate_loss(output.fusion, anchors, wanted)
    for part, found in from_experts.items():
        where = _rows_of_expert(part, sampled, from_experts)
        output = outputs[part]
        classes = torch.cat([f.classes for f in found])
        losses[f"{part}/distilled class"] = settings.distillation * distillation_class_loss(
            output.logits[where], torch.cat([f.scores for f in found])
        )
        losses[f"{part}/distilled pose"] = settings.distillation * distillation_pose_loss(
            output.deltas[where], torch.cat([f.deltas for f in found]), classes
        )
    return losses


def boxes_for_heads(
    network: DopeNetwork,
    batch: Batch,
    features: Features,
    settings: LossSettings,
    generator: torch.Generator | None = None,
) -> tuple[ImageBoxes, dict[str, Tensor]]:
    """The sampled boxes for the heads, and the RPN's losses, by name."""
    proposals, losses = proposals_and_losses(
        network.rpn, batch.images, features.coarse, batch.targets, generator
    )
    best = [boxes[: settings.proposals].detach() for boxes in proposals]
    share = settings.positive_share
    return sample_boxes(best, batch.targets, settings.boxes_per_image, share, generator), losses


def heatmap_losses(
    network: DopeNetwork, batch: Batch, settings: LossSettings, parts: Sequence[str]
) -> dict[str, Tensor]:
    """Only the terms of the heat maps of some parts' joints, on boxes around the instances,
    weighted.

    Proposals and heads are left out, which are most of a step's cost on small canvases.
    """
    features = network.features(batch.images)
    found = boxes_around([batch.targets[part] for part in parts])
    heatmaps = network.pool_heatmaps(features, found.split())
    losses = {}
    for part in parts:
        wanted = targets_of_boxes(found, batch.targets[part])
        of_joint = heatmap_of_joint(part, network.branches[part].part.joints)
        losses[f"{part}/heatmaps"] = settings.heatmaps * heatmap_loss(heatmaps, of_joint, wanted)
    return losses


def boxes_around(targets: list[BatchTargets]) -> ImageBoxes:
    """Boxes of all instances, about as much too large as proposals may be."""
    boxes = torch.cat([t.boxes for t in targets], dim=1)
    margin = 0.1 * (boxes[..., 2:] - boxes[..., :2])
    enlarged = torch.cat([boxes[..., :2] - margin, boxes[..., 2:] + margin], dim=2)
    return ImageBoxes.chosen(enlarged, torch.cat([t.present for t in targets], dim=1))


def _rows_of_expert(
    part: str, sampled: list[Tensor], from_experts: dict[str, list[ExpertBoxes]]
) -> Tensor:
    """Rows of the outputs that belong to the boxes of `part`'s expert."""
    rows, row = [], 0
    for i, own in enumerate(sampled):
        row += len(own)
        for other, found in from_experts.items():
            count = len(found[i].boxes)
            if other == part:
                rows.append(torch.arange(row, row + count))
            row += count
    return torch.cat(rows).to(sampled[0].device)
