"""Poses lifted from joints: hand-computed angles, properties, and what the library holds."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from dope_model.rendering.body import SIDES
from dope_model.rendering.limbs import ArmAngles
from dope_model.rendering.pose_library import POSES_FILE, SOURCES, PoseLibrary, pose_library


def test_the_library_holds_hundreds_of_possible_poses():
    library = pose_library()
    assert POSES_FILE.stat().st_size < 300_000
    from_pictures = library.source == SOURCES.index("lifted")
    assert (library.whole & from_pictures).sum() > 400 and (~from_pictures).sum() >= 10
    for number in range(len(library)):
        for elevation, azimuth, twist, elbow in library.pose(number).arms.values():
            limited = ArmAngles(elevation, azimuth, twist, elbow, 0).limited()
            found = limited.elevation, limited.azimuth, limited.twist, limited.elbow
            assert np.allclose(found, (elevation, azimuth, twist, elbow), atol=0.06)
    knees = library.legs[library.whole][:, :, 3]
    assert knees.min() >= 0 and knees.max() <= 148


def test_saving_and_loading_keeps_a_tenth_of_a_degree(tmp_path):
    random = np.random.default_rng(0)
    legs = random.uniform(-100, 140, (5, 2, 4))
    legs[2] = np.nan
    library = PoseLibrary(
        random.uniform(-180, 180, (5, 3)), random.uniform(-40, 40, (5, 3)),
        random.uniform(-80, 170, (5, 2, 4)), legs, np.array([0, 0, 1, 1, 0], np.uint8),
    )  # fmt: skip
    library.save(tmp_path / "poses.npz")
    again = PoseLibrary.load(tmp_path / "poses.npz")
    for name in ("root", "spine", "arms", "legs"):
        assert np.allclose(getattr(again, name), getattr(library, name), atol=0.051, equal_nan=True)
    assert (again.source == library.source).all()
    assert again.whole.tolist() == [True, True, False, True, True]


def test_same_seed_same_draw():
    library = pose_library()
    first, second = (library.draw(np.random.default_rng(4), "lifted") for _ in range(2))
    assert first.root.tobytes() == second.root.tobytes()
    assert all(first.legs[side].tobytes() == second.legs[side].tobytes() for side in SIDES)


def test_drawn_poses_fit_the_body(monkeypatch):
    """Poses of the library on a body of another shape: nothing runs through anything, and the same
    seed gives the same pose."""
    pytest.importorskip("anny")
    from rendering_help import body_model

    from dope_model.rendering import posing

    monkeypatch.setattr(posing, "POSE_SOURCES", {"lifted": 1.0})
    model = body_model()
    rest, heads = model.rest_shape({"weight": 0.85, "age": 0.9, "gender": 0.1}, {})
    poser = posing.Poser(model, rest, heads)
    activities = []
    for seed in range(12):
        pose = poser.sample(np.random.default_rng(seed))
        again = poser.sample(np.random.default_rng(seed))
        assert pose.rotations.tobytes() == again.rotations.tobytes()
        activities.append(pose.activity)
        if pose.activity == "lifted":
            assert not poser.solids.overlaps(poser.solids.posed(pose.rotations, pose.heads))
    assert activities.count("lifted") >= 8
