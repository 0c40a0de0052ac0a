"""Losses by hand, and the loop: it learns, resumes exactly and stops loudly."""

from __future__ import annotations

import json
import math
import os
import pickle
import signal
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from labelled_pictures import hand_labels, write_ring_pictures  # noqa: E402
from torchvision.ops.misc import FrozenBatchNorm2d  # noqa: E402

from dope_model.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from dope_model.datasets.labels import LabelSet  # noqa: E402
from dope_model.network.backbone import stages_of  # noqa: E402
from dope_model.network.config import Mode  # noqa: E402
from dope_model.network.heads import PartOutput  # noqa: E402
from dope_model.network.keypoint_head import (  # noqa: E402
    PEAK,
    POINT_SCALE,
    SHARPNESS,
    Fusion,
    decode_heatmaps,
)
from dope_model.pictures import read_rgb  # noqa: E402
from dope_model.postprocess.integration import integrate  # noqa: E402
from dope_model.runtime.torch_engine import EagerEngine  # noqa: E402
from dope_model.training import loop, optimizer, step  # noqa: E402
from dope_model.training.anchor_poses import AnchorPoses, fit_anchor_poses  # noqa: E402
from dope_model.training.augmentation import NO_AUGMENTATION  # noqa: E402
from dope_model.training.averaging import mean_of  # noqa: E402
from dope_model.training.changes import with_changes  # noqa: E402
from dope_model.training.data import Batches, Source, Views, collate  # noqa: E402
from dope_model.training.folding import fold_frozen_norms  # noqa: E402
from dope_model.training.fresh import fresh_checkpoint  # noqa: E402
from dope_model.training.loop import Trainer, TrainingDiverged  # noqa: E402
from dope_model.training.losses import (  # noqa: E402
    classification_loss,
    confidence_loss,
    distillation_class_loss,
    distillation_pose_loss,
    gate_loss,
    heatmap_loss,
    regression_loss,
)
from dope_model.training.movenet import OPEN  # noqa: E402
from dope_model.training.norms import let_norms_learn  # noqa: E402
from dope_model.training.settings import TrainingSettings  # noqa: E402
from dope_model.training.shared_pictures import SharedPictures  # noqa: E402
from dope_model.training.step import LossSettings, expert_boxes, training_losses  # noqa: E402
from dope_model.training.stopping import stops_when_asked  # noqa: E402
from dope_model.training.targets import (  # noqa: E402
    BatchTargets,
    BoxTargets,
    PartTargets,
    shows_nobody,
)

SETTINGS = TrainingSettings(
    epochs=4, batch_size=2, learning_rate=0.004, warm_up_steps=4, width=96, height=96, workers=0,
    losses=LossSettings(boxes_per_image=24), augmentation=replace(NO_AUGMENTATION, flip=0.5),
)  # fmt: skip
MODE = Mode(96, 200, 20, False)


@pytest.fixture(scope="module")
def rings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rings")
    labels = write_ring_pictures(folder, 20, side=96)
    return Source(labels, folder / "pictures")


def fresh(rings, seed=0, backbone="mobilenet_v2"):
    anchors = {"face": fit_anchor_poses("face", LabelSet.load(rings.labels), 2)}
    return fresh_checkpoint(anchors, backbone, MODE, seed=seed)


def trainer(rings, folder, settings=SETTINGS, **more) -> Trainer:
    return Trainer(fresh(rings), [rings], settings, folder, torch.device("cpu"), **more)


# --- folded norms ---


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "resnet50"])
def test_folded_norms_change_neither_losses_nor_gradients(rings, backbone):
    checkpoint = fresh(rings, backbone=backbone)
    batch = collate([Views([rings], {}, (96, 96), NO_AUGMENTATION, 0)[0, 3]])
    results = []
    for fold in (False, True):
        network = checkpoint.build().double().train()
        norms = sum(name.endswith("running_var") for name in network.state_dict())
        assert not fold or fold_frozen_norms(network) == norms
        features = network.features(batch.images.double()).coarse
        network.roi_features(features).square().mean().backward()
        results.append({n: p.grad for n, p in network.named_parameters() if p.grad is not None})
    plain, folded = results
    trained = {n for n in checkpoint.state if n.startswith(("backbone.", "roi_features."))}
    assert plain.keys() == folded.keys() == trained & dict(network.named_parameters()).keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(folded[name], gradient, rtol=1e-4, atol=1e-9)


# --- norms that learn, and half precision ---


def test_norms_that_learn_start_as_the_frozen_ones(rings):
    """With their own statistics and, for the pictures that gave them, with each batch's."""
    network = fresh(rings, backbone="mobilenet_v2_keypoints").build().double()
    images = collate([Views([rings], {}, (96, 96), NO_AUGMENTATION, 0)[0, 3]] * 2).images.double()
    images[1] *= -0.7
    stages = stages_of(network.backbone)
    with torch.no_grad():
        frozen = network.eval().features(images)

        def look():
            network.features(images)

        assert let_norms_learn(network, stages[4:], look) == (14 + 10) * 3
        torch.testing.assert_close(network.features(images), frozen)
        blocks = network.backbone.blocks
        own = blocks(images)
        torch.testing.assert_close(blocks.train()(images), own)
        other = images.flip(0) * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
        assert not torch.allclose(blocks(other), blocks.eval()(other), rtol=0.01)
    assert not any(isinstance(m, FrozenBatchNorm2d) for s in stages[4:] for m in s.modules())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for s in stages[:4] for m in s.modules())


def test_what_norms_learned_is_written_for_the_frozen_network(rings, tmp_path):
    checkpoint = fresh(rings, backbone="mobilenet_v2_keypoints")
    names = set(checkpoint.state)
    before = {name: value.clone() for name, value in checkpoint.state.items()}
    settings = replace(
        SETTINGS, heatmaps_of=("face",), norms_learn=True, frozen_stages=4, mixed_precision=False
    )
    run = Trainer(checkpoint, [rings], settings, tmp_path, torch.device("cpu"))
    recorded(run, 3)
    written = load_checkpoint(tmp_path / "weights.safetensors")
    assert set(written.state) == names
    norm = "backbone.blocks.9.conv.1.1"
    for tensor in ("weight", "bias", "running_mean", "running_var"):
        assert not torch.equal(written.state[f"{norm}.{tensor}"], before[f"{norm}.{tensor}"])
    still = [n for n in names if n.startswith(tuple(f"backbone.blocks.{k}." for k in range(4)))]
    assert still and all(torch.equal(written.state[n], before[n]) for n in still)
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        learned = run.network.eval().features(images)
        torch.testing.assert_close(
            written.build().float().eval().features(images), learned, rtol=2e-2, atol=2e-2
        )


def test_averages_have_their_own_statistics(rings, tmp_path):
    """The written norms' statistics are averaged as the weights are."""
    settings = replace(
        SETTINGS, heatmaps_of=("face",), norms_learn=True, averaging=0.6, mixed_precision=False,
        optimizer="adamw", learning_rate=0.02, warm_up_steps=0,
    )  # fmt: skip
    checkpoint = fresh(rings, backbone="mobilenet_v2_keypoints")
    run = Trainer(checkpoint, [rings], settings, tmp_path, torch.device("cpu"))
    norm, means = run.network.backbone.blocks[9].conv[1][1], []
    run.run(3, lambda *_: means.append(norm.running_mean.clone()))
    expected = means[0]
    for mean in means[1:]:
        expected = 0.6 * expected + 0.4 * mean
    written = load_checkpoint(tmp_path / "weights.safetensors").state
    error = (written["backbone.blocks.9.conv.1.1.running_mean"] - expected).norm()
    assert error < 0.05 * (means[-1] - expected).norm()


def test_the_mean_of_weights(rings, tmp_path):
    """Weights whose norms say the same in other numbers have themselves as their mean."""
    one = fresh(rings, backbone="mobilenet_v2_keypoints")
    other = replace(one, state={k: v.clone() for k, v in one.state.items()})
    norm, random = "backbone.blocks.9.conv.1.1", torch.Generator().manual_seed(2)
    weight, bias, mean, var = (
        other.state[f"{norm}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
    )
    new_mean = torch.randn(len(mean), generator=random)
    new_var = torch.rand(len(var), generator=random) + 0.5
    scale = weight * (var + 1e-5).rsqrt()
    bias += (new_mean - mean) * scale
    weight.copy_(scale * (new_var + 1e-5).sqrt())
    mean.copy_(new_mean)
    var.copy_(new_var)
    other.state["backbone.joined.weight"] += 0.5
    paths = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    for checkpoint, path in zip((one, other), paths, strict=True):
        save_checkpoint(checkpoint, path)
    found = mean_of([load_checkpoint(path) for path in paths])
    expected = one.state["backbone.joined.weight"] + 0.25
    torch.testing.assert_close(found.state["backbone.joined.weight"], expected)
    x = torch.randn(1, 3, 64, 64, generator=random)
    with torch.no_grad():
        wanted, blocks = (c.build().backbone.blocks(x) for c in (one, found))
    torch.testing.assert_close(blocks, wanted, rtol=1e-3, atol=1e-4)


def test_strangers_have_no_mean(rings):
    one, other = fresh(rings), fresh(rings, backbone="mobilenet_v2_keypoints")
    with pytest.raises(ValueError, match="different networks"):
        mean_of([one, other])
    other = replace(one, state=dict(one.state))
    other.state["branches.face.anchor_poses"] = one.state["branches.face.anchor_poses"] + 0.1
    with pytest.raises(ValueError, match="different anchor poses"):
        mean_of([one, other])


def test_half_precision_on_a_cpu_is_for_the_backbone(rings, tmp_path, monkeypatch):
    """What is made of its features is float32 again, and the losses are nearly the same."""
    checkpoint = fresh(rings, backbone="mobilenet_v2_keypoints")
    settings = replace(SETTINGS, heatmaps_of=("face",))
    losses = []
    for half in (False, True):
        monkeypatch.setattr(optimizer, "_multiplies_bfloat16", lambda half=half: half)
        run = Trainer(checkpoint, [rings], settings, tmp_path / str(half), torch.device("cpu"))
        block = DtypeOf(run.network.backbone.blocks[9])
        features = run.network.features(torch.zeros(1, 3, 96, 96))
        assert all(x.dtype == torch.float32 for x in features)
        assert block.dtype == (torch.bfloat16 if half else torch.float32)
        losses.append(recorded(run, 1)[0])
        assert all(value.dtype != torch.bfloat16 for value in run.checkpoint.state.values())
    plain, half = losses
    assert plain != half
    assert half == pytest.approx(plain, rel=0.02)


class DtypeOf:
    """Notes of which type a module's outputs are."""

    def __init__(self, module):
        module.register_forward_hook(self)

    def __call__(self, module, inputs, output):
        self.dtype = output.dtype


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


def recorded(run: Trainer, batches: int | None) -> list[dict]:
    losses: list[dict] = []
    run.run(batches, lambda _, values: losses.append(values))
    return losses


@pytest.mark.parametrize(
    "changes",
    [[], ["accumulate=2"], ["optimizer=adamw"], ["averaging=0.9"], ["norms_learn=true"]],
    ids=str,
)
def test_resuming_goes_on_as_if_nothing_had_happened(rings, tmp_path, changes):
    settings = with_changes(SETTINGS, changes)
    straight = recorded(trainer(rings, tmp_path / "a", settings), 4)
    first = recorded(trainer(rings, tmp_path / "b", settings), 1)
    again = trainer(rings, tmp_path / "b", settings)
    assert again.batch == 1
    resumed = first + recorded(again, 3)
    for one, other in zip(straight, resumed, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
    log = [json.loads(line) for line in (tmp_path / "b" / "losses.jsonl").read_text().splitlines()]
    assert [entry["batch"] for entry in log] == list(range(1, 5))
    ends = [load_checkpoint(tmp_path / run / "weights.safetensors").state for run in "ab"]
    for name, tensor in ends[0].items():
        assert torch.allclose(tensor, ends[1][name], rtol=1e-3, atol=1e-5), name


def test_steps_keep_their_sizes_when_norms_that_learn_resume(rings, tmp_path):
    """AdamW's steps go by the weights' sizes at the run's start, which a resumed run has lost."""
    settings = replace(
        SETTINGS, heatmaps_of=("face",), norms_learn=True, optimizer="adamw", mixed_precision=False
    )

    def begin() -> Trainer:
        checkpoint = fresh(rings, backbone="mobilenet_v2_keypoints")
        return Trainer(checkpoint, [rings], settings, tmp_path, torch.device("cpu"))

    def steps(run: Trainer) -> dict[str, float]:
        names = {id(p): name for name, p in run.network.named_parameters()}
        groups = run.optimizer.param_groups
        return {names[id(p)]: group["share"] for group in groups for p in group["params"]}

    first = begin()
    sizes = steps(first)
    assert len(set(sizes.values())) > 5
    first.run(1)
    again = begin()
    assert again.batch == 1 and steps(again) == sizes
    again.run(1)
    assert again.batch == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_between_two_batches(rings, tmp_path, number):
    before = signal.getsignal(number)
    run = trainer(rings, tmp_path)
    at_second = partial(_kill_at, 2, number)
    with stops_when_asked(run.stop):
        run.run(on_batch=at_second)
    assert run.batch == 2 and trainer(rings, tmp_path).batch == 2
    assert signal.getsignal(number) is before


def _kill_at(batch, number, run, _):
    if run.batch == batch:
        os.kill(os.getpid(), number)


def test_averaged_weights_are_written(rings, tmp_path):
    """The average starts at the first step's weights; the second step's count for a quarter."""
    run = trainer(rings, tmp_path, with_changes(SETTINGS, ["averaging=0.75"]))
    seen: list[torch.Tensor] = []
    bias = run.network.branches["face"].cls_score.bias
    run.run(2, lambda *_: seen.append(bias.detach().clone()))
    state = load_checkpoint(tmp_path / "weights.safetensors").state
    written = state["branches.face.cls_score.bias"]
    assert torch.allclose(written, 0.75 * seen[0] + 0.25 * seen[1], atol=1e-7)
    assert not torch.allclose(written, seen[1], atol=1e-7)


def test_an_unknown_optimizer_is_refused(rings, tmp_path):
    with pytest.raises(ValueError, match="unknown optimizer 'adam'; known: sgd, adamw"):
        trainer(rings, tmp_path, with_changes(SETTINGS, ["optimizer=adam"]))


def test_other_settings_do_not_resume(rings, tmp_path):
    trainer(rings, tmp_path).run(1)
    with pytest.raises(ValueError, match="other settings .learning_rate"):
        trainer(rings, tmp_path, replace(SETTINGS, learning_rate=0.1))
    trainer(rings, tmp_path, replace(SETTINGS, workers=1))  # changes no result


def test_a_loss_that_is_no_number_stops_the_run(rings, tmp_path):
    run = trainer(rings, tmp_path)
    run.run(1)
    with torch.no_grad():
        run.network.branches["face"].cls_score.bias.fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="batch 1: .*face/class"):
        run.run(1)
    saved = load_checkpoint(tmp_path / "weights.safetensors")
    assert all(t.isfinite().all() for t in saved.state.values())


def test_the_schedule_of_the_paper():
    settings = TrainingSettings(epochs=50, learning_rate=0.02, warm_up_steps=10)
    rates = [settings.learning_rate_at(99, epoch / 50) for epoch in (1, 29, 30, 44, 45, 49)]
    assert rates == pytest.approx([0.02, 0.02, 0.002, 0.002, 0.0002, 0.0002])
    assert settings.learning_rate_at(0, 0) == pytest.approx(0.0002)


def test_a_cosine_ends_at_nothing():
    settings = TrainingSettings(learning_rate=0.02, warm_up_steps=0, drops=())
    rates = [settings.learning_rate_at(9, share) for share in (0, 0.25, 0.5, 0.75, 1)]
    half = 0.5**0.5 / 2
    assert rates == pytest.approx([0.02, 0.02 * (0.5 + half), 0.01, 0.02 * (0.5 - half), 0])


def test_a_run_by_the_clock_ends_in_time_and_goes_on(rings, tmp_path, monkeypatch):
    """Each look at the clock finds it 5 s later; a run of 21 s is cut in two."""
    clock = iter(range(0, 100_000, 5))
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(clock))
    settings = replace(SETTINGS, epochs=1, minutes=0.35, save_minutes=1e9, drops=(0.5,))
    first = trainer(rings, tmp_path, settings)
    rates = []
    first.run(1, lambda run, _: rates.append(run._rate()))
    assert first.done == pytest.approx(first.seconds / 21) and 0 < first.done < 1
    again = trainer(rings, tmp_path, settings)
    assert again.seconds == first.seconds
    again.run(on_batch=lambda run, _: rates.append(run._rate()))
    assert again.done >= 1 > again.done - 15 / 21
    assert rates[-1] == pytest.approx(settings.learning_rate / 10)


def test_an_epoch_shows_every_picture_once():
    batches = list(Batches(11, 2, seed=3, first=0, stop=10))
    for epoch in (0, 1):
        keys = [key for batch in batches[5 * epoch : 5 * epoch + 5] for key in batch]
        assert {e for e, _ in keys} == {epoch}
        assert len({index for _, index in keys}) == 10
    assert list(Batches(11, 2, seed=3, first=3, stop=8)) == batches[3:8]
    assert [i for _, i in batches[0]] != [i for _, i in batches[5]]


def test_data_that_is_not_there_is_named(rings, tmp_path):
    with pytest.raises(ValueError, match="LABELS:IMAGES"):
        Source.parse("labels.npz")
    assert Source.parse("a:b:3").repeat == 3
    with pytest.raises(FileNotFoundError, match="20 of the 20 pictures"):
        Views([Source(rings.labels, tmp_path)], {}, (96, 96), NO_AUGMENTATION, 0)


def test_settings_from_the_command_line():
    changed = with_changes(
        TrainingSettings(), ["epochs=3", "losses.distillation=0.5", "drops=0.5,0.7"]
    )
    assert (changed.epochs, changed.losses.distillation, changed.drops) == (3, 0.5, (0.5, 0.7))
    with pytest.raises(ValueError, match="unknown setting 'losses.colour'"):
        with_changes(TrainingSettings(), ["losses.colour=3"])
    with pytest.raises(ValueError, match="epochs is a number"):
        with_changes(TrainingSettings(), ["epochs=many"])
    with pytest.raises(ValueError, match="drops are numbers with commas"):
        with_changes(TrainingSettings(), ["drops=early"])
    changed = with_changes(TrainingSettings(), ["augmentation.centred_parts=hand,hand,face"])
    assert changed.augmentation.centred_parts == ("hand", "hand", "face")
    with pytest.raises(ValueError, match="foot is no part"):
        with_changes(TrainingSettings(), ["augmentation.centred_parts=hand,foot"])
    for sizes in ("0,1", "0.5,0.2"):
        with pytest.raises(ValueError, match="is no range of sizes"):
            with_changes(TrainingSettings(), [f"augmentation.centred_size={sizes}"])


@pytest.mark.parametrize(
    "backbone", ["mobilenet_v2", "mobilenet_v2_keypoints", "resnet50_original"]
)
def test_every_backbone_takes_a_step(rings, tmp_path, backbone):
    run = Trainer(fresh(rings, backbone=backbone), [rings], SETTINGS, tmp_path, torch.device("cpu"))
    before = run.network.branches["face"].cls_score.weight.clone()
    (losses,) = recorded(run, 1)
    assert all(math.isfinite(value) for value in losses.values())
    assert not torch.equal(before, run.network.branches["face"].cls_score.weight)


def test_heat_maps_alone_are_learned_without_the_rest(rings, tmp_path):
    """Their losses fall, neither proposals nor heads change, and the gates are open to them."""
    settings = replace(
        SETTINGS, heatmaps_of=("face",), open_gates=True, optimizer="adamw", learning_rate=0.003
    )
    checkpoint = fresh(rings, backbone="mobilenet_v2_keypoints")
    trust = checkpoint.state["branches.face.map_trust.trust.bias"] = torch.full((25,), -3.0)
    run = Trainer(checkpoint, [rings], settings, tmp_path, torch.device("cpu"))
    before = {name: value.clone() for name, value in run.network.named_parameters()}
    losses = recorded(run, 24)
    assert all(list(step) == ["face/heatmaps"] for step in losses)
    values = [step["face/heatmaps"] for step in losses]
    assert sum(values[-6:]) < 0.8 * sum(values[:6])
    changed = {n for n, v in run.network.named_parameters() if not torch.equal(v, before[n])}
    assert changed and all(name.startswith("backbone.") for name in changed)
    trusting = load_checkpoint(tmp_path / "weights.safetensors").state
    assert trusting["branches.face.map_trust.trust.bias"].tolist() == pytest.approx(
        [OPEN] * len(trust), abs=1e-3
    )


def test_nothing_but_the_maps_changes(rings, tmp_path):
    """With all other stages frozen, RPN and heads find what they know."""
    settings = replace(SETTINGS, heatmaps_of=("face",), frozen_stages=23, optimizer="adamw")
    checkpoint = fresh(rings, backbone="mobilenet_v2_keypoints")
    checkpoint.state["branches.face.map_trust.trust.bias"] = torch.full((25,), -3.0)
    before = {name: value.clone() for name, value in checkpoint.state.items()}
    run = Trainer(checkpoint, [rings], settings, tmp_path, torch.device("cpu"))
    recorded(run, 2)
    after = load_checkpoint(tmp_path / "weights.safetensors").state
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("backbone.part_maps.") for name in changed)


def test_the_maps_of_hands_learn_alone(rings, tmp_path):
    """From the pictures that show a hand, and nothing else changes: faces stay known."""
    samples = list(LabelSet.load(rings.labels))
    for i, sample in enumerate(samples):
        hands = hand_labels(3 * (1 - i % 2), seed=i)
        sample.parts["hand"] = replace(hands, keypoints_2d=0.48 * hands.keypoints_2d)
    LabelSet(samples).save(tmp_path / "labels.npz")
    source = Source(tmp_path / "labels.npz", rings.images)
    anchors = {part: fit_anchor_poses(part, LabelSet(samples), 2) for part in ("hand", "face")}
    checkpoint = fresh_checkpoint(anchors, "mobilenet_v2_keypoints", MODE)
    before = {name: value.clone() for name, value in checkpoint.state.items()}
    settings = replace(
        SETTINGS, heatmaps_of=("hand",), frozen_stages=24,
        optimizer="adamw",
    )  # fmt: skip
    folder = tmp_path / "run"
    run = Trainer(checkpoint, [source], settings, folder, torch.device("cpu"))
    assert [path.name for path, _, _ in run.views.items] == [s.file for s in samples[::2]]
    assert list(run.views[0, 0][1]) == ["hand"]  # other targets would cost time for nothing
    assert all(list(step) == ["hand/heatmaps"] for step in recorded(run, 2))
    after = load_checkpoint(folder / "weights.safetensors").state
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("backbone.part_maps.hands.") for name in changed)


@pytest.mark.parametrize("parts", ["hand", "foot,face"])
def test_maps_of_parts_that_are_not_there_are_refused(rings, tmp_path, parts):
    settings = replace(SETTINGS, heatmaps_of=tuple(parts.split(",")))
    checkpoint = fresh(rings, backbone="mobilenet_v2_keypoints")
    with pytest.raises(ValueError, match=f"the network has no {parts[:4]}; take some of face"):
        Trainer(checkpoint, [rings], settings, tmp_path, torch.device("cpu"))


def test_a_canvas_that_the_network_cannot_take_is_refused(rings, tmp_path):
    with pytest.raises(ValueError, match="100 x 96 px: take multiples of 32"):
        replace(SETTINGS, width=100)


def test_a_part_without_background_is_refused(rings, tmp_path):
    labels = LabelSet.load(rings.labels)
    for sample in labels:
        sample.parts["face"].complete = False
    labels.save(tmp_path / "labels.npz")
    source = Source(tmp_path / "labels.npz", rings.images)
    with pytest.raises(ValueError, match="in none of the pictures every face is labelled"):
        Trainer(fresh(rings), [source], SETTINGS, tmp_path / "a", torch.device("cpu"))
    settings = replace(SETTINGS, partial_is_background=True)
    Trainer(fresh(rings), [source], settings, tmp_path / "b", torch.device("cpu"))


def test_nonsense_is_refused(rings, tmp_path):
    for name in ("batch_size", "accumulate"):
        with pytest.raises(ValueError, match="take 1 or more"):
            replace(SETTINGS, **{name: 0})
    hand = fresh_checkpoint(
        {"hand": AnchorPoses("hand", np.zeros((2, 21, 5), np.float32))}, "mobilenet_v2", MODE
    ).build()
    with pytest.raises(ValueError, match="an expert for hand, and the network has no such part"):
        trainer(rings, tmp_path, experts={"hand": hand})


def test_heat_maps_are_asked_of_networks_that_have_some(rings, tmp_path):
    settings = replace(SETTINGS, heatmaps_of=("face",))
    with pytest.raises(ValueError, match="mobilenet_v2 has no heat maps"):
        trainer(rings, tmp_path, settings)


def test_pictures_that_fit_into_memory_are_decoded_once(rings, tmp_path, monkeypatch):
    read = []

    def counted(path):
        read.append(path)
        return read_rgb(path)

    monkeypatch.setattr("dope_model.training.shared_pictures.read_labelled", counted)
    views = Views([rings], {}, (96, 96), NO_AUGMENTATION, 0)
    room = int(2.5 * 96 * 96 * 3)  # for two of the pictures
    views.read = SharedPictures(tmp_path / "raw", views.sizes(), room)
    first = [views[0, k][0] for k in range(3)]
    elsewhere = pickle.loads(pickle.dumps(views))  # as a worker gets it
    again = [elsewhere[0, k][0] for k in range(3)]
    assert read == [views.items[k][0] for k in (0, 1, 2, 2)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_run_with_workers_shares_its_pictures_and_removes_them(rings, tmp_path):
    plain, shared = tmp_path / "plain", tmp_path / "shared"
    alone = recorded(trainer(rings, plain), 3)
    together = recorded(trainer(rings, shared, replace(SETTINGS, workers=2, memory_gb=1)), 3)
    assert alone == together
    assert {f.name for f in shared.iterdir()} == {f.name for f in plain.iterdir()}


def test_adamw_moves_pretrained_layers_by_a_share_of_their_size(rings, tmp_path):
    """A first step of Adam is the rate times the gradient's sign, wherever that is not tiny; the
    warm-up starts at a hundredth of the rate."""
    settings = replace(SETTINGS, optimizer="adamw", weight_decay=0.0, warm_up_steps=1)
    checkpoint = fresh(rings, backbone="mobilenet_v2_keypoints")
    name = "backbone.smooth.8.1.weight"
    checkpoint.state[name] *= 1e-3
    run = Trainer(checkpoint, [rings], settings, tmp_path, torch.device("cpu"))
    parameter = dict(run.network.named_parameters())[name]
    before = parameter.detach().clone()
    recorded(run, 1)
    step = (parameter.detach() - before).abs().max().item()
    size = before.square().mean().sqrt().item()
    assert step == pytest.approx(0.01 * settings.learning_rate * size, rel=0.1)


def test_a_pyramid_freezes_from_its_first_stage_on(rings, tmp_path):
    checkpoint = fresh(rings, backbone="mobilenet_v2_keypoints")
    for stages, moving in ((18, "top"), (22, "joined"), (0, "blocks.0.0")):
        settings = replace(SETTINGS, frozen_stages=stages)
        folder = tmp_path / str(stages)
        network = Trainer(checkpoint, [rings], settings, folder, torch.device("cpu")).network
        trained = [n for n, p in network.backbone.named_parameters() if p.requires_grad]
        assert trained[0].startswith(moving)
    assert len(trained) == len(list(network.backbone.parameters()))


def test_a_part_expert_learns_eight_pictures_by_heart(tmp_path):
    """From random weights to landmarks on their places."""
    labels = write_ring_pictures(tmp_path / "data", 8, seed=5, side=96)
    samples = LabelSet.load(labels)
    anchors = {"face": fit_anchor_poses("face", LabelSet(samples.samples * 3), 2)}
    settings = replace(
        SETTINGS, epochs=140, batch_size=4, learning_rate=0.01, augmentation=NO_AUGMENTATION
    )
    run = Trainer(
        fresh_checkpoint(anchors, "mobilenet_v2", MODE),
        [Source(labels, tmp_path / "data/pictures")],
        settings, tmp_path / "run", torch.device("cpu"),
    )  # fmt: skip
    losses = recorded(run, None)
    for name in ("rpn/objectness", "face/class"):
        at_last = np.mean([values[name] for values in losses[-20:]])
        assert at_last < 0.15 * losses[0][name], name
    checkpoint = load_checkpoint(tmp_path / "run" / "weights.safetensors")
    engine = EagerEngine(checkpoint, MODE, "cpu")
    errors = []
    for sample in samples:
        picture = read_rgb(tmp_path / "data/pictures" / sample.file)
        found = integrate(engine(picture)["face"], checkpoint.integration["face"])
        assert len(found), sample.file
        truth = sample.parts["face"].keypoints_2d[0]
        errors.append(np.abs(found.keypoints_2d[0] - truth).mean() / np.ptp(truth))
    assert np.mean(errors) < 0.1, "landmarks within a tenth of the face"
