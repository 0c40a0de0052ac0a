"""Classification and regression heads, two per part (section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dope_model.network.config import REGRESSION_WEIGHT, PartConfig
from dope_model.network.keypoint_head import Fusion, FusionGate
from dope_model.network.roi_features import RoiFeatures


@dataclass
class PartOutput:
    """The outputs of the two heads of one part for R boxes.

    Attributes:
        logits: (R, C + 1); class 0 is the background.
        deltas: (R, C, J, 5) offsets from the anchor pose of each class: u, v in units of the box,
            x, y, z in metres.
        confidence: (R, J) of each joint, 0 to 1: how high its heat map's peak is, see
            `FusionGate.confidence`; 1 where there are no heat maps.
        fusion: where the offsets come from, if there are heat maps.
    """

    logits: Tensor
    deltas: Tensor
    confidence: Tensor
    fusion: Fusion | None = None


class PartHead(nn.Module):
    """Classification into C anchor poses and background, and class-specific regression.

    Args:
        heatmaps: whether the RoI features have points of heat maps; see `FusionGate`.
    """

    def __init__(self, name: str, channels: int, part: PartConfig, heatmaps: bool = False) -> None:
        super().__init__()
        self.part = part
        self.cls_score = nn.Linear(channels, part.anchor_poses + 1)
        self.pose_pred = nn.Linear(channels, part.anchor_poses * part.joints * 5)
        # In weights files, which name modules by their attributes, the gate is `map_trust`.
        self.map_trust = FusionGate(name, channels, part.joints) if heatmaps else None
        self.register_buffer("anchor_poses", torch.zeros(part.anchor_poses, part.joints, 5))

    def forward(self, rois: RoiFeatures) -> PartOutput:
        """Logits and deltas, in float32."""
        classes, joints = self.part.anchor_poses, self.part.joints
        raw = self.pose_pred(rois.vector).float().view(-1, classes, 5 * joints) / REGRESSION_WEIGHT
        flat = raw.shape[:2]
        deltas = torch.cat(
            [
                raw[..., : 2 * joints].reshape(*flat, joints, 2),
                raw[..., 2 * joints :].reshape(*flat, joints, 3),
            ],
            dim=-1,
        )
        logits = self.cls_score(rois.vector).float()
        if self.map_trust is None:
            return PartOutput(logits, deltas, logits.new_ones(len(logits), joints))
        confidence = self.map_trust.confidence(rois.points)
        fused, fusion = self.map_trust(*rois, deltas, self.anchor_poses)
        return PartOutput(logits, fused, confidence, fusion)


def poses_from_deltas(boxes: Tensor, anchor_poses: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
    """Poses in the image from offsets to anchor poses that are fitted into boxes.

    Args:
        boxes: (M, 4) as x0 y0 x1 y1, px.
        anchor_poses: (M, J, 5); 2D in the unit box, 3D in metres.
        deltas: (M, J, 5), as in `PartOutput`.

    Returns:
        2D poses (M, J, 2) in px of the boxes' image, 3D poses (M, J, 3) in metres.
    """
    poses = anchor_poses.float() + deltas
    corner, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    return corner + poses[..., :2] * size, poses[..., 2:]
