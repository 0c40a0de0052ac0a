"""The loop: it learns, resumes exactly and stops loudly."""

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
from training_runs import MODE, SETTINGS, fresh, recorded, trainer  # noqa: E402

from dope_model.checkpoint import load_checkpoint  # noqa: E402
from dope_model.datasets.labels import LabelSet  # noqa: E402
from dope_model.pictures import read_rgb  # noqa: E402
from dope_model.postprocess.integration import integrate  # noqa: E402
from dope_model.runtime.torch_engine import EagerEngine  # noqa: E402
from dope_model.training import loop  # noqa: E402
from dope_model.training.anchor_poses import AnchorPoses, fit_anchor_poses  # noqa: E402
from dope_model.training.augmentation import NO_AUGMENTATION  # noqa: E402
from dope_model.training.changes import with_changes  # noqa: E402
from dope_model.training.data import Batches, Source, Views  # noqa: E402
from dope_model.training.fresh import fresh_checkpoint  # noqa: E402
from dope_model.training.loop import Trainer, TrainingDiverged  # noqa: E402
from dope_model.training.movenet import OPEN  # noqa: E402
from dope_model.training.settings import TrainingSettings  # noqa: E402
from dope_model.training.shared_pictures import SharedPictures  # noqa: E402
from dope_model.training.stopping import stops_when_asked  # noqa: E402


@pytest.mark.parametrize(
    "changes",
    [[], ["accumulate=2"], ["optimizer=adamw"], ["averaging=0.9"], ["train_batch_norms=true"]],
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
        SETTINGS,
        heatmaps_of=("face",),
        train_batch_norms=True,
        optimizer="adamw",
        mixed_precision=False,
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
