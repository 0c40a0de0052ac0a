"""Labelled pictures as a stream of random views, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dope_model.datasets.labels import LabelSet, Sample
from dope_model.network.dope import IMAGENET_MEAN, IMAGENET_STD
from dope_model.pictures import read_rgb
from dope_model.training.anchor_poses import AnchorPoses
from dope_model.training.augmentation import Augmentation, random_view
from dope_model.training.targets import PartTargets, targets_of


@dataclass(frozen=True)
class Source:
    """One labels file with the folder of its pictures, gone through `repeat` times an epoch."""

    labels: Path
    images: Path
    repeat: int = 1

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


@dataclass
class Batch:
    """B views: normalised images (B, 3, H, W) and, image by image, targets by part."""

    images: Tensor
    targets: list[dict[str, PartTargets]]

    def pin_memory(self) -> Batch:
        """The same with its images where a GPU can fetch them; called by torch's loader."""
        return Batch(self.images.pin_memory(), self.targets)

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(
            self.images.to(device, non_blocking=True),
            [{name: t.to(device) for name, t in part.items()} for part in self.targets],
        )


class Views(Dataset):
    """Random views of labelled pictures; item (epoch, index) is always the same view.

    Args:
        memory_gb: decoded pictures are kept up to so much, in each process that loads them.
    """

    def __init__(
        self,
        sources: list[Source],
        anchors: dict[str, AnchorPoses],
        canvas: tuple[int, int],
        augmentation: Augmentation,
        seed: int,
        partial_is_background: bool = False,
        memory_gb: float = 0.0,
    ) -> None:
        self.anchors, self.canvas, self.augmentation = anchors, canvas, augmentation
        self.seed, self.partial_is_background = seed, partial_is_background
        self.items: list[tuple[Path, Sample]] = []
        self._decoded: dict[Path, np.ndarray] = {}
        self._room = int(memory_gb * 1e9)
        for source in sources:
            found = [(source.images / s.file, s) for s in LabelSet.load(source.labels)]
            missing = [path for path, _ in found if not path.is_file()]
            if missing:
                raise FileNotFoundError(
                    f"{len(missing)} of the {len(found)} pictures of {source.labels} are not in "
                    f"{source.images}, such as {missing[0].name}"
                )
            self.items += found * source.repeat
        if not self.items:
            raise ValueError("no pictures to train on")

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, dict[str, PartTargets]]:
        epoch, index = key
        path, sample = self.items[index]
        random = np.random.default_rng((self.seed, epoch, index))
        view = random_view(self._picture(path), sample, self.canvas, self.augmentation, random)
        return view.image, targets_of(view, self.anchors, self.partial_is_background)

    def _picture(self, path: Path) -> np.ndarray:
        """A picture (H, W, 3) uint8 RGB; the first ones fill the memory there is for them."""
        found = self._decoded.get(path)
        if found is None:
            found = read_rgb(path)
            if found.nbytes <= self._room:
                self._room -= found.nbytes
                self._decoded[path] = found
        return found


def batches_per_epoch(count: int, batch_size: int) -> int:
    """Whole batches of `count` pictures; the rest of an epoch is left out, at random."""
    return max(1, count // batch_size)


class Batches(Sampler):
    """Batches of (epoch, index) keys; batch k of a run is always the same.

    Args:
        count: pictures in an epoch, which are shuffled anew in each.
        first, stop: which batches of the run.
    """

    def __init__(self, count: int, batch_size: int, seed: int, first: int, stop: int) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.first, self.stop = first, stop

    def __len__(self) -> int:
        return self.stop - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for number in range(self.first, self.stop):
            epoch, k = divmod(number, batches_per_epoch(self.count, self.batch_size))
            if number == self.first or k == 0:
                order = np.random.default_rng((self.seed, epoch, 1)).permutation(self.count)
            members = order[k * self.batch_size : (k + 1) * self.batch_size]
            yield [(epoch, int(index)) for index in members]


def collate(items: list[tuple[np.ndarray, dict[str, PartTargets]]]) -> Batch:
    """Views as one batch, colours normalised as the network wants them."""
    # A permuted view, which is the layout that convolutions like best.
    images = torch.from_numpy(np.stack([image for image, _ in items])).permute(0, 3, 1, 2)
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return Batch((images.float() / 255 - mean) / std, [targets for _, targets in items])
