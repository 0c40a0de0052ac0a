"""Batch norms in training, averages of weights, half precision."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
from torchvision.ops.misc import FrozenBatchNorm2d  # noqa: E402
from training_runs import SETTINGS, fresh, recorded  # noqa: E402

from dope_model.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from dope_model.network.backbone import stages_of  # noqa: E402
from dope_model.training import optimizer  # noqa: E402
from dope_model.training.augmentation import NO_AUGMENTATION  # noqa: E402
from dope_model.training.averaging import mean_of  # noqa: E402
from dope_model.training.data import Views, collate  # noqa: E402
from dope_model.training.folding import fold_frozen_norms  # noqa: E402
from dope_model.training.loop import Trainer  # noqa: E402
from dope_model.training.norms import unfreeze_batch_norms  # noqa: E402

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

        assert unfreeze_batch_norms(network, stages[4:], look) == (14 + 10) * 3
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
        SETTINGS,
        heatmaps_of=("face",),
        train_batch_norms=True,
        frozen_stages=4,
        mixed_precision=False,
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
        SETTINGS, heatmaps_of=("face",), train_batch_norms=True, averaging=0.6,
        mixed_precision=False, optimizer="adamw", learning_rate=0.02, warm_up_steps=0,
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
