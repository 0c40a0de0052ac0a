"""SURREAL: rendered videos of one person each, SMPL's 24 joints in 2D and 3D.

As distributed: `cmu/train/run0/<sequence>/<clip>_info.mat` beside `<clip>.mp4`, 320 x 240 px.

The renderer's camera mirrors: the videos show the mirror image of the 3D bodies. Labels here follow
the pictures: the joint called right is the right one of the person in the picture.

Varol et al., "Learning from synthetic humans" (CVPR 2017).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dope_model.camera.placement import Intrinsics
from dope_model.datasets.conversions import SURREAL, SURREAL_JOINTS
from dope_model.datasets.files import read_mat
from dope_model.datasets.labels import Sample
from dope_model.datasets.sources import Labelled, part_labels

log = logging.getLogger(__name__)

SIZE = (320, 240)
INTRINSICS = Intrinsics(600.0, 600.0, 160.0, 120.0)
"""A lens of 60 mm on a sensor of 32 mm, on 320 px."""
AXES = {
    # The renderer's camera, world (x, y, z) to optical frame; it mirrors.
    "mirrored": np.array([[0.0, 0, -1], [0, 1, 0], [-1, 0, 0]]),
    "plain": np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
}
AGREEMENT = 3.0
"""Largest median distance between projected 3D and given 2D joints that are the same, px."""
WHERE = "SURREAL is folders with <clip>_info.mat and <clip>.mp4, such as cmu/train/run0/01_01"


def read_surreal(folder: Path, every: int = 10) -> Iterator[Labelled]:
    """Every `every`-th frame of all clips.

    Raises:
        FileNotFoundError: there are no clips, or a video is missing.
        ValueError: a file has another form.
    """
    folder = Path(folder)
    files = sorted(folder.rglob("*_info.mat"))
    if not files:
        raise FileNotFoundError(f"no *_info.mat below {folder}; {WHERE}")
    without = [f for f in files if not _video_of(f).is_file()]
    if without:
        raise FileNotFoundError(
            f"{folder} is not complete: {len(without)} of {len(files)} videos missing "
            f"({_video_of(without[0]).relative_to(folder)}); {WHERE}"
        )
    for file in files:
        yield from _clip(folder, file, every)


def _video_of(file: Path) -> Path:
    return file.with_name(file.name.removesuffix("_info.mat") + ".mp4")


def _clip(folder: Path, file: Path, every: int) -> Iterator[Labelled]:
    content = read_mat(file)
    try:
        flat, deep = (
            np.asarray(content[name], float)
            .reshape(axes, len(SURREAL_JOINTS), -1)
            .transpose(2, 1, 0)
            for name, axes in (("joints2D", 2), ("joints3D", 3))
        )
        camera = np.asarray(content["camLoc"], float).reshape(3)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{file} is not of the distributed form ({error}); {WHERE}") from error
    in_camera, mirrored = in_optical_frame(flat, deep, camera)
    if in_camera is None:
        log.warning("%s: its 3D joints do not project onto its 2D joints; 3D left out", file)
    order = list(SURREAL.swap) if mirrored else list(range(len(SURREAL_JOINTS)))
    bodies_2d = SURREAL(flat[:, order])
    bodies_3d = None if in_camera is None else SURREAL(in_camera[:, order])
    everything = np.ones((1, bodies_2d.shape[1]), bool)
    video = _video_of(file)
    clip = video.relative_to(folder).with_suffix("").as_posix().replace("/", "_")
    for frame in range(0, len(flat), every):
        labels = part_labels(
            "body", SIZE, bodies_2d[frame, None], everything,
            None if bodies_3d is None else bodies_3d[frame, None], everything,
        )  # fmt: skip
        sample = Sample(f"{clip}_{frame:03d}.jpg", *SIZE, {"body": labels}, INTRINSICS)
        yield Labelled(sample, video, frame)


def in_optical_frame(
    flat: np.ndarray, deep: np.ndarray, camera: np.ndarray
) -> tuple[np.ndarray | None, bool]:
    """World joints (T, 24, 3) m in the optical frame, and whether that mirrors them.

    Of the two possible handednesses, the one whose projection is `flat` (T, 24, 2) px; None, and
    mirrored, if neither fits.
    """
    for name, axes in AXES.items():
        points = (deep - camera) @ axes.T
        if (points[..., 2] > 0.1).all():
            distance = np.linalg.norm(INTRINSICS.project(points) - flat, axis=-1)
            if np.median(distance) < AGREEMENT:
                return points, name == "mirrored"
    return None, True
