"""From heat maps to joints: which heat map is whose, decoding, and fusion with the regressed pose.

1. Layout: `heatmap_of_joint` maps joints to heat maps.
2. Decoding: `decode_heatmaps` computes a point and a confidence from each heat map of a RoI.
3. Fusion: `FusionGate` combines the joint of the class-specific regressor of section 3.1 with that
   of its heat map.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dope_model.skeleton import BODY, COCO_JOINTS, HAND, skeleton_for

# --- layout -------------------------------------------------------------------------------------
# The first heat maps are those of COCO's keypoints, as in MoveNet; then come the head's, and those
# of hands and faces. A hand's joint has one for both sides.

KEYPOINTS = len(COCO_JOINTS)

FACE_LANDMARKS = (
    0, 4, 8, 12, 16, 20, 24, 28, 32,  # contour
    33, 37, 38, 42,  # ends of the eyebrows
    43, 46, 47, 51,  # bridge, tip and sides of the nose
    52, 55, 58, 61,  # corners of the eyes
    64, 67, 70, 73,  # outer lips
)  # fmt: skip
"""The landmarks of a face that have a heat map; the others follow from them."""

_HEAD = KEYPOINTS
_HAND = _HEAD + 1
_FACE = _HAND + len(HAND)

HAND_HEATMAPS = range(_HAND, _FACE)
HEATMAPS = _FACE + len(FACE_LANDMARKS)


def heatmap_of_joint(part: str, joints: int) -> dict[int, int]:
    """By joint of a part with that many joints, its heat map; joints without one are left out."""
    skeleton = skeleton_for(part, joints)
    if part == "hand":
        return {joint: _HAND + joint for joint in range(joints)}
    if part == "face":
        return {landmark: _FACE + k for k, landmark in enumerate(FACE_LANDMARKS)}
    limbs = [name for name in BODY.joints if name in COCO_JOINTS]
    found = {skeleton.index[name]: COCO_JOINTS.index(name) for name in limbs}
    return {**found, BODY.index["head"]: _HEAD}


# --- decoding -----------------------------------------------------------------------------------

POINT_VALUES = 5
"""Of each heat map: its mean's x and y, its confidence, and its peak's x and y."""
CONFIDENCE = 2
PEAK = slice(3, 5)
POINT_SCALE = 5.0
"""Points in a RoI are -1/2 to 1/2 times this, which is the size of the other features."""
SHARPNESS = 4.0
"""Factor of the logits before the softmax: MoveNet's were trained for a sigmoid and would decode to
the middle. Right joints (PCK@0.2) on true boxes of 100 pictures of Leeds Sports Pose, before any
training: 0.31 with 1, 0.48 with 2, 0.55 with 4."""
PEAK_REACH = 3
"""Cells on each side of the highest one that the peak is the mean of. With all 28 cells, right
joints as above were 0.56 and 0.61 of persons of 190 and 145 px; with this, 0.62 and 0.64."""


def decode_heatmaps(heatmaps: Tensor) -> Tensor:
    """Heat maps (R, M, S, S) of logits to points (R, 5, M), see `POINT_VALUES`.

    A mean is that over the softmax of a heat map (Sun et al., "Integral Human Pose Regression",
    ECCV 2018). A peak is the mean around the highest value, so that a second one, another
    person's or the other side's, does not pull it to the middle. The confidence is the sigmoid of
    the highest value.
    """
    side = heatmaps.shape[-1]
    # Flat from here on, and without softmax and argmax, which go through a heat map many times on
    # a CPU: a fifth of the time.
    flat = heatmaps.float().flatten(2)
    best = flat.amax(dim=2)
    cells = torch.arange(side, device=flat.device, dtype=flat.dtype)
    x, y = cells.repeat(side), cells.repeat_interleave(side)
    # The first of the highest values, row by row.
    number = torch.where(flat >= best[..., None], y * side + x, float(side**2)).amin(dim=2)
    row = torch.floor((number + 0.5) / side)
    column = number - row * side
    near = ((x - column[..., None]).abs() <= PEAK_REACH) & (
        (y - row[..., None]).abs() <= PEAK_REACH
    )
    weights = sharpened(flat - best.detach()[..., None]).exp()
    places = [((cell + 0.5) / side - 0.5) * POINT_SCALE for cell in (x, y)]
    sums = torch.stack([torch.ones_like(x), *places], dim=1)
    mean, peak = (_means(w @ sums) for w in (weights, weights * near))
    return torch.stack([*mean, best.sigmoid(), *peak], dim=1)


def _means(sums: Tensor) -> tuple[Tensor, Tensor]:
    """x and y (R, M) from sums of weights and of their products with x and y, (R, M, 3)."""
    total, x, y = sums.unbind(dim=2)
    return x / total, y / total


def sharpened(heatmaps: Tensor) -> Tensor:
    """Logits (R, M, S * S) of a joint's cell, from heat maps (R, M, S, S) or (R, M, S * S)."""
    return SHARPNESS * heatmaps.flatten(2)


def point_columns(part: str, channels: int, joints: int) -> Tensor:
    """Columns (5, K) of a `RoiFeatures.vector` of that many channels that hold the points of the K
    joints of a part that have a heat map: the vector ends with all decoded points."""
    heatmaps = torch.tensor(list(heatmap_of_joint(part, joints).values()))
    first = channels - POINT_VALUES * HEATMAPS
    return first + torch.arange(POINT_VALUES)[:, None] * HEATMAPS + heatmaps


# --- fusion -------------------------------------------------------------------------------------

GATE_SLOPE = 6.0
"""Inverse temperature of the gate's sigmoid: a joint takes one of the two points, and a mean of
both only if the gate is undecided."""


@dataclass
class Fusion:
    """The two points of each joint of R boxes, and the gate between them.

    Attributes:
        logits: (R, K) of taking the heat map's, for the K joints that have one.
        regressed, decoded: (R, C, J, 2) and (R, C, K, 2) offsets from the anchor poses.
        joints: (K,) those with a heat map.
    """

    logits: Tensor
    regressed: Tensor
    decoded: Tensor
    joints: Tensor


class FusionGate(nn.Module):
    """Moves joints from their regressed points to those of their heat maps.

    A regressor alone hedges: L1 pulls uncertain joints to the middle of their possible positions,
    and many images are needed until certain ones are as accurate as the heat maps. The gate is
    trained to predict which point is nearer, not on the joint's error, which would hedge again; see
    `losses.gate_loss`.

    Args:
        part: its name.
        channels: of `RoiFeatures.vector`.
    """

    def __init__(self, part: str, channels: int, joints: int) -> None:
        super().__init__()
        heatmaps = heatmap_of_joint(part, joints)
        self.trust = nn.Linear(channels, len(heatmaps))  # its name in weights files
        to_joints = torch.eye(joints)[list(heatmaps)]  # (K, J)
        without = 1 - to_joints.sum(dim=0)
        buffers = {
            "heatmaps": torch.tensor(list(heatmaps.values())),
            "joints": torch.tensor(list(heatmaps)),
            "to_joints": to_joints,
            "shares": to_joints + without / len(heatmaps),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def forward(
        self, vector: Tensor, points: Tensor, deltas: Tensor, anchor_poses: Tensor
    ) -> tuple[Tensor, Fusion]:
        """Better offsets (R, C, J, 5), and where they come from.

        Args:
            vector, points: see `RoiFeatures`.
            deltas: (R, C, J, 5) regressed offsets from `anchor_poses` (C, J, 5).
        """
        logits = self.trust(vector).float()
        peaks = points[:, PEAK][..., self.heatmaps].float().transpose(1, 2)  # (R, K, 2)
        anchors = anchor_poses[:, self.joints, :2].float()
        decoded = (peaks / POINT_SCALE + 0.5)[:, None] - anchors
        regressed, depth = deltas[..., :2], deltas[..., 2:]
        share = (GATE_SLOPE * logits.detach()).sigmoid() @ self.to_joints
        everywhere = (decoded.transpose(2, 3) @ self.to_joints).transpose(2, 3)
        fused = regressed + share[:, None, :, None] * (everywhere - regressed)
        fusion = Fusion(logits, regressed, decoded, self.joints)
        return torch.cat([fused, depth], dim=3), fusion

    def confidence(self, points: Tensor) -> Tensor:
        """The confidence (R, J) of each joint's heat map, of points (R, 5, M); for a joint without
        one, the mean over the part's heat maps."""
        return points[:, CONFIDENCE][:, self.heatmaps].float() @ self.shares
