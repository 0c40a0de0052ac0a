"""Picture files, and sheets of pictures."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        ValueError: it cannot be read, or is a folder, a pipe or a device.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # nobody may write to a pipe, ever
            raise ValueError(f"{path} is not a file")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def read_rgb(path: Path) -> np.ndarray:
    """A picture file as (H, W, 3) uint8 RGB.

    Raises:
        ValueError: it is not a file that can be read, or not a picture that OpenCV can read.
    """
    return cv2.cvtColor(decode_file(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def decode_file(path: Path, flags: int) -> np.ndarray:
    """What `cv2.imread` returns, for names that it cannot take, too.

    Raises:
        ValueError: as `read_rgb`.
    """
    data = np.frombuffer(read_bytes(path), np.uint8)
    try:
        pixels = cv2.imdecode(data, flags) if data.size else None
    except cv2.error as error:  # such as too many pixels
        raise ValueError(f"{path} cannot be decoded by OpenCV: {error.err}") from error
    if pixels is None:
        raise ValueError(f"{path} is not a picture, or is damaged")
    return pixels


def write_picture(path: Path, pixels: np.ndarray, flags: Sequence[int] = ()) -> None:
    """Write (H, W, 3) uint8 RGB or (H, W) grey values in the format of the path's ending.

    Args:
        flags: of `cv2.imencode`.

    Raises:
        OSError: it could not be written.
    """
    # Not imwrite: it crashes on names that are not UTF-8.
    bgr = np.ascontiguousarray(pixels[..., ::-1]) if pixels.ndim == 3 else pixels
    good, data = cv2.imencode(path.suffix, bgr, flags)
    if not good:
        raise OSError(f"{path} could not be written")
    path.write_bytes(data)


CELL = (400, 400)
"""Width and height of a sheet's cells, px."""


def fitted(picture: np.ndarray, cell: tuple[int, int] = CELL) -> np.ndarray:
    """A picture (H, W, 3) shrunk or enlarged to fit a sheet's cell."""
    scale = min(cell[0] / picture.shape[1], cell[1] / picture.shape[0])
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    return cv2.resize(
        picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )


def picture_sheet(
    pictures: Sequence[np.ndarray],
    captions: Sequence[str] = (),
    columns: int = 5,
    cell: tuple[int, int] = CELL,
) -> np.ndarray:
    """Pictures side by side on one sheet, row by row, each `fitted` to its cell.

    Args:
        pictures: (H, W, 3) uint8 RGB each, of any size; at least one.
        captions: one per picture, written into its upper left corner; or none at all.
        cell: width and height of a cell, px.

    Returns:
        The sheet, uint8 RGB.
    """
    width, height = cell
    columns = min(columns, len(pictures))
    sheet = np.full((-(-len(pictures) // columns) * height, columns * width, 3), 30, np.uint8)
    for number, picture in enumerate(pictures):
        shown = fitted(picture, cell)
        row, column = divmod(number, columns)
        top = row * height + (height - shown.shape[0]) // 2
        left = column * width + (width - shown.shape[1]) // 2
        sheet[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
        if captions:
            corner, text = (column * width, row * height), captions[number]
            (wide, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
            cv2.rectangle(
                sheet, corner, (corner[0] + wide + 6, corner[1] + tall + 8), (0, 0, 0), -1
            )
            cv2.putText(sheet, text, (corner[0] + 3, corner[1] + tall + 4),
                        cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 0), 1, cv2.LINE_AA)  # fmt: skip
    return sheet
