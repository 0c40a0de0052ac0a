"""Decoded pictures that all processes of a training share."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dope_model.datasets.videos import read_labelled

_OF_THE_DISK = 0.8  # of what is free: a mapped file that the disk cannot hold ends the process


class SharedPictures:
    """Pictures in a memory-mapped file, each decoded by the first process that needs it.

    Decoding is most of the cost of a sample, and a copy in every process would multiply the memory.
    The file is as large as the pictures; the system keeps as much of it in memory as it can.

    Args:
        file: is created; the owner of this object removes it.
        sizes: height and width of each picture, px. The first ones that fit are kept.
        limit: bytes; less where the disk has not the space.
    """

    def __init__(self, file: Path, sizes: Mapping[Path, tuple[int, int]], limit: int) -> None:
        self._file = file
        limit = min(limit, int(_OF_THE_DISK * shutil.disk_usage(file.parent).free))
        self._places: dict[Path, tuple[int, int, tuple[int, int, int]]] = {}
        end = len(sizes)  # before the pixels: a byte for each picture that is there
        for number, (path, (height, width)) in enumerate(sizes.items()):
            if end + height * width * 3 > limit:
                break
            self._places[path] = (number, end, (height, width, 3))
            end += height * width * 3
        with file.open("wb") as empty:
            empty.truncate(max(1, end))  # takes no space before something is written
        self._bytes: np.ndarray | None = None

    def __getstate__(self) -> dict:
        return vars(self) | {"_bytes": None}  # other processes map the file themselves

    def __call__(self, path: Path) -> np.ndarray:
        """The picture (H, W, 3) uint8 RGB; not to be written to.

        Raises:
            ValueError: the file is not a picture.
        """
        if path not in self._places:
            return read_labelled(path)
        if self._bytes is None:
            self._bytes = np.memmap(self._file, np.uint8, "r+")
        number, start, shape = self._places[path]
        kept = self._bytes[start : start + int(np.prod(shape))].reshape(shape)
        if not self._bytes[number]:
            rgb = read_labelled(path)
            if rgb.shape != shape:  # the labels are wrong about its size
                return rgb
            kept[:] = rgb
            self._bytes[number] = 1  # last: another process may look
        return kept
