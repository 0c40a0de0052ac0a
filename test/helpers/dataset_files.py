"""Tiny data sets in their owners' file formats, made up by the tests."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

from dope_model.datasets.conversions import (
    LSP_JOINTS,
    MPII_JOINTS,
    OPENPOSE_HAND_JOINTS,
    RHD_JOINTS,
)


def write_picture(path: Path, shade: int = 100, size: tuple[int, int] = (64, 48)) -> None:
    """A plain picture of (width, height) px; its shade tells a test's detector which it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size[1], size[0], 3), shade, np.uint8))


def struct_array(rows: list[dict]) -> np.ndarray:
    """Rows of equal fields as a MATLAB 1xN struct array."""
    array = np.zeros((1, len(rows)), [(name, object) for name in rows[0]])
    for i, row in enumerate(rows):
        for name, value in row.items():
            array[0, i][name] = value
    return array


def cell_array(rows: list[list]) -> np.ndarray:
    """Nested lists as a MATLAB cell array."""
    array = np.empty((len(rows), len(rows[0])), object)
    for i, row in enumerate(rows):
        for k, value in enumerate(row):
            array[i, k] = value
    return array


def standing_person(names: tuple[str, ...], size: float = 30.0) -> np.ndarray:
    """A made-up standing figure (len(names), 2), person's right on the picture's left."""
    heights = {
        "ankle": 2.0, "knee": 1.5, "hip": 1.0, "wrist": 1.0, "elbow": 0.7, "shoulder": 0.3,
        "pelvis": 1.0, "thorax": 0.3, "spine": 0.65, "neck": 0.2, "head_top": -0.2, "head": 0.0,
    }  # fmt: skip
    points = []
    for name in names:
        side, _, joint = name.partition("_")
        if side not in ("right", "left"):
            side, joint = "", name
        wide = {"wrist": 0.5, "elbow": 0.4}.get(joint, 0.2)
        points.append([{"right": -wide, "left": wide, "": 0.0}[side], heights[joint]])
    return size * np.array(points)


def write_lsp(folder: Path, joints: np.ndarray, flag: np.ndarray, extended: bool) -> None:
    """Leeds Sports Pose of joints (N, 14, 2) in our pixels; `flag` (N, 14) is its third number."""
    table = np.concatenate([joints + 0.5, flag[..., None]], axis=2)
    table = table.transpose(1, 2, 0) if extended else table.transpose(2, 1, 0)
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / "joints.mat", {"joints": table})
    for i in range(len(joints)):
        name = f"im{i + 1:05d}.jpg" if extended else f"im{i + 1:04d}.jpg"
        write_picture(folder / "images" / name, 10 * (i + 1))


def write_mpii(folder: Path, people: list[list[dict]], training: list[int]) -> None:
    """MPII: people per picture, each a dict with joints (16, 2), NaN not labelled, and head."""
    folder.mkdir(parents=True, exist_ok=True)
    annolist = []
    for i, some in enumerate(people):
        rects = []
        for person in some:
            points = [
                {"x": x + 0.5, "y": y + 0.5, "id": j, "is_visible": person.get("visible", 1)}
                for j, (x, y) in enumerate(person["joints"])
                if np.isfinite(x)
            ]
            x1, y1, x2, y2 = person["head"]
            rects.append(
                {
                    "x1": x1, "y1": y1, "x2": x2, "y2": y2,
                    "annopoints": {"point": struct_array(points)} if points else np.zeros((0, 0)),
                    "scale": person.get("scale", 0.3),
                    "objpos": {"x": 30.5, "y": 20.5},
                }
            )  # fmt: skip
        annolist.append(
            {
                "image": {"name": f"{i:09d}.jpg"},
                "annorect": struct_array(rects) if rects else np.zeros((0, 0)),
                "frame_sec": np.zeros((0, 0)),
                "vididx": np.zeros((0, 0)),
            }
        )
        write_picture(folder / "images" / f"{i:09d}.jpg", 10 * (i + 1))
    release = {"annolist": struct_array(annolist), "img_train": np.array([training]), "version": 12}
    savemat(folder / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})


def write_mupots(folder: Path, frames: dict[str, list[list[dict]]]) -> None:
    """MuPoTS-3D: for every sequence frames of people with joints_2d (17, 2) px, joints_3d (17, 3)
    mm and valid; sequences that are not named have one frame without a valid person."""
    nobody = {"joints_2d": np.zeros((17, 2)), "joints_3d": np.ones((17, 3)), "valid": 0}
    for k in range(1, 21):
        name = f"TS{k}"
        rows = frames.get(name, [[nobody]])
        (folder / name).mkdir(parents=True, exist_ok=True)
        cells = [
            [
                {
                    "annot2": p["joints_2d"].T, "annot3": p["joints_3d"].T,
                    "univ_annot3": p["joints_3d"].T, "isValidFrame": p["valid"],
                }
                for p in row
            ]
            for row in rows
        ]  # fmt: skip
        savemat(folder / name / "annot.mat", {"annotations": cell_array(cells)})
        for i in range(len(rows)):
            write_picture(folder / name / f"img_{i:06d}.jpg", 10 * (k + i))


def write_rhd(folder: Path, part: str, pictures: list[dict]) -> None:
    """RHD: pictures with uv (42, 2), xyz (42, 3), visible (42,), left first, and mask pixels
    (left, right)."""
    annotations = {}
    for i, picture in enumerate(pictures):
        annotations[i] = {
            "uv_vis": np.concatenate([picture["uv"], picture["visible"][:, None]], axis=1),
            "xyz": picture["xyz"],
            "K": np.array([[200.0, 0, 160], [0, 200, 160], [0, 0, 1]], np.float32),
        }
        write_picture(folder / part / "color" / f"{i:05d}.png", 10 * (i + 1))
        if "mask" in picture:
            mask = np.zeros((48, 64), np.uint8)
            left, right = picture["mask"]
            mask.ravel()[:left] = 5
            mask.ravel()[left : left + right] = 20
            (folder / part / "mask").mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / part / "mask" / f"{i:05d}.png"), mask)
    with (folder / part / f"anno_{part}.pickle").open("wb") as file:
        pickle.dump(annotations, file, protocol=2)


def rhd_order(hand: np.ndarray) -> np.ndarray:
    """Our hand joints (21, D) in RHD's order, wrist and then tip to root, written out by hand."""
    ours = [0, 8, 7, 6, 1, 11, 10, 9, 2, 14, 13, 12, 3, 17, 16, 15, 4, 20, 19, 18, 5]
    assert len(ours) == len(RHD_JOINTS) == len(OPENPOSE_HAND_JOINTS)
    return hand[ours]


def ljson(points: np.ndarray, version: int) -> dict:
    """menpo's JSON of points (N, D) as they are stored: (y, x) in pictures."""
    rows = points.tolist()
    if version == 1:
        group = {"connectivity": [], "label": "all", "landmarks": [{"point": p} for p in rows]}
        return {"version": 1, "groups": [group]}
    landmarks = {"points": rows, "connectivity": []}
    if version == 2:
        return {"version": 2, "labels": [], "landmarks": landmarks}
    return {"version": 3, "groups": {"LJSON": {"labels": [], "landmarks": landmarks}}}


def write_menpo(folder: Path, videos: dict[str, list[np.ndarray]], version: int = 2) -> None:
    """3D Menpo: landmarks (84, 2) in our pixels of each frame of each video, frames as pictures."""
    for number, (video, frames) in enumerate(videos.items()):
        for i, points in enumerate(frames):
            path = folder / video / f"{i + 1:06d}.ljson"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(ljson(points[:, ::-1] - 0.5, version)))
            write_picture(path.with_suffix(".png"), 10 * (number * 5 + i + 1))


def write_coco(folder: Path, part: str, annotations: list[dict], pictures: int, name: str) -> None:
    """COCO's annotations with `pictures` pictures of ids 1, 2, ..."""
    images = [
        {"id": i + 1, "file_name": f"{i + 1:012d}.jpg", "width": 64, "height": 48}
        for i in range(pictures)
    ]
    for image in images:
        write_picture(folder / f"{part}2017" / image["file_name"], 10 * image["id"])
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": [], "skeleton": []}],
        "info": {},
    }
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / "annotations" / name).write_text(json.dumps(content))


def lsp_person(at: tuple[float, float], size: float) -> np.ndarray:
    """Standing LSP joints (14, 2)."""
    return standing_person(LSP_JOINTS, size) + at


def mpii_person(at: tuple[float, float], size: float) -> np.ndarray:
    """Standing MPII joints (16, 2)."""
    return standing_person(MPII_JOINTS, size) + at
