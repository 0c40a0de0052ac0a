"""Detections of models in a benchmark's pictures, kept on disk: an interrupted run resumes where
it was, and a report is written again without running any model.

    finder = CachedFinder(out / "predictions", "experts:fast")
    for detections in finder.find_all(pictures): ...

A prediction belongs to the content of the picture and to the model: its weights, its settings
and our code that runs it. When any of them changes, the picture is evaluated anew.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

import dope_model
from dope_model.benchmark.protocols.protocol import Found, Picture
from dope_model.cache import file_digest
from dope_model.datasets.videos import VideoFrames
from dope_model.detector import EXPERTS, WholeBodyDetector, experts_preset
from dope_model.network.config import AUTO, mode_named
from dope_model.pictures import read_bytes, read_rgb
from dope_model.poses import PartDetections
from dope_model.postprocess.scores import at_least
from dope_model.skeleton import PARTS
from dope_model.weights import DEFAULT_MODEL, weights_file

_ARRAYS = ("scores", "keypoints_2d", "keypoints_3d", "is_left", "confidence")
_ABOUT_FILE = "model.json"
_NETWORK_CODE = ("checkpoint.py", "network/*.py", "postprocess/*.py", "runtime/*.py")
DECODED_AHEAD = 8
"""Pictures that are decoded while the model works."""


def model_record(
    model: str, mode: str = AUTO, engine: str = "auto", device: str = "auto"
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
            # They ask the network where somebody is.
            record["weights"] = file_digest(weights_file(DEFAULT_MODEL))
            record["code network"] = _code_hash(*_NETWORK_CODE)
            for file in PREPARED_MODELS:
                if (models_folder() / file).is_file():
                    record[f"weights {file}"] = file_digest(models_folder() / file)
        return record
    from dope_model.checkpoint import read_checkpoint
    from dope_model.runtime import int8_allowed, picked

    path = weights_file(model)
    allows_int8 = False
    if engine == "auto":
        checkpoint = read_checkpoint(path)
        allows_int8 = int8_allowed(checkpoint, mode_named(mode, checkpoint.mode))
    engine, device = picked(engine, device, allows_int8)
    return {
        "model": path.name, "mode": mode, "engine": engine, "device": device,
        "weights": file_digest(path),
        "code": _code_hash(*_NETWORK_CODE, "experts/joints.py"),
    }  # fmt: skip


@cache
def _code_hash(*patterns: str) -> str:
    digest = hashlib.sha256()
    base = Path(dope_model.__file__).parent
    for pattern in (*patterns, "boxes.py", "poses.py", "skeleton.py"):
        for file in sorted(base.glob(pattern)):
            digest.update(file.read_bytes())
    return digest.hexdigest()


class CachedFinder:
    """Finds parts in pictures, or reads what was found before.

    Attributes:
        record: `model_record` of the model.
        description: one line, as `WholeBodyDetector.description`.
        min_scores: by part, the model's own thresholds; known once the model has run.
    """

    def __init__(
        self,
        folder: Path,
        model: str = DEFAULT_MODEL,
        device: str = "auto",
        mode: str = AUTO,
        engine: str = "auto",
    ) -> None:
        """
        Args:
            folder: of predictions; every model gets a folder of its own inside.
            model, device, mode, engine: as for `WholeBodyDetector.load`. The model is not
                loaded before it is needed.

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
        self.min_scores: dict[str, float] = known.get("min_scores", {})

    def find_all(
        self,
        pictures: Iterable[Picture],
        everything: bool = False,
        skipped: list[str] | None = None,
    ) -> Iterator[Found | None]:
        """What is found in each picture, in their order; the next ones are decoded meanwhile.

        Args:
            everything: detections of any score, not only those that reach the model's thresholds.
            skipped: gets the reason for each picture that cannot be read; of it, None is found.

        Raises:
            ValueError: a picture cannot be read, and `skipped` is None.
        """

        def found(reading: Future) -> Found | None:
            try:
                target, rgb = reading.result()
            except ValueError as error:
                if skipped is None:
                    raise
                skipped.append(str(error))
                return None
            own = self._found_in(target, rgb)
            return own if everything else at_least(own, self.min_scores)

        # One thread: it is enough to keep a model busy, and videos are read frame after frame.
        with ThreadPoolExecutor(1) as pool:
            ahead: deque[Future] = deque()
            try:
                for picture in pictures:
                    ahead.append(pool.submit(self._read, picture))
                    if len(ahead) >= DECODED_AHEAD:
                        yield found(ahead.popleft())
                while ahead:
                    yield found(ahead.popleft())
            finally:
                for future in ahead:
                    future.cancel()

    def _read(self, picture: Picture) -> tuple[Path, np.ndarray | None]:
        """Where the detections of a picture are kept, and its pixels if they are not there yet."""
        if picture.frame is None:
            key = hashlib.sha256(read_bytes(picture.path)).hexdigest()[:24]
        else:
            key = f"{_video_digest(picture.path)[:24]}_{picture.frame:06d}"
        if picture.condition:
            key += f"_{picture.condition.replace(' ', '_')}"
        target = self._folder / f"{key}.npz"
        return target, None if target.is_file() else pixels_of(picture)

    def _found_in(self, target: Path, rgb: np.ndarray | None) -> Found:
        if rgb is None:
            return load_detections(target)
        if self._detector is None:
            self._detector = self._load()
            self.description = self._detector.description
            # Everything is kept, and chosen from later.
            self.min_scores = dict(self._detector.min_scores)
            self._detector.min_scores.clear()
            self._folder.mkdir(parents=True, exist_ok=True)
            about = {**self.record, "description": self.description, "min_scores": self.min_scores}
            (self._folder / _ABOUT_FILE).write_text(json.dumps(about, indent=1) + "\n")
        found = self._detector.find_parts(rgb)
        save_detections(target, found)
        return found


_video = VideoFrames()
_video_digest = cache(file_digest)


def pixels_of(picture: Picture) -> np.ndarray:
    """A picture, or its frame of a video, as (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the file is damaged or not a picture.
    """
    rgb = read_rgb(picture.path) if picture.frame is None else _video(picture.path, picture.frame)
    if picture.condition:
        from dope_model.benchmark.conditions import CONDITIONS

        rgb = CONDITIONS[picture.condition](rgb)
    return rgb


def save_detections(path: Path, found: Found) -> None:
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


def load_detections(path: Path) -> Found:
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
