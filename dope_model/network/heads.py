"""Classification and regression branches, two per part (section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dope_model.network.config import PartConfig
from dope_model.network.joint_maps import MAPS, maps_of_joints
from dope_model.network.roi_vectors import PEAK, POINT_SCALE, POINT_VALUES, SURE

# The regressors' targets are multiplied by this, which brings them to the size of the logits.
REGRESSION_WEIGHT = 5.0
# Logits of trust are multiplied by this, so that a joint takes one answer or the other, and lies
# between them only where it is hard to say which one is better.
DECISION = 6.0


@dataclass
class PartOutput:
    """What the two branches of one part say about R boxes.

    Attributes:
        logits: (R, C + 1); class 0 is the background.
        deltas: (R, C, J, 5) offsets from the anchor pose of each class: u, v in units of the box,
            x, y, z in metres.
        sureness: (R, J) of each joint, 0 to 1: how high its map's peak is, see `MapTrust.sureness`;
            1 where there are no maps.
        choice: how these came from two answers, where there are maps of joints.
    """

    logits: Tensor
    deltas: Tensor
    sureness: Tensor
    choice: MapChoice | None = None


@dataclass
class MapChoice:
    """Two answers to where joints are, for R boxes.

    Attributes:
        logits: (R, K) of trusting the map, for the K joints that have one.
        regressed, pointed: (R, C, J, 2) and (R, C, K, 2) offsets from the anchor poses.
        joints: (K,) those with a map.
    """

    logits: Tensor
    regressed: Tensor
    pointed: Tensor
    joints: Tensor


class PartBranches(nn.Module):
    """Classification into C anchor poses and background, and class-specific regression.

    Args:
        points: whether the features end with what maps of joints point at; see `MapTrust`.
    """

    def __init__(self, name: str, channels: int, part: PartConfig, points: bool = False) -> None:
        super().__init__()
        self.part = part
        self.cls_score = nn.Linear(channels, part.anchor_poses + 1)
        self.pose_pred = nn.Linear(channels, part.anchor_poses * part.joints * 5)
        self.map_trust = MapTrust(name, channels, part.joints) if points else None
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
        logits = self.cls_score(features).float()
        if self.map_trust is None:
            return PartOutput(logits, deltas, logits.new_ones(len(logits), joints))
        sureness = self.map_trust.sureness(features)
        mixed, choice = self.map_trust(features, deltas, self.anchor_poses)
        return PartOutput(logits, mixed, sureness, choice)


def point_columns(part: str, channels: int, joints: int) -> Tensor:
    """Columns of a RoI's vector of so many channels that hold what the maps of a part's K joints
    say: (`POINT_VALUES`, K). The vector ends with `points_of` all maps."""
    maps = torch.tensor(list(maps_of_joints(part, joints).values()))
    first = channels - POINT_VALUES * MAPS
    return first + torch.arange(POINT_VALUES)[:, None] * MAPS + maps


class MapTrust(nn.Module):
    """Puts joints where their maps point, as far as the maps can be trusted.

    A regressor alone hedges: L1 pulls uncertain joints to the middle of where they may be, and it
    needs many pictures to leave the certain ones where the maps have them. Trust is not learned
    from how far off a joint is, which would hedge again, but from which answer is nearer: see
    `losses.trust_loss`.

    Args:
        part: its name; channels: of the features, which end with `points_of` all maps.
    """

    def __init__(self, part: str, channels: int, joints: int) -> None:
        super().__init__()
        maps = maps_of_joints(part, joints)
        self.trust = nn.Linear(channels, len(maps))
        columns = point_columns(part, channels, joints)
        self.register_buffer("columns", columns[PEAK : PEAK + 2], persistent=False)
        self.register_buffer("sure_columns", columns[SURE], persistent=False)
        self.register_buffer("joints", torch.tensor(list(maps)), persistent=False)
        places = torch.eye(joints)[list(maps)]  # (K, J)
        self.register_buffer("places", places, persistent=False)
        without_map = 1 - places.sum(dim=0)
        self.register_buffer("shares", places + without_map / len(maps), persistent=False)

    def forward(
        self, features: Tensor, deltas: Tensor, anchor_poses: Tensor
    ) -> tuple[Tensor, MapChoice]:
        """Features (R, channels) and regressed offsets (R, C, J, 5) to better offsets."""
        logits = self.trust(features).float()
        points = torch.stack([features[:, c].float() for c in self.columns], dim=2)
        anchors = anchor_poses[:, self.joints, :2].float()
        pointed = (points / POINT_SCALE + 0.5)[:, None] - anchors
        regressed, depth = deltas[..., :2], deltas[..., 2:]
        share = (DECISION * logits.detach()).sigmoid() @ self.places
        everywhere = (pointed.transpose(2, 3) @ self.places).transpose(2, 3)
        mixed = regressed + share[:, None, :, None] * (everywhere - regressed)
        choice = MapChoice(logits, regressed, pointed, self.joints)
        return torch.cat([mixed, depth], dim=3), choice

    def sureness(self, features: Tensor) -> Tensor:
        """How sure the map of each joint is (R, J), of features (R, channels); for a joint without
        a map, how sure the part's maps are on average."""
        return features[:, self.sure_columns].float() @ self.shares


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
