"""Every protocol on a tiny data set in its owners' form, with numbers worked out by hand."""

from __future__ import annotations

import argparse
import json
import os

import numpy as np
import pytest

pytest.importorskip("scipy.io")

import dataset_files as files  # noqa: E402

from dope_model import __main__ as program  # noqa: E402
from dope_model.benchmark.protocols.coco_wholebody import CocoWholebody  # noqa: E402
from dope_model.benchmark.protocols.lspet import Lspet  # noqa: E402
from dope_model.benchmark.protocols.menpo import Menpo  # noqa: E402
from dope_model.benchmark.protocols.mpii import Mpii  # noqa: E402
from dope_model.benchmark.protocols.mupots import Mupots  # noqa: E402
from dope_model.benchmark.protocols.rhd import Rhd  # noqa: E402
from dope_model.datasets.conversions import (  # noqa: E402
    COCO_JOINTS,
    LSP_JOINTS,
    MPII_JOINTS,
    MUPOTS_JOINTS,
)
from dope_model.poses import PartDetections  # noqa: E402
from dope_model.skeleton import BODY, BODY14  # noqa: E402


def bodies(poses_2d, poses_3d=None, scores=None) -> dict[str, PartDetections]:
    """Detections of bodies (N, J, 2)."""
    poses_2d = np.asarray(poses_2d, float)
    if poses_3d is None:
        poses_3d = np.zeros((*poses_2d.shape[:2], 3))
    scores = np.ones(len(poses_2d)) if scores is None else scores
    return {"body": PartDetections("body", scores, poses_2d, poses_3d)}


def ours(joints: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Our 13 joints of a data set's (J, 2), the head between neck and head top."""
    found = np.zeros((13, joints.shape[-1]))
    for j, name in enumerate(BODY.joints[:-1]):
        found[j] = joints[names.index(name)]
    found[12] = (joints[names.index("neck")] + joints[names.index("head_top")]) / 2
    return found


def load(protocol, folder, **options):
    parser = argparse.ArgumentParser()
    protocol.add_arguments(parser)
    return protocol.load(argparse.Namespace(**{**vars(parser.parse_args([])), **options,
                                               "data": folder}))  # fmt: skip


def summary(protocol, pictures, found) -> dict[str, float]:
    """The protocol's numbers for what was found in each picture."""
    evaluations = [protocol.evaluate(p, f) for p, f in zip(pictures, found, strict=True)]
    outcome = protocol.summarise(pictures, evaluations)
    assert len(outcome.picture_errors) == len(pictures)
    for curve in outcome.curves.values():
        assert np.shape(curve.x) == np.shape(curve.y)
    return outcome.summary


# --- Leeds Sports Pose ---------------------------------------------------------------------------


@pytest.mark.parametrize("extended", [False, True])
def test_lspet(tmp_path, extended):
    # Torso: from the left shoulder (+0.2, 0.3) to the right hip (-0.2, 1.0), times 30 px.
    torso = 30 * np.hypot(0.4, 0.7)
    people = np.stack([files.lsp_person((30, 10), 30), files.lsp_person((32, 12), 30)])
    files.write_lsp(tmp_path, people, np.full((2, 14), 1.0 if extended else 0.0), extended)
    protocol = Lspet()
    pictures = load(protocol, tmp_path)
    assert [len(p.marks) for p in pictures] == [14, 14]
    perfect = [bodies([ours(p, LSP_JOINTS)]) for p in people]
    assert summary(protocol, pictures, perfect)["PCK@0.2"] == 1
    assert summary(protocol, pictures, perfect)["head PCK@0.2"] == 1
    nobody = summary(protocol, pictures, [bodies(np.zeros((0, 13, 2)))] * 2)
    assert nobody["PCK@0.2"] == nobody["recall"] == nobody["AUC 0 to 0.5"] == 0

    # All of the first person 0.15 torsos off; three limbs of the second person 0.25 torsos.
    first, second = ours(people[0], LSP_JOINTS), ours(people[1], LSP_JOINTS)
    second[[0, 3, 7]] += [0, 0.25 * torso]
    moved = summary(protocol, pictures, [bodies([first + [0.15 * torso, 0]]), bodies([second])])
    assert moved["PCK@0.2"] == pytest.approx(21 / 24)
    assert moved["PCK@0.1"] == pytest.approx(9 / 24)
    assert moved["recall"] == 1
    half = summary(protocol, pictures, [perfect[0], {}])
    assert half["PCK@0.2"] == half["recall"] == 0.5 and half["PCK@0.2 of found"] == 1
    assert half["precision"] == 1
    more = [bodies([first, first + [80, 0]]), perfect[1]]
    assert summary(protocol, pictures, more)["precision"] == pytest.approx(2 / 3)


def test_lspet_takes_the_detection_where_the_person_is(tmp_path):
    people = files.lsp_person((30, 10), 30)[None]
    files.write_lsp(tmp_path, people, np.ones((1, 14)), extended=True)
    protocol = Lspet()
    pictures = load(protocol, tmp_path)
    right = ours(people[0], LSP_JOINTS)
    found = bodies([right + [80, 0], right], scores=[0.9, 0.1])
    assert summary(protocol, pictures, [found])["PCK@0.2"] == 1
    assert summary(protocol, pictures, [bodies([right + [80, 0]])])["recall"] == 0


def test_hidden_joints_count_in_lsp_and_unlabelled_ones_do_not_in_lspet(tmp_path):
    people = files.lsp_person((30, 10), 30)[None]
    flag = np.zeros((1, 14))
    flag[0, LSP_JOINTS.index("left_wrist")] = 1
    found = ours(people[0], LSP_JOINTS)
    found[BODY.index["left_wrist"]] += 100
    files.write_lsp(tmp_path / "lsp", people, flag, extended=False)
    files.write_lsp(tmp_path / "lspet", people, 1 - flag, extended=True)
    for name, expected in (("lsp", 11 / 12), ("lspet", 1)):
        protocol = Lspet()
        result = summary(protocol, load(protocol, tmp_path / name), [bodies([found])])
        assert result["PCK@0.2"] == pytest.approx(expected)


def test_lsp_as_a_table(tmp_path):
    people = files.lsp_person((30, 10), 30)
    shuffled = [5, 3, 1, 0, 2, 4, 13, 12, 6, 7, 8, 9, 10, 11]
    table = np.concatenate([people, np.ones((14, 1))], axis=1)[None, shuffled]
    names = [LSP_JOINTS[j] for j in shuffled]
    np.savez(tmp_path / "joints.npz", names=["a/1.jpg"], joints=table, joint_names=names)
    files.write_picture(tmp_path / "a" / "1.jpg")
    protocol = Lspet()
    pictures = load(protocol, tmp_path)
    assert summary(protocol, pictures, [bodies([ours(people, LSP_JOINTS)])])["PCK@0.2"] == 1


# --- MPII ----------------------------------------------------------------------------------------


def _mpii(folder):
    # A head box of 30 x 40 px: its diagonal is 50, the head segment 0.6 of it: 30 px.
    head = (0, 0, 30, 40)
    near, far = files.mpii_person((30, 10), 40), files.mpii_person((230, 10), 40)
    far[MPII_JOINTS.index("left_ankle")] = np.nan
    files.write_mpii(
        folder,
        [
            [{"joints": near, "head": head}, {"joints": far, "head": head}],
            [{"joints": near, "head": head}],  # a test picture
            [{"joints": np.full((16, 2), np.nan), "head": head}],
            [],
        ],
        [1, 0, 1, 1],
    )
    return near, far


def test_mpii(tmp_path):
    near, far = _mpii(tmp_path)
    protocol = Mpii()
    pictures = load(protocol, tmp_path, list=None)
    assert [p.name for p in pictures] == ["000000000.jpg"]
    one, other = ours(near, MPII_JOINTS), ours(far, MPII_JOINTS)
    other[BODY.index["left_ankle"]] = [999, 999]  # not labelled, so anything is right
    perfect = summary(protocol, pictures, [bodies([other, one])])
    assert perfect["PCKh@0.5 %"] == 100 and perfect["recall"] == 1 and perfect["people"] == 2
    nobody = summary(protocol, pictures, [{}])
    assert nobody["PCKh@0.5 %"] == nobody["recall"] == 0
    # 14 px are within half of 30 px, 16 px are not: 13 of 25 labelled joints are right.
    moved = summary(protocol, pictures, [bodies([one + [14, 0], other + [0, 16]])])
    assert moved["PCKh@0.5 %"] == pytest.approx(100 * 13 / 25)
    only_one = summary(protocol, pictures, [bodies([one])])
    assert only_one["PCKh@0.5 %"] == pytest.approx(100 * 13 / 25)
    assert only_one["recall"] == 0.5 and only_one["precision"] == 1
    too_many = summary(protocol, pictures, [bodies([one, other, other + 300])])
    assert too_many["recall"] == 1 and too_many["precision"] == pytest.approx(2 / 3)


def test_mpii_of_a_list(tmp_path):
    _mpii(tmp_path)
    (tmp_path / "list.txt").write_text("000000009.jpg\n")
    with pytest.raises(ValueError, match="000000009.jpg"):
        load(Mpii(), tmp_path, list=tmp_path / "list.txt")


# --- MuPoTS-3D -----------------------------------------------------------------------------------


def _mupots_person(at: float) -> dict:
    joints_3d = np.zeros((17, 3))
    joints_3d[:, :2] = files.standing_person(MUPOTS_JOINTS, 600.0)
    joints_3d[:, 2] = 4000
    joints_2d = files.standing_person(MUPOTS_JOINTS, 200.0) + [at, 60]
    return {"joints_2d": joints_2d, "joints_3d": joints_3d, "valid": 1}


def _as_body14(joints: np.ndarray) -> np.ndarray:
    return np.stack(
        [joints[MUPOTS_JOINTS.index("head_top" if name == "head" else name)]
         for name in BODY14.joints]
    )  # fmt: skip


@pytest.fixture
def mupots(tmp_path):
    left, right = _mupots_person(200), _mupots_person(800)
    absent = {**right, "valid": 0}
    files.write_mupots(tmp_path, {"TS1": [[left, right], [left, absent]], "TS7": [[right]]})
    protocol = Mupots()
    return protocol, load(protocol, tmp_path), left, right


def _detections(people: list[dict], move_3d=0.0) -> dict:
    poses_3d = np.array([_as_body14(p["joints_3d"]) for p in people]) / 1000
    poses_3d = BODY14.centred(poses_3d) + move_3d
    return bodies([_as_body14(p["joints_2d"]) for p in people], poses_3d)


def test_mupots(mupots):
    protocol, pictures, left, right = mupots
    assert [p.name for p in pictures] == [
        "TS1/img_000000.jpg", "TS1/img_000001.jpg", "TS7/img_000000.jpg"
    ]  # fmt: skip
    perfect = [_detections([right, left]), _detections([left]), _detections([right])]
    result = summary(protocol, pictures, perfect)
    assert result["PCK3D all %"] == result["PCK3D matched %"] == 100
    assert result["PCK3D all, without rescaling %"] == 100 and result["joints evaluated"] == 14
    # An error of 0 is below every threshold but 0 itself.
    assert result["AUC all %"] == pytest.approx(100 * 30 / 31)
    nobody = summary(protocol, pictures, [{}, {}, {}])
    assert nobody["PCK3D all %"] == nobody["PCK3D matched %"] == nobody["AUC all %"] == 0

    # One of three people of TS1 missed, TS7 whole: the mean of 2/3 and 1, and of 1 and 1.
    some = [_detections([left]), _detections([left]), _detections([right])]
    result = summary(protocol, pictures, some)
    assert result["PCK3D all %"] == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert result["PCK3D matched %"] == 100
    assert result["recall"] == pytest.approx((2 / 3 + 1) / 2) and result["precision"] == 1

    # One wrist turned sharply away: 1 of 14 joints wrong, rescaled or not.
    bent = _detections([right])
    bent["body"].keypoints_3d[0, BODY14.index["left_wrist"], 2] += 5
    result = summary(protocol, pictures, [perfect[0], perfect[1], bent])
    assert result["PCK3D all %"] == pytest.approx(100 * (1 + 13 / 14) / 2)


def test_mupots_rescales_bones_and_matches_in_the_picture(mupots):
    protocol, pictures, left, right = mupots
    large = _detections([right])
    large["body"].keypoints_3d *= 2
    frames = [_detections([right, left]), _detections([left]), large]
    result = summary(protocol, pictures, frames)
    assert result["PCK3D all %"] == 100
    # Twice as large: a joint is wrong whose true distance from the pelvis is 150 mm or more.
    true = right["joints_3d"] - right["joints_3d"][14]
    share = (np.linalg.norm(true[:14], axis=1) < 150).mean()
    assert result["PCK3D all, without rescaling %"] == pytest.approx(100 * (1 + share) / 2)
    elsewhere = _detections([right])
    elsewhere["body"].keypoints_2d += 500
    result = summary(protocol, pictures, [frames[0], frames[1], elsewhere])
    assert result["PCK3D all %"] == 50 and result["recall"] == 0.5


def test_mupots_judges_13_joints_on_the_limbs(mupots):
    protocol, pictures, left, right = mupots

    def of_13(people):
        found = _detections(people)["body"]
        return bodies(found.keypoints_2d[:, :13], found.keypoints_3d[:, :13])

    result = summary(protocol, pictures, [of_13([left, right]), of_13([left]), of_13([right])])
    assert result["joints evaluated"] == 12 and result["PCK3D all, without rescaling %"] == 100


# --- RenderedHand --------------------------------------------------------------------------------


def _hand(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Made-up hand joints: (21, 2) px in a box of 40 px, and (21, 3) m."""
    random = np.random.default_rng(seed)
    flat = random.uniform(0, 40, (21, 2))
    flat[1], flat[2] = [0, 0], [40, 30]
    return flat + 10, random.normal(0, 0.05, (21, 3)) + [0, 0, 0.6]


def _rhd(folder, hidden_left=False):
    (left_2d, left_3d), (right_2d, right_3d) = _hand(1), _hand(2)
    right_2d = right_2d + [200, 0]
    picture = {
        "uv": np.concatenate([files.rhd_order(left_2d), files.rhd_order(right_2d)]),
        "xyz": np.concatenate([files.rhd_order(left_3d), files.rhd_order(right_3d)]),
        "visible": np.repeat([0.0 if hidden_left else 1.0, 1.0], 21),
    }
    files.write_rhd(folder, "evaluation", [{**picture, "mask": (30, 10)},
                                           {**picture, "mask": (10, 30)}])  # fmt: skip
    return (left_2d, left_3d), (right_2d, right_3d)


def _hand_detection(flat, points, is_left) -> dict:
    return {"hand": PartDetections("hand", [0.7], flat[None], points[None], np.array([is_left]))}


def test_rhd(tmp_path):
    (left_2d, left_3d), (right_2d, right_3d) = _rhd(tmp_path)
    protocol = Rhd()
    pictures = load(protocol, tmp_path)
    # The left hand covers more of the first picture, the right one of the second.
    assert [p.truth.evaluated[0].is_left for p in pictures] == [True, False]
    found = [
        _hand_detection(left_2d, 3 * (left_3d - left_3d[0]), True),
        _hand_detection(right_2d, right_3d - right_3d[0], True),
    ]
    result = summary(protocol, pictures, found)
    for name in ("AUC 20 to 50 mm %", "AUC by bone 20 to 50 mm %", "PCK 2D@0.1 %"):
        assert result[name] == pytest.approx(100)
    assert result["recall %"] == 100 and result["side right %"] == 50
    assert result["precision %"] == 100
    nobody = summary(protocol, pictures, [{}, {}])
    assert nobody["AUC 20 to 50 mm %"] == nobody["PCK 2D@0.1 %"] == 0
    assert nobody["recall %"] == 0 and np.isnan(nobody["precision %"])
    half = summary(protocol, pictures, [found[0], {}])
    assert half["AUC 20 to 50 mm %"] == pytest.approx(50) and half["recall %"] == 50

    # The other hand is right, though it is not evaluated; a third detection is nowhere near a hand.
    more = PartDetections(
        "hand", [0.7, 0.7, 0.7], np.stack([left_2d, right_2d, right_2d + 200]),
        np.stack([left_3d, right_3d, right_3d]), [True, False, False],
    )  # fmt: skip
    wrong = summary(protocol, pictures, [{"hand": more}, {}])
    assert wrong["recall %"] == 50 and wrong["precision %"] == pytest.approx(100 * 2 / 3)

    # The box's longer side is 40 px: 3 px are within 10 % of it, 5 px are not.
    moved = [_hand_detection(left_2d + [3, 0], left_3d, True), _hand_detection(right_2d, right_3d,
                                                                              False)]  # fmt: skip
    moved[1]["hand"].keypoints_2d[0, :7] += [0, 5]
    assert summary(protocol, pictures, moved)["PCK 2D@0.1 %"] == pytest.approx(100 * 35 / 42)


def test_rhd_of_all_visible_hands(tmp_path):
    _rhd(tmp_path)
    pictures = load(Rhd(), tmp_path, hands="all")
    assert [len(p.truth.evaluated) for p in pictures] == [2, 2]
    _rhd(tmp_path, hidden_left=True)
    pictures = load(Rhd(), tmp_path, hands="all")
    assert [[hand.is_left for hand in p.truth.evaluated] for p in pictures] == [[False], [False]]


# --- 3D Menpo ------------------------------------------------------------------------------------


def _face(at: float) -> np.ndarray:
    random = np.random.default_rng(int(at))
    points = random.uniform(5, 25, (84, 2))
    points[0], points[1] = [0, 0], [30, 40]  # a tight box of 30 x 40 px, diagonal 50
    return points + at


def _face_detection(points) -> dict:
    return {"face": PartDetections("face", [1.0], points[None], np.zeros((1, 84, 3)))}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_menpo(tmp_path, version):
    frames = [_face(3), _face(4), _face(5), _face(6)]
    files.write_menpo(tmp_path, {"v1": frames[:3], "v2": frames[3:]}, version)
    protocol = Menpo()
    pictures = load(protocol, tmp_path)
    assert [p.name for p in pictures] == ["v1/000001", "v1/000002", "v1/000003", "v2/000001"]
    result = summary(protocol, pictures, [_face_detection(f) for f in frames])
    # Labels and predictions in float32 leave errors of some 1e-8.
    assert result["AUC 0.1 %"] == pytest.approx(100, abs=0.1)
    assert result["PCK 2D@0.05 %"] == 100 and result["failures %"] == 0
    nobody = summary(protocol, pictures, [{}] * 4)
    assert nobody["AUC 0.1 %"] == nobody["PCK 2D@0.05 %"] == 0 and nobody["failures %"] == 100

    # 2 px off: an error of 2 / 50 = 0.04; 6 px: 0.12. Within 5 % of 40 px are 2 px, not 6.
    found = [_face_detection(frames[0] + [1.99, 0]), _face_detection(frames[1] + [0, 6]), {},
             _face_detection(frames[3])]  # fmt: skip
    result = summary(protocol, pictures, found)
    assert result["AUC 0.1 %"] == pytest.approx(100 * (0.6 + 0 + 0 + 1) / 4, abs=0.1)
    assert result["PCK 2D@0.05 %"] == 50
    assert result["failures %"] == 50 and result["recall %"] == 75
    assert result["precision %"] == 100


def test_menpo_reads_pts_files_and_videos(tmp_path):
    cv2 = pytest.importorskip("cv2")
    points = [_face(3), _face(4)]
    for i, frame in enumerate(points):
        path = tmp_path / "504" / "annot" / f"{i + 1:06d}.pts"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = "\n".join(f"{x} {y}" for x, y in frame + 0.5)
        path.write_text(f"version: 1\nn_points: 84\n{{\n{rows}\n}}\n")
    (tmp_path / "504" / "annot" / "000003.ljson").write_text(
        json.dumps(files.ljson(np.zeros((84, 3)), 2))  # model space: not a picture's landmarks
    )
    with pytest.raises(FileNotFoundError, match="neither video nor pictures.*504"):
        load(Menpo(), tmp_path)
    writer = cv2.VideoWriter(
        str(tmp_path / "504" / "vid.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48)
    )
    for shade in (40, 120, 200):
        writer.write(np.full((48, 64, 3), shade, np.uint8))
    writer.release()
    pictures = load(Menpo(), tmp_path)
    assert [(p.name, p.frame) for p in pictures] == [("504/000001", 0), ("504/000002", 1)]
    assert np.allclose(pictures[1].truth, points[1])

    from dope_model.datasets.videos import VideoFrames

    video = VideoFrames()
    for frame, shade in ((1, 120), (2, 200), (0, 40)):
        assert abs(int(video(pictures[0].path, frame).mean()) - shade) < 6
    with pytest.raises(ValueError, match="ends after 3 frames"):
        video(pictures[0].path, 3)
    with pytest.raises(ValueError, match="path must be UTF-8"):
        video(pictures[0].path.rename(tmp_path / os.fsdecode(b"caf\xe9.avi")), 0)


# --- COCO-WholeBody ------------------------------------------------------------------------------


def _whole_person(i: int, image: int, at: float) -> tuple[dict, dict[str, PartDetections]]:
    """An annotation of what we can find of a person, and those detections."""
    random = np.random.default_rng(i)
    body = random.uniform(0, 100, (13, 2)) + at
    left, right = random.uniform(0, 20, (2, 21, 2)) + at
    left[0], right[0] = body[BODY.index["left_wrist"]], body[BODY.index["right_wrist"]]
    face = random.uniform(0, 40, (84, 2)) + at
    face[0], face[1] = body[12] - 30, body[12] + 30  # the head lies in the face's box
    table = {name: np.zeros((n, 3)) for name, n in
             (("keypoints", 17), ("foot_kpts", 6), ("face_kpts", 68), ("lefthand_kpts", 21),
              ("righthand_kpts", 21))}  # fmt: skip
    for name in BODY.joints[:-1]:
        table["keypoints"][COCO_JOINTS.index(name)] = [*body[BODY.index[name]], 2]
    table["keypoints"][0] = [*face[46], 2]  # nose tip
    table["keypoints"][1] = [*face[58:64].mean(axis=0), 2]  # left eye
    table["keypoints"][2] = [*face[52:58].mean(axis=0), 2]  # right eye
    table["keypoints"][:, :2] -= 0.5  # the numbers of pixels whose middles these are
    contour = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32]
    table["face_kpts"][:, :2] = face[contour + list(range(33, 84))]
    table["face_kpts"][:, 2] = 2
    # Wrist, then each finger from root to tip.
    order = [0, 1, 6, 7, 8, 2, 9, 10, 11, 3, 12, 13, 14, 4, 15, 16, 17, 5, 18, 19, 20]
    for name, hand in (("lefthand_kpts", left), ("righthand_kpts", right)):
        table[name] = np.concatenate([hand[order], np.full((21, 1), 2)], axis=1)
    annotation = {
        "id": i, "image_id": image, "category_id": 1, "iscrowd": 0, "area": 9000.0,
        "bbox": [at, at, 100.0, 100.0], "num_keypoints": 15,
        **{name: rows.ravel().tolist() for name, rows in table.items()},
    }  # fmt: skip
    found = {
        "body": PartDetections("body", [0.9], body[None], np.zeros((1, 13, 3))),
        "hand": PartDetections("hand", [0.8, 0.8], np.stack([left, right]),
                               np.zeros((2, 21, 3)), np.array([True, False])),
        "face": PartDetections("face", [0.7], face[None], np.zeros((1, 84, 3))),
    }  # fmt: skip
    return annotation, found


def test_coco_wholebody(tmp_path):
    pytest.importorskip("pycocotools")
    (one, found_one), (other, found_other) = (_whole_person(1, 1, 50.0), _whole_person(2, 2, 80.0))
    files.write_coco(tmp_path, "val", [one, other], 3, "coco_wholebody_val_v1.0.json")
    protocol = CocoWholebody()
    pictures = load(protocol, tmp_path)
    assert len(pictures) == 3
    result = summary(protocol, pictures, [found_one, found_other, {}])
    for part in ("whole", "body", "limbs", "face", "lefthand", "righthand"):
        assert result[f"{part} AP"] == pytest.approx(1), part
    nobody = summary(protocol, pictures, [{}, {}, {}])
    assert nobody["whole AP"] == nobody["limbs AP"] == nobody["face AP"] == 0
    # One of two people found: a recall of one half, and AP interpolated at 51 of 101 recalls.
    half = summary(protocol, pictures, [found_one, {}, {}])
    assert half["limbs AP"] == pytest.approx(51 / 101)
    assert half["limbs AR"] == pytest.approx(0.5)
    # A hand of nobody, of which more is sure than of the bodies.
    lone = [
        found | {"hand": PartDetections("hand", [0.99], found["hand"].keypoints_2d[:1] + 400,
                                        np.zeros((1, 21, 3)), np.array([True]))}
        for found in (found_one, found_other)
    ]  # fmt: skip
    with_hands = summary(protocol, pictures, [*lone, {}])
    assert with_hands["limbs AP"] == with_hands["body AP"] == pytest.approx(1)
    assert with_hands["lefthand AP"] < 1
    # Bodies 60 px away: no keypoint is near, at an area of 9,000 px.
    for found in (found_one, found_other):
        found["body"].keypoints_2d += 60
    assert summary(protocol, pictures, [found_one, found_other, {}])["limbs AP"] == 0


def test_sides_of_hands_matter_in_coco_wholebody(tmp_path):
    pytest.importorskip("pycocotools")
    annotation, found = _whole_person(1, 1, 50.0)
    files.write_coco(tmp_path, "val", [annotation], 1, "coco_wholebody_val_v1.0.json")
    found["hand"].is_left = ~found["hand"].is_left
    protocol = CocoWholebody()
    result = summary(protocol, load(protocol, tmp_path), [found])
    assert result["lefthand AP"] == result["righthand AP"] == 0
    assert result["face AP"] == pytest.approx(1)


# --- what is missing or wrong is said ------------------------------------------------------------


def test_incomplete_data_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*absent"):
        load(Lspet(), tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"joints\.mat"):
        load(Lspet(), tmp_path)
    files.write_lsp(tmp_path, np.ones((2, 14, 2)), np.ones((2, 14)), extended=True)
    (tmp_path / "images" / "im00002.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 files missing \(images/im00002\.jpg\)"):
        load(Lspet(), tmp_path)
    with pytest.raises(FileNotFoundError, match="mpii_human_pose_v1_u12_1.mat"):
        load(Mpii(), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"TS1/annot\.mat"):
        load(Mupots(), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"anno_evaluation\.pickle"):
        load(Rhd(), tmp_path)
    with pytest.raises(FileNotFoundError, match="no landmarks"):
        load(Menpo(), tmp_path)
    pytest.importorskip("pycocotools")
    with pytest.raises(FileNotFoundError, match="coco_wholebody_val_v1.0.json"):
        load(CocoWholebody(), tmp_path)


def test_incomplete_mupots_frames_are_named(tmp_path):
    person = _mupots_person(200)
    files.write_mupots(tmp_path, {"TS3": [[person], [person]]})
    (tmp_path / "TS3" / "img_000001.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"TS3/img_000001\.jpg"):
        load(Mupots(), tmp_path)


def test_a_face_of_68_landmarks_is_refused(tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "000001.ljson").write_text(json.dumps(files.ljson(np.zeros((68, 2)), 2)))
    with pytest.raises(ValueError, match=r"84 landmarks.*\(68, 2\)"):
        load(Menpo(), tmp_path)


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def lsp_folder(tmp_path, monkeypatch):
    """A data set of three pictures, and a detector that knows where everybody is by the shade."""
    pytest.importorskip("matplotlib")
    people = np.stack([files.lsp_person((30 + i, 10), 30) for i in range(3)])
    files.write_lsp(tmp_path / "lspet", people, np.ones((3, 14)), extended=True)
    looked_at = []

    class Knowing:
        description = "a detector that knows"
        min_scores: dict = {}

        def find_parts(self, rgb):
            i = round(float(rgb.mean()) / 10) - 1
            looked_at.append(i)
            return bodies([ours(people[i], LSP_JOINTS)]) if i != 1 else {
                "body": PartDetections.empty("body", 13)
            }  # fmt: skip

    from dope_model.benchmark import predictions

    monkeypatch.setattr(
        predictions.WholeBodyDetector, "load", classmethod(lambda cls, *a, **k: Knowing())
    )
    return tmp_path / "lspet", looked_at


def test_command_writes_a_report_and_resumes(lsp_folder, tmp_path, capsys):
    folder, looked_at = lsp_folder
    arguments = ["benchmark", "lspet", "--data", str(folder), "--out", str(tmp_path / "out"),
                 "--model", "experts:fast"]  # fmt: skip
    assert program.main([*arguments, "--limit", "2"]) == 0
    assert looked_at == [0, 1]
    assert program.main(arguments) == 0
    assert looked_at == [0, 1, 2]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    (row,) = report["rows"]
    assert row["PCK@0.2"] == pytest.approx(2 / 3) and row["recall"] == pytest.approx(2 / 3)
    assert report["pictures"] == 3 and report["versions"]["numpy"] == np.__version__
    assert report["settings"]["mode"] == "auto"
    assert report["models"]["experts:fast"]["code"]
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| experts:fast | 0.667 |" in text and "torso" in text
    assert "0.667" in capsys.readouterr().out
    assert (tmp_path / "out" / "curve_1.png").stat().st_size > 1000
    assert (tmp_path / "out" / "worst_experts-fast.png").stat().st_size > 1000


def test_pictures_that_cannot_be_read_are_named_and_left_out(lsp_folder, tmp_path, capsys):
    folder, looked_at = lsp_folder
    spoilt = sorted((folder / "images").iterdir())[0]
    spoilt.unlink()
    spoilt.mkdir()
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"other")
    arguments = ["benchmark", "lspet", "--data", str(folder), "--out", str(tmp_path / "out"),
                 "--mode", "realtime", "--model", "experts:fast", str(other)]  # fmt: skip
    assert program.main(arguments) == 1
    assert looked_at == [1, 2] * 2
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["pictures"] == 2
    assert [row["PCK@0.2"] for row in report["rows"]] == [0.5, 0.5]
    assert capsys.readouterr().err.count(f"skipped: {spoilt} is not a file") == 1


def test_several_models_stand_in_one_table(lsp_folder, tmp_path):
    folder, looked_at = lsp_folder
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    out = tmp_path / "out"
    weights = [str(tmp_path / f"{name}.safetensors") for name in "ab"]
    arguments = ["benchmark", "lspet", "--data", str(folder), "--out", str(out), "--worst", "0",
                 "--mode", "realtime", "--model", weights[0], "--model", weights[1]]  # fmt: skip
    assert program.main(arguments) == 0
    assert looked_at == [0, 1, 2, 0, 1, 2]
    report = json.loads((out / "report.json").read_text())
    assert [row["model"] for row in report["rows"]] == ["a", "b"]
    hashes = {model["weights"] for model in report["models"].values()}
    assert len(hashes) == 2 and all(len(h) == 64 for h in hashes)
    assert not list(out.glob("worst*"))


def test_table_1(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    pytest.importorskip("torch")
    from dope_model import checkpoint
    from dope_model.benchmark import predictions

    near, far = _mpii(tmp_path / "mpii")
    (left_2d, left_3d), _ = _rhd(tmp_path / "rhd")
    parts_of = {"body": ("body",), "hand": ("hand",), "whole": ("body", "hand", "face")}
    for name in parts_of:
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())

    def fake_checkpoint(path):
        config = argparse.Namespace(parts=dict.fromkeys(parts_of[path.stem]))
        return argparse.Namespace(config=config)

    class Fake:
        def __init__(self, name):
            self.description = self.name = name
            self.min_scores = {}

        def find_parts(self, rgb):
            found = {}
            if self.name != "hand":  # the whole-body network misses one of two people
                people = [near, far] if self.name == "body" else [near]
                found |= bodies([ours(np.nan_to_num(p), MPII_JOINTS) for p in people])
            if self.name == "hand":
                found |= _hand_detection(left_2d, left_3d, True)
            return found

    monkeypatch.setattr(checkpoint, "load_checkpoint", fake_checkpoint)
    monkeypatch.setattr(
        predictions.WholeBodyDetector, "load",
        classmethod(lambda cls, model, *a, **k: Fake(model.rpartition("/")[2].split(".")[0])),
    )  # fmt: skip
    out = tmp_path / "out"
    arguments = ["benchmark", "parts", "--mpii", str(tmp_path / "mpii"), "--out", str(out),
                 "--rhd", str(tmp_path / "rhd"), "--mode", "paper", "--worst", "0"]  # fmt: skip
    for row, name in (("body expert", "body"), ("hand expert", "hand"), ("DOPE", "whole")):
        arguments += ["--checkpoint", f"{row}={tmp_path / name}.safetensors"]
    assert program.main(arguments) == 0
    rows = json.loads((out / "table_1.json").read_text())["rows"]
    mpii, rhd = "MPII (PCKh@0.5) %", "RH (AUC) %"
    # One of two hands is right, and 13 of 25 joints are the first person's.
    assert [(row[""], row[mpii], row[rhd]) for row in rows] == [
        ("body expert", "100.0", "-"), ("hand expert", "-", "50.0"), ("DOPE", "52.0", "0.0")
    ]  # fmt: skip
    assert "| hand expert | - | 50.0 |" in (out / "table_1.md").read_text()
    assert (out / "rhd" / "report.md").is_file()


def test_table_1_wants_data_and_names(tmp_path, capsys):
    pytest.importorskip("torch")
    arguments = ["benchmark", "parts", "--out", str(tmp_path)]
    assert program.main([*arguments, "--checkpoint", "a=b"]) == 1
    assert "--mpii" in capsys.readouterr().err
    assert program.main([*arguments, "--mpii", ".", "--checkpoint", "weights"]) == 1
    assert "NAME=WEIGHTS" in capsys.readouterr().err
