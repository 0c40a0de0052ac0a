"""Hold the assets against their makers' release: python -m dope_model.rendering.licences RELEASE

RELEASE is a checkout of the MakeHuman community's repository makehuman-assets; its big files
(Git LFS) are not needed. The npm package that the assets come from is older than the makers'
release of 2020, and its copies still carry the licence of their time. An asset is used only if the
release holds the same one with a header of its own that says CC0:

- garments, hair, brows, lashes, teeth: the same uuid, and every vertex hangs on the same three
  vertices of the base mesh with the same shares and offsets;
- textures: named by a material of that asset with such a header.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dope_model.rendering.assets import (
    MissingAssetError,
    Wardrobe,
    assets_folder,
    load_garment,
    manifest,
)


@dataclass
class Release:
    """What the release's own headers put under its licence.

    Attributes:
        garments: by uuid, the .mhclo files.
        textures: names of the textures that materials use.
    """

    garments: dict[str, Path] = field(default_factory=dict)
    textures: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, folder: Path, licence_line: str) -> Release:
        """The files below `folder` whose header holds `licence_line`.

        Raises:
            ValueError: there are none.
        """
        release = cls()
        for path in sorted([*folder.rglob("*.mhclo"), *folder.rglob("*.mhmat")]):
            text = path.read_text(errors="replace")
            header = "\n".join(line for line in text.splitlines() if line.startswith("#"))
            if licence_line not in header:
                continue
            uuid = re.search(r"^uuid (\S+)", text, re.MULTILINE)
            if path.suffix == ".mhclo" and uuid:
                release.garments[uuid[1]] = path
            release.textures |= {
                Path(name).name for name in re.findall(r"^\w+Texture (.+)$", text, re.MULTILINE)
            }
        if not release.garments or not release.textures:
            raise ValueError(f"{folder} holds no assets of makehuman-assets released under CC0")
        return release


def bindings(mhclo: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the base mesh (V, 3), and shares and offsets (V, 6), of a .mhclo file.

    A vertex that hangs on one vertex alone names it three times, with shares 1, 0, 0.
    """
    anchors, numbers = [], []
    lines = iter(mhclo.read_text(errors="replace").splitlines())
    for line in lines:
        if line.startswith("verts "):
            break
    for line in lines:
        words = line.split()
        if not words or not words[0].isdigit():
            if anchors:
                break
        elif len(words) == 1:
            anchors.append([int(words[0])] * 3)
            numbers.append([1.0, 0, 0, 0, 0, 0])
        else:
            anchors.append([int(word) for word in words[:3]])
            numbers.append([float(word) for word in words[3:9]])
    return np.array(anchors, int).reshape(-1, 3), np.array(numbers, float).reshape(-1, 6)


def doubts(release: Release, folder: Path) -> list[str]:
    """Why assets in `folder` are not those of the release, a line each; empty where all are."""
    found = []
    for entry in manifest()["assets"]:
        name = f"{entry['kind']}/{entry['name']}"
        for file in entry["files"]:
            if file.endswith(".json"):
                reason = _other_garment(release, entry["uuid"], folder / file)
            elif Path(file).name not in release.textures:
                reason = f"no material with a CC0 header names {Path(file).name}"
            else:
                reason = ""
            if reason:
                found.append(f"{name}: {reason}")
    return found


def _other_garment(release: Release, uuid: str, path: Path) -> str:
    if uuid not in release.garments:
        return f"no file with a CC0 header has its uuid {uuid}"
    garment = load_garment(path)
    theirs, numbers = bindings(release.garments[uuid])
    mine = np.concatenate([garment.shares, garment.offsets], axis=1)
    anchors, counted = garment.anchors, numbers[:, :3] != 0
    if theirs.shape != anchors.shape or ((theirs != anchors) & counted).any():
        return f"it hangs on other vertices than {release.garments[uuid].name}"
    if np.abs(mine - numbers).max() > 1e-4:
        return f"its shares or offsets differ from {release.garments[uuid].name}"
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Compare and print; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dope_model.rendering.licences", description=__doc__.splitlines()[0]
    )
    parser.add_argument("release", type=Path, help="checkout of makehuman-assets")
    parser.add_argument("--folder", type=Path, help="the assets, instead of the usual folder")
    options = parser.parse_args(arguments)
    folder = options.folder or assets_folder()
    try:
        Wardrobe(folder)
        release = Release.read(options.release, manifest()["licence_line"])
    except (OSError, ValueError, MissingAssetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found = doubts(release, folder)
    for line in found:
        print(line)
    count = len(manifest()["assets"])
    print(f"{count} assets, {len(found)} doubts; in the release, {manifest()['licence_line']}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
