"""The One-Euro filter against values worked out by hand, and what it promises of noise and lag."""

from __future__ import annotations

import numpy as np
import pytest

from dope_model.poses import PartPose, WholeBody
from dope_model.tracking.smoothing import (
    OneEuroFilter,
    OneEuroSettings,
    PoseSmoother,
    smoothing_factor,
)


def test_the_smoothing_factor_by_hand():
    # tau = 1 / (2 pi 1 Hz) = 0.159155 s; 1 / (1 + tau / 0.1 s)
    assert smoothing_factor(1.0, 0.1) == pytest.approx(0.385870, abs=1e-6)


def test_a_step_without_speed_is_an_exponential_filter():
    smooth = OneEuroFilter(OneEuroSettings(1.0, 0.0, 1.0), np.zeros((1, 1)), 0.0)
    assert smooth(np.ones((1, 1)), 0.1)[0, 0] == pytest.approx(0.385870, abs=1e-5)
    assert smooth(np.ones((1, 1)), 0.2)[0, 0] == pytest.approx(1 - 0.614130**2, abs=1e-5)


def test_a_step_with_speed_by_hand():
    """Speed 1 / 0.1 s = 10, filtered 3.85870; cut-off 1 + 3.85870 Hz; 2 pi 4.85870 0.1 = 3.05281;
    the new value's share 3.05281 / 4.05281. Then the speed from the smoothed value, as in the
    paper: (1 - 0.753257) / 0.1 = 2.46743, filtered 3.85870 + 0.385870 (2.46743 - 3.85870) =
    3.32185; 2 pi 4.32185 0.1 = 2.71550; share 2.71550 / 3.71550 = 0.730856."""
    smooth = OneEuroFilter(OneEuroSettings(1.0, 1.0, 1.0), np.zeros((1, 1)), 0.0)
    assert smooth(np.ones((1, 1)), 0.1)[0, 0] == pytest.approx(0.753257, abs=1e-5)
    second = 0.753257 + 0.730856 * (1 - 0.753257)
    assert smooth(np.ones((1, 1)), 0.2)[0, 0] == pytest.approx(second, abs=1e-5)


def test_each_joint_has_its_own_speed():
    smooth = OneEuroFilter(OneEuroSettings(1.0, 5.0, 1.0), np.zeros((2, 2)), 0.0)
    moved = smooth(np.array([[1.0, 0.0], [0.01, 0.0]]), 0.1)
    assert moved[0, 0] > 0.9
    assert moved[1, 0] / 0.01 < 0.5


def walk(noise: float, speed: float) -> tuple[np.ndarray, np.ndarray]:
    """What is put in and what comes out for a joint of a 200 px body, 5 s at 30 Hz, without noise
    that is known; the true places beside."""
    random = np.random.default_rng(3)
    stamps = np.arange(150) / 30
    truth = np.stack([speed * stamps, np.zeros(150)], axis=1)
    given = truth + random.normal(0, noise, truth.shape)
    smooth = OneEuroFilter(OneEuroSettings(), given[:1], 0.0)
    found = [given[0]]
    for stamp, point in zip(stamps[1:], given[1:], strict=True):
        found.append(smooth(point[None], stamp, 200.0)[0])
    return np.array(found) - truth, given - truth


def test_noise_of_someone_at_rest_becomes_less_than_half():
    found, given = walk(noise=2.0, speed=0.0)
    assert found[30:].std() < 0.5 * given[30:].std()


def test_someone_fast_lags_behind_by_less_than_an_image():
    # Two heights per second.
    found, _ = walk(noise=0.0, speed=400.0)
    lag = -found[60:, 0] / 400.0
    assert lag.min() >= 0 and lag.max() < 1 / 30


def person(track_id: int, shift: float) -> WholeBody:
    points = np.random.default_rng(1).uniform(0, 200, (13, 2)).astype(np.float32)
    solid = np.random.default_rng(2).normal(0, 0.4, (13, 3)).astype(np.float32)
    pose = PartPose(0.9, points + shift, solid + shift / 500, np.ones(13, bool))
    return WholeBody(body=pose, track_id=track_id)


def test_tracked_people_are_smoothed_and_others_left():
    smoother = PoseSmoother()
    first = smoother.update([person(1, 0), person(-1, 0)], 0.0)
    assert np.array_equal(first[0].body.keypoints_2d, person(1, 0).body.keypoints_2d)
    second = smoother.update([person(-1, 6), person(1, 6)], 1 / 30)
    assert np.array_equal(second[0].body.keypoints_2d, person(-1, 6).body.keypoints_2d)
    moved = second[1].body.keypoints_2d - person(1, 0).body.keypoints_2d
    assert ((moved > 0.5) & (moved < 5.9)).all()
    assert second[1].body.keypoints_3d.dtype == np.float32
    deeper = second[1].body.keypoints_3d - person(1, 0).body.keypoints_3d
    assert ((deeper > 0) & (deeper < 6 / 500)).all()
    assert (second[1].track_id, second[1].score) == (1, second[1].body.score)


def test_who_comes_back_later_starts_anew():
    smoother = PoseSmoother()
    smoother.update([person(1, 0)], 0.0)
    for stamp in (2.0, 0.0):  # after a while; after the clock was set back
        back = smoother.update([person(1, 50)], stamp)
        assert np.array_equal(back[0].body.keypoints_2d, person(1, 50).body.keypoints_2d)
    smoother.reset()
    back = smoother.update([person(1, 90)], 0.03)
    assert np.array_equal(back[0].body.keypoints_2d, person(1, 90).body.keypoints_2d)


@pytest.mark.parametrize("wrong", [{"min_cutoff": 0.0}, {"beta": -1.0}, {"beta": float("nan")}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="cut-offs"):
        OneEuroSettings(**wrong)
