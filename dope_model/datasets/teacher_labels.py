"""Labels from the ready-made experts: what they trust, and regions to ignore.

Pictures are labelled in pieces that are written as they are done, by several processes; started
again, only what is missing is computed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from dope_model.datasets.labels import LabelSet, PartLabels, Sample, Visibility
from dope_model.pictures import read_rgb
from dope_model.poses import PartDetections
from dope_model.processes import in_processes

PICTURES_PER_PIECE = 25
LABELS_FILE = "labels.npz"


def labels_from_detections(
    found: PartDetections, ignored: np.ndarray, width: int, height: int
) -> PartLabels:
    """Detections of an expert as labels: trusted joints are valid in 2D and 3D.

    Args:
        ignored: (M, 4) boxes of what was seen and not trusted.
    """
    u, v = found.keypoints_2d[..., 0], found.keypoints_2d[..., 1]
    outside = (u < 0) | (v < 0) | (u > width) | (v > height)
    visibility = np.where(found.trusted, Visibility.VISIBLE, Visibility.UNKNOWN)
    count = len(found)
    return PartLabels(
        found.part,
        found.keypoints_2d,
        found.skeleton.centred(found.keypoints_3d),
        found.trusted,
        found.trusted,
        np.where(outside, Visibility.OUTSIDE_FRAME, visibility),
        np.full(count, -1),
        np.full((count, 3), np.nan),
        found.scores,
        found.is_left,
        ignored,
    )


@dataclass(frozen=True)
class _Piece:
    """Some pictures, and the file that their labels go to."""

    folder: Path
    names: tuple[str, ...]
    target: Path
    preset: str


def label_pictures(
    folder: Path,
    names: list[str],
    out: Path,
    preset: str = "thorough",
    workers: int = 1,
    known: LabelSet | None = None,
) -> Path:
    """Label pictures and write one compact labels file, whose path is returned.

    Args:
        folder: of the pictures; `names` are relative to it, and are worked on in their order.
        out: folder for the finished pieces and the labels file.
        workers: processes, each of one thread.
        known: labels from before; its pictures are not labelled again, and are in the file too.

    Raises:
        ValueError: `out`, or `known`, holds labels of another preset.
    """
    if known is not None:
        if known.about.get("experts") != preset:
            raise ValueError(f"the known labels are not of the {preset!r} experts: {known.about}")
        done_before = {sample.file for sample in known}
        names = [name for name in names if name not in done_before]
    pieces_folder = out / "pieces"
    pieces_folder.mkdir(parents=True, exist_ok=True)
    _same_preset(out, preset)
    pieces = list(_pieces(folder, names, pieces_folder, preset))
    todo = [piece for piece in pieces if not piece.target.is_file()]
    done = sum(len(p.names) for p in pieces) - sum(len(p.names) for p in todo)
    progress = tqdm(total=len(names), initial=done, unit="picture", smoothing=0.05)
    with progress:
        if workers > 1:
            done_pieces = in_processes(_label_piece, todo, workers)
        else:
            done_pieces = map(_label_piece, todo)
        for piece, _ in zip(todo, done_pieces, strict=True):
            progress.update(len(piece.names))
    return merge_pieces(out, known)


def merge_pieces(out: Path, known: LabelSet | None = None) -> Path:
    """The labels file of `known` and all pieces that are done, each picture once; returns its path.

    Pieces may be known already: those from which the known labels were made.
    """
    samples = {} if known is None else {sample.file: sample for sample in known}
    about = json.loads((out / "about.json").read_text())
    for path in sorted((out / "pieces").glob("*.npz")):
        for sample in LabelSet.load(path):
            samples.setdefault(sample.file, sample)
    target = out / LABELS_FILE
    LabelSet([samples[file] for file in sorted(samples)], about).save(target, compact=True)
    return target


def _same_preset(out: Path, preset: str) -> None:
    about = out / "about.json"
    if about.is_file():
        before = json.loads(about.read_text())["experts"]
        if before != preset:
            raise ValueError(f"{out} holds labels of the {before!r} experts; use another folder")
    about.write_text(json.dumps({"experts": preset}))


def _pieces(folder: Path, names: list[str], target: Path, preset: str) -> Iterator[_Piece]:
    for start in range(0, len(names), PICTURES_PER_PIECE):
        some = tuple(names[start : start + PICTURES_PER_PIECE])
        key = hashlib.sha256("\n".join(some).encode()).hexdigest()[:16]
        yield _Piece(folder, some, target / f"{key}.npz", preset)


def _label_piece(piece: _Piece) -> None:
    experts = _experts(piece.preset)
    samples = []
    for name in piece.names:
        try:
            rgb = read_rgb(piece.folder / name)
        except ValueError:
            continue  # not a picture: it has no labels
        height, width = rgb.shape[:2]
        found, ignored = experts.detect_with_ignored(rgb)
        parts = {
            part: labels_from_detections(found[part], ignored[part], width, height)
            for part in found
        }
        samples.append(Sample(name, width, height, parts))
    new = piece.target.with_suffix(".new")
    LabelSet(samples).save(new)
    new.replace(piece.target)


_LOADED: dict[str, object] = {}


def _experts(preset: str):
    """The experts of this process, loaded once, on one thread."""
    if preset not in _LOADED:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        cv2.setNumThreads(1)
        from dope_model.experts import load_experts

        _LOADED[preset] = load_experts(preset, threads=1)
    return _LOADED[preset]
