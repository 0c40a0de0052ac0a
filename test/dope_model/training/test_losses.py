"""Losses by hand, and what is drawn for them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from training_runs import fresh, trainer  # noqa: E402

from dope_model.datasets.labels import LabelSet  # noqa: E402
from dope_model.network.heads import PartOutput  # noqa: E402
from dope_model.network.keypoint_head import (  # noqa: E402
    PEAK,
    POINT_SCALE,
    SHARPNESS,
    Fusion,
    decode_heatmaps,
)
from dope_model.training import step  # noqa: E402
from dope_model.training.anchor_poses import fit_anchor_poses  # noqa: E402
from dope_model.training.augmentation import NO_AUGMENTATION  # noqa: E402
from dope_model.training.data import Views, collate  # noqa: E402
from dope_model.training.losses import (  # noqa: E402
    classification_loss,
    confidence_loss,
    distillation_class_loss,
    distillation_pose_loss,
    gate_loss,
    heatmap_loss,
    regression_loss,
)
from dope_model.training.step import LossSettings, expert_boxes, training_losses  # noqa: E402
from dope_model.training.targets import (  # noqa: E402
    BatchTargets,
    BoxTargets,
    PartTargets,
    shows_nobody,
)

# --- losses -------------------------------------------------------------------------------------


def test_classification_by_hand():
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [5.0, 1.0]])
    boxes, poses, valid = torch.zeros(3, 4), torch.zeros(3, 1, 5), torch.zeros(3, 1, 2).bool()
    labels = torch.tensor([1, 0, -1])  # the last box is asked nothing
    expected = (math.log(2) + math.log(4 / 3)) / 2
    found = classification_loss(logits, BoxTargets(boxes, labels, poses, valid)).item()
    assert found == pytest.approx(expected)
    unasked = BoxTargets(boxes, torch.full((3,), -1), poses, valid)
    assert classification_loss(logits, unasked).item() == 0


def regression_case(valid_2d=True):
    """One positive box in two, of class 2; its pose is off in u of one joint and z of both."""
    boxes = torch.tensor([[0.0, 0, 100, 50], [0, 0, 10, 10]])
    anchors = torch.zeros(2, 2, 5)
    anchors[1] = torch.tensor([[0.5, 0.5, 0.1, 0.2, 0.3], [0.0, 0.0, 0.0, 0.0, 0.0]])
    deltas = torch.zeros(2, 2, 2, 5)
    poses = torch.zeros(2, 2, 5)
    poses[0, 0] = torch.tensor([60.0, 25.0, 0.1, 0.2, 0.4])  # u: 0.6 of the box instead of 0.5
    poses[0, 1, 4] = 0.2
    valid = torch.ones(2, 2, 2, dtype=torch.bool)
    valid[0, 0, 0] = valid_2d
    targets = BoxTargets(boxes, torch.tensor([2, 0]), poses, valid)
    return PartOutput(torch.zeros(2, 3), deltas, torch.ones(2, 2)), anchors, targets


def test_regression_by_hand():
    # u: 0.1 over two joints; z: 0.1 and 0.2 over two joints; times 5; over two boxes.
    expected = 5 * (0.1 / 2 + 0.3 / 2) / 2
    assert regression_loss(*regression_case()).item() == pytest.approx(expected, rel=1e-5)


def test_a_joint_that_is_not_valid_costs_nothing():
    expected = 5 * (0 + 0.3 / 2) / 2
    case = regression_case(valid_2d=False)
    assert regression_loss(*case).item() == pytest.approx(expected, rel=1e-5)


def test_only_the_true_class_is_regressed():
    output, *rest = regression_case()
    output.deltas.requires_grad_(True)
    regression_loss(output, *rest).backward()
    touched = output.deltas.grad.abs().sum(dim=(2, 3)) > 0
    assert touched.tolist() == [[False, True], [False, False]]


def test_maps_by_hand():
    """Joint 0 lies between two cells of map 1, joint 1 beside the box, joint 2 is not valid."""
    maps = {0: 1, 1: 0, 2: 2}
    boxes = torch.tensor([[0.0, 0, 8, 8], [8.0, 0, 16, 8], [0.0, 0, 4, 4]])
    poses = torch.zeros(3, 3, 5)
    poses[1, 0, :2] = torch.tensor([11.5, 5.0])  # x: 1.25 cells from the first one's middle
    poses[1, 1, :2] = torch.tensor([5.0, 5.0])
    poses[1, 2, :2] = torch.tensor([11.0, 5.0])
    valid = torch.ones(3, 3, 2, dtype=torch.bool)
    valid[1, 2, 0] = False
    fine = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    fine[1, 1] = 0
    fine[1, 1, 2, 1], fine[1, 1, 2, 2] = math.log(3) / SHARPNESS, math.log(2) / SHARPNESS
    # 14 cells of weight 1 beside those of 3 and 2; the place is 3/4 in the one, 1/4 in the other.
    expected = -(0.75 * math.log(3 / 19) + 0.25 * math.log(2 / 19))
    targets = BoxTargets(boxes, torch.tensor([0, 2, -1]), poses, valid)
    assert heatmap_loss(fine, maps, targets).item() == pytest.approx(expected)
    # A second positive box without a joint in it halves the mean.
    targets.labels[2] = 1
    poses[2, :, 0] = 20
    assert heatmap_loss(fine, maps, targets).item() == pytest.approx(expected / 2)
    assert heatmap_loss(fine, maps, replace(targets, labels=torch.zeros(3).long())).item() == 0


def test_heat_maps_learn_where_joints_are():
    """Following the gradient moves the decoded point onto the joint, also to the very edge."""
    boxes = torch.tensor([[0.0, 0, 28, 28]])
    poses = torch.zeros(1, 2, 5)
    poses[0, :, :2] = torch.tensor([[20.3, 9.0], [28.0, 0.2]])
    valid = torch.ones(1, 2, 2, dtype=torch.bool)
    fine = torch.zeros(1, 2, 28, 28, requires_grad=True)
    targets = BoxTargets(boxes, torch.tensor([1]), poses, valid)
    for _ in range(200):
        loss = heatmap_loss(fine, {0: 0, 1: 1}, targets)
        (gradient,) = torch.autograd.grad(loss, fine)
        fine = (fine - gradient).detach().requires_grad_(True)
    places = decode_heatmaps(fine)[0, PEAK].T / POINT_SCALE + 0.5
    torch.testing.assert_close(places * 28, poses[0, :, :2], atol=0.6, rtol=0)


def test_confidence_by_hand():
    """A right peak, a wrong one, one that is not labelled; and two boxes in pictures of nobody."""
    heatmaps = torch.full((3, 3, 28, 28), -9.0)
    for joint, (x, y, height) in enumerate(((7, 5, 1.0), (20, 5, 2.0), (3, 3, 3.0))):
        heatmaps[0, joint, y, x] = height
    heatmaps[1, 0, 4, 4], heatmaps[2, 1, 9, 9] = 1.5, 0.5
    poses = torch.zeros(3, 3, 5)
    poses[0, :, :2] = torch.tensor([[7.5, 7.9], [12.0, 5.5], [3.5, 3.5]])  # off by 2.4, 8 and 0
    valid = torch.ones(3, 3, 2, dtype=torch.bool)
    valid[0, 2, 0] = False
    boxes = torch.tensor([[0.0, 0, 28, 28]] * 3)
    targets = BoxTargets(boxes, torch.tensor([1, 0, 0]), poses, valid)
    nobody = torch.tensor([False, True, True])

    def softplus(x):
        return math.log1p(math.exp(x))

    seen = (softplus(-1.0) + softplus(2.0)) / 2
    empty = (softplus(1.5) + softplus(0.5) + 4 * softplus(-9.0)) / 6
    found = confidence_loss(heatmaps, {0: 0, 1: 1, 2: 2}, targets, nobody).item()
    assert found == pytest.approx(seen + empty, rel=1e-5)


def test_only_pictures_without_anybody_show_nobody():
    one = PartTargets(
        np.array([[0, 0, 9, 9]], np.float32), np.array([1]), np.zeros((1, 2, 5), np.float32),
        np.ones((1, 2, 2), bool), np.zeros((0, 4), np.float32), True,
    )  # fmt: skip
    none = PartTargets(*(getattr(one, n)[:0] for n in ("boxes", "classes", "poses", "valid")),
                       one.ignored, True)  # fmt: skip
    unknown, ignored = replace(none, complete=False), replace(none, ignored=one.boxes)
    face = BatchTargets.stack([none, one, unknown, ignored, none])
    hand = BatchTargets.stack([none, none, none, none, unknown])
    found = shows_nobody({"face": face, "hand": hand})
    assert found.tolist() == [True, False, False, False, False]


def test_the_gate_by_hand():
    """The heat map is nearer for one joint of one box, the regressor for another; a third is not
    seen, and a fourth has no heat map."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 100, 200]])
    anchors = torch.zeros(2, 4, 5)
    anchors[1, :, 0] = 0.5
    poses = torch.zeros(2, 4, 5)
    poses[1, :, :2] = torch.tensor([60.0, 100.0])  # 0.1 and 0.5 from the anchor pose of class 2
    regressed, pointed = torch.zeros(2, 2, 4, 2), torch.zeros(2, 2, 3, 2)
    regressed[1, 1] = torch.tensor([0.1, 0.4])
    pointed[1, 1] = torch.tensor([[0.1, 0.55], [0.3, 0.5], [0.1, 0.5]])
    valid = torch.ones(2, 4, 2, dtype=torch.bool)
    valid[1, 2, 0] = False
    logits = torch.tensor([[9.0, 9, 9], [math.log(3), math.log(3), -5]])
    fusion = Fusion(logits, regressed, pointed, torch.tensor([0, 1, 2]))
    expected = -(math.log(3 / 4) + math.log(1 / 4)) / 2
    targets = BoxTargets(boxes, torch.tensor([0, 2]), poses, valid)
    assert gate_loss(fusion, anchors, targets).item() == pytest.approx(expected, rel=1e-5)
    nobody = replace(targets, labels=torch.zeros(2, dtype=torch.int64))
    assert gate_loss(fusion, anchors, nobody).item() == 0


def test_distilled_scores_by_hand():
    logits = torch.tensor([[0.0, math.log(3)]])
    soft = torch.tensor([[0.5, 0.5]])
    expected = -(0.5 * math.log(0.25) + 0.5 * math.log(0.75))
    assert distillation_class_loss(logits, soft).item() == pytest.approx(expected)
    hard = torch.tensor([[0.0, 1.0]])
    assert distillation_class_loss(logits, hard).item() == pytest.approx(-math.log(0.75))
    assert distillation_class_loss(torch.zeros(0, 2), torch.zeros(0, 2)).item() == 0


def test_distilled_poses_by_hand():
    mine, experts = torch.zeros(1, 2, 4, 5), torch.zeros(1, 2, 4, 5)
    experts[0, 1, 2] = torch.tensor([0.1, -0.1, 0.0, 0.0, 0.2])
    experts[0, 0] = 9  # another class does not matter
    found = distillation_pose_loss(mine, experts, torch.tensor([1]))
    assert found.item() == pytest.approx(5 * (0.2 / 4 + 0.2 / 4), rel=1e-5)


# --- step and loop ------------------------------------------------------------------------------


def one_batch(rings):
    checkpoint = fresh(rings)
    anchors = {"face": fit_anchor_poses("face", LabelSet.load(rings.labels), 2)}
    views = Views([rings], anchors, (96, 96), NO_AUGMENTATION, 0)
    return checkpoint, collate([views[(0, i)] for i in range(2)])


def test_an_expert_that_is_the_network_itself_teaches_nothing_new(rings):
    """Distilled from its own twin, a network's poses are already right."""
    checkpoint, batch = one_batch(rings)
    network, twin = checkpoint.build().train(), checkpoint.build()
    settings = LossSettings(boxes_per_image=24)
    # Let the proposals hit: the twin proposes the instances themselves.
    twin.propose = lambda images, shapes, features: list(batch.targets["face"].boxes)
    found = expert_boxes(twin, "face", batch, 8)
    assert [len(f.boxes) for f in found] == [1, 1]
    losses = training_losses(
        network, batch, settings, {"face": twin}, torch.Generator().manual_seed(0)
    )
    assert losses["face/distilled pose"].item() == pytest.approx(0, abs=1e-5)
    entropy = np.mean([-(f.scores * f.scores.log()).sum().item() for f in found])
    assert losses["face/distilled class"].item() == pytest.approx(entropy, rel=1e-4)


def test_experts_need_the_same_anchor_poses(rings, tmp_path):
    other = fresh(rings)
    other.state["branches.face.anchor_poses"] += 0.1
    with pytest.raises(ValueError, match="other anchor poses"):
        trainer(rings, tmp_path, experts={"face": other.build()})


def test_boxes_are_drawn_from_the_best_proposals(rings, monkeypatch):
    checkpoint, batch = one_batch(rings)
    network, seen = checkpoint.build().train(), []
    draw = step.sample_boxes
    monkeypatch.setattr(step, "sample_boxes", lambda *a: seen.append(a[0]) or draw(*a))
    for settings in (LossSettings(), LossSettings(proposals=5)):
        training_losses(network, batch, settings, None, torch.Generator().manual_seed(0))
    for all_boxes, best in zip(*seen, strict=True):
        assert len(all_boxes) > len(best) == 5
        torch.testing.assert_close(best, all_boxes[:5])


def test_losses_are_finite_without_any_instance(rings):
    checkpoint, batch = one_batch(rings)
    face = batch.targets["face"]
    batch.targets["face"] = replace(
        face, boxes=face.boxes[:, :0], classes=face.classes[:, :0], poses=face.poses[:, :0],
        valid=face.valid[:, :0],
    )  # fmt: skip
    losses = training_losses(checkpoint.build().train(), batch, LossSettings(boxes_per_image=24))
    assert all(math.isfinite(value.item()) for value in losses.values())
    assert losses["face/pose"].item() == 0
