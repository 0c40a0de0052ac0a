"""The network on PyTorch: CUDA in FP16 or float32, CPU in float32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dope_model.checkpoint import Checkpoint
from dope_model.network.config import Mode
from dope_model.network.dope import PartCandidates
from dope_model.postprocess.candidates import Candidates
from dope_model.runtime.graph_engine import (
    CANDIDATES,
    EngineError,
    GraphEngine,
    GraphRunner,
    PartCandidatesFinder,
)
from dope_model.runtime.static_graph import StaticDope, for_inference
from dope_model.runtime.uploads import Uploads

# Runs before a CUDA graph is captured: libraries choose their kernels and take their memory.
WARM_UP_RUNS = 3


def pick_device(device: str) -> torch.device:
    """The device called `device`; "auto" is the first CUDA device, or else the CPU.

    Raises:
        ValueError: no such device, or CUDA asked for where there is none.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
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


def _precision(half: bool) -> str:
    return "FP16" if half else "float32"


class EagerEngine:
    """Runs the network as written, one kernel after the other: any image size, any result size.

    Args:
        plain: as it was trained, with its batch norms and in NCHW; else with batch norms folded
            and in channels_last, which gives the same results sooner.
    """

    prefetch = None
    """See `Engine.prefetch`: not worth it where every kernel is launched by itself."""

    def __init__(
        self, checkpoint: Checkpoint, mode: Mode, device: str = "auto", plain: bool = False
    ) -> None:
        self.device = pick_device(device)
        self.half = mode.half and self.device.type == "cuda" and not plain
        network = checkpoint.build(mode)
        if not plain:
            network = for_inference(network, self.half).to(memory_format=torch.channels_last)
        self.network = network.to(self.device)
        self.min_scores = checkpoint.min_candidate_scores()

    @property
    def description(self) -> str:
        return f"PyTorch {_precision(self.half)} on {self.device}"

    def __call__(self, rgb: np.ndarray) -> dict[str, Candidates]:
        """Candidates of an image (H, W, 3) uint8, by part, in its pixels."""
        image = torch.from_numpy(np.ascontiguousarray(rgb)).to(self.device).permute(2, 0, 1)
        found = self.network(image, self.min_scores)
        return {name: to_arrays(name, candidates) for name, candidates in found.items()}


class StaticEngine(GraphEngine):
    """Runs the static graph; on a GPU as one CUDA graph per size of image.

    A CUDA graph is launched at once instead of in some hundred pieces. It holds everything from
    the uint8 image to the packed candidates; one copy goes in and one comes out, through pinned
    memory.

    Args:
        compiled: the graph goes through torch.compile first. It takes a minute per size of image.

    Raises (when a size is run for the first time):
        EngineError: the graph cannot be captured; `load_engine` falls back on `EagerEngine`.
    """

    def __init__(
        self, checkpoint: Checkpoint, mode: Mode, device: str = "auto", compiled: bool = False
    ) -> None:
        super().__init__(checkpoint, mode)
        self.device = pick_device(device)
        self.half = mode.half and self.device.type == "cuda"
        self.compiled = compiled
        network = for_inference(checkpoint.build(mode), self.half)
        self._network = network.to(self.device, memory_format=torch.channels_last)
        if self._on_gpu:
            self._uploads = Uploads(self.device)
            self.prefetch = self._uploads.begin

    @property
    def description(self) -> str:
        form = ["compiled"] * self.compiled + ["CUDA graph" if self._on_gpu else "static graph"]
        return f"PyTorch {_precision(self.half)} {', '.join(form)} on {self.device}"

    @property
    def _on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def static_graph(self, height: int, width: int) -> StaticDope:
        """The graph for images of one size, on the engine's device, not captured."""
        # The op has fixed shapes, too, and needs the least memory.
        graph = StaticDope(self._network, height, width, CANDIDATES, pooling="op")
        return graph.eval().to(self.device)

    def make_runner(self, height: int, width: int) -> GraphRunner:
        graph: nn.Module = self.static_graph(height, width)
        if self.compiled:
            graph = torch.compile(graph, mode="max-autotune-no-cudagraphs", dynamic=False)
        if self._on_gpu:
            return capture(graph, (height, width, 3), self.device, self._uploads)

        def run(rgb: np.ndarray) -> np.ndarray:
            return graph(torch.from_numpy(np.ascontiguousarray(rgb))).numpy()

        return run

    def make_eager(self) -> PartCandidatesFinder:
        return EagerEngine(self.checkpoint, self.mode, str(self.device))


def capture(
    graph: nn.Module, shape: tuple[int, ...], device: torch.device, uploads: Uploads
) -> GraphRunner:
    """A module from a uint8 tensor of that shape to one tensor as a CUDA graph.

    Raises:
        EngineError: it does something that a CUDA graph cannot hold, or memory does not suffice.
    """
    try:
        with torch.cuda.device(device), torch.inference_mode():
            stream = torch.cuda.Stream()
            image = torch.zeros(shape, dtype=torch.uint8, device=device)
            stream.wait_stream(torch.cuda.current_stream())
            with _fastest_convolutions():
                with torch.cuda.stream(stream):
                    for _ in range(WARM_UP_RUNS):
                        graph(image)
                stream.synchronize()
                cuda_graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(cuda_graph, stream=stream, capture_error_mode="thread_local"):
                    packed = graph(image)
            host_packed = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=True)
    except RuntimeError as error:
        raise EngineError(
            f"no CUDA graph could be captured: {str(error).splitlines()[0]}"
        ) from error

    return CapturedGraph(graph, cuda_graph, stream, image, packed, host_packed, uploads)


@dataclass(frozen=True)
class CapturedGraph:
    """A captured module; call it with an image (H, W, 3) uint8.

    Attributes:
        module: what was captured. A CUDA graph reads its weights and buffers where they were, and
            does not keep them.
        replayed: the CUDA graph, on `stream`, from `image` to `packed`.
        host_packed: pinned memory that `packed` is brought to.
    """

    module: nn.Module
    replayed: torch.cuda.CUDAGraph
    stream: torch.cuda.Stream
    image: torch.Tensor
    packed: torch.Tensor
    host_packed: torch.Tensor
    uploads: Uploads

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        with (
            torch.inference_mode(),
            torch.cuda.device(self.image.device),
            torch.cuda.stream(self.stream),
        ):
            self.image.copy_(self.uploads.take(rgb))
            self.replayed.replay()
            self.host_packed.copy_(self.packed, non_blocking=True)
        self.stream.synchronize()
        return self.host_packed.numpy().copy()


@contextlib.contextmanager
def _fastest_convolutions() -> Iterator[None]:
    """cuDNN tries its kernels out at the first run of each shape and takes the fastest."""
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
