"""Labels from experts: what becomes of detections, and that no picture is labelled twice."""

from __future__ import annotations

import cv2
import numpy as np
import odd_pictures
import pytest

from dope_model.__main__ import main
from dope_model.commands.label import label_sheet
from dope_model.datasets import teacher_labels
from dope_model.datasets.labels import LabelSet, Visibility
from dope_model.experts.proposals import Guess
from dope_model.poses import PartDetections


def detections(seed: int) -> PartDetections:
    random = np.random.default_rng(seed)
    trusted = np.ones((1, 13), bool)
    trusted[0, :3] = False
    keypoints = random.uniform(10, 60, (1, 13, 2))
    keypoints[0, 0] = [30, 200]  # below the picture
    return PartDetections(
        "body", np.array([0.7]), keypoints, random.normal(0, 0.3, (1, 13, 3)), confidence=trusted
    )


class RecordingExperts:
    """Stands in for the thorough experts; writes down what it was shown."""

    def __init__(self, log) -> None:
        self.log = log

    def detect_with_ignored(self, rgb, guesses=(), only_bodies=False):
        with self.log.open("a") as file:
            file.write(f"{rgb[0, 0, 0]}\n")
        found = detections(int(rgb[0, 0, 0]))
        hands, faces = PartDetections.empty("hand", 21), PartDetections.empty("face", 84)
        box = np.array([[1.0, 2, 3, 4]])
        nothing = np.zeros((0, 4))
        if only_bodies:
            return {"body": found}, {"body": box}
        return (
            {"body": found, "hand": hands, "face": faces},
            {"body": box, "hand": nothing, "face": nothing},
        )


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(60):
        cv2.imwrite(str(folder / f"{i:02d}.png"), np.full((80, 100, 3), i, np.uint8))
    return folder


def test_trusted_joints_become_valid_ones():
    found = detections(1)
    labels = teacher_labels.labels_from_detections(found, np.array([[1, 2, 3, 4]]), 100, 80)
    assert (labels.valid_2d == found.trusted).all()
    assert (labels.valid_3d == found.trusted).all()
    seen = [Visibility.OUTSIDE_FRAME, Visibility.UNKNOWN, Visibility.UNKNOWN, Visibility.VISIBLE]
    assert labels.visibility[0, :4].tolist() == seen
    assert np.allclose(labels.keypoints_3d[0, 4:6].mean(axis=0), 0, atol=1e-6)
    assert labels.ignored.tolist() == [[1, 2, 3, 4]]
    assert labels.complete
    assert labels.score[0] == pytest.approx(0.7)


def test_pieces_are_labelled_once_and_merged(pictures, tmp_path, monkeypatch):
    log = tmp_path / "log"
    monkeypatch.setitem(teacher_labels._LOADED, "thorough", RecordingExperts(log))
    names = sorted(path.name for path in pictures.iterdir())
    (pictures / names[7]).write_bytes(b"no picture")
    out = tmp_path / "out"
    path = teacher_labels.label_pictures(pictures, names[:50], out)
    assert len(LabelSet.load(path)) == 49
    path = teacher_labels.label_pictures(pictures, names, out)
    assert sorted(map(int, log.read_text().split())) == [i for i in range(60) if i != 7]
    labels = LabelSet.load(path)
    assert [s.file for s in labels] == [n for n in names if n != names[7]]
    expected = detections(59).keypoints_2d
    assert np.allclose(labels.samples[-1].parts["body"].keypoints_2d, expected, atol=1 / 16)
    sheet = label_sheet(labels, pictures, 8)
    assert sheet.shape == (2 * 320, 6 * 320, 3)


def test_odd_entries_are_named_and_passed_over(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(teacher_labels._LOADED, "thorough", RecordingExperts(tmp_path / "log"))
    odd_pictures.add_unreadable(pictures)
    odd_pictures.write_png(pictures / odd_pictures.NOT_UTF_8, np.full((80, 100, 3), 60, np.uint8))
    command = ["label", str(pictures), "--out", str(tmp_path / "out")]
    for _ in range(2):  # the second time nothing is labelled
        assert main(command) == 1
        told = capsys.readouterr().err
        for name in odd_pictures.UNREADABLE:
            assert f"skipped: {pictures / name} " in told
    files = {sample.file for sample in LabelSet.load(tmp_path / "out" / "labels.npz")}
    assert files == {*(f"{i:02d}.png" for i in range(60)), odd_pictures.NOT_UTF_8}
    assert (tmp_path / "out" / "sheet.png").is_file()


def test_shards_together_label_every_picture_once(pictures, tmp_path, monkeypatch, capsys):
    log, out = tmp_path / "log", tmp_path / "out"
    monkeypatch.setitem(teacher_labels._LOADED, "thorough", RecordingExperts(log))
    arguments = ["label", str(pictures), "--out", str(out), "--sheet", "0", "--shard"]
    for shard in ("2/3", "3/3", "1/3"):
        assert main([*arguments, shard]) == 0
    assert sorted(map(int, log.read_text().split())) == list(range(60))
    assert len(LabelSet.load(out / "labels.npz")) == 60
    for shard in ("4/3", "0/3", "a"):
        assert main([*arguments, shard]) == 1
        assert "--shard is K/N with K from 1 to N" in capsys.readouterr().err


def test_what_is_known_is_not_labelled_again(pictures, tmp_path, monkeypatch):
    log = tmp_path / "log"
    monkeypatch.setitem(teacher_labels._LOADED, "thorough", RecordingExperts(log))
    names = sorted(path.name for path in pictures.iterdir())
    known = LabelSet.load(teacher_labels.label_pictures(pictures, names[:9], tmp_path / "a"))
    path = teacher_labels.label_pictures(pictures, names, tmp_path / "b", known=known)
    assert sorted(map(int, log.read_text().split())) == list(range(60))
    assert [s.file for s in LabelSet.load(path)] == names
    # The folder in which the known labels were made holds them in pieces, too.
    path = teacher_labels.label_pictures(pictures, names, tmp_path / "a", known=known)
    assert [s.file for s in LabelSet.load(path)] == names
    known.about["experts"] = "other"
    with pytest.raises(ValueError, match="not of the 'thorough' experts"):
        teacher_labels.label_pictures(pictures, names, tmp_path / "c", known=known)


def test_bodies_of_known_pictures_are_made_again(pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(teacher_labels._LOADED, "thorough", RecordingExperts(tmp_path / "log"))
    names = sorted(path.name for path in pictures.iterdir())
    known = LabelSet.load(teacher_labels.label_pictures(pictures, names[:3], tmp_path / "a"))
    for sample in known:
        sample.parts["face"].ignored = np.array([[5, 5, 9, 9.0]])
        sample.parts["body"] = sample.parts["body"].empty("body", 13)
    path = teacher_labels.label_pictures(
        pictures, names[1:5], tmp_path / "b", known=known, renew_bodies=True
    )
    labels = LabelSet.load(path)
    assert [s.file for s in labels] == names[:5]
    assert [len(s.parts["body"]) for s in labels] == [0, 1, 1, 1, 1]
    assert [len(s.parts["face"].ignored) for s in labels] == [1, 1, 1, 0, 0]


def test_human_annotations_guide_the_experts_and_stay(pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(teacher_labels._LOADED, "thorough", RecordingExperts(tmp_path / "log"))
    found = detections(0).keypoints_2d[0]
    annotated = {"00.png": Guess(found + 1, np.arange(13) > 2)}
    path = teacher_labels.label_pictures(pictures, ["00.png"], tmp_path / "a", annotated=annotated)
    body = next(iter(LabelSet.load(path))).parts["body"]
    assert np.allclose(body.keypoints_2d[0, 4:12], found[4:12] + 1, atol=1 / 16)


def test_presets_do_not_mix(pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(teacher_labels._LOADED, "thorough", RecordingExperts(tmp_path / "log"))
    teacher_labels.label_pictures(pictures, ["00.png"], tmp_path / "out")
    with pytest.raises(ValueError, match="of the 'thorough' experts"):
        teacher_labels.label_pictures(pictures, ["00.png"], tmp_path / "out", preset="strict")
