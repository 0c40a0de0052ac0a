"""Small labelled pictures that the tests draw themselves: coloured figures on plain ground."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dope_model.datasets.labels import LabelSet, PartLabels, Sample, Visibility
from dope_model.skeleton import FACE84


def ring_landmarks() -> np.ndarray:
    """(84, 2) points of an upright ring in which every landmark mirrors its partner."""
    points = np.zeros((84, 2))
    swap = FACE84.swap
    pairs = [j for j in range(84) if swap[j] > j]
    alone = [j for j in range(84) if swap[j] == j]
    for k, j in enumerate(pairs):
        angle = np.pi * (k + 1) / (len(pairs) + 1)
        points[j] = [-np.sin(angle), -np.cos(angle)]
        points[swap[j]] = [np.sin(angle), -np.cos(angle)]
    for k, j in enumerate(alone):
        points[j] = [0, -0.8 + 1.6 * k / max(1, len(alone) - 1)]
    return points


def face_labels(
    centres: np.ndarray, radii: np.ndarray, ignored: np.ndarray | None = None
) -> PartLabels:
    """Ring faces as labels; 3D is the flat ring, 0.1 m in radius, deeper the larger it is seen."""
    count = len(centres)
    ring = ring_landmarks()
    keypoints_2d = centres[:, None] + radii[:, None, None] * ring[None]
    depth = np.tile((radii[:, None, None] / 200), (1, 84, 1)) * ring[None, :, 1:]
    keypoints_3d = np.concatenate([np.tile(0.1 * ring, (count, 1, 1)), depth], axis=2)
    return PartLabels(
        "face",
        keypoints_2d,
        FACE84.centred(keypoints_3d),
        np.ones((count, 84), bool),
        np.ones((count, 84), bool),
        np.full((count, 84), Visibility.VISIBLE),
        np.arange(count),
        np.full((count, 3), np.nan),
        np.ones(count),
        ignored=np.zeros((0, 4)) if ignored is None else ignored,
    )


def hand_labels(count: int, seed: int, left_share: float = 0.5) -> PartLabels:
    """Hands of two very different shapes, each side the other's mirror image."""
    random = np.random.default_rng(seed)
    shapes = np.random.default_rng(7).normal(0, 0.05, (2, 21, 3))
    left = random.random(count) < left_share
    keypoints_3d = shapes[random.integers(0, 2, count)] + random.normal(0, 0.002, (count, 21, 3))
    keypoints_3d[left, :, 0] *= -1
    keypoints_2d = 100 + 500 * keypoints_3d[..., :2]
    everything = np.ones((count, 21), bool)
    return PartLabels(
        "hand", keypoints_2d, keypoints_3d - keypoints_3d[:, :1], everything, everything,
        np.full((count, 21), Visibility.VISIBLE), np.arange(count),
        np.full((count, 3), np.nan), np.ones(count), left,
    )  # fmt: skip


def write_ring_pictures(folder: Path, count: int, seed: int = 0, side: int = 160) -> Path:
    """Pictures with one ring face each, and their labels file, which is returned."""
    random = np.random.default_rng(seed)
    (folder / "pictures").mkdir(parents=True)
    samples = []
    for i in range(count):
        radius = random.uniform(0.18, 0.36) * side
        centre = random.uniform(radius + 4, side - radius - 4, 2)
        picture = np.full((side, side, 3), random.integers(60, 110, 3), np.uint8)
        labels = face_labels(centre[None], np.array([radius]))
        cv2.circle(picture, centre.astype(int).tolist(), int(radius), (40, 170, 230), -1)
        for u, v in labels.keypoints_2d[0].astype(int):
            cv2.circle(picture, (int(u), int(v)), 2, (250, 250, 250), -1)
        eye = (centre - [0, 0.4 * radius]).astype(int).tolist()
        cv2.circle(picture, eye, int(radius / 4), (20, 20, 20), -1)
        cv2.imwrite(str(folder / "pictures" / f"{i}.png"), picture)
        samples.append(Sample(f"{i}.png", side, side, {"face": labels}))
    LabelSet(samples).save(folder / "labels.npz")
    return folder / "labels.npz"
