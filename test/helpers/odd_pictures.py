"""What stands in folders of pictures beside good ones."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

UNREADABLE = ("folder.jpg", "link.png", "huge.png", "pipe.bmp", "words.webp")
NOT_UTF_8 = os.fsdecode(b"caf\xe9.png")


def add_unreadable(folder: Path) -> None:
    """A folder, a link to nothing, a picture of 1.2 gigapixels, a pipe that nobody writes to, and
    a text, all named like pictures."""
    (folder / "folder.jpg").mkdir()
    (folder / "link.png").symlink_to(folder / "nothing")
    (folder / "huge.png").write_bytes(_png(40_000, 30_000))
    os.mkfifo(folder / "pipe.bmp")
    (folder / "words.webp").write_text("not a picture")


def write_png(path: Path, bgr: np.ndarray) -> None:
    """Also where the name is not UTF-8, on which OpenCV crashes."""
    path.write_bytes(cv2.imencode(".png", bgr)[1])


def _png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    made = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b"")):
        crc = zlib.crc32(kind + data)
        made += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)
    return made
