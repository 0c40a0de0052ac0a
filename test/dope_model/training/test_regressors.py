"""Regressors that are fitted by least squares."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from labelled_pictures import write_ring_pictures  # noqa: E402

from dope_model.datasets.labels import LabelSet  # noqa: E402
from dope_model.network.config import Mode, PartConfig  # noqa: E402
from dope_model.network.heads import PartHead  # noqa: E402
from dope_model.network.keypoint_head import (  # noqa: E402
    FACE_LANDMARKS,
    HEATMAPS,
    PEAK,
    POINT_SCALE,
    POINT_VALUES,
    point_columns,
)
from dope_model.network.roi_features import RoiFeatures  # noqa: E402
from dope_model.training.anchor_poses import fit_anchor_poses  # noqa: E402
from dope_model.training.data import Source  # noqa: E402
from dope_model.training.fresh import fresh_checkpoint  # noqa: E402
from dope_model.training.recipe import Recipe, RecipeRun  # noqa: E402
from dope_model.training.regressors import (  # noqa: E402
    PositiveRois,
    fit_regressors,
    robust_ridge,
)
from dope_model.training.settings import TrainingSettings  # noqa: E402
from dope_model.training.stages import FitRegressors  # noqa: E402
from dope_model.training.step import LossSettings  # noqa: E402

CHANNELS = 8 + POINT_VALUES * HEATMAPS


def test_ridge_without_outliers_is_that_of_the_normal_equations():
    """Against NumPy's least squares on rows that hold the penalty, with equal shares."""
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 4)) * [1, 2, 5, 0.5] + 3
    y = x @ random.normal(size=(4, 6)) + 0.1 * random.normal(size=(200, 6)) + 2
    weights, biases = robust_ridge(
        torch.from_numpy(x), torch.from_numpy(y).view(200, 3, 2), strength=0.3, doubt=1e9
    )
    scaled = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    rows = np.vstack([np.c_[scaled, np.ones(200)], np.c_[np.sqrt(60) * np.eye(4), np.zeros(4)]])
    (solved, *_) = np.linalg.lstsq(rows, np.vstack([y, np.zeros((4, 6))]), rcond=None)
    expected = np.c_[scaled, np.ones(200)] @ solved
    found = torch.from_numpy(x).float() @ weights.flatten(1) + biases.flatten()
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_outliers_hardly_count():
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    y = (x @ torch.tensor([[1.0, 2.0], [0.5, -1.0]]) + 0.3)[:, None]
    wrong = y.clone()
    wrong[::10] += 5
    weights, biases = robust_ridge(x, wrong, strength=1e-6, doubt=0.05)
    found = (x @ weights.flatten(1) + biases.flatten())[:, None]
    assert (found - y).abs().max() < 0.05
    ordinary = robust_ridge(x, wrong, strength=1e-6, doubt=1e9)
    assert (x @ ordinary[0].flatten(1) + ordinary[1].flatten() - y[:, 0]).abs().max() > 0.3


def faces(count: int, seed: int) -> PositiveRois:
    """Faces of one flexible shape; their maps point at it, but for one, which points anywhere."""
    random = torch.Generator().manual_seed(seed)
    shape = torch.Generator().manual_seed(9)
    middle, bends = torch.rand(84, 5, generator=shape), torch.randn(3, 84, 5, generator=shape) / 20
    kind = torch.randn(count, 3, generator=random)
    poses = middle + torch.einsum("nk,kjd->njd", kind, bends)
    vectors = torch.randn(count, CHANNELS, generator=random)
    columns = point_columns("face", CHANNELS, 84)
    seen = (poses[:, list(FACE_LANDMARKS), :2] - 0.5) * POINT_SCALE
    vectors[:, columns[PEAK, 1:]] = seen[:, 1:].transpose(1, 2)
    return PositiveRois(vectors, torch.arange(count) % 2, poses)


@pytest.fixture
def branches() -> PartHead:
    made = PartHead("face", CHANNELS, PartConfig(84, 2), heatmaps=True)
    made.anchor_poses.copy_(torch.rand(2, 84, 5, generator=torch.Generator().manual_seed(3)))
    return made


def test_landmarks_are_found_by_what_the_maps_of_others_say(branches):
    """Those whose map points anywhere, those without one, and depth: on other faces, too."""
    fit_regressors(branches, "face", faces(3000, 0))
    others = faces(50, 1)
    with torch.no_grad():
        points = others.vectors[:, -POINT_VALUES * HEATMAPS :].view(-1, POINT_VALUES, HEATMAPS)
        output = branches(RoiFeatures(others.vectors, points))
    poses = branches.anchor_poses + output.deltas  # of both classes
    for each_class in poses.unbind(dim=1):
        error = (each_class - others.poses).abs()
        assert error[..., :2].max() < 0.03
        assert error[..., 2:].mean() < 0.02


def test_classes_and_scores_stay(branches):
    before = branches.cls_score.weight.clone()
    fit_regressors(branches, "face", faces(1500, 0))
    assert torch.equal(branches.cls_score.weight, before)


def test_few_boxes_are_refused(branches):
    with pytest.raises(ValueError, match="999 boxes of a whole face are too few"):
        fit_regressors(branches, "face", faces(999, 0))


@pytest.fixture(scope="module")
def rings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rings")
    return write_ring_pictures(folder, 20, side=96), folder / "pictures"


def fitted(rings, backbone, part="face"):
    anchors = {"face": fit_anchor_poses("face", LabelSet.load(rings[0]), 2)}
    checkpoint = fresh_checkpoint(anchors, backbone, Mode(96, 200, 20, False), seed=0)
    settings = TrainingSettings(
        width=96, height=96, losses=LossSettings(positive_share=1, boxes_per_image=60)
    )
    stage = FitRegressors(name="fit", part=part, samples=120, settings=settings, data={})
    recipe = Recipe("mine", {}, (stage,))
    run = RecipeRun(recipe, rings[0].parent, torch.device("cpu"), further=[Source(*rings)])
    return checkpoint, stage.make(run, checkpoint, None)


def test_the_stage_changes_regressors_and_gate_alone(rings):
    before, after = (checkpoint.state for checkpoint in fitted(rings, "mobilenet_v2_keypoints"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        f"branches.face.{layer}.{kind}"
        for layer in ("pose_pred", "map_trust.trust")
        for kind in ("weight", "bias")
    }


def test_what_cannot_be_fitted_is_named(rings):
    with pytest.raises(ValueError, match="does not detect a hand"):
        fitted(rings, "mobilenet_v2_keypoints", "hand")
    with pytest.raises(ValueError, match="mobilenet_v2 has no heat maps"):
        fitted(rings, "mobilenet_v2")
