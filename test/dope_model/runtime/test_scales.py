"""Small instances from the first scale, large ones from the second."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from random_networks import SMALL, small_checkpoint  # noqa: E402

from dope_model.__main__ import main  # noqa: E402
from dope_model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint  # noqa: E402
from dope_model.network.config import CoarseScale, Mode  # noqa: E402
from dope_model.runtime import load_engine  # noqa: E402
from dope_model.training.stages import Deploy, FavourSmall  # noqa: E402


@pytest.fixture
def checkpoint():
    made = small_checkpoint()
    made.coarse_scale = CoarseScale(0.5, {"body": 100, "hand": 1e6})
    return made


def test_a_checkpoint_with_two_scales_runs_at_both(checkpoint, tmp_path):
    rgb = np.random.default_rng(5).integers(0, 255, (128, 170, 3), np.uint8)
    half = Mode(min_size=64, max_size=100, proposals=12, half=False, min_box=50)
    both = load_engine("torch", checkpoint, SMALL, "cpu")(rgb)
    once = replace(checkpoint, coarse_scale=None)
    first = load_engine("torch", once, SMALL, "cpu")(rgb)
    small = torch.from_numpy(rgb).permute(2, 0, 1)
    second = checkpoint.build(half)(small, checkpoint.min_candidate_scores())
    for part in ("hand", "face"):  # nothing is that large, or may be of any size
        np.testing.assert_array_equal(both[part].scores, first[part].scores)
    sides = [(c["body"].boxes[:, 2:] - c["body"].boxes[:, :2]) for c in (first, second)]
    kept = [
        first["body"].scores[sides[0].max(axis=1) <= 100],
        second["body"].scores.numpy()[sides[1].numpy().max(axis=1) > 100],
    ]
    assert all(map(len, kept))
    found = both["body"].scores
    np.testing.assert_array_equal(found[: len(kept[0])], kept[0])
    np.testing.assert_allclose(np.sort(found[len(kept[0]) :]), np.sort(kept[1]), atol=1e-5)


def test_small_anchors_can_rank_higher(checkpoint):
    better = FavourSmall(name="small", logit=1.5).make(None, checkpoint, None)
    before, after = (c.build(SMALL).rpn for c in (checkpoint, better))
    change = after.head.cls_logits.bias - before.head.cls_logits.bias
    (anchors,) = after.anchor_generator.cell_anchors
    sides = (anchors[:, 2:] - anchors[:, :2]).prod(dim=1).sqrt()
    np.testing.assert_allclose(change.detach(), 1.5 * (sides < sides.min() * 1.1), atol=1e-6)
    assert 0 < change.count_nonzero() < len(change)


def test_a_scale_proposes_what_counts_in_it():
    """Sizes in px of each scale's own input."""
    coarse, mode = CoarseScale(0.5, {"body": 150, "hand": 96}), Mode(400, 1333, 50, True)
    first, second = coarse.modes(mode, ("body", "hand"))
    assert (first.min_box, first.max_box) == (0, 150)
    assert (second.min_box, second.max_box) == (48, None)
    assert (second.min_size, second.proposals) == (200, 50)
    # Faces of all sizes come from the first scale, if none is told.
    first, second = coarse.modes(mode, ("body", "hand", "face"))
    assert first == mode and second.min_box == 48
    assert coarse.modes(mode, ("face",)) == [mode, coarse.mode_after(mode)]
    assert [m.max_box for m in coarse.modes(mode, ("hand",))] == [96, None]


def test_a_coarse_scale_is_stored_with_the_weights(checkpoint, tmp_path, capsys):
    out = str(tmp_path / "a.safetensors")
    coarse = CoarseScale(0.48, {"body": 150, "face": 128.5}, 0.25)
    mode = replace(checkpoint.mode, proposals=50)
    changes = {"hand": {"th_joint": 0.2}}
    deploy = Deploy(name="deploy", mode=mode, integration=changes, coarse_scale=coarse)
    save_checkpoint(deploy.make(None, checkpoint, None), out)
    made = load_checkpoint(out)
    assert made.coarse_scale == coarse and made.mode == mode
    assert made.integration["hand"] == replace(checkpoint.integration["hand"], th_joint=0.2)
    assert made.integration["body"] == checkpoint.integration["body"]
    assert main(["info", out]) == 0
    assert "second scale of 0.48" in (told := capsys.readouterr().out)
    assert "body 150 px, face 128.5 px" in told
    assert [m.proposals for m in made.scale_modes(mode)] == [50, 12]
    assert [m.proposals for m in made.scale_modes(replace(mode, proposals=1))] == [1, 1]
    save_checkpoint(replace(checkpoint, coarse_scale=None), out)
    assert load_checkpoint(out).coarse_scale is None


@pytest.mark.parametrize(
    ("coarse", "why"),
    [
        ((1.5, {"body": 9}), "between 0 and 1, not 1.5"),
        ((0.5, {}), "needs a size above 0"),
        ((0.5, {"body": -1}), "needs a size above 0"),
        ((0.5, {"body": float("nan")}), "needs a size above 0"),
        ((0, {"body": 9}), "between 0 and 1, not 0"),
        ((0.5, {"foot": 9}), "foot; known: body, hand, face"),
        ((0.5, {"body": 9}, 0), "above 0 and at most 1, not 0"),
        ((0.5, {"body": 9}, float("nan")), "above 0 and at most 1, not nan"),
    ],
)
def test_what_makes_no_sense_is_refused(coarse, why):
    with pytest.raises(ValueError, match=why):
        CoarseScale(*coarse)


def test_a_file_with_a_senseless_coarse_scale_is_refused(checkpoint, tmp_path):
    object.__setattr__(checkpoint.coarse_scale, "scale", 3)
    save_checkpoint(checkpoint, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="between 0 and 1, not 3"):
        load_checkpoint(tmp_path / "a.safetensors")
