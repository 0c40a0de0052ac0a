"""3D Menpo facial landmark tracking challenge: videos with 84 landmarks in every frame.

As distributed: one landmarks file per frame in a folder per video, `<video>/000001.ljson` (menpo's
JSON, points as y, x) or `<video>/000001.pts` (points as x, y counted from 1), and the videos,
`<video>.mp4`, `<video>.avi` or `<video>/vid.avi`; frames unpacked to pictures of the same name
beside the landmarks serve as well. The files may lie in any folders below the data set's; 2D
landmarks are those with two coordinates (`projected_image_space` in the training set). Frames count
from 1.

Zafeiriou et al., "The 3D Menpo facial landmark tracking challenge" (ICCV workshops 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dope_model.datasets.files import read_json
from dope_model.pictures import PICTURE_SUFFIXES
from dope_model.skeleton import FACE84

WHERE = (
    "3D Menpo is a folder per video with 84 landmarks per frame (000001.ljson or .pts) and the "
    "videos (<video>.mp4, <video>.avi or <video>/vid.avi) or their frames as pictures"
)
OUTER_EYE_CORNERS = (FACE84.index["right_eye_0"], FACE84.index["left_eye_3"])
OUTER_EYE_DISTANCE = 0.09
"""Assumed distance between an adult's outer eye corners, m: model space has no stated unit."""
VIDEO_SUFFIXES = (".avi", ".mp4", ".mkv", ".mov", ".webm")


@dataclass(frozen=True)
class MenpoFrame:
    """One frame of a video: its `landmarks` (84, 2) px and where its pixels are.

    `frame` is the number in the video `path` from 0, or None when `path` is a picture.
    """

    video: str
    number: int
    path: Path
    frame: int | None
    landmarks: np.ndarray


def read_menpo(folder: Path) -> list[MenpoFrame]:
    """All annotated frames, video by video in the order of their numbers.

    Raises:
        FileNotFoundError: there are no landmarks, or pixels are missing for some.
        ValueError: a landmarks file has another form.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; {WHERE}")
    files = sorted([*folder.rglob("*.ljson"), *folder.rglob("*.pts")])
    if not files:
        raise FileNotFoundError(f"no landmarks below {folder}; {WHERE}")
    videos = _videos(folder)
    frames, lacking = [], set()
    for file in files:
        points = read_landmarks(file)
        if points.shape[1] != 2:
            continue  # the same frame in model space
        video, number = _identity(file)
        picture = _picture_beside(file)
        if picture is not None:
            frames.append(MenpoFrame(video, number, picture, None, points))
        elif video in videos:
            frames.append(MenpoFrame(video, number, videos[video], number - 1, points))
        else:
            lacking.add(video)
    if lacking:
        raise FileNotFoundError(
            f"{folder} is not complete: there are landmarks but neither video nor pictures of "
            f"{len(lacking)} videos ({', '.join(sorted(lacking)[:5])}); {WHERE}"
        )
    return sorted(frames, key=lambda frame: (frame.video, frame.number))


def _identity(file: Path) -> tuple[str, int]:
    """Name of the video and number of the frame that a landmarks file belongs to."""
    digits = "".join(c for c in file.stem.rpartition("_")[2] if c.isdigit())
    if not digits:
        raise ValueError(f"{file}: its name has no frame number; {WHERE}")
    parent = file.parent
    return (parent.parent if parent.name in ("annot", "annotations") else parent).name, int(digits)


def _videos(folder: Path) -> dict[str, Path]:
    """Videos by name; `vid` is called by its folder's name."""
    found = (p for p in sorted(folder.rglob("*")) if p.suffix.lower() in VIDEO_SUFFIXES)
    return {(p.parent.name if p.stem == "vid" else p.stem): p for p in found}


def _picture_beside(file: Path) -> Path | None:
    for suffix in PICTURE_SUFFIXES:
        if file.with_suffix(suffix).is_file():
            return file.with_suffix(suffix)
    return None


def read_landmarks(path: Path) -> np.ndarray:
    """84 landmarks (84, 2) as x, y px in our convention, or (84, 3) in model space, unchanged.

    Raises:
        ValueError: the file has another form, or another number of landmarks.
    """
    points = _read_pts(path) if path.suffix == ".pts" else _read_ljson(path)
    if len(points) != len(FACE84) or points.ndim != 2 or points.shape[1] not in (2, 3):
        raise ValueError(
            f"{path}: 3D Menpo has {len(FACE84)} landmarks, this file has points of shape "
            f"{points.shape}"
        )
    return points


def _read_pts(path: Path) -> np.ndarray:
    text = path.read_text(errors="replace")
    inside = text.partition("{")[2].partition("}")[0]
    try:
        points = np.array([[float(x) for x in line.split()] for line in inside.split("\n") if
                           line.strip()], float)  # fmt: skip
    except ValueError as error:
        raise ValueError(f"{path} is not a landmarks file ({error})") from error
    # Its pixel centres start at 1, this project's at 0.5.
    return points - 0.5 if points.ndim == 2 and points.shape[1] == 2 else points


def _read_ljson(path: Path) -> np.ndarray:
    content = read_json(path)
    try:
        if "landmarks" in content:  # version 2
            points = content["landmarks"]["points"]
        elif isinstance(content["groups"], dict):  # version 3
            points = next(iter(content["groups"].values()))["landmarks"]["points"]
        else:  # version 1
            points = [x["point"] for group in content["groups"] for x in group["landmarks"]]
        points = np.array(points, float)
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise ValueError(f"{path} is not a file of menpo landmarks ({error!r})") from error
    # menpo's image points are (row, column), integers at pixel centres.
    return points[:, ::-1] + 0.5 if points.ndim == 2 and points.shape[1] == 2 else points


def model_space_of(folder: Path) -> dict[tuple[str, int], np.ndarray]:
    """Landmarks in model space (84, 3) by video and frame: those with three coordinates."""
    found = {}
    for file in sorted(Path(folder).rglob("*.ljson")):
        points = read_landmarks(file)
        if points.shape[1] == 3:
            found[_identity(file)] = points
    return found


def in_optical_frame(model: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Landmarks of model space (84, 3), rotated into the camera's axes and scaled to metres.

    The rotation is that of the scaled orthographic camera that fits the landmarks (84, 2) px best
    (least squares); the scale gives the outer corners of the eyes their usual distance.
    """
    centred, flat = model - model.mean(axis=0), landmarks - landmarks.mean(axis=0)
    affine = np.linalg.lstsq(centred, flat, rcond=None)[0].T
    u, _, v = np.linalg.svd(affine, full_matrices=False)
    x, y = u @ v
    turned = centred @ np.stack([x, y, np.cross(x, y)]).T
    a, b = OUTER_EYE_CORNERS
    return turned * (OUTER_EYE_DISTANCE / max(float(np.linalg.norm(turned[a] - turned[b])), 1e-9))
