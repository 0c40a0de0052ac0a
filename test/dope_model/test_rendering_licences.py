"""Assets are used only if their makers' release holds the same ones as CC0."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("scipy")

from dope_model.rendering import licences

LINE = "This asset was explicitly released as CC0"
MHCLO = """# {line}
uuid {uuid}
name hat
aoTexture shading.png
verts 0
   1  2  3 0.5 0.25 0.25 0.1 0.2 0.3
 7
delete_verts
 4 5
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A release with one hat and one skin, and copies of both in another folder."""
    release, folder = tmp_path / "release", tmp_path / "folder"
    release.mkdir()
    folder.mkdir()
    (release / "hat.mhclo").write_text(MHCLO.format(line=LINE, uuid="abc"))
    (release / "skin.mhmat").write_text(f"# {LINE}\ndiffuseTexture ../textures/skin.png\n")
    (release / "old.mhmat").write_text("# AGPL\ndiffuseTexture old.png\n")
    hat = {
        "ref_vIdxs": [[1, 2, 3], [7, 0, 1]], "weights": [[0.5, 0.25, 0.25], [1, 0, 0]],
        "offsets": [[0.1, 0.2, 0.3], [0, 0, 0]], "faces": [0, 0, 1, 1], "uvs": [[0, 0]],
        "metadata": {},
    }  # fmt: skip
    assets = [
        {
            "name": "hat", "kind": "hats", "uuid": "abc",
            "files": {"hat.json": "", "shading.png": ""},
        },
        {"name": "skin", "kind": "skins", "files": {"skin.png": ""}},
    ]  # fmt: skip
    listed = {"licence_line": LINE, "assets": assets}
    monkeypatch.setattr(licences, "manifest", lambda: listed)

    def doubts():
        (folder / "hat.json").write_text(json.dumps(hat))
        return licences.doubts(licences.Release.read(release, LINE), folder)

    return release, hat, assets, doubts


def test_the_same_assets_raise_no_doubt(shop):
    assert shop[3]() == []


def test_bindings_follow_the_file(shop):
    anchors, numbers = licences.bindings(shop[0] / "hat.mhclo")
    assert anchors.tolist() == [[1, 2, 3], [7, 7, 7]]
    assert numbers.tolist() == [[0.5, 0.25, 0.25, 0.1, 0.2, 0.3], [1, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda hat, assets: hat["ref_vIdxs"].__setitem__(0, [1, 2, 4]), "other vertices"),
        (lambda hat, assets: hat["offsets"].__setitem__(1, [0, 0.01, 0]), "shares or offsets"),
        (lambda hat, assets: assets[0].update(uuid="other"), "has its uuid other"),
        (lambda hat, assets: assets[1].update(files={"old.png": ""}), "names old.png"),
    ],
)
def test_another_asset_is_named(shop, change, reason):
    _, hat, assets, doubts = shop
    change(hat, assets)
    (line,) = doubts()
    assert reason in line


def test_a_header_of_another_licence_counts_for_nothing(shop):
    release, *_, doubts = shop
    (release / "hat.mhclo").write_text(MHCLO.format(line="AGPL", uuid="abc"))
    (release / "other.mhclo").write_text(MHCLO.format(line=LINE, uuid="def").replace("shad", "x"))
    assert [line.split(":")[0] for line in doubts()] == ["hats/hat", "hats/hat"]


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no assets of makehuman-assets"):
        licences.Release.read(tmp_path, LINE)
