"""Training sets in their owners' file formats, converted to labels; conversions of skeletons."""

from __future__ import annotations

import json
import pickle

import cv2
import numpy as np
import pytest

pytest.importorskip("scipy.io")

import dataset_files as files  # noqa: E402
from scipy.io import savemat  # noqa: E402

from dope_model import __main__ as program  # noqa: E402
from dope_model.camera.placement import Intrinsics  # noqa: E402
from dope_model.datasets import conversions, training_sets  # noqa: E402
from dope_model.datasets.files import read_mat, read_pickle  # noqa: E402
from dope_model.datasets.labels import LabelSet, Visibility  # noqa: E402
from dope_model.datasets.menpo import in_optical_frame as menpo_in_optical_frame  # noqa: E402
from dope_model.datasets.sources import fitted_intrinsics, part_labels  # noqa: E402
from dope_model.datasets.surreal import AXES, INTRINSICS  # noqa: E402
from dope_model.skeleton import BODY, BODY14, FACE84, HAND  # noqa: E402


def converted(name, folder, out, **options) -> LabelSet:
    labels, pictures = training_sets.convert(name, folder, out, **options)
    loaded = LabelSet.load(labels)
    for sample in loaded:
        assert (pictures / sample.file).is_file()
    return loaded


def write_video(path, frames: int, size=(320, 240)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, size)
    for i in range(frames):
        writer.write(np.full((size[1], size[0], 3), 20 + 30 * i, np.uint8))
    writer.release()


# --- conversions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(conversions.ALL))
def test_converting_and_mirroring_go_in_either_order(name):
    conversion = conversions.ALL[name]
    random = np.random.default_rng(0)
    points = random.normal(0, 1, (3, len(conversion.names), 2))
    valid = random.random((3, len(conversion.names))) < 0.8
    swap, our_swap = list(conversion.swap), list(conversion.skeleton.swap)
    mirrored = points[:, swap] * [-1, 1]
    assert np.allclose(conversion(mirrored), conversion(points)[:, our_swap] * [-1, 1])
    assert np.array_equal(conversion.valid(valid[:, swap]), conversion.valid(valid)[:, our_swap])
    assert conversion.known.all(), "every one of these data sets has all joints"


def test_joints_by_name_and_by_mean():
    points = np.arange(28.0).reshape(14, 2)
    found = conversions.LSP(points)
    assert found[BODY.index["left_elbow"]].tolist() == [20, 21]  # LSP's 11th joint
    assert found[BODY.index["head"]].tolist() == [25, 26]  # the middle of its 13th and 14th
    valid = np.ones(14, bool)
    valid[12] = False
    assert not conversions.LSP.valid(valid)[BODY.index["head"]]
    assert conversions.LSP.valid(valid)[:12].all()


def test_a_missing_joint_spoils_only_what_is_made_of_it():
    points = np.ones((14, 2))
    points[13] = np.nan
    found = conversions.LSP(points)
    assert np.isnan(found[BODY.index["head"]]).all() and np.isfinite(found[:12]).all()


def test_a_conversion_names_unknown_joints():
    with pytest.raises(ValueError, match="third_knee"):
        conversions.Conversion(("a",), BODY, {"head": ("a", "third_knee")})


def test_rhd_runs_from_tip_to_root_and_openpose_the_other_way():
    ours = np.arange(21.0)[:, None]
    assert conversions.RHD(files.rhd_order(ours))[:, 0].tolist() == list(range(21))
    index_finger = [HAND.index[f"index_{joint}"] for joint in ("mcp", "pip", "dip", "tip")]
    assert conversions.OPENPOSE_HAND(ours)[index_finger, 0].tolist() == [5, 6, 7, 8]
    assert conversions.RHD(ours)[index_finger, 0].tolist() == [8, 7, 6, 5]


def test_68_of_84_landmarks_keep_their_mirror_partners():
    chosen = list(conversions.IBUG68_OF_FACE84)
    assert len(chosen) == 68
    assert {FACE84.swap[j] for j in chosen} == set(chosen)


# --- files ---------------------------------------------------------------------------------------


class _Harmful:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_pickle_with_code_is_refused(tmp_path, capsys):
    path = tmp_path / "bad.pickle"
    path.write_bytes(pickle.dumps({0: {"xyz": np.ones(3), "uv_vis": _Harmful()}}))
    with pytest.raises(ValueError, match="could execute code.*print"):
        read_pickle(path)
    assert "executed" not in capsys.readouterr().out
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="not a pickle|was not read"):
        read_pickle(path)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_of_arrays_is_read(tmp_path, protocol):
    path = tmp_path / "good.pickle"
    content = {3: {"xyz": np.arange(6.0).reshape(2, 3), "K": np.float32(2), "name": "x"}}
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    read = read_pickle(path)
    assert np.array_equal(read[3]["xyz"], content[3]["xyz"]) and read[3]["K"] == 2


def test_a_pickle_of_old_numpy_and_python_2_is_read(tmp_path):
    path = tmp_path / "old.pickle"
    text = pickle.dumps(np.arange(3.0), protocol=2).replace(b"numpy._core", b"numpy.core")
    path.write_bytes(text)
    assert read_pickle(path).tolist() == [0, 1, 2]


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "joints.mat"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="joints.mat is not a MATLAB file"):
        read_mat(path)


# --- labels --------------------------------------------------------------------------------------


def test_labels_without_a_valid_root_have_no_3d():
    points, deep = np.ones((2, 13, 2)), np.random.default_rng(0).normal(0, 1, (2, 13, 3))
    valid = np.ones((2, 13), bool)
    valid[1, BODY.index["left_hip"]] = False
    labels = part_labels("body", (10, 10), points, np.ones((2, 13)), deep, valid)
    assert labels.valid_3d[0].all() and not labels.valid_3d[1].any()
    assert np.allclose(labels.root[0], (deep[0, 4] + deep[0, 5]) / 2)
    assert np.isnan(labels.root[1]).all()
    assert np.allclose(BODY.root_of(labels.keypoints_3d[0]), 0, atol=1e-6)


def test_the_camera_is_found_from_projected_joints():
    camera = Intrinsics(1145.0, 1144.0, 512.5, 515.4)
    deep = np.random.default_rng(0).normal(0, 0.4, (3, 13, 3)) + [0, 0, 5]
    found = fitted_intrinsics(camera.project(deep), deep)
    assert np.allclose(list(vars(found).values()), list(vars(camera).values()))
    assert fitted_intrinsics(np.zeros((5, 2)), np.ones((5, 3))) is None


def test_lspet(tmp_path):
    people = np.stack([files.lsp_person((20, 5), 12), files.lsp_person((30, 5), 12)])
    flag = np.ones((2, 14))
    flag[1, 0] = 0
    files.write_lsp(tmp_path / "data", people, flag, extended=True)
    samples = converted("lspet", tmp_path / "data", tmp_path / "out").samples
    body = samples[1].parts["body"]
    assert samples[1].file == "images/im00002.jpg" and (samples[1].width, samples[1].height) == (
        64,
        48,
    )
    assert not body.valid_2d[0, BODY.index["right_ankle"]] and body.valid_2d[0].sum() == 12
    assert not body.valid_3d.any() and not body.complete
    left_hip = people[1][conversions.LSP_JOINTS.index("left_hip")]
    assert np.allclose(body.keypoints_2d[0, BODY.index["left_hip"]], left_hip, atol=1 / 16)


def test_mpii_leaves_the_held_out_pictures_out(tmp_path, monkeypatch):
    head = (0, 0, 30, 40)
    person = {"joints": files.mpii_person((20, 5), 12), "head": head, "visible": 0}
    bare = {"joints": np.full((16, 2), np.nan), "head": head, "scale": 0.1}
    files.write_mpii(tmp_path / "data", [[person, bare], [person], [person]], [1, 1, 0])
    from dope_model.datasets import mpii

    pictures = mpii.read_mpii(tmp_path / "data")
    names = {p.path.name for p in pictures}
    assert names == {"000000000.jpg", "000000001.jpg"}
    assert mpii.held_out(pictures, 1) == mpii.held_out(pictures[::-1], 1)
    monkeypatch.setattr(training_sets, "held_out", lambda _: {"000000001.jpg"})
    (sample,) = converted("mpii", tmp_path / "data", tmp_path / "out").samples
    body = sample.parts["body"]
    assert sample.file == "images/000000000.jpg" and len(body) == 1
    assert body.valid_2d.all() and (body.visibility == Visibility.UNKNOWN).all()
    # 0.1 of 200 px around (30.5, 20.5) counted from 1.
    assert np.allclose(body.ignored, [[20, 10, 40, 30]])


def test_coco(tmp_path):
    points = np.random.default_rng(0).uniform(5, 40, (17, 2))
    flags = np.full(17, 2)
    flags[3] = 0  # left ear
    flags[9] = 1  # left wrist, hidden
    table = np.concatenate([points, flags[:, None]], axis=1)
    annotations = [
        {"id": 1, "image_id": 1, "keypoints": table.ravel().tolist(), "num_keypoints": 16,
         "iscrowd": 0, "bbox": [5, 5, 35, 35]},
        {"id": 2, "image_id": 1, "keypoints": [0] * 51, "num_keypoints": 0, "iscrowd": 1,
         "bbox": [1, 2, 10, 20]},
    ]  # fmt: skip
    files.write_coco(tmp_path / "data", "train", annotations, 2, "person_keypoints_train2017.json")
    (sample,) = converted("coco", tmp_path / "data", tmp_path / "out").samples
    body = sample.parts["body"]
    assert len(body) == 1 and body.complete and body.ignored.tolist() == [[1, 2, 11, 22]]
    assert not body.valid_2d[0, BODY.index["head"]] and body.valid_2d[0].sum() == 12
    # Pixel 7 is meant at its middle, 7.5 px from the picture's edge.
    assert np.allclose(body.keypoints_2d[0, BODY.index["left_wrist"]], points[9] + 0.5, atol=0.04)
    assert body.visibility[0, BODY.index["left_wrist"]] == Visibility.UNKNOWN
    assert body.visibility[0, BODY.index["right_wrist"]] == Visibility.VISIBLE


def test_rhd(tmp_path):
    random = np.random.default_rng(0)
    deep = random.normal(0, 0.05, (2, 21, 3)) + [0, 0, 0.5]
    flat = Intrinsics(200, 200, 160, 160).project(deep)
    visible = np.concatenate([np.ones(21), np.zeros(21)])
    visible[21:23] = 1  # two joints of the right hand
    files.write_rhd(
        tmp_path / "data", "training",
        [{"uv": np.concatenate([files.rhd_order(hand) for hand in flat]),
          "xyz": np.concatenate([files.rhd_order(hand) for hand in deep]), "visible": visible}],
    )  # fmt: skip
    (sample,) = converted("rhd", tmp_path / "data", tmp_path / "out").samples
    hands = sample.parts["hand"]
    assert hands.is_left.tolist() == [True] and hands.complete
    assert np.allclose(hands.keypoints_3d[0], deep[0] - deep[0, 0], atol=1e-4)
    assert np.allclose(hands.root[0], deep[0, 0], atol=1e-3)
    expected = [*flat[1].min(axis=0), *flat[1].max(axis=0)]
    assert np.allclose(hands.ignored, [expected], atol=0.25)
    assert sample.intrinsics == Intrinsics(200, 200, 160, 160)


@pytest.mark.parametrize("joints", [17, 28])
def test_muco(tmp_path, joints):
    conversion = conversions.MUPOTS if joints == 17 else conversions.MUCO
    random = np.random.default_rng(0)
    deep = random.normal(0, 300, (2, 3, joints, 3)) + [0, 0, 4000]  # 2 pictures of 3 people
    camera = Intrinsics(1500, 1500, 32, 24)
    flat = camera.project(deep)
    folder = tmp_path / "data" / "unaugmented_set_001"
    folder.mkdir(parents=True)
    names = np.empty((1, 2), object)
    for i in range(2):
        names[0, i] = f"{i + 1:06d}.jpg"
        files.write_picture(folder / names[0, i])
    savemat(
        folder / "muco_1.mat",
        {"img_names": names, "joint_loc2": flat.transpose(3, 2, 1, 0),
         "joint_loc3": deep.transpose(3, 2, 1, 0)},
    )  # fmt: skip
    samples = converted("muco", tmp_path / "data", tmp_path / "out").samples
    assert [s.file for s in samples] == [f"unaugmented_set_001/00000{i}.jpg" for i in (1, 2)]
    body = samples[1].parts["body"]
    assert body.keypoints_2d.shape == (3, 14, 2) and body.complete
    head = conversion.names.index("head_top")
    root = deep[1, :, [conversion.names.index(f"{s}_hip") for s in ("right", "left")]].mean(axis=0)
    expected = (deep[1, :, head] - root) / 1000
    assert np.allclose(body.keypoints_3d[:, BODY14.index["head"]], expected, atol=1e-4)
    assert np.isclose(samples[0].intrinsics.fx, 1500)
    (folder / "000002.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"000002\.jpg"):
        list(training_sets.SETS["muco"](tmp_path / "data"))


def test_muco_of_a_single_picture(tmp_path):
    """MATLAB drops the last axis when it is 1."""
    folder = tmp_path / "data"
    folder.mkdir()
    files.write_picture(folder / "000001.jpg")
    names = np.empty((1, 1), object)
    names[0, 0] = "000001.jpg"
    deep = (
        np.random.default_rng(0).normal(0, 300, (3, 17, 2)) + np.array([0, 0, 4000])[:, None, None]
    )
    savemat(folder / "a.mat", {"img_names": names, "joint_loc2": deep[:2], "joint_loc3": deep})
    (sample,) = converted("muco", folder, tmp_path / "out").samples
    assert len(sample.parts["body"]) == 2


@pytest.mark.parametrize("axes", ["mirrored", "plain"])
def test_surreal_labels_say_right_and_left_of_the_person_in_the_picture(tmp_path, axes):
    names = conversions.SURREAL_JOINTS
    random = np.random.default_rng(0)
    camera = np.array([6.0, -1.0, 0.5])
    world = random.normal(0, 0.3, (24, 3, 2)) + np.array([0.0, -1.0, 0.5])[:, None]
    in_camera = (world.transpose(2, 0, 1) - camera) @ AXES[axes].T
    flat = INTRINSICS.project(in_camera)
    folder = tmp_path / "data" / "cmu" / "train" / "run0" / "01_01"
    folder.mkdir(parents=True)
    savemat(
        folder / "01_01_c0001_info.mat",
        {"joints2D": flat.transpose(2, 1, 0), "joints3D": world.transpose(1, 0, 2),
         "camLoc": camera[:, None]},
    )  # fmt: skip
    with pytest.raises(FileNotFoundError, match=r"01_01_c0001\.mp4"):
        list(training_sets.SETS["surreal"](tmp_path / "data"))
    write_video(folder / "01_01_c0001.mp4", 2)
    first, second = converted("surreal", tmp_path / "data", tmp_path / "out", every=1).samples
    assert second.file == "cmu_train_run0_01_01_01_01_c0001_001.jpg"
    body = second.parts["body"]
    named = "left_knee" if axes == "mirrored" else "right_knee"
    right_knee = BODY.index["right_knee"]
    assert np.allclose(body.keypoints_2d[0, right_knee], flat[1, names.index(named)], atol=0.1)
    assert body.valid_3d.all()
    projected = INTRINSICS.project(body.keypoints_3d[0] + body.root[0])
    assert np.allclose(projected, body.keypoints_2d[0], atol=0.5)


def test_surreal_whose_3d_does_not_fit_keeps_its_2d(tmp_path, caplog):
    folder = tmp_path / "data"
    folder.mkdir()
    random = np.random.default_rng(0)
    savemat(
        folder / "a_info.mat",
        {"joints2D": random.uniform(0, 200, (2, 24, 1)),
         "joints3D": random.normal(0, 1, (3, 24, 1)), "camLoc": np.array([[9.0], [0], [0]])},
    )  # fmt: skip
    write_video(folder / "a.mp4", 1)
    (sample,) = converted("surreal", folder, tmp_path / "out", every=1).samples
    assert sample.parts["body"].valid_2d.all() and not sample.parts["body"].valid_3d.any()
    assert "a_info.mat" in caplog.text


def test_human36m(tmp_path):
    cdfwrite = pytest.importorskip("cdflib.cdfwrite")
    random = np.random.default_rng(0)
    deep = random.normal(0, 300, (3, 32, 3)) + [0, 0, 5000]
    flat = Intrinsics(1145, 1145, 500, 500).project(deep)
    base = tmp_path / "data"
    for subject in ("S1", "S5", "S6", "S7", "S8"):
        for kind, values in (("D2_Positions", flat), ("D3_Positions_mono", deep)):
            folder = base / subject / "MyPoseFeatures" / kind
            folder.mkdir(parents=True)
            if subject != "S1":
                continue
            file = cdfwrite.CDF(str(folder / "Walking 1.54138969.cdf"))
            row = values.reshape(1, 3, -1)
            spec = {"Variable": "Pose", "Data_Type": 45, "Num_Elements": 1, "Rec_Vary": True,
                    "Dim_Sizes": list(row.shape[1:])}  # fmt: skip
            file.write_var(spec, var_data=row)
            file.close()
        (base / subject / "Videos").mkdir()
    with pytest.raises(FileNotFoundError, match=r"Videos/Walking 1\.54138969\.mp4"):
        list(training_sets.SETS["human36m"](base))
    write_video(base / "S1" / "Videos" / "Walking 1.54138969.mp4", 3, (64, 48))
    samples = converted("human36m", base, tmp_path / "out", every=2).samples
    assert [s.file for s in samples] == [
        "S1_Walking_1.54138969_000000.jpg", "S1_Walking_1.54138969_000002.jpg"
    ]  # fmt: skip
    body = samples[1].parts["body"]
    assert np.allclose(body.keypoints_2d[0, BODY.index["left_knee"]], flat[2, 7], atol=0.1)
    root = (deep[2, 1] + deep[2, 6]) / 2
    assert np.allclose(body.keypoints_3d[0, BODY.index["right_wrist"]], (deep[2, 27] - root) / 1000,
                       atol=1e-3)  # fmt: skip
    assert np.isclose(samples[0].intrinsics.fx, 1145)


def test_menpo_in_2d_and_3d(tmp_path):
    random = np.random.default_rng(0)
    model = random.normal(0, 40, (84, 3))  # right-handed: x right, y up, z towards the viewer
    turn = np.array([[0.8, 0, 0.6], [0, 1, 0], [-0.6, 0, 0.8]])
    seen = model @ turn.T * [1, -1, -1]  # the optical frame
    flat = 0.1 * seen[:, :2] + 20
    base = tmp_path / "data"
    (base / "model_space" / "v").mkdir(parents=True)
    (base / "model_space" / "v" / "000005.ljson").write_text(json.dumps(files.ljson(model, 2)))
    files.write_menpo(base / "projected_image_space", {"v": [flat] * 5})
    (sample,) = converted("menpo", base, tmp_path / "out").samples
    assert sample.file == "projected_image_space/v/000005.png"
    face = sample.parts["face"]
    assert np.allclose(face.keypoints_2d[0], flat, atol=1 / 16) and face.valid_3d.all()
    a, b = FACE84.index["right_eye_0"], FACE84.index["left_eye_3"]
    scale = 0.09 / np.linalg.norm(seen[a] - seen[b])
    assert np.allclose(face.keypoints_3d[0], FACE84.centred(scale * seen), atol=1e-3)
    assert np.allclose(
        menpo_in_optical_frame(model, 7 * seen[:, :2]), scale * (seen - seen.mean(axis=0))
    )


# --- commands ------------------------------------------------------------------------------------


def test_convert_says_how_to_train(tmp_path, capsys):
    files.write_lsp(tmp_path / "d", files.lsp_person((20, 5), 12)[None], np.zeros((1, 14)), False)
    arguments = ["convert", "lsp", "--data", str(tmp_path / "d"), "--out", str(tmp_path / "o")]
    assert program.main(arguments) == 0
    assert f"--data {tmp_path / 'o' / 'labels.npz'}:{tmp_path / 'd'}" in capsys.readouterr().out
    assert program.main([*arguments, "--every", "0"]) == 1
    assert "at least 1" in capsys.readouterr().err
    assert program.main([*arguments[:3], str(tmp_path / "nowhere"), *arguments[4:]]) == 1
    assert "no folder" in capsys.readouterr().err


def test_frames_that_were_written_are_kept(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    random = np.random.default_rng(0)
    savemat(
        folder / "a_info.mat",
        {"joints2D": random.uniform(0, 200, (2, 24, 3)),
         "joints3D": random.normal(0, 1, (3, 24, 3)), "camLoc": np.array([[9.0], [0], [0]])},
    )  # fmt: skip
    write_video(folder / "a.mp4", 3)
    converted("surreal", folder, tmp_path / "out", every=1, limit=1)
    first = tmp_path / "out" / "pictures" / "a_000.jpg"
    before = first.stat().st_mtime_ns
    assert len(converted("surreal", folder, tmp_path / "out", every=1)) == 3
    assert first.stat().st_mtime_ns == before
