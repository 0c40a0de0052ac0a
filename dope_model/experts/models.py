"""The experts' model files, and the commands that bring them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from dope_model.cache import cache_folder
from dope_model.hints import pip_install

MEDIAPIPE_COMMAND = "pip install --no-deps mediapipe==0.10.21"
RUNTIME_COMMAND = pip_install("ai-edge-litert")
ONNX_COMMAND = pip_install("onnxruntime")
PREPARE_COMMAND = "python -m dope_model.experts.prepare"

POSE_HEAVY = "pose_landmark_heavy.tflite"
NANODET = "nanodet.onnx"
CENTERNET = "centernet.onnx"
THUNDER = "movenet-thunder.onnx"
PREPARED_MODELS = (POSE_HEAVY, NANODET, CENTERNET, THUNDER)


class MissingModelError(ImportError):
    """A model or a package is missing; the message has the command that brings it."""


def mediapipe_model(name: str) -> Path:
    """A model in the installed mediapipe package, for example "hand_landmark/hand_landmark_full".

    The package is located and not imported: importing it would need its dependencies, of which
    only the model files are wanted.

    Raises:
        MissingModelError: mediapipe is not installed, or is a release without the models.
    """
    package = importlib.util.find_spec("mediapipe")
    if package is None or not package.submodule_search_locations:
        raise MissingModelError(
            f"the part experts need the models in the mediapipe package: {MEDIAPIPE_COMMAND}"
        )
    path = Path(package.submodule_search_locations[0], "modules", f"{name}.tflite")
    if not path.is_file():
        raise MissingModelError(
            f"the installed mediapipe has no {name}.tflite (newer releases carry no models): "
            f"{MEDIAPIPE_COMMAND}"
        )
    return path


def models_folder() -> Path:
    """The folder of prepared models: $DOPE_MODELS_DIR, else ~/.cache/dope_ros/models."""
    return cache_folder("models", "DOPE_MODELS_DIR")


def prepared_model(name: str) -> Path:
    """One of PREPARED_MODELS, as the prepare command made it.

    Raises:
        MissingModelError: it was not prepared.
    """
    path = models_folder() / name
    if not path.is_file():
        raise MissingModelError(
            f'the "thorough" experts need {name}, which is not in {models_folder()}: '
            f"{PREPARE_COMMAND} (DOPE_MODELS_DIR names another folder)"
        )
    return path
