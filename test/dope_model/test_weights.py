"""The weights that come with the package."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")
from dope_model.__main__ import main  # noqa: E402
from dope_model.checkpoint import HEADER_STEP, load_checkpoint, save_checkpoint  # noqa: E402
from dope_model.weights import SHIPPED, weights_file  # noqa: E402


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_make_a_whole_body_network(name):
    checkpoint = load_checkpoint(name)
    parts = {part: config.joints for part, config in checkpoint.config.parts.items()}
    assert parts == {"body": 13, "hand": 21, "face": 84}
    checkpoint.build()
    assert weights_file(name).stat().st_size < 100e6
    assert {"data", "licence"} <= set(checkpoint.about)


def test_a_name_that_is_neither_file_nor_model_is_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights file at .*dope_light.*dope_lite"):
        weights_file("dope_light")
    file = tmp_path / "own.safetensors"
    file.write_bytes(b"")
    assert weights_file(file) == file


def test_packing_halves_the_file_and_keeps_its_description(tmp_path, capsys):
    source, out = weights_file("dope_lite"), tmp_path / "packed.safetensors"
    arguments = ["pack", str(source), "--out", str(out), "--about", "licence=mine",
                 "--post", "hand.th_persondetect=0.25", "--post", "body.th_double=0.2",
                 "--post", "hand.th_joint=0.3", "--post", "hand.score_th=0.5",
                 "--proposals", "30", "--size", "192"]  # fmt: skip
    assert main(arguments) == 0
    before, after = load_checkpoint(source), load_checkpoint(out)
    assert after.curves == before.curves
    assert after.about == {**before.about, "licence": "mine"}
    hand = after.integration["hand"]
    assert (hand.th_persondetect, hand.th_joint, hand.score_th) == (0.25, 0.3, 0.5)
    assert after.integration["body"] == replace(before.integration["body"], th_double=0.2)
    assert after.integration["face"] == before.integration["face"]
    assert (after.mode.proposals, after.mode.min_size) == (30, 192)
    two_bytes_each = 2 * sum(t.numel() for t in after.state.values())
    assert out.stat().st_size < 1.1 * two_bytes_each
    assert main([*arguments, "--post", "foot.K=1"]) == 1
    assert "PART.NAME=VALUE" in capsys.readouterr().err


def test_tensors_keep_their_place_when_the_description_changes(tmp_path):
    """Files that point into a weights file stay right when its settings change."""
    checkpoint = load_checkpoint("dope_lite")
    files = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_checkpoint(checkpoint, files[0], half=True)
    save_checkpoint(replace(checkpoint, about={"licence": "x" * 999}), files[1], half=True)
    contents = [file.read_bytes() for file in files]
    first = 8 + int.from_bytes(contents[0][:8], "little")
    assert first % HEADER_STEP == 0
    assert contents[0][:first] != contents[1][:first]
    assert contents[0][first:] == contents[1][first:]
    shipped = weights_file("dope_lite").read_bytes()
    assert shipped[8 + int.from_bytes(shipped[:8], "little") :] == contents[0][first:]
