"""Classification and regression branches, two per part (section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dope_model.network.config import PartConfig

# The regressors' targets are multiplied by this, which brings them to the size of the logits.
REGRESSION_WEIGHT = 5.0


@dataclass
class PartOutput:
    """What the two branches of one part say about R boxes.

    Attributes:
        logits: (R, C + 1); class 0 is the background.
        deltas: (R, C, J, 5) offsets from the anchor pose of each class: u, v in units of the box,
            x, y, z in metres.
    """

    logits: Tensor
    deltas: Tensor


class PartBranches(nn.Module):
    """Classification into C anchor poses and background, and class-specific regression."""

    def __init__(self, channels: int, part: PartConfig) -> None:
        super().__init__()
        self.part = part
        self.cls_score = nn.Linear(channels, part.anchor_poses + 1)
        self.pose_pred = nn.Linear(channels, part.anchor_poses * part.joints * 5)
        self.register_buffer("anchor_poses", torch.zeros(part.anchor_poses, part.joints, 5))

    def forward(self, features: Tensor) -> PartOutput:
        """RoI features (R, channels) to logits and deltas, in float32."""
        classes, joints = self.part.anchor_poses, self.part.joints
        raw = self.pose_pred(features).float().view(-1, classes, 5 * joints) / REGRESSION_WEIGHT
        flat = raw.shape[:2]
        deltas = torch.cat(
            [
                raw[..., : 2 * joints].reshape(*flat, joints, 2),
                raw[..., 2 * joints :].reshape(*flat, joints, 3),
            ],
            dim=-1,
        )
        return PartOutput(self.cls_score(features).float(), deltas)


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
