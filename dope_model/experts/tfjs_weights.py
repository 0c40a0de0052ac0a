"""Weights of TensorFlow.js models. It needs NumPy alone: `tfjs_to_onnx.py` imports it by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def tfjs_weights(manifest: list[dict], read: Callable[[str], bytes]) -> dict[str, np.ndarray]:
    """A model's constants by name, those that were stored smaller in their own type again.

    Args:
        manifest: `weightsManifest` of the model's JSON.
        read: the content of a file by its path in the manifest.

    Raises:
        ValueError: the files hold more or less than the manifest says.
    """
    weights = {}
    for group in manifest:
        raw, offset = b"".join(read(path) for path in group["paths"]), 0
        for entry in group["weights"]:
            stored = entry.get("quantization", entry)
            count = int(np.prod(entry["shape"]))
            values = np.frombuffer(raw, stored["dtype"], count, offset)
            offset += values.nbytes
            if "scale" in stored:
                values = values.astype(np.float32) * stored["scale"] + stored["min"]
            weights[entry["name"]] = values.astype(entry["dtype"]).reshape(entry["shape"])
        if offset != len(raw):
            raise ValueError(f"{group['paths']}: {len(raw)} bytes, but the manifest uses {offset}")
    return weights
