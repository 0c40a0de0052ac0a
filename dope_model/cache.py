"""Where downloaded and made files are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str, variable: str) -> Path:
    """The folder that environment variable `variable` names, else ~/.cache/dope_ros/`name`."""
    chosen = os.environ.get(variable)
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "dope_ros", name)
