"""Images on their way to a GPU, beside what that computes."""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor


class Uploads:
    """Brings images to a device; the next one while the last one is worked on.

    `begin` may be called in another thread than `take`. Only the newest image that was begun
    waits. On the CPU nothing is moved.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._lock = threading.Lock()
        self._begun: tuple[np.ndarray, Tensor, torch.cuda.Event | None] | None = None

    def begin(self, rgb: np.ndarray) -> None:
        """Start to bring an image (H, W, 3) uint8; it must not be written to until it is taken."""
        begun = self._send(rgb)
        with self._lock:
            self._begun = begun

    def take(self, rgb: np.ndarray) -> Tensor:
        """The image on the device, for work on the current stream.

        It is brought now unless `begin` was called with this very array.
        """
        with self._lock:
            begun = self._begun
            if begun is not None and begun[0] is rgb:
                self._begun = None
            else:
                begun = None
        _, image, arrived = begun or self._send(rgb)
        if arrived is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(arrived)
            image.record_stream(stream)  # its memory is not used again before that work is done
        return image

    def _send(self, rgb: np.ndarray) -> tuple[np.ndarray, Tensor, torch.cuda.Event | None]:
        if self._stream is None:
            return rgb, torch.from_numpy(np.ascontiguousarray(rgb)), None
        # Pinned, which the copy needs to run by itself; PyTorch keeps such memory for the next one.
        host = torch.empty(rgb.shape, dtype=torch.uint8, pin_memory=True)
        np.copyto(host.numpy(), rgb)
        with torch.cuda.stream(self._stream):
            image = host.to(self._device, non_blocking=True)
            arrived = self._stream.record_event()
        return rgb, image, arrived
