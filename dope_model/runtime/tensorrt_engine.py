"""The network on NVIDIA's TensorRT: the fastest engine on its GPUs.

An engine is built from the ONNX graph on the machine it runs on, which takes minutes, and kept in
the cache folder. It belongs to one graph, one TensorRT version, one GPU model and one precision;
another or a damaged file is not loaded but built anew.

Only the common Python API of TensorRT 10.3 (JetPack 6.2) and 11 is used. Networks are strongly
typed: the precision of every layer is that of the graph, see `for_inference`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from dope_model.cache import file_digest
from dope_model.checkpoint import Checkpoint
from dope_model.network.config import Mode
from dope_model.runtime.canvas import Canvas
from dope_model.runtime.engine import EngineError, GraphEngine, GraphRunner
from dope_model.runtime.graphs import graph_file, graphs_folder, make_room, writing
from dope_model.runtime.torch_engine import pick_device
from dope_model.runtime.variant import INPUT, OUTPUT, Variant

log = logging.getLogger(__name__)

INSTALL = (
    "on a desktop or server: pip install tensorrt; on a Jetson: sudo apt install "
    "python3-libnvinfer, and a virtual environment made with --system-site-packages"
)
PROGRESS_INTERVAL = 10.0
"""s between two log lines about a build."""

_MAGIC = b"dope_ros TensorRT engine 1\n"


@dataclass(frozen=True)
class EngineKey:
    """What a built engine belongs to.

    Attributes:
        graph: SHA-256 of the ONNX file.
        tensorrt: version.
        gpu: name, compute capability, multiprocessors and memory.
        precision: of the convolutions.
    """

    graph: str
    tensorrt: str
    gpu: str
    precision: str


class EngineCache:
    """A file with one built engine and what it belongs to."""

    def __init__(self, path: Path, key: EngineKey) -> None:
        self.path, self.key = path, key

    def get(self, build: Callable[[], bytes]) -> bytes:
        """The engine from the file, or from `build`, which is then written to the file."""
        plan, why_not = self._read()
        if plan is not None:
            return plan
        log.info("building the TensorRT engine (%s); this takes minutes, once", why_not)
        started = time.monotonic()
        plan = build()
        self._write(plan)
        log.info("built in %.0f s: %s", time.monotonic() - started, self.path)
        return plan

    def discard(self) -> None:
        """Forget the engine."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> tuple[bytes | None, str]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None, "there is none yet"
        except OSError as error:
            return None, str(error)
        if not content.startswith(_MAGIC):
            return None, f"{self.path} is something else"
        head, _, plan = content[len(_MAGIC) :].partition(b"\n")
        try:
            header = json.loads(head)
            key, digest = EngineKey(**header["key"]), header["sha256"]
        except (ValueError, TypeError, KeyError):
            return None, f"{self.path} is damaged"
        for name, wanted in asdict(self.key).items():
            if getattr(key, name) != wanted:
                return None, f"that in {self.path} is of another {name}"
        if hashlib.sha256(plan).hexdigest() != digest:
            return None, f"{self.path} is damaged"
        return plan, ""

    def _write(self, plan: bytes) -> None:
        header = {"key": asdict(self.key), "sha256": hashlib.sha256(plan).hexdigest()}
        new = self.path.with_suffix(f".new{os.getpid()}")
        with writing(self.path.parent):
            try:
                new.write_bytes(_MAGIC + json.dumps(header).encode() + b"\n" + plan)
                new.replace(self.path)
            finally:
                new.unlink(missing_ok=True)
            make_room(self.path.parent, self.path)


def build_plan(
    trt: ModuleType,
    graph: Path,
    configure: Callable[..., None] | None = None,
    cancelled: threading.Event | None = None,
) -> bytes:
    """Build an engine from an ONNX file.

    Args:
        trt: the module `tensorrt`, or `tensorrt_rtx`, whose API is the same here.
        configure: gets the builder's configuration before the build.
        cancelled: ends the build when it is set.

    Raises:
        EngineError: the graph has something that TensorRT cannot take, or the build fails or is
            cancelled.
    """
    messages = _make_log(trt)
    builder = trt.Builder(messages)
    # Version 11 has no other networks, and ignores the flag or lacks it.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, messages)
    if not parser.parse(graph.read_bytes()):
        errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise EngineError(f"TensorRT cannot take the graph {graph}: {'; '.join(errors)}")
    config = builder.create_builder_config()
    progress = _make_progress(trt, cancelled)
    config.progress_monitor = progress
    if configure is not None:
        configure(config)
    plan = builder.build_serialized_network(network, config)
    if cancelled is not None and cancelled.is_set():
        raise EngineError("the build of the TensorRT engine was cancelled")
    if plan is None:
        raise EngineError(f"TensorRT could not build the engine: {messages.last_error}")
    return bytes(plan)


def _make_log(trt: ModuleType):
    """TensorRT's warnings and errors in our log."""

    class Log(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.last_error = "it does not say why"

        def log(self, severity, text: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.last_error = text
                log.error("TensorRT: %s", text)
            else:
                level = logging.DEBUG
                if severity == trt.ILogger.Severity.WARNING:
                    level = logging.INFO
                log.log(level, "TensorRT: %s", text)

    return Log()


def _make_progress(trt: ModuleType, cancelled: threading.Event | None):
    """A line in the log every few seconds while an engine is built, which may be cancelled."""

    class Progress(trt.IProgressMonitor):
        def __init__(self) -> None:
            super().__init__()
            self._steps: dict[str, int] = {}
            self._told = time.monotonic()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if time.monotonic() - self._told > PROGRESS_INTERVAL:
                self._told = time.monotonic()
                steps = self._steps.get(phase_name, 0)
                log.info("building: %s, step %d of %d", phase_name, step + 1, steps)
            return cancelled is None or not cancelled.is_set()

    return Progress()


class TensorRtEngine(GraphEngine):
    """Runs a checkpoint's static graph on TensorRT: `engine(rgb)` gives candidates by part.

    Raises:
        ImportError: TensorRT is not installed; the text says how to install it.
        ValueError: there is no CUDA device.
    """

    def __init__(self, checkpoint: Checkpoint, mode: Mode, device: str = "auto") -> None:
        super().__init__(checkpoint, mode)
        self._trt = import_tensorrt()
        self.device = pick_device("cuda" if device == "auto" else device)
        if self.device.type != "cuda":
            raise ValueError(f"engine tensorrt needs an NVIDIA GPU, not device {device!r}")
        # The op is one that TensorRT does not know.
        self._variant = Variant(half=mode.half)
        with torch.cuda.device(self.device):
            self._log = _make_log(self._trt)
            self._runtime = self._trt.Runtime(self._log)

    @property
    def description(self) -> str:
        return f"TensorRT {self._trt.__version__} {self._precision} on {self.device}"

    @property
    def _precision(self) -> str:
        return "FP16" if self.mode.half else "float32"

    def build(self, canvas: Canvas, cancelled: threading.Event | None = None) -> EngineCache:
        """Build the engine for a canvas into the cache folder if it is not there.

        Raises:
            EngineError: it cannot be built, or was cancelled.
        """
        cache, graph = self._cache(canvas)
        self._plan(cache, graph, cancelled)
        return cache

    def make_runner(self, canvas: Canvas) -> GraphRunner:
        cache, graph = self._cache(canvas)
        with torch.cuda.device(self.device):
            engine = self._runtime.deserialize_cuda_engine(self._plan(cache, graph))
            if engine is None:
                log.warning("TensorRT does not accept %s", cache.path)
                cache.discard()
                engine = self._runtime.deserialize_cuda_engine(self._plan(cache, graph))
            context = engine.create_execution_context() if engine is not None else None
        if context is None:
            raise EngineError(f"TensorRT cannot load the engine: {self._log.last_error}")
        return self._run_on(engine, context, canvas.shape, self.layout(canvas).size)

    def _cache(self, canvas: Canvas) -> tuple[EngineCache, Path]:
        graph = graph_file(self.checkpoint, self.mode, canvas, self._variant)
        properties = torch.cuda.get_device_properties(self.device)
        gpu = (
            f"{properties.name} sm_{properties.major}{properties.minor}, "
            f"{properties.multi_processor_count} SMs, {properties.total_memory >> 20} MiB"
        )
        key = EngineKey(file_digest(graph), self._trt.__version__, gpu, self._precision)
        name = re.sub(r"[^A-Za-z0-9]+", "_", gpu)
        return EngineCache(graphs_folder() / f"{graph.stem}-{name}.engine", key), graph

    def _plan(
        self, cache: EngineCache, graph: Path, cancelled: threading.Event | None = None
    ) -> bytes:
        properties = torch.cuda.get_device_properties(self.device)

        def configure(config) -> None:
            # An integrated GPU shares the memory with everything else.
            if getattr(properties, "is_integrated", False):
                pool = self._trt.MemoryPoolType.WORKSPACE
                config.set_memory_pool_limit(pool, properties.total_memory // 8)

        with torch.cuda.device(self.device):
            return cache.get(lambda: build_plan(self._trt, graph, configure, cancelled))

    def _run_on(self, engine, context, shape: tuple[int, int, int], size: int) -> GraphRunner:
        stream = torch.cuda.Stream(self.device)
        image = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        host_image = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        packed = torch.zeros(size, dtype=torch.float32, device=self.device)
        host_packed = torch.empty(size, dtype=torch.float32, pin_memory=True)
        torch.cuda.synchronize(self.device)
        bound = (
            context.set_input_shape(INPUT, shape)
            and context.set_tensor_address(INPUT, image.data_ptr())
            and context.set_tensor_address(OUTPUT, packed.data_ptr())
        )
        if not bound:
            raise EngineError(f"TensorRT's engine has other inputs: {self._log.last_error}")

        def run(rgb: np.ndarray, _alive=engine) -> np.ndarray:
            np.copyto(host_image.numpy(), rgb)
            with torch.cuda.device(self.device), torch.cuda.stream(stream):
                image.copy_(host_image, non_blocking=True)
                if not context.execute_async_v3(stream.cuda_stream):
                    raise EngineError(f"TensorRT could not run: {self._log.last_error}")
                host_packed.copy_(packed, non_blocking=True)
            stream.synchronize()
            return host_packed.numpy().copy()

        return run


def import_tensorrt() -> ModuleType:
    """The package.

    Raises:
        ImportError: it is not installed; the text says how to install it.
    """
    try:
        import tensorrt
    except ImportError as error:
        raise ImportError(f"engine tensorrt: {error}; {INSTALL}") from error
    return tensorrt
