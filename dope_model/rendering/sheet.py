"""A contact sheet of rendered pictures with their labels drawn over them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dope_model.datasets.labels import LabelSet, Sample, Visibility
from dope_model.pictures import picture_sheet, read_rgb, write_picture
from dope_model.skeleton import PARTS, skeleton_for

_HIDDEN = {
    Visibility.OCCLUDED_BY_SELF: (150, 150, 150),
    Visibility.OCCLUDED_BY_OTHER: (255, 60, 200),
}


def draw_labels(rgb: np.ndarray, sample: Sample, scale: float = 1.0) -> np.ndarray:
    """A copy of a picture, `scale` times as large, with its labels.

    Visible joints have the colour of their bones, self-occluded joints are grey, joints occluded by
    others are pink, ignore regions are red.
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
    """`sheet.png` of a rendered folder's first pictures with their labels; returns its path."""
    pictures, captions = [], []
    for sample in LabelSet.load(folder / "labels.npz").samples[:count]:
        scale = cell / max(sample.width, sample.height)
        pictures.append(draw_labels(read_rgb(folder / sample.file), sample, scale))
        captions.append(Path(sample.file).stem)
    path = folder / "sheet.png"
    write_picture(path, picture_sheet(pictures, captions, columns, (cell, cell)))
    return path
