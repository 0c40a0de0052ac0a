"""Pictures in which one hand or face is large, as data sets of hands and of faces show them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from dope_model.datasets.labels import LabelSet, Sample
from dope_model.datasets.sources import part_labels
from dope_model.pictures import read_rgb, write_picture
from dope_model.training.augmentation import NO_AUGMENTATION, random_view

LABELS_FILE = "labels.npz"
# Of the close-up's side that the instance takes; less where a pixel would become larger than three.
_SHARE = 0.35


def close_ups(
    labels: LabelSet, images: Path, part: str, count: int, size: int, folder: Path, seed: int = 0
) -> LabelSet:
    """Write close-ups of `part` and their labels, which know nothing but that part, in 2D.

    Args:
        labels, images: labelled pictures; each gives at most one close-up, of a random instance.
        count: how many at most.
        size: of their sides, px.
        folder: gets JPEG files, and at last labels.npz.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aim = replace(
        NO_AUGMENTATION, centred=1, centred_parts=(part,), centred_size=(_SHARE, _SHARE),
        min_visible=0.35,
    )  # fmt: skip
    random = np.random.default_rng(seed)
    samples = []
    for sample in labels:
        if len(samples) == count:
            break
        if not sample.shows(part):
            continue
        rgb = read_rgb(images / sample.file)
        view = random_view(rgb, sample, (size, size), aim, random)
        seen = view.instances[part]
        if not len(seen):
            continue
        labelled = part_labels(
            part, (size, size), seen.keypoints_2d, seen.valid_2d, visible=seen.valid_2d,
            is_left=seen.is_left, ignored=view.ignored[part], complete=view.complete[part],
        )  # fmt: skip
        file = f"{len(samples):05}.jpg"
        write_picture(folder / file, view.image)
        samples.append(Sample(file, size, size, {part: labelled}))
    written = LabelSet(samples, labels.about)
    written.save(folder / "labels.new")
    (folder / "labels.new").replace(folder / LABELS_FILE)
    return written
