"""The DOPE network: localization, classification and regression of all parts (section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList

from dope_model.network.backbone import build_backbone
from dope_model.network.config import MODES, PAD_TO, STRIDE, Mode, NetworkConfig, resized_shape
from dope_model.network.heads import PartHead, PartOutput, poses_from_deltas
from dope_model.network.proposals import build_proposal_network
from dope_model.network.pyramid import HEATMAP_STRIDE
from dope_model.network.roi_features import Features, RoiFeatures
from dope_model.network.roi_pooling import Grid, pool_by_op, pool_for_gradients

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
COARSE = Grid(bins=7, samples=2, aligned=False)
FINE = Grid(bins=28, samples=1, aligned=True)


@dataclass
class PartCandidates:
    """Pose candidates of one part: every (box, class) above a score, from the network.

    Attributes:
        roi: (M,) index of the box that each candidate came from.
        classes: (M,) anchor-pose index, 0 to C - 1.
        scores: (M,) class probability.
        boxes: (M, 4) proposals as x0 y0 x1 y1, px of the original image.
        keypoints_2d: (M, J, 2) px of the original image.
        keypoints_3d: (M, J, 3) m.
        confidence: (M, J) of each joint, see `heads.PartOutput`.
    """

    roi: Tensor
    classes: Tensor
    scores: Tensor
    boxes: Tensor
    keypoints_2d: Tensor
    keypoints_3d: Tensor
    confidence: Tensor


class DopeNetwork(nn.Module):
    """One network for the parts of its configuration.

    Call it with an image for pose candidates; `features`, `propose` and `classify` are its three
    stages.
    """

    def __init__(self, config: NetworkConfig, mode: Mode = MODES["paper"]) -> None:
        super().__init__()
        self.config = config
        self.mode = mode
        backbone = build_backbone(config.backbone, config.batch_norm_eps)
        self.backbone = backbone.features
        self.rpn = build_proposal_network(config, backbone.channels, mode)
        self.roi_features = backbone.roi_features
        self.roi_vector = backbone.roi_vector
        self.has_heatmaps = backbone.heatmaps
        # In weights files, which name modules by their attributes, the heads are `branches`.
        self.branches = nn.ModuleDict(
            {
                name: PartHead(name, backbone.roi_channels, part, backbone.heatmaps)
                for name, part in config.parts.items()
            }
        )
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.rpn.parameters()).dtype

    def prepare(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """A uint8 image (3, H, W) as network input.

        Returns:
            The resized, normalised and padded image (1, 3, H', W'), and its shape before padding.
        """
        shape = resized_shape(*image.shape[-2:], self.mode)
        resized = F.interpolate(image[None].float(), shape, mode="bilinear", align_corners=False)
        normalised = (resized / 255 - self.mean.float()) / self.std.float()
        bottom, right = (-side % PAD_TO for side in shape)
        return F.pad(normalised, (0, right, 0, bottom)).to(self.dtype), shape

    def features(self, images: Tensor) -> Features:
        """The backbone's features of network inputs (B, 3, H, W)."""
        found = self.backbone(images)
        return found if isinstance(found, Features) else Features(found)

    def propose(
        self, images: Tensor, shapes: list[tuple[int, int]], features: Features
    ) -> list[Tensor]:
        """Proposals of every image as boxes (R, 4) in px of the network's input, best first."""
        return self.rpn(ImageList(images, shapes), {"0": features.coarse})[0]

    def classify(self, features: Features, boxes: list[Tensor]) -> dict[str, PartOutput]:
        """Outputs of all heads for the boxes of all images, one after the other."""
        return self.classify_pooled(self.pool(features, boxes))

    def classify_pooled(self, pooled: Features) -> dict[str, PartOutput]:
        """Outputs of all heads for pooled features."""
        rois = self.roi_vectors(pooled)
        return {name: head(rois) for name, head in self.branches.items()}

    def pool(self, features: Features, boxes: list[Tensor]) -> Features:
        """The features of the boxes of all images, one after the other, in float32."""
        # FP16 sampling points would be off by up to a quarter of a cell.
        coarse = self._pool(features.coarse.float(), boxes, STRIDE, COARSE)
        return Features(coarse, self.pool_heatmaps(features, boxes))

    def pool_heatmaps(self, features: Features, boxes: list[Tensor]) -> Tensor | None:
        """Only the heat maps of pooled features."""
        if features.heatmaps is None:
            return None
        return self._pool(features.heatmaps.float(), boxes, HEATMAP_STRIDE, FINE)

    def _pool(self, features: Tensor, boxes: list[Tensor], stride: int, grid: Grid) -> Tensor:
        pool = pool_for_gradients if self.training else pool_by_op
        return pool(features, boxes, stride, grid)

    def roi_vectors(self, pooled: Features) -> RoiFeatures:
        """From pooled features to the heads' input."""
        coarse = self.roi_features(pooled.coarse.to(self.dtype))
        return self.roi_vector(coarse, pooled.heatmaps)

    @torch.inference_mode()
    def forward(self, image: Tensor, min_scores: dict[str, float]) -> dict[str, PartCandidates]:
        """Pose candidates of one uint8 image (3, H, W), by part.

        Args:
            min_scores: by part, lowest score of a (box, class) that becomes a candidate.
        """
        height, width = image.shape[-2:]
        images, shape = self.prepare(image)
        features = self.features(images)
        (boxes,) = self.propose(images, [shape], features)
        outputs = self.classify(features, [boxes])
        scale = boxes.new_tensor([width / shape[1], height / shape[0]]).repeat(2)
        return {
            name: self.candidates(name, output, boxes * scale, min_scores[name])
            for name, output in outputs.items()
        }

    def candidates(
        self, name: str, output: PartOutput, boxes: Tensor, min_score: float
    ) -> PartCandidates:
        """Pose candidates of one part with at least `min_score`, from its heads' outputs for boxes
        (R, 4) px of the original image."""
        scores = output.logits.softmax(dim=1)[:, 1:]
        roi, classes = (scores >= min_score).nonzero(as_tuple=True)
        poses_2d, poses_3d = poses_from_deltas(
            boxes[roi], self.branches[name].anchor_poses[classes], output.deltas[roi, classes]
        )
        score = scores[roi, classes]
        confidence = output.confidence[roi]
        return PartCandidates(roi, classes, score, boxes[roi], poses_2d, poses_3d, confidence)
