"""A sheet of rendered pictures with their labels drawn over them, to be looked at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dope_model.datasets.labels import LabelSet, Sample, Visibility
from dope_model.pictures import read_rgb
from dope_model.skeleton import PARTS, skeleton_for

_HIDDEN = {
    Visibility.OCCLUDED_BY_SELF: (150, 150, 150),
    Visibility.OCCLUDED_BY_OTHER: (255, 60, 200),
}


def draw_labels(rgb: np.ndarray, sample: Sample, scale: float = 1.0) -> np.ndarray:
    """A copy of a picture, `scale` times as large, with its labels.

    Visible joints have the colour of their bones; joints that the person hides itself are grey,
    joints that someone or something else hides are pink, boxes to ignore are red.
    """
    canvas = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    shift = 4

    def fixed(point: np.ndarray) -> tuple[int, ...]:
        """In OpenCV's fixed-point pixels, whose integers are pixel centres."""
        steps = np.clip((point * scale - 0.5) * (1 << shift), -(2**18), 2**18)
        return tuple(int(v) for v in steps)

    for part in PARTS:
        labels = sample.parts.get(part)
        if labels is None:
            continue
        skeleton = skeleton_for(part, labels.keypoints_2d.shape[1])
        for i in range(len(labels)):
            points, visible = labels.keypoints_2d[i], labels.visibility[i]
            valid = labels.valid_2d[i]
            for (a, b), color in zip(skeleton.bones, skeleton.colors, strict=True):
                if valid[a] and valid[b]:
                    start, end = fixed(points[a]), fixed(points[b])
                    cv2.line(canvas, start, end, color, 1, cv2.LINE_AA, shift)
            radius = {"body": 3.0, "hand": 1.6, "face": 0.9}[part]
            for point, state, there in zip(points, visible, valid, strict=True):
                if there:
                    fill = _HIDDEN.get(Visibility(int(state)), (255, 255, 255))
                    cv2.circle(canvas, fixed(point), int(radius * (1 << shift)), fill, -1,
                               cv2.LINE_AA, shift)  # fmt: skip
        for box in labels.ignored:
            cv2.rectangle(canvas, fixed(box[:2]), fixed(box[2:]), (255, 0, 0), 1, shift=shift)
    return canvas


def write_sheet(folder: Path, count: int, columns: int = 6, cell: int = 400) -> Path:
    """`sheet.png` of a rendered folder's first pictures; returns its path."""
    tiles = []
    for sample in LabelSet.load(folder / "labels.npz").samples[:count]:
        rgb = read_rgb(folder / sample.file)
        scale = cell / max(sample.width, sample.height)
        drawn = draw_labels(rgb, sample, scale)
        tile = np.full((cell, cell, 3), 30, np.uint8)
        top, left = (np.array([cell, cell]) - drawn.shape[:2]) // 2
        tile[top : top + drawn.shape[0], left : left + drawn.shape[1]] = drawn
        cv2.putText(tile, Path(sample.file).stem, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4,
                    (255, 255, 0), 1, cv2.LINE_AA)  # fmt: skip
        tiles.append(tile)
    while len(tiles) % columns:
        tiles.append(np.zeros_like(tiles[0]))
    rows = [np.hstack(tiles[k : k + columns]) for k in range(0, len(tiles), columns)]
    path = folder / "sheet.png"
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])
    return path
