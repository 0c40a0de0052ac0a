"""The one call for Python users, on a network of random weights, and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import odd_pictures
import pytest

from dope_model.__main__ import main
from dope_model.detector import WholeBodyDetector
from dope_model.drawing import draw_people, draw_people_3d, side_by_side
from dope_model.poses import PartPose, WholeBody


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    pytest.importorskip("torch")
    from random_networks import small_checkpoint

    from dope_model.checkpoint import save_checkpoint

    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_checkpoint(small_checkpoint(), path)
    return path


@pytest.fixture
def picture():
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    return cv2.resize(noise, (160, 120), interpolation=cv2.INTER_CUBIC)


def test_a_weights_file_becomes_a_detector(weights, picture):
    """The detector is the network, the integration and the assembly, one after the other."""
    import torch

    from dope_model.checkpoint import load_checkpoint
    from dope_model.network.config import MODES
    from dope_model.postprocess.assembly import assemble
    from dope_model.postprocess.candidates import Candidates
    from dope_model.postprocess.fusion import detect_parts
    from dope_model.runtime.canvas import canvas_for
    from dope_model.runtime.static_graph import for_inference

    detector = WholeBodyDetector.load(str(weights), device="cpu", engine="torch")
    people = detector(picture)
    assert "float32 on cpu" in detector.description

    checkpoint = load_checkpoint(weights)
    thresholds = {
        n: s.min_candidate_score(checkpoint.config.parts[n].anchor_poses)
        for n, s in checkpoint.integration.items()
    }
    # Folded as the engine does it: scores that nearly tie would fall in another order otherwise.
    network = for_inference(checkpoint.build(MODES["realtime"]), half=False)
    network = network.to(memory_format=torch.channels_last)
    canvas = canvas_for(*picture.shape[:2], MODES["realtime"])
    found = network(torch.from_numpy(canvas.fit(picture)).permute(2, 0, 1), thresholds)
    fields = ("classes", "scores", "boxes", "keypoints_2d", "keypoints_3d", "confidence")
    candidates = {
        n: canvas.back(Candidates(n, *(getattr(c, f).numpy() for f in fields)), *picture.shape[:2])
        for n, c in found.items()
    }
    parts = detect_parts(candidates, checkpoint.integration, picture.shape)
    assert len(people) > 0
    assert [p.to_dict() for p in people] == [p.to_dict() for p in assemble(parts)]


def test_what_cannot_be_loaded_is_named(tmp_path):
    with pytest.raises(ValueError, match="unknown mode 'fast'; known: auto, realtime, paper"):
        WholeBodyDetector.load("experts", mode="fast")
    pytest.importorskip("torch")
    with pytest.raises(FileNotFoundError, match="no weights file"):
        WholeBodyDetector.load(str(tmp_path / "none.safetensors"))


def test_devices_that_are_not_here_are_named(weights):
    with pytest.raises(ValueError, match="cuda:9"):
        WholeBodyDetector.load(str(weights), device="cuda:9")
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        WholeBodyDetector.load(str(weights), device="gpu")


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
        [[1, 2, 3]],
    ],
    ids=["grey", "four channels", "float", "empty", "list"],
)
def test_what_is_no_image_is_refused(bad):
    detector = WholeBodyDetector(find_parts=lambda rgb: {}, model="none")
    with pytest.raises(ValueError, match=r"uint8 array of shape \(H, W, 3\)"):
        detector(bad)


def test_detect_writes_poses_and_pictures(weights, picture, tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), picture)
    cv2.imwrite(str(folder / "b.jpg"), picture[:, ::-1])
    arguments = [
        "detect",
        str(folder),
        "--out",
        str(out),
        "--model",
        str(weights),
        "--engine",
        "eager",
    ]
    assert main(arguments) == 0
    records = [json.loads(line) for line in (out / "poses.jsonl").read_text().splitlines()]
    assert [r["file"] for r in records] == [str(folder / "a.png"), str(folder / "b.jpg")]
    direct = WholeBodyDetector.load(str(weights), engine="torch")(picture[..., ::-1].copy())
    assert records[0]["people"] == [person.to_dict() for person in direct]
    drawn = cv2.imread(str(out / "a_png_poses.png"))
    assert drawn.shape[0] == 480
    assert "2 pictures" in capsys.readouterr().out


def test_detect_exports_poses(weights, picture, tmp_path, capsys):
    source, out = tmp_path / "a.png", tmp_path / "out"
    cv2.imwrite(str(source), picture)
    arguments = ["detect", str(source), "--out", str(out), "--model", str(weights)]
    arguments += ["--engine", "eager", "--no-pictures"]
    exports = [f"--export={tmp_path / name}" for name in ("p.npz", "p.csv", "p.bvh")]
    assert main([*arguments, *exports]) == 0
    people = json.loads((out / "poses.jsonl").read_text())["people"]
    read = np.load(tmp_path / "p.npz")
    assert sorted(read["person"]) == sorted(-k for k in range(1, len(people) + 1))
    assert set(read["source"]) <= {str(source)}
    bodies = [k for k, person in enumerate(people, 1) if "body" in person]
    for k in bodies:
        pixels = read["keypoints_2d"][list(read["person"]).index(-k)][:13]
        np.testing.assert_allclose(pixels, people[k - 1]["body"]["keypoints_2d"], atol=0.01)
    assert (tmp_path / "p.csv").read_text().startswith("person,frame,stamp,source,name,u,v,")
    assert main([*arguments, f"--export={tmp_path / 'p.fbx'}"]) == 1
    assert "p.fbx: the name of the file must end in" in capsys.readouterr().err


def test_detect_draws_some_pictures_on_one_sheet(weights, picture, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(6):
        cv2.imwrite(str(folder / f"{number}.png"), picture)

    def files(out, seed):
        arguments = ["detect", str(folder), "--out", str(out), "--model", str(weights)]
        arguments += ["--engine", "eager", "--sheet", "--no-pictures"]
        arguments += ["--random", "3", "--seed", str(seed)]
        assert main(arguments) == 0
        lines = (out / "poses.jsonl").read_text().splitlines()
        return [json.loads(line)["file"] for line in lines]

    first = files(tmp_path / "a", 1)
    assert len(set(first)) == 3 and first == sorted(first) == files(tmp_path / "b", 1)
    assert len({tuple(files(tmp_path / "c", seed)) for seed in range(2, 7)} | {tuple(first)}) > 1
    sheet = cv2.imread(str(tmp_path / "a" / "sheet.png"))
    assert sheet.shape == (400, 1200, 3)
    assert [p.name for p in (tmp_path / "a").glob("*.png")] == ["sheet.png"]


def test_detect_keeps_pictures_of_one_name_apart(weights, picture, tmp_path):
    for folder, shown in (("a", picture), ("b", picture[:, ::-1])):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "1.png"), shown)
    cv2.imwrite(str(tmp_path / "a" / "2.png"), picture)
    out = tmp_path / "out"
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert (
        main(["detect", *folders, "--out", str(out), "--model", str(weights), "--engine", "eager"])
        == 0
    )
    drawn = sorted(path.name for path in out.glob("*.png"))
    assert len(drawn) == 3 and "2_png_poses.png" in drawn
    assert [n.endswith(("_a_1_png_poses.png", "_b_1_png_poses.png")) for n in drawn].count(
        True
    ) == 2


def test_detect_passes_over_what_is_odd_in_a_folder(weights, picture, tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    odd_pictures.add_unreadable(folder)
    long = "l" * 245 + ".png"
    for name in ("good.png", odd_pictures.NOT_UTF_8, long):
        odd_pictures.write_png(folder / name, picture)
    arguments = ["detect", str(folder), "--out", str(out), "--model", str(weights), "--engine"]
    assert main([*arguments, "eager"]) == 1
    found = [json.loads(line)["file"] for line in (out / "poses.jsonl").read_text().splitlines()]
    assert [Path(file).name for file in found] == [odd_pictures.NOT_UTF_8, "good.png", long]
    drawn = {path.name for path in out.glob("*.png")}
    assert drawn == {"good_png_poses.png", odd_pictures.NOT_UTF_8[:-4] + "_png_poses.png"}
    told = capsys.readouterr().err
    for name in odd_pictures.UNREADABLE:
        assert f"skipped: {folder / name} " in told
    assert f"skipped: the drawing of {folder / long}: File name too long" in told


def test_detect_goes_on_after_a_bad_picture(weights, picture, tmp_path, capsys):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    cv2.imwrite(str(good), picture)
    bad.write_bytes(b"not a picture")
    out = tmp_path / "out"
    arguments = [
        "detect",
        str(bad),
        str(good),
        "--out",
        str(out),
        "--model",
        str(weights),
        "--engine",
        "eager",
    ]
    assert main([*arguments, "--no-pictures"]) == 1
    assert len((out / "poses.jsonl").read_text().splitlines()) == 1
    assert "bad.png is not a picture" in capsys.readouterr().err
    assert not list(out.glob("*.png"))


def test_detect_names_what_is_missing(tmp_path, capsys):
    assert main(["detect", str(tmp_path / "none.png"), "--out", str(tmp_path)]) == 1
    assert "no file or folder" in capsys.readouterr().err
    assert main(["detect", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "no pictures in" in capsys.readouterr().err


def test_info_tells_what_a_file_holds(weights, capsys):
    assert main(["info", str(weights)]) == 0
    told = capsys.readouterr().out
    assert "face: 84 joints, 10 anchor poses" in told
    assert "128 px, 12 proposals" in told
    assert "licence: none, it is random" in told


def standing_person() -> WholeBody:
    joints = np.array(
        [[40, 190], [60, 190], [40, 150], [60, 150], [42, 105], [58, 105], [20, 100], [80, 100],
         [25, 75], [75, 75], [38, 50], [62, 50], [50, 25]], float
    )  # fmt: skip
    depth = np.zeros((13, 1))
    pose = PartPose(0.9, joints, np.hstack([(joints - 105) / 120, depth]), np.ones(13, bool))
    pose.confidence[0] = 0
    return WholeBody(body=pose)


def test_the_overlay_is_drawn_where_the_joints_are():
    grey = np.full((200, 100, 3), 90, np.uint8)
    drawn = draw_people(grey, [standing_person()])
    assert (grey == 90).all(), "the picture itself stays as it was"
    changed = (drawn != 90).any(axis=2)
    for u, v in standing_person().body.keypoints_2d[1:].astype(int):
        assert changed[v, u]
    assert not changed[:15].any()
    assert not changed[60:70, 45:55].any(), "the chest has no bone in its middle"
    right, left = drawn[112:140, 41].astype(int), drawn[112:140, 58].astype(int)
    assert (right[:, 0] > right[:, 2]).any(), "right limbs are orange"
    assert (left[:, 2] > left[:, 0]).any(), "left limbs are blue"


def test_drawing_outside_the_picture_and_nobody():
    person = standing_person()
    person.body.keypoints_2d[0] = [1e9, -1e9]
    person.body.keypoints_2d[1] = [np.nan, np.nan]
    assert draw_people(np.zeros((50, 50, 3), np.uint8), [person]).shape == (50, 50, 3)
    assert side_by_side(np.zeros((480, 640, 3), np.uint8), []).shape == (480, 640 + 480, 3)


def test_3d_view_stands_upright():
    """The head is drawn above the ankles, the right limbs to the left of the left ones."""
    view = draw_people_3d([standing_person()], (100, 200), (300, 300))
    orange = np.argwhere((view[..., 0] > 200) & (view[..., 2] < 120))
    blue = np.argwhere((view[..., 2] > 200) & (view[..., 0] < 120))
    green = np.argwhere((view[..., 1] > 180) & (view[..., 0] < 150) & (view[..., 2] < 150))
    assert orange[:, 1].mean() < blue[:, 1].mean()
    assert green[:, 0].min() < orange[:, 0].max()
