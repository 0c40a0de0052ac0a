"""The region proposal network: torchvision's, decoded and ranked in float32."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import nms

from dope_model.network.config import Mode, NetworkConfig


class _Float32RPNHead(RPNHead):
    """Returns float32 for any features: FP16 boxes would have errors of up to half a pixel."""

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = super().forward(features)
        return [x.float() for x in logits], [x.float() for x in deltas]


class ProposalNetwork(RegionProposalNetwork):
    """torchvision's RPN on one feature level, ranking proposals by their logits.

    Newer torchvision ranks by sigmoid(logit), in which large logits tie; version 0.6, on which
    the paper's network was built, ranked by the logits themselves.

    Attributes:
        min_box, max_box: see `Mode`.
    """

    min_box: float = 0.0
    max_box: float | None = None

    def usable(self, boxes: Tensor, mode: Mode | None = None) -> Tensor:
        """Which of the boxes (..., 4) may be proposed in a mode, by their sizes."""
        bounds = mode or self
        size = boxes[..., 2:] - boxes[..., :2]
        usable = (size >= self.min_size).all(dim=-1)
        longer = size.amax(dim=-1)
        if bounds.min_box:
            usable = usable & (longer >= bounds.min_box)
        if bounds.max_box is not None:
            usable = usable & (longer <= bounds.max_box)
        return usable

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Proposals (B, A, 4) to the kept boxes of every image, best first, and their logits."""
        objectness = objectness.detach().reshape(len(proposals), -1)
        count = min(self.pre_nms_top_n(), objectness.shape[1])
        all_logits, best = objectness.topk(count, dim=1)
        all_boxes = proposals.gather(1, best[..., None].expand(-1, -1, 4))
        sides = [(width, height, width, height) for height, width in image_shapes]
        limits = torch.tensor(sides, device=proposals.device, dtype=proposals.dtype)
        all_boxes = all_boxes.clamp(min=0).minimum(limits[:, None])
        all_usable = self.usable(all_boxes)
        if all_usable.all():  # in training nearly always; to take some away waits for a GPU
            pairs = list(zip(all_boxes, all_logits, strict=True))
        else:
            pairs = [
                (boxes[usable], logits[usable])
                for boxes, logits, usable in zip(all_boxes, all_logits, all_usable, strict=True)
            ]
        kept_boxes, kept_logits = [], []
        for boxes, logits in pairs:
            keep = nms(boxes, logits, self.nms_thresh)[: self.post_nms_top_n()]
            kept_boxes.append(boxes[keep])
            kept_logits.append(logits[keep])
        return kept_boxes, kept_logits


def build_proposal_network(
    config: NetworkConfig, channels: int, mode: Mode, training_proposals: int = 2000
) -> ProposalNetwork:
    """The RPN of section 3.1 with the sampling of Faster R-CNN for training.

    Its training is `dope_model.training.proposals`.
    """
    anchors = AnchorGenerator((config.anchor_sizes,), (config.anchor_ratios,))
    (per_location,) = anchors.num_anchors_per_location()
    network = ProposalNetwork(
        anchors,
        _Float32RPNHead(channels, per_location),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": training_proposals, "testing": config.pre_nms_proposals},
        post_nms_top_n={"training": training_proposals, "testing": mode.proposals},
        nms_thresh=config.proposal_nms_iou,
    )
    network.min_box, network.max_box = mode.min_box, mode.max_box
    return network
