"""The install commands for missing packages."""

from __future__ import annotations

import os

NETWORK_PACKAGES = ("torch", "torchvision", "safetensors")
"""What the network needs beside the packages of everything."""

# Their packages are compiled for NumPy 1; pip would bring NumPy 2 with what it installs.
_ROS_ON_NUMPY_1 = ("humble", "iron", "jazzy", "kilted")


def pip_install(*packages: str) -> str:
    """The command that installs `packages` and leaves a sourced ROS 2 its NumPy."""
    held = ('"numpy<2"',) if os.environ.get("ROS_DISTRO") in _ROS_ON_NUMPY_1 else ()
    return " ".join(("pip install", *packages, *held))
