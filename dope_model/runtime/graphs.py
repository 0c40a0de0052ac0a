"""An engine's graphs: beside the weights file, or made by PyTorch in the cache folder.

Beside WEIGHTS.safetensors are WEIGHTS.CANVAS.onnx, without weights of their own (see
`shared_weights`), and WEIGHTS.graphs.json, which identifies their weights:

    python -m dope_model export WEIGHTS.safetensors
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np

from dope_model import __version__
from dope_model.cache import cache_folder, file_digest
from dope_model.checkpoint import Checkpoint, read_header
from dope_model.errors import Failure
from dope_model.hints import NETWORK_PACKAGES, pip_install
from dope_model.network.config import Mode
from dope_model.runtime.canvas import Canvas
from dope_model.runtime.variant import FOR_CPU, Variant

log = logging.getLogger(__name__)

REVISION = 10
"""Increment with every change of the graph's computation: older graphs are then made anew."""
KEPT_BYTES = 4 << 30
"""Limit of the cache folder; the least recently used files are removed."""
_VARIABLE = "DOPE_CACHE_DIR"
_DIGEST = ".sha256"
_STALE = 3600.0
"""An unfinished file older than this, s, is from a writer that was killed."""


def graph_file(checkpoint: Checkpoint, mode: Mode, canvas: Canvas, variant: Variant) -> Path:
    """The ONNX file of a checkpoint for a canvas, made if it is missing or incomplete.

    Raises:
        ImportError: what makes it is not installed.
        CacheError: it cannot be written.
    """
    if variant == FOR_CPU and checkpoint.file is not None:
        beside, why_not = _beside(checkpoint, mode, canvas)
        if beside is not None:
            return beside
        log.log(logging.WARNING if why_not else logging.DEBUG, "%s", why_not)
    folder = graphs_folder()
    name = f"{weights_digest(checkpoint, mode)[:24]}-{canvas.name}-{variant.name}.onnx"
    path = folder / name
    if path.is_file():
        if is_whole(path):
            with suppress(OSError):  # a read-only folder is no error
                path.touch()
            return path
        log.warning("%s is damaged; making it anew", path)
    else:
        log.info("making the graph for images of %s px, once", canvas.name)
    try:
        from dope_model.runtime.export import export_onnx
    except ImportError as error:
        raise ImportError(
            f"the graphs of these weights are made by PyTorch ({error}): "
            + pip_install(*NETWORK_PACKAGES, "onnx", "onnxscript")
        ) from error
    with writing(folder):
        export_onnx(checkpoint, mode, canvas, path, variant)
        mark_as_whole(path)
        make_room(folder, path)
    return path


def beside_weights(weights: Path, canvas: Canvas) -> Path:
    """The graph for a canvas that belongs to a weights file."""
    return weights.with_name(f"{weights.stem}.{canvas.name}.onnx")


def index_file(weights: Path) -> Path:
    """The file that says to which weights the graphs beside them belong."""
    return weights.with_name(f"{weights.stem}.graphs.json")


def write_index(checkpoint: Checkpoint, mode: Mode, weights: Path, graphs: Sequence[Path]) -> None:
    """Note beside a weights file that these are its graphs."""
    index = {**_identity(checkpoint, mode, weights), "graphs": {}}
    for graph in graphs:
        index["graphs"][graph.name] = file_digest(graph)
    index_file(weights).write_text(json.dumps(index, indent=1) + "\n")


def _identity(checkpoint: Checkpoint, mode: Mode, weights: Path) -> dict[str, object]:
    looks = [asdict(look) for look in checkpoint.scale_modes(mode)]
    _, begin = read_header(weights)
    return {
        "revision": REVISION, "network": checkpoint.config.to_dict(), "looks": looks,
        "tensors": tensors_digest(weights), "tensors_begin": begin,
    }  # fmt: skip


def _beside(checkpoint: Checkpoint, mode: Mode, canvas: Canvas) -> tuple[Path | None, str]:
    """The graph beside a checkpoint's file, or why it is not used: empty if there is none for that
    mode."""
    # Of links, as in a workspace built with --symlink-install, OpenVINO reads no second file.
    weights = checkpoint.file.resolve()
    index, graph = index_file(weights), beside_weights(weights, canvas)
    if not index.is_file():
        return None, ""
    again = f"make them again: python -m dope_model export {weights}"
    try:
        told = json.loads(index.read_text())
        digests = told.pop("graphs")
        ours = json.loads(json.dumps(_identity(checkpoint, mode, weights)))
        if any(told[key] != ours[key] for key in ours if key != "looks"):
            return (
                None,
                f"the graphs beside {weights} are of other weights or another version; " + again,
            )
        if told["looks"] != ours["looks"]:
            return None, ""
        if not graph.is_file() or digests.get(graph.name) != file_digest(graph):
            return None, f"{graph} is missing or damaged; {again}"
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return None, f"{index} is damaged ({error!r}); {again}"
    return graph, ""


def weights_digest(checkpoint: Checkpoint, mode: Mode) -> str:
    """A hash of everything that determines a graph, except canvas and variant."""
    digest = hashlib.sha256(f"{__version__} {REVISION}".encode())
    looks = [asdict(look) for look in checkpoint.scale_modes(mode)]
    digest.update(json.dumps([checkpoint.config.to_dict(), looks], sort_keys=True).encode())
    if checkpoint.file is not None:
        digest.update(tensors_digest(checkpoint.file).encode())
    for name in sorted(checkpoint.state):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(checkpoint.state[name].numpy()))
    return digest.hexdigest()


def tensors_digest(path: Path) -> str:
    """SHA-256 of a safetensors file without its metadata, in hexadecimal.

    Raises:
        CheckpointError: the file is damaged.
    """
    header, begin = read_header(path)
    header.pop("__metadata__", None)
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    with path.open("rb") as file:
        file.seek(begin)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# --- the cache folder ---------------------------------------------------------------------------


class CacheError(Failure):
    """The cache folder cannot be written; the text names it and the variable that moves it."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """An OSError inside becomes a CacheError of that folder."""
    try:
        yield
    except OSError as error:
        raise CacheError(
            f"cannot keep graphs in {folder} ({error.strerror or error}); set {_VARIABLE} to a "
            "folder that can be written and has room"
        ) from error


def graphs_folder() -> Path:
    """The folder of graphs and built engines: $DOPE_CACHE_DIR, else ~/.cache/dope_ros/engines.

    Files whose writer was killed are removed.

    Raises:
        CacheError: the folder does not exist and cannot be made.
    """
    folder = cache_folder("engines", _VARIABLE)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("*.new*"):
            if time.time() - file.stat().st_mtime > _STALE:
                file.unlink(missing_ok=True)
    return folder


def make_room(folder: Path, newest: Path, kept_bytes: int = KEPT_BYTES) -> None:
    """Remove the least recently used files while a folder is too large, but never `newest`."""
    files = [f for f in folder.iterdir() if f.suffix in (".onnx", ".engine") and f != newest]
    files.sort(key=lambda file: file.stat().st_mtime)
    total = sum(file.stat().st_size for file in (*files, newest))
    while files and total > kept_bytes:
        oldest = files.pop(0)
        total -= oldest.stat().st_size
        oldest.unlink(missing_ok=True)
        _digest_file(oldest).unlink(missing_ok=True)


def _digest_file(path: Path) -> Path:
    return path.with_name(path.name + _DIGEST)


def mark_as_whole(path: Path) -> None:
    """Write a file's hash beside it, for `is_whole`."""
    _digest_file(path).write_text(file_digest(path) + "\n")


def is_whole(path: Path) -> bool:
    """Whether a file has the hash that `mark_as_whole` wrote."""
    noted = _digest_file(path)
    return noted.is_file() and noted.read_text().strip() == file_digest(path)
