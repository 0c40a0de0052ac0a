"""Folders for downloaded and generated files, and hashes of files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def cache_folder(name: str, variable: str) -> Path:
    """The folder that environment variable `variable` names, else ~/.cache/dope_ros/`name`."""
    chosen = os.environ.get(variable)
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "dope_ros", name)


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
