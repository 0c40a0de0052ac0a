"""What this machine has for dope_node, one line each:

    ros2 run dope_ros check

"ok" is there, "-" is missing but not needed, "FAIL" stops the node; the exit code is 0 if the node
can run, else 1. Nothing is run but imports: whether a driver works shows when the node starts, and
its log says so.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

OK, MISSING, FAIL = "ok", "-", "FAIL"
_OLDEST_PYTHON = (3, 10)


@dataclass(frozen=True)
class Finding:
    """One line: `state` is OK, MISSING or FAIL."""

    state: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.state:<5}{self.name:<22}{self.text}"


def findings() -> Iterator[Finding]:
    """All lines, in order."""
    yield from _system()
    if sys.version_info < _OLDEST_PYTHON:
        return  # nothing here can be imported
    packages = [_needed(name) for name in ("numpy", "cv2", "tqdm")]
    yield from packages
    if any(finding.state == FAIL for finding in packages):
        return  # all that follows needs them
    yield from _ros()
    yield from _model_and_engine()
    yield _cache("engines", "DOPE_CACHE_DIR", "graphs and engines are made anew at each start")
    yield from _optional()


def _system() -> Iterator[Finding]:
    supported = sys.version_info >= _OLDEST_PYTHON
    found = f"{platform.python_version()} ({sys.executable}) on {platform.machine()}"
    if not supported:
        yield Finding(FAIL, "Python", f"{found}; 3.10 or newer is needed")
        return
    yield Finding(OK, "Python", found)
    from dope_model.runtime.processor import adds_int8_in_32_bits, has_vnni

    exact = "exact sums of INT8" if adds_int8_in_32_bits() else "inexact sums of INT8"
    told = "VNNI or AMX" if has_vnni() else f"no VNNI, {exact}"
    yield Finding(OK, "processor", f"{os.cpu_count()} cores, {told}")
    yield _gpu()


def _gpu() -> Finding:
    from dope_model.runtime import _GPU_FILES

    there = [file for file in _GPU_FILES if file.exists()]
    if not there:
        return Finding(MISSING, "GPU", "no driver of one is loaded")
    lines = there[0].read_text(errors="replace").splitlines() if there[0].is_file() else []
    return Finding(OK, "GPU", f"{there[0]}: {lines[0].strip()}" if lines else str(there[0]))


def _version(module: str) -> str:
    """The version of an installed package, as far as it is told without an import."""
    names = {"cv2": ("opencv-python-headless", "opencv-python", "opencv-contrib-python")}
    for name in names.get(module, (module,)):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "installed"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # its parent is missing or broken
        return False


def _needed(module: str) -> Finding:
    """A package that is imported, as its compiled part may not fit this Python."""
    try:
        importlib.import_module(module)
    except Exception as error:  # of many kinds, where NumPy and what is built on it disagree
        return Finding(FAIL, module, _first_line(error))
    return Finding(OK, module, _version(module))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _ros() -> Iterator[Finding]:
    distro = os.environ.get("ROS_DISTRO") or "from pip"
    try:
        import rclpy  # noqa: F401
    except Exception as error:
        yield Finding(FAIL, "ROS 2", f"rclpy: {_first_line(error)}; is its setup.bash sourced?")
        return
    yield Finding(OK, "ROS 2", f"{distro}, rclpy {_version('rclpy')}")
    for module in ("dope_ros.messages.conversions", "dope_ros.messages.markers"):
        try:
            conversions = importlib.import_module(module)
        except Exception as error:
            hint = "; build and source the workspace" if "dope_msgs" in str(error) else ""
            yield Finding(FAIL, "messages", _first_line(error) + hint)
            return
        if hasattr(conversions, "COLOR_LIBRARY"):
            colors = conversions.COLOR_LIBRARY
    yield Finding(OK, "messages", "dope_msgs and those of ROS that it needs")
    yield Finding(OK, "images", f"converted by {colors}")
    for package, needed_by in (
        ("diagnostic_msgs", "the node"), ("lifecycle_msgs", "the node"), ("std_srvs", "the node"),
    ):  # fmt: skip
        if not _is_there(package):
            yield Finding(FAIL, package, f"missing; {needed_by} needs it: {_apt(package)}")


def _apt(package: str) -> str:
    distro = os.environ.get("ROS_DISTRO", "$ROS_DISTRO")
    return f"apt install ros-{distro}-{package.replace('_', '-')}"


def _model_and_engine() -> Iterator[Finding]:
    from dope_model.checkpoint import read_checkpoint
    from dope_model.network.config import mode_named
    from dope_model.runtime import KINDS, int8_allowed, picked
    from dope_model.weights import DEFAULT_MODEL, weights_file

    try:
        checkpoint = read_checkpoint(DEFAULT_MODEL)
        file = weights_file(DEFAULT_MODEL)
    except (OSError, ValueError, ImportError) as error:
        yield Finding(FAIL, f"model {DEFAULT_MODEL}", _first_line(error))
        return
    graphs = len(list(file.parent.glob(f"{file.stem}.*.onnx")))
    yield Finding(OK, f"model {DEFAULT_MODEL}", f"{file}, {graphs} graphs")
    allows_int8 = int8_allowed(checkpoint, mode_named("auto", checkpoint.mode))
    try:
        taken, device = picked("auto", "auto", allows_int8)
    except ImportError as error:
        yield Finding(FAIL, "engine", _first_line(error))
        return
    for name, kind in KINDS.items():
        if name == taken:
            yield Finding(OK, f"engine {name}", f"`auto` takes it, on {device}{_of(kind.packages)}")
            continue
        missing = [package for package in kind.packages if not _is_there(package)]
        yield Finding(MISSING, f"engine {name}", _why_not(name, missing, device, allows_int8))
    if "torch" in sys.modules:  # only where there is a GPU
        import torch

        sees = "sees a GPU" if torch.cuda.is_available() else "sees no GPU that it has kernels for"
        yield Finding(OK, "CUDA", f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, {sees}")


def _of(packages: tuple[str, ...]) -> str:
    """ ", with openvino 2026.4, ..." for the packages of an engine."""
    return ", with " + ", ".join(f"{package} {_version(package)}" for package in packages)


def _why_not(name: str, missing: list[str], device: str, allows_int8: bool) -> str:
    """Why `auto` does not take an engine, for somebody who might want it."""
    from dope_model.hints import pip_install
    from dope_model.runtime import KINDS
    from dope_model.runtime.processor import has_vnni

    kind = KINDS[name]
    if device == "cpu" and "cpu" not in kind.devices:
        lacks = f"; {', '.join(missing)} missing" if missing else ""
        return f"needs an NVIDIA GPU that PyTorch can use{lacks}"
    if missing:
        return f"{', '.join(missing)} missing: {pip_install(*missing)}"
    if device != "cpu" and device.partition(":")[0] not in kind.devices:
        return "for a CPU, in use only if no engine for the GPU runs"
    if name == "int8" and not has_vnni():
        return "slower than float32 on a processor without VNNI"
    if name == "int8" and not allows_int8:
        return "the weights have no calibrated ranges"
    return "slower; in use if those before it fail"


def _cache(name: str, variable: str, effect: str) -> Finding:
    from dope_model.cache import cache_folder

    folder = cache_folder(name, variable)
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if os.access(existing, os.W_OK | os.X_OK):
        return Finding(OK, "cache", f"{folder} can be written")
    return Finding(MISSING, "cache", f"{folder} cannot be written: {effect}; {variable} moves it")


def _optional() -> Iterator[Finding]:
    from dope_model.experts.models import MEDIAPIPE_COMMAND
    from dope_model.hints import pip_install

    for module, use, hint in (
        ("norfair", "track ids", pip_install("norfair-enough")),
        ("cv_bridge", "images, else rosbags-image", _apt("cv_bridge")),
        ("tf2_msgs", "publish_tf", _apt("tf2_msgs")),
        ("hri_msgs", "publish_rep155", _apt("hri_msgs")),
        ("rosbags", "the bag tool", pip_install("rosbags", "rosbags-image")),
        ("ai_edge_litert", "the model experts", pip_install("ai-edge-litert")),
        ("mediapipe", "the model experts (its files)", MEDIAPIPE_COMMAND),
    ):
        if _is_there(module):
            yield Finding(OK, module, f"for {use}")
        else:
            yield Finding(MISSING, module, f"only for {use}: {hint}")


def main() -> int:
    """Print the findings; 0 if the node can run, else 1."""
    fails = 0
    for finding in findings():
        print(re.sub(r"\s+$", "", str(finding)), flush=True)
        fails += finding.state == FAIL
    print("dope_node can run" if not fails else f"dope_node cannot run: {fails} FAIL above")
    return 1 if fails else 0


if __name__ == "__main__":
    sys.exit(main())
