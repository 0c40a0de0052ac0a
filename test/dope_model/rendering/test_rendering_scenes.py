"""Rendered people: labels against the drawing, bones, mirror images, seeds, workers, resuming."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("anny")
pytest.importorskip("moderngl")

from rendering_help import body_model, die, require_studio, studio

from dope_model.datasets.labels import LabelSet, Visibility
from dope_model.errors import Failure
from dope_model.rendering import RENDERING_VERSION, generate
from dope_model.rendering.body import BODY_VERTICES, skin
from dope_model.rendering.camera import Camera
from dope_model.rendering.generate import LABELS_FILE, RenderSettings, render_images
from dope_model.rendering.person import Person
from dope_model.rendering.posing import Poser
from dope_model.rendering.scene import sample_scene
from dope_model.skeleton import BODY14, FACE84, HAND, PARTS
from tools.rendering.motion import Walk, Walker

IMAGES = 4


@pytest.fixture(scope="module")
def images():
    return [studio().image(number) for number in range(IMAGES)]


def test_3d_projects_onto_2d(images):
    checked = 0
    for image in images:
        for part in PARTS:
            labels = image.sample.parts[part]
            if not len(labels):
                continue
            optical = labels.keypoints_3d.astype(float) + labels.root[:, None]
            pixels = image.sample.intrinsics.project(optical)
            # A float32 metre is exact to 0.2 micrometres: only points close by may move more.
            good = labels.valid_2d & (np.abs(pixels).max(axis=-1) < 5000)
            assert np.abs(pixels - labels.keypoints_2d)[good].max() < 0.01
            checked += good.sum()
    assert checked > 300


def test_roots_are_the_origin(images):
    for image in images:
        for part, skeleton in (("hand", HAND), ("face", FACE84)):
            labels = image.sample.parts[part]
            assert np.allclose(skeleton.root_of(labels.keypoints_3d), 0, atol=1e-6)


def test_visibility_agrees_with_the_mask(images):
    """Visible joints lie on their person's pixels, give or take one; hidden ones do not lie on
    bare background."""
    for image in images:
        mask = image.frame.person
        height, width = mask.shape
        padded = np.pad(mask, 1)
        for part in PARTS:
            labels = image.sample.parts[part]
            for i in range(len(labels)):
                number = labels.person[i] + 1
                u, v = np.floor(labels.keypoints_2d[i]).astype(int).T
                inside = (u >= 0) & (v >= 0) & (u < width) & (v < height) & labels.valid_2d[i]
                outside = labels.visibility[i] == Visibility.OUTSIDE_FRAME
                assert (outside == ~inside).all()
                around = np.stack([padded[v[inside] + dy, u[inside] + dx]
                                   for dy in range(3) for dx in range(3)])  # fmt: skip
                near = (around == number).any(axis=0)
                state = labels.visibility[i][inside]
                assert near[state == Visibility.VISIBLE].mean() > 0.8 or state.size < 5
                by_self = state == Visibility.OCCLUDED_BY_SELF
                assert (mask[v[inside], u[inside]][by_self] == number).all()
                by_other = state == Visibility.OCCLUDED_BY_OTHER
                assert (mask[v[inside], u[inside]][by_other] != number).all()


def test_everybody_in_the_mask_is_labelled_or_ignored(images):
    for image in images:
        labels = image.sample.parts["body"]
        for number in np.unique(image.frame.person[image.frame.person > 0]):
            v, u = np.nonzero(image.frame.person == number)
            if len(v) < 20 or number - 1 in labels.person:
                continue
            inside = [
                (u > x0).all() and (u < x1).all() and (v > y0).all() and (v < y1).all()
                for x0, y0, x1, y1 in labels.ignored
            ]
            assert any(inside)


def test_same_seed_same_labels_and_picture(images):
    again = studio().image(2)
    assert (again.rgb == images[2].rgb).all()
    for part in PARTS:
        first, second = images[2].sample.parts[part], again.sample.parts[part]
        assert first.keypoints_3d.tobytes() == second.keypoints_3d.tobytes()
        assert first.keypoints_2d.tobytes() == second.keypoints_2d.tobytes()


def test_bones_keep_their_length_over_poses():
    model = body_model()
    rest, heads = model.base_vertices, model.base_heads
    poser = Poser(model, rest, heads)
    random = np.random.default_rng(5)
    lengths = {"hand": [], "arm": []}
    for _ in range(12):
        pose = poser.sample(random)
        vertices = skin(rest, model.weights, pose.rotations, pose.heads, heads)
        joints = model.joints(pose.heads, vertices)
        for hand in (joints.right_hand, joints.left_hand):
            # Tips are points of the skin, which stretches; every other bone is rigid.
            bones = [(a, b) for a, b in HAND.bones if not HAND.joints[b].endswith("_tip")]
            lengths["hand"].append([np.linalg.norm(hand[a] - hand[b]) for a, b in bones])
        index = BODY14.index
        for side in ("right", "left"):
            chain = [f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist")]
            at = joints.body[[index[joint] for joint in chain]]
            lengths["arm"].append(np.linalg.norm(np.diff(at, axis=0), axis=1))
    for name, rows in lengths.items():
        right, left = np.array(rows)[::2], np.array(rows)[1::2]
        assert np.ptp(right, axis=0).max() < 1e-4, name
        assert np.allclose(right, left, atol=1e-3), name


def test_mirrored_pose_gives_mirrored_labels():
    """A symmetric body in the mirror image of a pose: the picture's labels are mirrored, with
    right and left exchanged."""
    model = body_model()
    rest, heads = model.base_vertices, model.base_heads
    pose = Poser(model, rest, heads).sample(np.random.default_rng(8), "free")
    flip = np.diag([-1.0, 1, 1])
    partner = [model.index[_other_side(bone)] for bone in model.bones]
    mirrored = (flip @ pose.rotations @ flip)[partner]
    camera = Camera.looking(np.array([0, 0.3, 3.0]), np.array([0, 0.1, 0.0]), 0, 60, 640, 480)
    seen = []
    for rotations in (pose.rotations, mirrored):
        posed = model.pose_bones(heads, rotations)
        joints = model.joints(posed, skin(rest, model.weights, rotations, posed, heads))
        seen.append(
            {
                name: camera.intrinsics.project(camera.to_optical(getattr(joints, name)))
                for name in ("body", "right_hand", "left_hand", "face")
            }
        )

    def swap(pixels: np.ndarray, skeleton) -> np.ndarray:
        return np.stack([640 - pixels[:, 0], pixels[:, 1]], 1)[list(skeleton.swap)]

    first, second = seen
    assert np.allclose(swap(first["body"], BODY14), second["body"], atol=0.1)
    assert np.allclose(swap(first["right_hand"], HAND), second["left_hand"], atol=0.3)
    assert np.allclose(swap(first["left_hand"], HAND), second["right_hand"], atol=0.3)
    assert np.allclose(swap(first["face"], FACE84), second["face"], atol=0.7)


def test_feet_of_walkers_stay_where_they_stand():
    closet = studio().closet
    walk = Walk(np.array([0.0, 10.0]), np.array([(0.0, 0.0), (9.0, 3.0)]))
    walker = Walker(Person(closet, np.random.default_rng(1)), walk)
    ankles = BODY14.index["right_ankle"], BODY14.index["left_ankle"]
    times = np.arange(2, 4, 0.04)
    joints = np.array([walker.at(time).joints.body for time in times])
    still = np.zeros(len(times) - 1, int)
    for ankle in ankles:
        moves = np.linalg.norm(np.diff(joints[:, ankle][:, [0, 2]], axis=0), axis=1)
        still += moves < 2e-3
        assert 0.45 < (moves < 2e-3).mean() < 0.75
        assert joints[:, ankle, 1].min() > 0.02 and joints[:, ankle, 1].max() < 0.35
    # One foot at least is on the ground at any time.
    assert (still >= 1).all()
    way = joints[-1, 12, [0, 2]] - joints[0, 12, [0, 2]]
    assert np.isclose(np.linalg.norm(way) / (times[-1] - times[0]), np.hypot(0.9, 0.3), rtol=0.05)


def _other_side(bone: str) -> str:
    stem, _, side = bone.partition(".")
    return f"{stem}.{'L' if side == 'R' else 'R'}" if side else bone


def test_sampled_poses_do_not_run_through_themselves():
    model = body_model()
    rest, heads = model.base_vertices, model.base_heads
    poser = Poser(model, rest, heads)
    random = np.random.default_rng(2)
    clean = 0
    for _ in range(40):
        pose = poser.sample(random)
        clean += not poser.solids.overlaps(poser.solids.posed(pose.rotations, pose.heads))
    assert clean >= 36


def test_acrobats_stand_any_way_up_and_not_in_themselves():
    model = body_model()
    poser = Poser(model, model.base_vertices, model.base_heads)
    random = np.random.default_rng(3)
    poses = [poser.sample(random, "acrobat") for _ in range(40)]
    hits = [poser.solids.overlaps(poser.solids.posed(p.rotations, p.heads)) for p in poses]
    assert sum(map(bool, hits)) <= 6
    up = np.array([pose.heads[model.index["head"]] - pose.heads[0] for pose in poses])
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    # Each way of an axis is taken by some: a sphere has a quarter of its surface above 0.5.
    assert (np.sum(up > 0.5, axis=0) >= 4).all() and (np.sum(up < -0.5, axis=0) >= 4).all()


def test_only_those_who_ask_get_acrobats():
    asked = RenderSettings(acrobats=0.5).scene_options().shots
    assert asked["acrobat"] == 0.5 and sum(asked.values()) == pytest.approx(1)
    assert RenderSettings().scene_options().shots["acrobat"] == 0
    require_studio()
    options = RenderSettings(acrobats=1, people=(2, 2), size=(160, 120)).scene_options()
    scene = sample_scene(studio().closet, np.random.default_rng(5), options)
    assert {person.pose.activity for person in scene.people} == {"acrobat"}
    with pytest.raises(ValueError, match="acrobats"):
        RenderSettings(acrobats=1.5)


def test_rest_pose_is_the_rest_shape():
    model = body_model()
    identity = np.tile(np.eye(3), (len(model.bones), 1, 1))
    posed = model.pose_bones(model.base_heads, identity)
    vertices = skin(model.base_vertices, model.weights, identity, posed, model.base_heads)
    assert np.allclose(vertices[:BODY_VERTICES], model.base_vertices[:BODY_VERTICES], atol=1e-5)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="people"):
        RenderSettings(people=(3, 2))
    with pytest.raises(ValueError, match="joints"):
        RenderSettings(body_joints=15)


def test_pictures_of_another_version_are_not_mixed(tmp_path):
    require_studio()
    settings = {"version": RENDERING_VERSION - 1, **asdict(RenderSettings(seed=9))}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="version was"):
        list(render_images(tmp_path, 1, RenderSettings(seed=9)))


def test_a_folder_from_before_a_setting_was_there_goes_on(tmp_path):
    require_studio()
    settings = {"version": RENDERING_VERSION, **asdict(RenderSettings(seed=9))}
    del settings["acrobats"]
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    assert list(render_images(tmp_path, 0, RenderSettings(seed=9))) == []
    with pytest.raises(ValueError, match="acrobats was 0.0, is 0.5"):
        list(render_images(tmp_path, 0, RenderSettings(seed=9, acrobats=0.5)))


def test_workers_and_resuming_change_nothing(tmp_path):
    require_studio()
    settings = RenderSettings(seed=9, people=(1, 2), size=(160, 120), supersampling=1)
    assert sorted(render_images(tmp_path / "one", 3, settings)) == [0, 1, 2]
    assert list(render_images(tmp_path / "two", 1, settings)) == [0]
    (tmp_path / "two" / "images" / "000001.jpg").write_bytes(b"half written")
    assert sorted(render_images(tmp_path / "two", 3, settings, workers=2)) == [1, 2]
    files = ("images/000001.jpg", "masks/000001.png", "images/000002.jpg", LABELS_FILE)
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    samples = LabelSet.load(tmp_path / "two" / LABELS_FILE).samples
    assert [s.file for s in samples] == [f"images/{i:06d}.jpg" for i in range(3)]
    assert {(s.width, s.height) for s in samples} <= {(160, 120), (120, 160)}
    with pytest.raises(ValueError, match="seed was 9"):
        list(render_images(tmp_path / "two", 3, RenderSettings(seed=10)))


def test_a_process_that_dies_ends_the_rendering(tmp_path, monkeypatch):
    """Rather than being started again for ever."""
    monkeypatch.setattr(generate, "_check_requirements", lambda: None)
    monkeypatch.setattr(generate, "_start_worker", die)
    with pytest.raises(Failure, match="resumes after the finished part"):
        list(render_images(tmp_path, 3, RenderSettings(seed=9), workers=2))
