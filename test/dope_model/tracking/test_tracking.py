"""Track ids, on people made by hand and on the shipped clip of two people who cross."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from dope_model.benchmark.tracking import (
    Spoiling,
    SwitchCounter,
    count_switches,
    detected_clip,
    spoiled_clip,
)
from dope_model.poses import PartPose, WholeBody
from dope_model.skeleton import BODY
from dope_model.tracking.tracker import MEMORY, Motion, PersonTracker

pytest.importorskip("norfair", reason="tracking needs Norfair: pip install norfair-enough")

SHAPE = np.random.default_rng(0).uniform((-40, -100), (40, 100), (13, 2))


def body(x: float, y: float = 240.0, scale: float = 1.0) -> WholeBody:
    """A body of 200 px around a place."""
    points = SHAPE * scale + (x, y)
    return WholeBody(body=PartPose(0.9, points, np.zeros((13, 3)), np.ones(13, bool)))


def ids(people: list[WholeBody]) -> list[int]:
    return [person.track_id for person in people]


def test_people_keep_their_ids_in_whatever_order_they_come():
    tracker = PersonTracker()
    assert ids(tracker.update([body(100), body(400)], 0.0)) == [1, 2]
    assert ids(tracker.update([body(404), body(103)], 0.04)) == [2, 1]
    assert ids(tracker.update([body(600), body(106), body(408)], 0.08)) == [3, 1, 2]


def test_in_metres_people_are_told_apart_by_their_places_and_pixels_do_not_count():
    """Two people side by side in no picture: they swap their order, and one comes back."""
    shape = np.random.default_rng(1).uniform((-0.3, -0.3, -0.9), (0.3, 0.3, 0.9), (13, 3))

    def placed(*root: float) -> WholeBody:
        nowhere = np.full((13, 2), np.nan)
        return WholeBody(
            body=PartPose(0.9, nowhere, shape, np.ones(13, np.float32), root=np.array(root))
        )

    tracker = PersonTracker(in_metres=True)
    # Apart in one axis alone, each in turn.
    first = [placed(0, 0, 0), placed(0, 0, 2), placed(0, 2, 0), placed(2, 0, 0)]
    assert ids(tracker.update(first, 0.0)) == [1, 2, 3, 4]
    assert ids(tracker.update(first[::-1], 0.1)) == [4, 3, 2, 1]
    assert ids(tracker.update([first[1]], 0.2)) == [2]
    assert ids(tracker.update([placed(0.1, 0, 0), placed(5, 5, 5)], 0.4)) == [1, 5]


def test_people_are_given_back_as_they_came():
    before = [body(100), body(400)]
    after = PersonTracker().update(before, 0.0)
    assert ids(before) == [-1, -1]
    assert [person.body for person in after] == [person.body for person in before]
    assert [person.score for person in after] == [0.9, 0.9]
    assert PersonTracker().update([], 0.0) == []


@pytest.mark.parametrize("rate", [4, 10, 30, 100])
def test_memory_is_measured_in_seconds_whatever_the_rate(rate):
    def id_after(gap: float) -> int:
        tracker = PersonTracker(memory=1.0)
        for k in range(2 * rate):
            tracker.update([body(100)], k / rate)
        # Images go on meanwhile, and nobody is in them.
        end = 2 - 1 / rate
        for k in range(1, int(gap * rate)):
            tracker.update([], end + k / rate)
        return tracker.update([body(100)], end + gap)[0].track_id

    assert id_after(0.8) == 1
    assert id_after(1.3) == 2


def test_one_prediction_over_a_gap_is_as_many_over_its_pieces():
    """While nothing is seen, the rate of predictions may not change the positions, nor how far the
    filter believes the next detection."""
    filters = [Motion(np.zeros((2, 2))) for _ in range(2)]
    for motion in filters:
        motion.saw(100.0, np.array([True, False]))
        motion.x[4:, 0] = [30.0, -10.0, 50.0, 20.0]  # px/s
    filters[0].interval = 0.4
    filters[0].predict()
    filters[1].interval = 0.05
    for _ in range(8):
        filters[1].predict()
    assert np.abs(filters[0].x[:4]).max() > 5
    for motion in filters:
        motion.update(np.full((4, 1), 40.0))
    assert np.allclose(filters[0].x, filters[1].x, rtol=1e-9)


def test_a_gap_without_any_image_counts_as_well():
    for gap, expected in ((MEMORY - 0.2, 1), (MEMORY + 0.3, 2), (3600.0, 2)):
        tracker = PersonTracker()
        for k in range(60):
            tracker.update([body(100)], k / 30)
        assert ids(tracker.update([body(100)], 59 / 30 + gap)) == [expected]


def test_someone_who_was_seen_once_is_soon_forgotten():
    tracker = PersonTracker()
    tracker.update([body(100)], 0.0)
    assert ids(tracker.update([body(100)], 1.0)) == [2]


def test_someone_who_was_seen_once_after_a_pause_is_forgotten_in_time():
    tracker = PersonTracker()
    tracker.update([body(100)], 0.0)
    tracker.update([body(100)], 3.0)
    for k in range(1, 41):
        tracker.update([], 3.0 + 0.04 * k)
    assert ids(tracker.update([body(100)], 4.64)) == [3]


def test_ids_survive_a_walk_behind_someone():
    """One stands; one walks past at 300 px/s and is hidden for 0.6 s behind the other."""
    tracker = PersonTracker()
    seen = []
    for k in range(90):
        stamp = k / 30
        x = 20 + 200 * stamp
        walker = [] if abs(x - 320) < 60 else [body(x)]
        people = tracker.update([body(320), *walker], stamp)
        seen.append(ids(people))
    assert {one[0] for one in seen} == {1}
    assert {one[1] for one in seen if len(one) > 1} == {2}
    assert sum(len(one) == 1 for one in seen) == 17


def test_size_and_resolution_do_not_matter():
    for scale in (0.1, 1.0, 10.0):
        tracker = PersonTracker()
        for k in range(30):
            left, right = scale * (100 + 4 * k), scale * (400 - 4 * k)
            people = [body(left, 0, scale), body(right, 0, scale)]
            assert ids(tracker.update(people, k / 30)) == [1, 2]


def test_a_person_of_whom_only_the_face_was_found_keeps_the_id():
    """The face of a body seen before, then the body again; and the other way round."""
    head = SHAPE[BODY.index["head"]] + (300, 240)
    landmarks = head + np.random.default_rng(1).uniform(-12, 12, (84, 2))
    face = PartPose(0.8, landmarks, np.zeros((84, 3)), np.ones(84, bool))
    for first, second in (
        (body(300), WholeBody(face=face)),
        (WholeBody(face=face), body(300)),
    ):
        tracker = PersonTracker()
        for k in range(10):
            assert ids(tracker.update([first], k / 30)) == [1]
        for k in range(10, 20):
            assert ids(tracker.update([second], k / 30)) == [1]


def test_a_hand_alone_does_not_take_the_id_of_a_body():
    wrist = SHAPE[BODY.index["right_wrist"]] + (300, 240)
    hand = PartPose(0.8, wrist + np.zeros((21, 2)), np.zeros((21, 3)), np.ones(21, bool))
    tracker = PersonTracker()
    tracker.update([body(300)], 0.0)
    for k in range(1, 10):
        assert ids(tracker.update([WholeBody(right_hand=hand), body(300)], k / 30)) == [2, 1]


def test_a_body_does_not_take_the_id_of_a_hand():
    """Somebody moves a tenth of the height to one side, to where a hand alone has been seen."""
    wrist = SHAPE[BODY.index["right_wrist"]] + (320, 240)
    hand = PartPose(0.8, wrist + np.zeros((21, 2)), np.zeros((21, 3)), np.ones(21, bool))
    tracker = PersonTracker()
    for k in range(10):
        assert ids(tracker.update([body(300), WholeBody(right_hand=hand)], k / 30)) == [1, 2]
    assert ids(tracker.update([body(320)], 10 / 30)) == [1]


def test_a_clock_that_starts_again_gives_new_ids():
    tracker = PersonTracker()
    for k in range(30):
        tracker.update([body(100), body(400)], 1000 + k / 30)
    assert ids(tracker.update([body(100)], 5.0)) == [3]
    tracker.reset()
    assert ids(tracker.update([body(100)], 5.1)) == [4]


def test_images_without_stamps_count_as_a_cameras():
    tracker = PersonTracker()
    for k in range(100):
        assert ids(tracker.update([body(100 + 3 * k)], 0.0)) == [1]


def test_a_memory_that_is_none_is_refused():
    for memory in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="memory"):
            PersonTracker(memory)


def test_without_norfair_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "norfair", None)
    with pytest.raises(ImportError, match="pip install norfair-enough"):
        PersonTracker()


def test_switches_are_counted():
    counter = SwitchCounter()
    for owners, numbers in (
        ([0, 1], [5, 6]),
        ([1, 0], [6, 5]),
        ([0, -1], [6, 9]),  # one switch; what is nobody does not count
        ([1], [6]),
        ([0, 1], [6, 7]),  # another
    ):
        counter.add(owners, numbers)
    assert (counter.switches, counter.seen, counter.numbers) == (2, 8, {5, 6, 7})


def test_nobody_changes_the_id_when_two_people_cross():
    tracked, untracked = count_switches(spoiled_clip(Spoiling(), seed=0))
    assert tracked.seen > 450
    assert (tracked.switches, len(tracked.numbers)) == (0, 2)
    assert untracked.switches > 50


def test_missed_and_moved_detections_cost_few_ids():
    spoiling = Spoiling(missed=0.3, noise=6, false=0.1)
    for rate in (25.0, 8.0):
        tracked, untracked = count_switches(spoiled_clip(spoiling, seed=1, rate=rate))
        assert tracked.switches <= 3 < untracked.switches / 5
    tracked, _ = count_switches(spoiled_clip(Spoiling(gap=1.0, noise=3), seed=1))
    assert (tracked.switches, len(tracked.numbers)) == (0, 2)


@pytest.mark.parametrize(
    ("model", "package"), [("experts:fast", "ai_edge_litert"), ("dope_lite", "torch")]
)
def test_what_a_model_finds_in_the_clip_keeps_its_ids(model, package):
    pytest.importorskip(package)
    tracked, untracked = count_switches(detected_clip(model, every=3))
    assert tracked.seen > 100
    assert tracked.switches <= 3 < untracked.switches
