"""The whole detector as one graph of fixed shapes: uint8 image in, one small tensor out.

Everything between is inside: both scales, each with resizing, normalising, backbone, proposals with
their non-maximum suppression, RoI features, heads, and the selection of the best candidates of each
part. No shape depends on the data, so the graph can be exported, captured and built ahead of time.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.misc import FrozenBatchNorm2d

from dope_model.network.config import STRIDE, Mode, padded_shape, resized_shape
from dope_model.network.dope import COARSE, FINE, DopeNetwork
from dope_model.network.heads import poses_from_deltas
from dope_model.network.pyramid import HEATMAP_STRIDE
from dope_model.network.roi_features import Features, RoiFeatures
from dope_model.network.roi_pooling import pool_by_grid, pool_by_matrices
from dope_model.runtime.packed import CANDIDATES, PackedLayout, proposal_count

# Rounds of the parallel non-maximum suppression: the longest chain of boxes that suppress one
# another. Network boxes have chains of 4 to 14; of a longer one some of the last boxes are wrong.
NMS_ROUNDS = 24
BATCH_NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)
# Above this many RoIs the intermediate of the matrix form becomes too large.
MATRIX_POOLING_ROIS = 100


class StaticGraph(nn.Module):
    """Both scales of a network for images of one size.

    Args:
        network: out of `for_inference`.
        modes: of the scales.
        size: height and width of the images, px.
        candidates: number of each part and scale in the output.
        pooling: see `StaticDope`.
    """

    def __init__(
        self,
        network: DopeNetwork,
        modes: Sequence[Mode],
        size: tuple[int, int],
        candidates: int = CANDIDATES,
        pooling: str | None = None,
    ) -> None:
        super().__init__()
        self.looks = nn.ModuleList(
            [StaticDope(network, mode, size, candidates, pooling) for mode in modes]
        )
        self.layout = PackedLayout.of(network.config, modes, size, candidates)

    @torch.inference_mode()
    def forward(self, image: Tensor) -> Tensor:
        """An RGB image (H, W, 3) uint8 to the packed candidates (`layout.size`,) float32."""
        return torch.cat([look(image) for look in self.looks])


class StaticDope(nn.Module):
    """One scale of a network for images of one size.

    Args:
        network: out of `for_inference`; it is not copied.
        mode: of the scale.
        size: height and width of the images, px.
        candidates: number of each part in the output.
        pooling: "op" (torchvision's RoIAlign), "matrix" or "grid" (the same maths in matrix
            products, or in grid sampling), or None: "matrix" for few RoIs, else "grid".
    """

    def __init__(
        self,
        network: DopeNetwork,
        mode: Mode,
        size: tuple[int, int],
        candidates: int = CANDIDATES,
        pooling: str | None = None,
    ) -> None:
        super().__init__()
        self.network, self.mode = network, mode
        height, width = size
        self.shape = resized_shape(height, width, mode)
        padded = padded_shape(height, width, mode)
        self.padding = tuple(p - s for p, s in zip(padded, self.shape, strict=True))
        images = torch.zeros(1, 3, *padded, device=network.mean.device)
        grid = [side // STRIDE for side in padded]
        (anchors,) = network.rpn.anchor_generator(
            ImageList(images, [self.shape]), [images.new_zeros(1, 1, *grid)]
        )
        self.register_buffer("anchors", anchors)
        self.proposals = proposal_count(network.config, mode, height, width)
        (self.rows,) = PackedLayout.of(network.config, [mode], size, candidates).looks
        self.pooling = pooling or ("matrix" if self.proposals <= MATRIX_POOLING_ROIS else "grid")
        scale = [width / self.shape[1], height / self.shape[0]]
        self.register_buffer("scale", images.new_tensor(scale * 2))

    def forward(self, image: Tensor) -> Tensor:
        """An RGB image (H, W, 3) uint8 to the packed candidates of this scale."""
        features = self.network.features(self.prepare(image))
        boxes, real = self.propose(features)
        rois = self.network.roi_vectors(self.pool(features, boxes))
        return self.pack(rois, boxes, real)

    def prepare(self, image: Tensor) -> Tensor:
        """As `DopeNetwork.prepare`."""
        network = self.network
        resized = planes = image.float().permute(2, 0, 1)[None].contiguous()
        if self.shape != tuple(image.shape[:2]):
            resized = F.interpolate(planes, self.shape, mode="bilinear", align_corners=False)
        normalised = (resized / 255 - network.mean.float()) / network.std.float()
        return F.pad(normalised, (0, self.padding[1], 0, self.padding[0])).to(network.dtype)

    def propose(self, features: Features) -> tuple[Tensor, Tensor]:
        """Boxes (K, 4) in px of the network's input, and which of them are real (K,)."""
        rpn = self.network.rpn
        (logits,), (deltas,) = rpn.head([features.coarse])
        logits = logits.permute(0, 2, 3, 1).reshape(-1)
        deltas = deltas.permute(0, 2, 3, 1).reshape(-1, 4)
        count = min(rpn.pre_nms_top_n(), logits.shape[0])
        _, best = logits.topk(count)
        boxes = decode_boxes(deltas[best], self.anchors[best], self.shape)
        keep = suppress(boxes, rpn.usable(boxes, self.mode), rpn.nms_thresh, NMS_ROUNDS)
        # The first K kept ones: a key that is larger for kept boxes, and for better ones.
        order = torch.arange(count, 0, -1, dtype=boxes.dtype, device=boxes.device)
        key, chosen = (keep * count + order).topk(self.proposals)
        real = (key > count).to(boxes.dtype)
        return boxes[chosen] * real[:, None], real

    def pool(self, features: Features, boxes: Tensor) -> Features:
        """As `DopeNetwork.pool`, for boxes (K, 4)."""
        if self.pooling == "op":
            return self.network.pool(features, [boxes])
        features = features.float()
        pool = pool_by_matrices if self.pooling == "matrix" else pool_by_grid
        coarse = pool(features.coarse, boxes / STRIDE, COARSE)
        if features.heatmaps is None:
            return Features(coarse)
        return Features(coarse, pool_by_grid(features.heatmaps, boxes / HEATMAP_STRIDE, FINE))

    def pack(self, rois: RoiFeatures, boxes: Tensor, real: Tensor) -> Tensor:
        """The best candidates of every part, as `PackedLayout` says."""
        return torch.cat(
            [
                self.best_candidates(name, rois, boxes, real, count).reshape(-1)
                for name, count, _ in self.rows
            ]
        )

    def best_candidates(
        self, name: str, rois: RoiFeatures, boxes: Tensor, real: Tensor, count: int
    ) -> Tensor:
        """Rows (count, 6 + 6 J), best first: score, class, box, 2D, 3D, confidence; image px."""
        head = self.network.branches[name]
        output = head(rois)
        classes = head.part.anchor_poses
        scores = output.logits.softmax(dim=1)[:, 1:] * real[:, None]
        score, index = scores.reshape(-1).topk(count)
        roi = torch.div(index, classes, rounding_mode="floor")
        pose_class = index - roi * classes
        scaled = boxes[roi] * self.scale
        deltas = output.deltas.reshape(-1, *output.deltas.shape[2:])[index]
        poses_2d, poses_3d = poses_from_deltas(scaled, head.anchor_poses[pose_class], deltas)
        values = [score[:, None], pose_class[:, None].to(score.dtype), scaled]
        joints = [poses_2d.flatten(1), poses_3d.flatten(1), output.confidence[roi]]
        return torch.cat([*values, *joints], dim=1)


def for_inference(network: DopeNetwork, half: bool = False) -> DopeNetwork:
    """A copy of a network for inference: batch norms fused, in FP16 if `half`.

    Only the convolutions and the linear layers are FP16. Normalising, boxes, non-maximum
    suppression, pooling coordinates, softmax and anchor poses stay in float32.
    """
    network = fold_batch_norms(copy.deepcopy(network).eval())
    if half:
        for module in (
            network.backbone, network.rpn.head, network.roi_features, network.roi_vector,
        ):  # fmt: skip
            module.half()
        for head in network.branches.values():
            head.cls_score.half()
            head.pose_pred.half()
            if head.map_trust is not None:
                head.map_trust.trust.half()
    return network


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Put every batch norm into the convolution before it; changes `network` itself."""
    for module in list(network.modules()):
        previous: nn.Module | None = None
        for name, child in list(module.named_children()):
            if isinstance(child, BATCH_NORMS) and isinstance(previous, nn.Conv2d):
                weight, bias = fuse_conv_bn_weights(
                    previous.weight, previous.bias, child.running_mean, child.running_var,
                    child.eps, child.weight, child.bias,
                )  # fmt: skip
                previous.weight, previous.bias = weight, bias
                setattr(module, name, nn.Identity())
            previous = child
    return network


def decode_boxes(deltas: Tensor, anchors: Tensor, shape: tuple[int, int]) -> Tensor:
    """Boxes (N, 4) of Faster R-CNN's deltas (N, 4) to anchors (N, 4), cut at the image."""
    largest = float(np.log(1000.0 / 16))  # torchvision's bound on growth
    size = anchors[:, 2:] - anchors[:, :2]
    centre = anchors[:, :2] + 0.5 * size + deltas[:, :2] * size
    half = 0.5 * size * deltas[:, 2:].clamp(max=largest).exp()
    low, high = centre - half, centre + half
    x0, x1 = (side[:, 0].clamp(0, shape[1]) for side in (low, high))
    y0, y1 = (side[:, 1].clamp(0, shape[0]) for side in (low, high))
    return torch.stack([x0, y0, x1, y1], dim=1)


def suppress(boxes: Tensor, valid: Tensor, max_iou: float, rounds: int) -> Tensor:
    """Greedy non-maximum suppression of boxes (N, 4), best first, without a data-dependent shape.

    A box stays if no better box that stays overlaps it: a fixed point, reached from below in as
    many rounds as the longest chain of boxes that suppress one another.

    Returns:
        Which boxes stay (N,) as 0 and 1; exact if the fixed point was reached.
    """
    x0, y0, x1, y1 = boxes.unbind(dim=1)
    area = (x1 - x0) * (y1 - y0)
    # Axis by axis: one (N, N, 2) tensor for both would be cut in two again, which takes longer.
    width, height = (
        (torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)).clamp(min=0)
        for low, high in ((x0, x1), (y0, y1))
    )
    overlap = width * height
    iou = overlap / (area[:, None] + area - overlap)
    better = torch.tril((iou > max_iou).to(boxes.dtype), -1)
    allowed = valid.to(boxes.dtype)[:, None]
    keep = allowed
    for _ in range(rounds):
        # 1 where it is allowed and no better one that stays overlaps it, else 0 or less.
        keep = torch.addmm(allowed, better, keep, alpha=-1).relu()
    return keep[:, 0]
