"""The weights that come with the package."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
from dope_model.checkpoint import HEADER_STEP, load_checkpoint, save_checkpoint  # noqa: E402
from dope_model.training.recipe import Input, Recipe, RecipeRun  # noqa: E402
from dope_model.training.stages import Shipped  # noqa: E402
from dope_model.weights import SHIPPED, weights_file  # noqa: E402


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_make_a_whole_body_network(name):
    checkpoint = load_checkpoint(name)
    parts = {part: config.joints for part, config in checkpoint.config.parts.items()}
    assert parts == {"body": 13, "hand": 21, "face": 84}
    checkpoint.build()
    assert weights_file(name).stat().st_size < 100e6
    assert {"data", "licence"} <= set(checkpoint.about)


def test_settings_are_read_by_their_names_of_earlier_versions(tmp_path):
    checkpoint = load_checkpoint("dope_lite")
    new, old = tmp_path / "new.safetensors", tmp_path / "old.safetensors"
    save_checkpoint(checkpoint, new)
    content = new.read_bytes()
    for before, today in (
        (b"second_look", b"coarse_scale"), (b"th_double", b"th_duplicate"),
        (b"sure_power", b"confidence_exponent"),
    ):  # fmt: skip
        assert today in content and before not in content
        content = content.replace(today, before)
    length = int.from_bytes(content[:8], "little") - len(new.read_bytes()) + len(content)
    old.write_bytes(length.to_bytes(8, "little") + content[8:])
    again = load_checkpoint(old)
    assert again.coarse_scale == checkpoint.coarse_scale is not None
    assert again.integration == checkpoint.integration
    assert again.integration["body"].th_duplicate == 0.25


def test_a_name_that_is_neither_file_nor_model_is_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights file at .*dope_light.*dope_lite"):
        weights_file("dope_light")
    file = tmp_path / "own.safetensors"
    file.write_bytes(b"")
    assert weights_file(file) == file


def test_a_recipe_writes_half_of_the_bytes_and_what_the_weights_say_of_themselves(tmp_path):
    recipe = Recipe("mine", {"a": Input("x")}, (Shipped(name="start", weights="dope_lite"),),
                    about={"licence": "mine"})  # fmt: skip
    out = RecipeRun(recipe, tmp_path, torch.device("cpu"), {"a": tmp_path}).run()
    before, after = load_checkpoint("dope_lite"), load_checkpoint(out)
    assert out.name == "mine.safetensors"
    assert after.about == {**before.about, "licence": "mine"}
    assert after.curves == before.curves and after.integration == before.integration
    assert after.coarse_scale == before.coarse_scale
    two_bytes_each = 2 * sum(t.numel() for t in after.state.values())
    assert out.stat().st_size < 1.1 * two_bytes_each


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
