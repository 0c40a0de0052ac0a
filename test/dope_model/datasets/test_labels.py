"""The labels file gives back what was put in."""

from __future__ import annotations

import numpy as np
import pytest

from dope_model.camera.placement import Intrinsics
from dope_model.datasets.labels import LabelSet, PartLabels, Sample, Visibility

JOINTS = {"body": 13, "hand": 21, "face": 84}


def labels(part: str, count: int, seed: int) -> PartLabels:
    random = np.random.default_rng(seed)
    joints = JOINTS[part]
    root = random.normal(0, 3, (count, 3))
    root[::2] = np.nan
    return PartLabels(
        part,
        random.uniform(-100, 1900, (count, joints, 2)),
        random.normal(0, 0.5, (count, joints, 3)),
        random.random((count, joints)) < 0.7,
        random.random((count, joints)) < 0.7,
        random.integers(0, len(Visibility), (count, joints)),
        np.arange(count),
        root,
        random.random(count),
        random.random(count) < 0.5 if part == "hand" else None,
        random.uniform(0, 500, (seed % 3, 4)),
        complete=seed % 2 == 0,
    )


def label_set() -> LabelSet:
    return LabelSet(
        [
            Sample("a.png", 640, 480, {"body": labels("body", 2, 1), "hand": labels("hand", 3, 2)}),
            Sample("b.png", 320, 200, {}, Intrinsics(500.5, 501.25, 160, 100)),
            Sample("sub/c.png", 1, 2, {"hand": labels("hand", 0, 3), "face": labels("face", 1, 4)}),
        ],
        {"terms": "none"},
    )


@pytest.mark.parametrize("compact", [False, True])
def test_round_trip(tmp_path, compact):
    original = label_set()
    original.save(tmp_path / "labels.npz", compact=compact)
    loaded = LabelSet.load(tmp_path / "labels.npz")
    assert loaded.about == {"terms": "none"}
    steps = {"keypoints_2d": 1 / 32, "keypoints_3d": 5e-5, "root": 5e-4, "ignored": 1 / 8}
    for before, after in zip(original, loaded, strict=True):
        assert (before.file, before.width, before.height) == (after.file, after.width, after.height)
        assert before.intrinsics == after.intrinsics
        assert set(after.parts) == {"body", "hand", "face"}
        for part, was in before.parts.items():
            now = after.parts[part]
            assert now.complete == was.complete
            for name, value in vars(was).items():
                if isinstance(value, np.ndarray):
                    tolerance = steps.get(name, 0) * 1.001 if compact else 0
                    assert np.allclose(
                        getattr(now, name), value, atol=tolerance, rtol=0, equal_nan=True
                    ), (part, name)


def test_a_part_that_no_sample_mentions_is_not_annotated(tmp_path):
    label_set().save(tmp_path / "labels.npz")
    second = LabelSet.load(tmp_path / "labels.npz").samples[1]
    assert not any(part.complete for part in second.parts.values())
    assert all(len(part) == 0 for part in second.parts.values())


def test_compact_files_are_smaller(tmp_path):
    many = LabelSet([Sample(str(i), 9, 9, {"face": labels("face", 3, i)}) for i in range(40)])
    many.save(tmp_path / "full.npz")
    many.save(tmp_path / "compact.npz", compact=True)
    full, compact = ((tmp_path / f"{n}.npz").stat().st_size for n in ("full", "compact"))
    assert compact < 0.6 * full


def test_compact_files_hold_large_pictures(tmp_path):
    large = LabelSet([Sample("a.png", 9000, 6000, {"body": labels("body", 2, 1)})])
    body = large.samples[0].parts["body"]
    body.keypoints_2d[0, 0] = [3000.25, 4100.5]
    body.ignored = np.array([[10, 20, 8900, 5900]], np.float32)
    large.save(tmp_path / "labels.npz", compact=True)
    again = LabelSet.load(tmp_path / "labels.npz").samples[0].parts["body"]
    assert np.array_equal(again.keypoints_2d, body.keypoints_2d)
    assert np.array_equal(again.ignored, body.ignored)
    assert np.allclose(again.keypoints_3d, body.keypoints_3d, atol=6e-5)


def test_a_changed_byte_is_noticed(tmp_path):
    label_set().save(tmp_path / "labels.npz")
    content = bytearray((tmp_path / "labels.npz").read_bytes())
    for at in range(60, len(content), 61):
        damaged = bytearray(content)
        damaged[at] ^= 255
        (tmp_path / "damaged.npz").write_bytes(damaged)
        try:
            LabelSet.load(tmp_path / "damaged.npz")
        except ValueError as error:
            assert "damaged.npz" in str(error)


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no labels file"):
        LabelSet.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no labels")
    with pytest.raises(ValueError, match="not a labels file"):
        LabelSet.load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="not a labels file"):
        LabelSet.load(tmp_path / "other.npz")
    label_set().save(tmp_path / "whole.npz")
    data = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="damaged"):
        LabelSet.load(tmp_path / "cut.npz")


def test_shapes_are_checked():
    good = labels("face", 2, 0)
    values = vars(good) | {"root": np.zeros((2, 2))}
    with pytest.raises(ValueError, match=r"root has shape \(2, 2\), not \(2, 3\)"):
        PartLabels(**values)
