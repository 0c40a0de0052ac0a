"""What models find in a benchmark's pictures, kept on disk: a run that was cut off goes on where
it was, and a report is written again without running any model.

    finder = CachedFinder(out / "predictions", "experts:fast")
    detections = finder.find_parts(path)

A prediction belongs to the content of the picture and to the model: its weights, its settings
and our code that runs it. When any of them changes, the picture is looked at again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

import dope_model
from dope_model.cache import file_digest
from dope_model.detector import DEFAULT_MODEL, EXPERTS, WholeBodyDetector, experts_preset
from dope_model.network.config import mode_named
from dope_model.poses import PartDetections
from dope_model.skeleton import PARTS
from dope_model.weights import weights_file

_ARRAYS = ("scores", "keypoints_2d", "keypoints_3d", "is_left", "trusted")
_ABOUT_FILE = "model.json"


def model_record(
    model: str, mode: str = "realtime", engine: str = "auto", device: str = "auto"
) -> dict[str, str]:
    """What decides what a model finds: name, settings, hashes of its weights and of our code.

    "auto" is told as what it is on this machine.

    Raises:
        FileNotFoundError: there is no such weights file.
        ValueError: there is no such engine or device.
    """
    preset = experts_preset(model)
    if preset is not None:
        from dope_model.experts.models import PREPARED_MODELS, models_folder

        record = {"model": f"{EXPERTS}:{preset}", "code": _code_hash("experts/*.py")}
        try:
            record["weights mediapipe"] = importlib.metadata.version("mediapipe")
        except importlib.metadata.PackageNotFoundError:
            record["weights mediapipe"] = "not installed by pip"
        if preset != "fast":
            for file in PREPARED_MODELS:
                if (models_folder() / file).is_file():
                    record[f"weights {file}"] = file_digest(models_folder() / file)
        return record
    from dope_model.checkpoint import load_checkpoint
    from dope_model.runtime import int8_allowed, picked

    path = weights_file(model)
    allows_int8 = False
    if engine == "auto":
        checkpoint = load_checkpoint(path)
        allows_int8 = int8_allowed(checkpoint, mode_named(mode, checkpoint.mode))
    engine, device = picked(engine, device, allows_int8)
    return {
        "model": path.name, "mode": mode, "engine": engine, "device": device,
        "weights": file_digest(path),
        "code": _code_hash(
            "checkpoint.py", "network/*.py", "postprocess/*.py", "runtime/*.py", "experts/joints.py"
        ),
    }  # fmt: skip


@lru_cache
def _code_hash(*patterns: str) -> str:
    digest = hashlib.sha256()
    base = Path(dope_model.__file__).parent
    for pattern in (*patterns, "poses.py", "skeleton.py"):
        for file in sorted(base.glob(pattern)):
            digest.update(file.read_bytes())
    return digest.hexdigest()


class CachedFinder:
    """Finds parts in picture files, or reads what was found before.

    Attributes:
        record: `model_record` of the model.
        description: one line, as `WholeBodyDetector.description`.
    """

    def __init__(
        self,
        folder: Path,
        model: str = DEFAULT_MODEL,
        device: str = "auto",
        mode: str = "realtime",
        engine: str = "auto",
    ) -> None:
        """
        Args:
            folder: of predictions; every model gets a folder of its own inside.
            model, device, mode, engine: as for `WholeBodyDetector.load`. The model is not loaded
                before it is needed.

        Raises:
            FileNotFoundError: there is no such weights file.
        """
        self.record = model_record(model, mode, engine, device)
        key = hashlib.sha256(json.dumps(self.record, sort_keys=True).encode()).hexdigest()[:16]
        self._folder = folder / key
        self._load = lambda: WholeBodyDetector.load(model, device, mode, engine)
        self._detector: WholeBodyDetector | None = None
        about = self._folder / _ABOUT_FILE
        known = json.loads(about.read_text()) if about.is_file() else {}
        self.description = known.get("description", self.record["model"])

    def find_parts(self, picture: Path) -> dict[str, PartDetections]:
        """The detections in a picture file, by part.

        Raises:
            ValueError: the file is not a picture.
            ImportError: something that the model needs is missing; says what brings it.
        """
        content = Path(picture).read_bytes()
        target = self._folder / f"{hashlib.sha256(content).hexdigest()[:24]}.npz"
        if target.is_file():
            return load_detections(target)
        bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
        if bgr is None:
            raise ValueError(f"{picture} is not a picture, or is damaged")
        found = self._started().find_parts(np.ascontiguousarray(bgr[..., ::-1]))
        save_detections(target, found)
        return found

    def _started(self) -> WholeBodyDetector:
        if self._detector is None:
            self._detector = self._load()
            self.description = self._detector.description
            self._folder.mkdir(parents=True, exist_ok=True)
            about = {**self.record, "description": self.description}
            (self._folder / _ABOUT_FILE).write_text(json.dumps(about, indent=1) + "\n")
        return self._detector


def save_detections(path: Path, found: dict[str, PartDetections]) -> None:
    """Write detections by part to one .npz file, whole or not at all."""
    arrays = {}
    for part, detections in found.items():
        for name in _ARRAYS:
            array = getattr(detections, name)
            if array is not None:
                arrays[f"{part}/{name}"] = array
    # savez adds .npz to a name without it.
    temporary = path.with_suffix(f".{os.getpid()}.new.npz")
    np.savez(temporary, **arrays)
    temporary.replace(path)


def load_detections(path: Path) -> dict[str, PartDetections]:
    """Read what `save_detections` wrote."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return {
        part: PartDetections(
            part, **{name: arrays[f"{part}/{name}"] for name in _ARRAYS
                     if f"{part}/{name}" in arrays}
        )
        for part in PARTS
        if f"{part}/scores" in arrays
    }  # fmt: skip
