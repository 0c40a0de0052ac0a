"""The network on PyTorch: CUDA in FP16 or float32, CPU in float32."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from torch import nn

from dope_model.checkpoint import Checkpoint
from dope_model.network.config import Mode
from dope_model.network.dope import PartCandidates
from dope_model.postprocess.candidates import Candidates
from dope_model.runtime.canvas import Canvas
from dope_model.runtime.engine import Engine, EngineError, GraphEngine, GraphRunner
from dope_model.runtime.static_graph import StaticGraph, for_inference

log = logging.getLogger(__name__)

# Runs before a CUDA graph is captured, in which libraries choose kernels and allocate memory.
WARM_UP_RUNS = 3


def pick_device(device: str) -> torch.device:
    """The device called `device`; "auto" is the first CUDA device that runs, or else the CPU.

    Raises:
        ValueError: no such device, or CUDA without a CUDA device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() and _runs_kernels() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N") from error
    if picked.type not in ("cpu", "cuda"):
        raise ValueError(f"unsupported device {device!r}; use auto, cpu, cuda or cuda:N")
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {device!r} is not here: PyTorch sees {torch.cuda.device_count()} CUDA "
            "devices; use device cpu, or install a CUDA build of PyTorch and the driver"
        )
    return picked


@cache
def _runs_kernels() -> bool:
    """Whether PyTorch has kernels for the first GPU; its wheels have none for old GPUs."""
    try:
        torch.zeros(1, device="cuda").add_(1).cpu()
    except RuntimeError as error:
        log.warning("PyTorch does not run on this GPU: %s", str(error).splitlines()[0])
        return False
    return True


def _precision(half: bool) -> str:
    return "FP16" if half else "float32"


class EagerEngine(Engine):
    """Runs the network eagerly."""

    def __init__(self, checkpoint: Checkpoint, mode: Mode, device: str = "auto") -> None:
        super().__init__(checkpoint, mode)
        self.device = pick_device(device)
        self.half = mode.half and self.device.type == "cuda"
        self.networks = [
            for_inference(checkpoint.build(look), self.half).to(
                self.device, memory_format=torch.channels_last
            )
            for look in self.modes
        ]

    @property
    def description(self) -> str:
        return f"PyTorch {_precision(self.half)} on {self.device}"

    def look(self, image: np.ndarray, canvas: Canvas) -> list[dict[str, Candidates]]:
        with _told():
            planes = torch.from_numpy(image).to(self.device).permute(2, 0, 1)
            looks = [network(planes, self.min_scores) for network in self.networks]
            return [
                {part: to_arrays(part, found) for part, found in look.items()} for look in looks
            ]


class StaticEngine(GraphEngine):
    """Runs the static graph; on a GPU as one CUDA graph per canvas.

    A CUDA graph is one launch instead of some hundred. It includes everything from the uint8 image
    to the packed candidates, with one copy in and one copy out through pinned memory.
    """

    def __init__(self, checkpoint: Checkpoint, mode: Mode, device: str = "auto") -> None:
        super().__init__(checkpoint, mode)
        self.device = pick_device(device)
        self.half = mode.half and self.device.type == "cuda"
        network = for_inference(checkpoint.build(mode), self.half)
        self._network = network.to(self.device, memory_format=torch.channels_last)
        self._pool = torch.cuda.graph_pool_handle() if self._on_gpu else None

    @property
    def description(self) -> str:
        form = "CUDA graph" if self._on_gpu else "static graph"
        return f"PyTorch {_precision(self.half)} {form} on {self.device}"

    @property
    def _on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def static_graph(self, canvas: Canvas) -> StaticGraph:
        """The graph for a canvas, on the engine's device, not captured."""
        size = canvas.height, canvas.width
        # The op has fixed shapes, too, and needs the least memory.
        graph = StaticGraph(self._network, self.modes, size, pooling="op")
        return graph.eval().to(self.device)

    def make_runner(self, canvas: Canvas) -> GraphRunner:
        graph = self.static_graph(canvas)
        if self._on_gpu:
            return CapturedGraph(graph, canvas.shape, self.device, self._pool)
        return lambda image: graph(torch.from_numpy(image)).numpy()


class CapturedGraph:
    """A module from a uint8 tensor of one shape to one tensor, as a CUDA graph; called with an
    image (H, W, 3) uint8.

    Args:
        pool: memory shared by all graphs that never run at the same time.
    """

    def __init__(
        self, module: nn.Module, shape: tuple[int, ...], device: torch.device, pool: tuple | None
    ) -> None:
        # A CUDA graph reads weights and buffers at their addresses but does not own them.
        self.module = module
        with torch.cuda.device(device), torch.inference_mode():
            self._stream = torch.cuda.Stream()
            self._image = torch.zeros(shape, dtype=torch.uint8, device=device)
            self._stream.wait_stream(torch.cuda.current_stream())
            with _fastest_convolutions():
                with torch.cuda.stream(self._stream):
                    for _ in range(WARM_UP_RUNS):
                        module(self._image)
                self._stream.synchronize()
                self._graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(
                    self._graph, pool, stream=self._stream, capture_error_mode="thread_local"
                ):
                    self._packed = module(self._image)
            self._host_image = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
            self._host_packed = torch.empty(
                self._packed.shape, dtype=self._packed.dtype, pin_memory=True
            )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        np.copyto(self._host_image.numpy(), image)
        with (
            torch.inference_mode(),
            torch.cuda.device(self._image.device),
            torch.cuda.stream(self._stream),
        ):
            self._image.copy_(self._host_image, non_blocking=True)
            self._graph.replay()
            self._host_packed.copy_(self._packed, non_blocking=True)
        self._stream.synchronize()
        return self._host_packed.numpy().copy()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """PyTorch's errors, such as a lost GPU, become EngineErrors."""
    try:
        yield
    except RuntimeError as error:
        raise EngineError(f"PyTorch: {str(error).splitlines()[0]}") from error


@contextlib.contextmanager
def _fastest_convolutions() -> Iterator[None]:
    """cuDNN benchmarks its kernels at the first run of each shape and uses the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def to_arrays(part: str, found: PartCandidates) -> Candidates:
    """The network's candidates of one part as plain arrays."""
    return Candidates(
        part,
        found.classes.cpu().numpy(),
        found.scores.cpu().numpy(),
        found.boxes.cpu().numpy(),
        found.keypoints_2d.cpu().numpy(),
        found.keypoints_3d.cpu().numpy(),
        found.confidence.cpu().numpy(),
    )
