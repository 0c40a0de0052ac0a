"""Labels from the ready-made experts: what they trust, and regions to ignore.

Pictures are labelled in pieces that are written as they are done, by several processes; started
again, only what is missing is computed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from dope_model.datasets.human_joints import with_human_joints
from dope_model.datasets.labels import LabelSet, PartLabels, Sample, Visibility
from dope_model.experts.proposals import Guess
from dope_model.pictures import read_rgb
from dope_model.poses import PartDetections
from dope_model.processes import in_processes

PICTURES_PER_PIECE = 10
LABELS_FILE = "labels.npz"
T = TypeVar("T")


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
    """Some pictures, and the file that their labels go to.

    `annotated` are human annotations of bodies, `kept` labels of which only the bodies are made
    anew.
    """

    folder: Path
    names: tuple[str, ...]
    target: Path
    preset: str
    annotated: dict[str, Guess]
    kept: dict[str, Sample]


def label_pictures(
    folder: Path,
    names: list[str],
    out: Path,
    preset: str = "thorough",
    workers: int = 1,
    known: LabelSet | None = None,
    annotated: Mapping[str, Guess] | None = None,
    renew_bodies: bool = False,
) -> Path:
    """Label pictures and write one compact labels file, whose path is returned.

    Args:
        folder: of the pictures; `names` are relative to it, and are worked on in their order.
        out: folder for the finished pieces and the labels file.
        workers: processes, each of one thread.
        known: labels from before; its pictures are not labelled again, and are in the file too.
        annotated: human annotations of bodies, by picture; see `with_human_joints`.
        renew_bodies: label the bodies of known pictures again. Their hands and faces stay, and
            all of those that are not among `names`.

    Raises:
        ValueError: `out`, or `known`, holds labels of another preset.
    """
    before: dict[str, Sample] = {}
    if known is not None:
        if known.about.get("experts") != preset:
            raise ValueError(f"the known labels are not of the {preset!r} experts: {known.about}")
        before = {sample.file: sample for sample in known}
    if not renew_bodies:
        names = [name for name in names if name not in before]
    pieces_folder = out / "pieces"
    pieces_folder.mkdir(parents=True, exist_ok=True)
    _same_preset(out, preset)
    pieces = [
        _Piece(
            folder, some, target, preset, of_these(some, annotated or {}), of_these(some, before)
        )
        for some, target in _pieces(names, pieces_folder)
    ]
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
    """The labels file of `known` and all pieces that are done; returns its path.

    Where both have a picture, it is that of the piece.
    """
    samples = {} if known is None else {sample.file: sample for sample in known}
    about = {} if known is None else known.about
    about = {**about, **json.loads((out / "about.json").read_text())}
    for path in sorted((out / "pieces").glob("*.npz")):
        samples |= {sample.file: sample for sample in LabelSet.load(path)}
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


def _pieces(names: list[str], folder: Path) -> Iterator[tuple[tuple[str, ...], Path]]:
    """Some of the names, and the file for their labels."""
    for start in range(0, len(names), PICTURES_PER_PIECE):
        some = tuple(names[start : start + PICTURES_PER_PIECE])
        key = hashlib.sha256("\n".join(some).encode(errors="surrogateescape")).hexdigest()[:16]
        yield some, folder / f"{key}.npz"


def of_these(names: Iterable[str], values: Mapping[str, T]) -> dict[str, T]:
    """The values of some names."""
    return {name: values[name] for name in names if name in values}


def _label_piece(piece: _Piece) -> None:
    experts = _experts(piece.preset)
    samples = []
    for name in piece.names:
        try:
            rgb = read_rgb(piece.folder / name)
        except ValueError:
            continue  # it has no labels
        height, width = rgb.shape[:2]
        annotated, kept = piece.annotated.get(name), piece.kept.get(name)
        found, ignored = experts.detect_with_ignored(
            rgb,
            [annotated] if annotated is not None and annotated.has_torso else [],
            only_bodies=kept is not None,
        )
        parts = {} if kept is None else dict(kept.parts)
        for part in found:
            parts[part] = labels_from_detections(found[part], ignored[part], width, height)
        sample = Sample(name, width, height, parts)
        if annotated is not None:
            sample = with_human_joints(sample, annotated.joints, annotated.seen)
        samples.append(sample)
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
