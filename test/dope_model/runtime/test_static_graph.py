"""The static graph against the eager network, and its pieces against torchvision's."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from random_networks import PARTS, SMALL, small_checkpoint, with_random_weights  # noqa: E402
from torchvision.ops import nms, roi_align  # noqa: E402

from dope_model.network.config import Mode, NetworkConfig, PartConfig  # noqa: E402
from dope_model.network.dope import COARSE, FINE, DopeNetwork  # noqa: E402
from dope_model.network.roi_pooling import (  # noqa: E402
    pool_by_grid,
    pool_by_matrices,
    pool_by_op,
    pool_for_gradients,
)
from dope_model.runtime.static_graph import (  # noqa: E402
    StaticGraph,
    fold_batch_norms,
    for_inference,
    suppress,
)

NO_SCORE = {"body": 0.0, "hand": 0.0, "face": 0.0}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 11, 3), np.uint8)
    tensor = torch.from_numpy(coarse).permute(2, 0, 1)[None].float()
    smooth = torch.nn.functional.interpolate(tensor, (height, width), mode="bicubic")
    return smooth[0].clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def random_boxes(count: int, seed: int, height: float, width: float) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=random) * torch.tensor([width, height])
    size = torch.rand(count, 2, generator=random) * torch.tensor([width, height]) * 0.5
    return torch.cat([corner - 0.1 * size, corner + size], dim=1)


@pytest.mark.parametrize("grid", [COARSE, FINE])
@pytest.mark.parametrize("pool", [pool_by_matrices, pool_by_grid])
def test_pooling_is_torchvisions(pool, grid):
    features = torch.randn(1, 16, 25, 34, generator=torch.Generator().manual_seed(0))
    boxes = random_boxes(40, 1, 25 * 16, 34 * 16)
    boxes[0] = 0  # an empty proposal
    expected = roi_align(features, [boxes], grid.bins, 1 / 16, grid.samples, aligned=grid.aligned)
    assert torch.allclose(pool(features, boxes / 16, grid), expected, atol=1e-4)


@pytest.mark.parametrize("grid", [COARSE, FINE])
def test_pooling_for_gradients_is_torchvisions(grid):
    """Values and gradients, also where an image has no box."""
    features = torch.randn(3, 5, 12, 9, generator=torch.Generator().manual_seed(0))
    boxes = [random_boxes(count, count, 12 * 16, 9 * 16) for count in (4, 0, 7)]
    weights = torch.randn(11, 5, grid.bins, grid.bins)
    results = []
    for pool in (pool_by_op, pool_for_gradients):
        leaf = features.clone().requires_grad_(True)
        pooled = pool(leaf, boxes, 16, grid)
        (pooled * weights).sum().backward()
        results.append((pooled, leaf.grad))
    torch.testing.assert_close(results[1], results[0], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_torchvisions(seed):
    boxes = random_boxes(200, seed, 100, 100)
    scores = torch.linspace(1, 0, 200)
    keep = suppress(boxes, torch.ones(200, dtype=torch.bool), 0.4, 24)
    assert keep.nonzero().flatten().tolist() == nms(boxes, scores, 0.4).tolist()


def test_a_chain_takes_as_many_rounds_as_it_is_long():
    """Each box overlaps only its neighbours: every other one stays."""
    left = torch.arange(20.0) * 2
    boxes = torch.stack([left, left * 0, left + 6, left * 0 + 6], dim=1)
    everything = torch.ones(20, dtype=torch.bool)
    right = list(range(0, 20, 2))
    assert suppress(boxes, everything, 0.45, 24).nonzero().flatten().tolist() == right
    # With fewer rounds its beginning is right.
    keep = suppress(boxes, everything, 0.45, 9).nonzero().flatten().tolist()
    assert keep != right and [i for i in keep if i < 9] == right[:5]


def test_invalid_boxes_neither_stay_nor_suppress():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10.5], [50, 50, 60, 60]])
    keep = suppress(boxes, torch.tensor([False, True, True]), 0.5, 4)
    assert keep.tolist() == [0, 1, 1]


@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v2", "mobilenet_v2_keypoints"])
def test_folded_batch_norms_change_nothing(backbone):
    config = NetworkConfig({"face": PartConfig(84, 2)}, backbone=backbone)
    network = with_random_weights(DopeNetwork(config, SMALL), seed=1)
    for module in network.modules():  # MobileNetV2's signal would vanish under random norms
        if hasattr(module, "running_var"):
            module.running_var.fill_(0.3)
    folded = fold_batch_norms(copy.deepcopy(network))
    assert not [m for m in folded.modules() if hasattr(m, "running_var")]
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = network.features(image), folded.features(image)
        for a, b in zip(expected, found, strict=True):
            if a is not None:
                assert torch.allclose(a, b, rtol=1e-3, atol=1e-4 * a.abs().max().item())


def assert_same_candidates(eager, found):
    """The same set: candidates are matched by their RoI's box and class."""
    for part in PARTS:
        a, b = eager[part], found[part]
        assert len(a.scores) == len(b)
        order_a = np.lexsort((*a.boxes.numpy().round(1).T, a.classes.numpy()))
        order_b = np.lexsort((*b.boxes.round(1).T, b.classes))
        assert (a.classes.numpy()[order_a] == b.classes[order_b]).all()
        assert np.allclose(a.boxes.numpy()[order_a], b.boxes[order_b], atol=0.01)
        assert np.allclose(a.scores.numpy()[order_a], b.scores[order_b], atol=1e-5)
        a_2d, b_2d = a.keypoints_2d.numpy()[order_a], b.keypoints_2d[order_b]
        assert np.allclose(a_2d, b_2d, atol=0.01)
        a_3d, b_3d = a.keypoints_3d.numpy()[order_a], b.keypoints_3d[order_b]
        assert np.allclose(a_3d, b_3d, atol=1e-4)
        assert np.allclose(a.confidence.numpy()[order_a], b.confidence[order_b], atol=1e-5)


def static(network, height, width, candidates=1000, pooling=None):
    """The graph of a network in its own mode."""
    return StaticGraph(for_inference(network), [network.mode], (height, width), candidates, pooling)


def assert_graph_agrees(network, height, width, pooling):
    rgb = picture(height, width)
    eager = network(torch.from_numpy(rgb).permute(2, 0, 1), NO_SCORE)
    graph = static(network, height, width, pooling=pooling)
    (found,) = graph.layout.unpack(graph(torch.from_numpy(rgb)).numpy(), NO_SCORE)
    assert_same_candidates(eager, found)


@pytest.mark.parametrize("pooling", ["op", "matrix", "grid"])
@pytest.mark.parametrize(("height", "width"), [(97, 150), (140, 131)])
def test_the_graph_gives_the_eager_results(pooling, height, width):
    assert_graph_agrees(small_checkpoint().build(), height, width, pooling)


@pytest.mark.parametrize("pooling", ["op", "matrix"])
@pytest.mark.parametrize("backbone", ["mobilenet_v2", "mobilenet_v2_keypoints"])
def test_the_graph_gives_the_eager_results_on_light_backbones(backbone, pooling):
    assert_graph_agrees(small_checkpoint(backbone=backbone).build(), 97, 150, pooling)


def test_only_the_best_candidates_leave():
    network = small_checkpoint().build()
    rgb = torch.from_numpy(picture(100, 120))
    everything, few = (static(network, 100, 120, count) for count in (1000, 7))
    assert few.layout.size < everything.layout.size / 10
    (best,) = few.layout.unpack(few(rgb).numpy(), NO_SCORE)
    (full,) = everything.layout.unpack(everything(rgb).numpy(), NO_SCORE)
    for part in PARTS:
        assert np.allclose(best[part].scores, np.sort(full[part].scores)[::-1][:7], atol=1e-6)
    threshold = float(best["body"].scores[3])
    (cut,) = few.layout.unpack(few(rgb).numpy(), NO_SCORE | {"body": threshold})
    assert len(cut["body"]) == 4
    with pytest.raises(ValueError, match="the output has shape"):
        few.layout.unpack(np.zeros(3, np.float32), NO_SCORE)


def test_fewer_boxes_than_proposals():
    """A tiny image has fewer anchors than proposals; empty ones yield no candidate."""
    network = with_random_weights(
        DopeNetwork(small_checkpoint().config, Mode(32, 64, 200, False)), seed=5
    )
    rgb = picture(32, 32)
    eager = network(torch.from_numpy(rgb).permute(2, 0, 1), NO_SCORE)
    graph = static(network, 32, 32, candidates=5000)
    (found,) = graph.layout.unpack(graph(torch.from_numpy(rgb)).numpy(), NO_SCORE)
    assert_same_candidates(eager, found)


def test_the_graph_proposes_boxes_of_the_same_sizes():
    mode = replace(SMALL, min_box=30, max_box=70)
    network = small_checkpoint().build(mode)
    assert_graph_agrees(network, 96, 128, "op")
    rgb = torch.from_numpy(picture(96, 128)).permute(2, 0, 1)
    boxes = network(rgb, NO_SCORE)["face"].boxes * (SMALL.min_size / 96)
    longer = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1)
    assert len(boxes) and longer.min() + 0.01 >= 30 and longer.max() - 0.01 <= 70
