"""Labelled pictures as a stream of augmented samples, reproducible by seed."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dope_model.datasets.labels import LabelSet, Sample
from dope_model.datasets.unlabelled import labels_of_nobody
from dope_model.datasets.videos import file_of, read_labelled
from dope_model.network.config import MODES, PAD_TO, resized_shape
from dope_model.network.dope import IMAGENET_MEAN, IMAGENET_STD
from dope_model.training.anchor_poses import AnchorPoses
from dope_model.training.augmentation import FILLED, Augmentation, random_view
from dope_model.training.targets import BatchTargets, PartTargets, targets_of


@dataclass(frozen=True)
class Source:
    """Labelled pictures.

    Attributes:
        labels: a labels file; None: the pictures show nobody.
        images: the folder of the pictures.
        repeat: how often an epoch goes through them.
        share: instead of `repeat`, what they are of all that an epoch shows.
        augmentation: of these pictures; None: the training's.
    """

    labels: Path | None
    images: Path
    repeat: int = 1
    share: float = 0.0
    augmentation: Augmentation | None = None

    @classmethod
    def parse(cls, text: str) -> Source:
        """From "LABELS:IMAGES" or "LABELS:IMAGES:REPEAT".

        Raises:
            ValueError: the text has another form.
        """
        labels, _, rest = text.partition(":")
        images, _, repeat = rest.partition(":")
        if not labels or not images or (repeat and not repeat.isdigit()):
            raise ValueError(f"{text!r} is not LABELS:IMAGES or LABELS:IMAGES:REPEAT")
        return cls(Path(labels), Path(images), int(repeat or 1))


def labels_of(source: Source) -> LabelSet:
    """The labels of a source's pictures."""
    if source.labels is None:
        return labels_of_nobody(source.images)
    return LabelSet.load(source.labels)


@dataclass
class Batch:
    """B views: pixels (B, 3, H, W) uint8 RGB, and the targets of each part."""

    pixels: Tensor
    targets: dict[str, BatchTargets]

    @cached_property
    def images(self) -> Tensor:
        """(B, 3, H, W) float32, colours normalised as the network wants them."""
        device = self.pixels.device
        mean = torch.tensor(IMAGENET_MEAN, device=device).view(1, 3, 1, 1)
        std = torch.tensor(IMAGENET_STD, device=device).view(1, 3, 1, 1)
        return (self.pixels.float() / 255 - mean) / std

    def pin_memory(self) -> Batch:
        """The same where a GPU can fetch it; called by torch's loader."""
        pinned = {part: targets.pin_memory() for part, targets in self.targets.items()}
        return Batch(self.pixels.pin_memory(), pinned)

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        there = {part: targets.to(device) for part, targets in self.targets.items()}
        return Batch(self.pixels.to(device, non_blocking=True), there)


class Views(Dataset):
    """Random views of labelled pictures; item (epoch, index) is always the same view.

    Args:
        only: parts; views have the targets of no others, and are made of the pictures that show
            one of these.
        short_side: px; each view has its picture's shape instead of the canvas'; 0: it has not.

    Attributes:
        read: a picture file to (H, W, 3) uint8 RGB.
    """

    def __init__(
        self,
        sources: list[Source],
        anchors: dict[str, AnchorPoses],
        canvas: tuple[int, int],
        augmentation: Augmentation,
        seed: int,
        partial_is_background: bool = False,
        read: Callable[[Path], np.ndarray] = read_labelled,
        only: Sequence[str] = (),
        short_side: int = 0,
    ) -> None:
        self.anchors = {part: a for part, a in anchors.items() if not only or part in only}
        self.canvas, self.augmentation = canvas, augmentation
        self.seed, self.partial_is_background = seed, partial_is_background
        self.read, self.short_side = read, short_side
        self.items: list[tuple[Path, Sample, Augmentation]] = []
        for source in sorted(sources, key=lambda source: source.share):
            found = [(source.images / s.file, s) for s in labels_of(source)]
            missing = [path for path, _ in found if not file_of(path).is_file()]
            if missing:
                raise FileNotFoundError(
                    f"{len(missing)} of the {len(found)} pictures of {source.labels} are not in "
                    f"{source.images}, such as {missing[0].name}"
                )
            if only:
                found = [(path, s) for path, s in found if any(map(s.shows, only))]
            # Every labelled part costs time, whether a target comes of it or not.
            own = source.augmentation or augmentation
            items = [(path, s.having(self.anchors), own) for path, s in found]
            count = source.repeat * len(items)
            if source.share and items:
                count = round(len(self.items) * source.share / (1 - source.share))
            self.items += [items[k % len(items)] for k in range(count)]
        if not self.items:
            what = f" that show a {' or a '.join(only)}" if only else ""
            raise ValueError(f"no pictures to train on{what}")

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, dict[str, PartTargets]]:
        epoch, index = key
        path, sample, augmentation = self.items[index]
        random = np.random.default_rng((self.seed, epoch, index))
        canvas = self.canvas
        if self.short_side:
            largest = replace(MODES["paper"], min_size=self.short_side)
            canvas = resized_shape(sample.height, sample.width, largest)[::-1]
        view = random_view(self.read(path), sample, canvas, augmentation, random)
        return view.image, targets_of(view, self.anchors, self.partial_is_background)

    def sizes(self) -> dict[Path, tuple[int, int]]:
        """Height and width of every picture, px."""
        return {path: (sample.height, sample.width) for path, sample, _ in self.items}


class PickledOnce(Dataset):
    """Views for worker processes: to pickle thousands of labelled pictures takes seconds, which
    would have to pass for each of the workers, one after the other."""

    def __init__(self, views: Views) -> None:
        self._pickled = pickle.dumps(views)
        self._views: Views | None = None

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, dict[str, PartTargets]]:
        if self._views is None:
            self._views = pickle.loads(self._pickled)
        return self._views[key]


def batches_per_epoch(count: int, batch_size: int) -> int:
    """Whole batches of `count` pictures; the rest of an epoch is left out, at random."""
    return max(1, count // batch_size)


class Batches(Sampler):
    """Batches of (epoch, index) keys; batch k of a run is always the same.

    Args:
        count: pictures in an epoch, which are shuffled anew in each.
        first, stop: which batches of the run.
        rows: of each batch, those that this process takes.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        first: int,
        stop: int,
        rows: slice = slice(None),
    ) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.first, self.stop = first, stop
        self.rows = rows

    def __len__(self) -> int:
        return self.stop - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for number in range(self.first, self.stop):
            epoch, k = divmod(number, batches_per_epoch(self.count, self.batch_size))
            if number == self.first or k == 0:
                order = np.random.default_rng((self.seed, epoch, 1)).permutation(self.count)
            members = order[k * self.batch_size : (k + 1) * self.batch_size]
            yield [(epoch, int(index)) for index in members[self.rows]]


def collate(items: list[tuple[np.ndarray, dict[str, PartTargets]]]) -> Batch:
    """Views as one batch: of several sizes, smaller ones are filled up on the right and below."""
    sizes = np.array([image.shape[:2] for image, _ in items])
    height, width = (int(side) + -int(side) % PAD_TO for side in sizes.max(axis=0))
    if (sizes == (height, width)).all():
        together = np.stack([image for image, _ in items])
    else:
        together = np.full((len(items), height, width, 3), FILLED, np.uint8)
        for whole, (image, _) in zip(together, items, strict=True):
            whole[: image.shape[0], : image.shape[1]] = image
    # A permuted view, which is the layout that convolutions like best.
    pixels = torch.from_numpy(together).permute(0, 3, 1, 2)
    targets = {part: BatchTargets.stack([own[part] for _, own in items]) for part in items[0][1]}
    return Batch(pixels, targets)
