"""The training sets of section 3.3 as labels of this project's format.

`SETS` names them; each loader goes through a data set as its owners distribute it, one labelled
picture at a time. `python -m dope_model convert NAME --data DIR --out DIR` writes the labels file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from dope_model.datasets.coco import CocoPicture, keypoints_of, read_coco
from dope_model.datasets.conversions import COCO, LSP, MPII
from dope_model.datasets.files import picture_size
from dope_model.datasets.human36m import read_human36m
from dope_model.datasets.labels import LabelSet, Sample
from dope_model.datasets.lsp import read_lsp
from dope_model.datasets.menpo import in_optical_frame, model_space_of, read_menpo
from dope_model.datasets.mpii import held_out, read_mpii
from dope_model.datasets.muco import read_muco
from dope_model.datasets.rhd import read_rhd
from dope_model.datasets.sources import Labelled, part_labels
from dope_model.datasets.surreal import read_surreal
from dope_model.datasets.videos import VideoFrames, video_size

LABELS_FILE = "labels.npz"
PICTURES_FOLDER = "pictures"
LEAST_VISIBLE = 3
"""Fewest visible joints of a hand of RHD; with fewer it is an ignore region."""


def lsp_labels(folder: Path) -> Iterator[Labelled]:
    """Leeds Sports Pose or its extended set: bodies in 2D; other people in a picture are not
    labelled."""
    for person in read_lsp(folder):
        size = picture_size(person.path)
        body = part_labels(
            "body", size, LSP(person.joints)[None], LSP.valid(person.labelled)[None],
            visible=LSP.valid(person.visible)[None], complete=False,
        )  # fmt: skip
        name = person.path.relative_to(folder).as_posix()
        yield Labelled(Sample(name, *size, {"body": body}))


def mpii_labels(folder: Path) -> Iterator[Labelled]:
    """MPII without the pictures that are held out for measuring: bodies in 2D; people without
    joints are ignore regions, others are not labelled at all."""
    pictures = read_mpii(folder)
    left_out = held_out(pictures)
    for picture in pictures:
        labelled = [p for p in picture.people if p.labelled.any()]
        if not labelled or picture.path.name in left_out:
            continue
        size = picture_size(picture.path)
        others = [p.place for p in picture.people if not p.labelled.any()]
        ignored = np.array([place for place in others if np.isfinite(place).all()]).reshape(-1, 4)
        body = part_labels(
            "body", size, np.stack([MPII(p.joints) for p in labelled]),
            np.stack([MPII.valid(p.labelled) for p in labelled]),
            visible=np.stack([MPII.valid(p.visible) for p in labelled]),
            ignored=ignored, complete=False,
        )  # fmt: skip
        name = picture.path.relative_to(folder).as_posix()
        yield Labelled(Sample(name, *size, {"body": body}))


def coco_labels(folder: Path) -> Iterator[Labelled]:
    """COCO's training pictures with people: bodies in 2D; people without joints and crowds are
    ignore regions."""
    _, pictures = read_coco(folder, "train", wholebody=False)
    for picture in pictures:
        if picture.annotations:
            yield Labelled(coco_sample(picture, picture.path.relative_to(folder).as_posix()))


def coco_sample(picture: CocoPicture, name: str) -> Sample:
    """The labels of one of COCO's pictures, whose file is to be called `name`."""
    people, ignored = [], []
    for annotation in picture.annotations:
        if annotation.get("iscrowd") or not annotation["num_keypoints"]:
            x, y, width, height = annotation["bbox"]
            ignored.append([x, y, x + width, y + height])
        else:
            people.append(keypoints_of(annotation))
    size = (picture.width, picture.height)
    points = np.array([p for p, _ in people]).reshape(-1, len(COCO.names), 2)
    flags = np.array([f for _, f in people]).reshape(-1, len(COCO.names))
    body = part_labels(
        "body", size, COCO(points), COCO.valid(flags > 0), visible=COCO.valid(flags > 1),
        ignored=np.array(ignored).reshape(-1, 4),
    )  # fmt: skip
    return Sample(name, *size, {"body": body})


def rhd_labels(folder: Path) -> Iterator[Labelled]:
    """RHD's training part: hands in 2D and 3D, hardly visible ones as ignore regions."""
    for picture in read_rhd(folder, "training"):
        size = picture_size(picture.path)
        seen = [hand for hand in picture.hands if hand.visible.sum() >= LEAST_VISIBLE]
        hidden = [h for h in picture.hands if 0 < h.visible.sum() < LEAST_VISIBLE]
        boxes = [[*h.keypoints_2d.min(axis=0), *h.keypoints_2d.max(axis=0)] for h in hidden]
        everything = np.ones((len(seen), 21), bool)

        def stacked(name: str, width: int, hands=seen) -> np.ndarray:
            return np.array([getattr(h, name) for h in hands]).reshape(-1, 21, width)

        hands = part_labels(
            "hand", size, stacked("keypoints_2d", 2), everything, stacked("keypoints_3d", 3),
            everything, stacked("visible", 1)[..., 0], np.array([h.is_left for h in seen], bool),
            np.array(boxes).reshape(-1, 4),
        )  # fmt: skip
        name = picture.path.relative_to(folder).as_posix()
        yield Labelled(Sample(name, *size, {"hand": hands}, picture.intrinsics))


def menpo_labels(folder: Path, every: int = 5) -> Iterator[Labelled]:
    """3D Menpo's training videos: faces in 2D, and in 3D where there are landmarks in model space;
    other faces in a frame are not labelled."""
    models = model_space_of(folder)
    sizes: dict[Path, tuple[int, int]] = {}
    for frame in read_menpo(folder):
        if frame.number % every:
            continue
        size = picture_size(frame.path) if frame.frame is None else sizes.get(frame.path)
        if size is None:
            size = sizes[frame.path] = video_size(frame.path)
        model = models.get((frame.video, frame.number))
        deep = None if model is None else in_optical_frame(model, frame.landmarks)[None]
        everything = np.ones((1, len(frame.landmarks)), bool)
        face = part_labels(
            "face", size, frame.landmarks[None], everything, deep, everything, complete=False
        )
        if frame.frame is None:
            name = frame.path.relative_to(folder).as_posix()
            yield Labelled(Sample(name, *size, {"face": face}))
        else:
            name = f"{frame.video}_{frame.number:06d}.jpg"
            yield Labelled(Sample(name, *size, {"face": face}), frame.path, frame.frame)


SETS: dict[str, Callable[..., Iterator[Labelled]]] = {
    "mpii": mpii_labels,
    "coco": coco_labels,
    "lsp": lsp_labels,
    "lspet": lsp_labels,
    "human36m": read_human36m,
    "surreal": read_surreal,
    "muco": read_muco,
    "rhd": rhd_labels,
    "menpo": menpo_labels,
}
"""The loader of each training set; all take the folder."""
VIDEO_SETS = ("human36m", "surreal", "menpo")
"""Those whose loaders also take `every`."""


def convert(
    name: str, folder: Path, out: Path, every: int | None = None, limit: int | None = None
) -> tuple[Path, Path]:
    """Write a training set's labels file, and the pictures that are frames of videos.

    Pictures that were written before are kept.

    Args:
        every: take every N-th frame of a video.
        limit: stop after this many pictures.

    Returns:
        The labels file and the folder that its pictures are relative to.
    """
    options = {"every": every} if every is not None and name in VIDEO_SETS else {}
    out.mkdir(parents=True, exist_ok=True)
    video = VideoFrames()
    samples, from_video = [], False
    for item in tqdm(SETS[name](folder, **options), unit="picture", desc=name):
        if limit is not None and len(samples) >= limit:
            break
        if item.video is not None:
            from_video = True
            target = out / PICTURES_FOLDER / item.sample.file
            if not target.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                _write_jpeg(target, video(item.video, item.frame))
        samples.append(item.sample)
    if not samples:
        raise ValueError(f"{folder}: no labelled pictures")
    labels = out / LABELS_FILE
    LabelSet(samples, {"data set": name}).save(labels, compact=True)
    return labels, out / PICTURES_FOLDER if from_video else folder


def _write_jpeg(path: Path, rgb: np.ndarray) -> None:
    """Write a picture atomically."""
    good, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not good:
        raise OSError(f"{path} could not be written")
    new = path.with_suffix(".new")
    new.write_bytes(data.tobytes())
    new.replace(path)
