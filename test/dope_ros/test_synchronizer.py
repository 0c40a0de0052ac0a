"""Which messages belong together, by hand."""

from dope_ros.synchronizer import Synchronizer


def sync(**values) -> Synchronizer:
    return Synchronizer(
        ["a", "b"], **({"tolerance": 0.1, "max_wait": 0.3, "silent_after": 2.0} | values)
    )


def test_the_nearest_messages_make_a_set_at_once():
    s = sync()
    s.add("a", 10.00, "a0", now=0.0)
    s.add("b", 10.04, "b0", now=0.0)
    assert s.take(0.0) == []  # a may still say something nearer to 10.04
    s.add("a", 10.05, "a1", now=0.05)
    assert s.take(0.05) == [(10.04, {"a": "a1", "b": "b0"})]
    assert s.unmatched == {"a": 1} and s.take(9.0) == []


def test_the_slowest_camera_sets_the_rate():
    s, sets = sync(), []
    for k in range(61):
        s.add("a", k / 30, k, now=k / 30)
        if k % 3 == 0:
            s.add("b", k / 30 + 0.01, k, now=k / 30)
        sets += s.take(k / 30)
    assert len(sets) == 20
    assert all(items["a"] == items["b"] for _, items in sets)
    stamps = [stamp for stamp, _ in sets]
    assert stamps == sorted(stamps)


def test_a_late_camera_is_waited_for_and_a_silent_one_is_not():
    s = sync()
    s.add("b", 9.0, "", now=0.0)
    s.take(1.0)
    s.add("a", 10.0, "a0", now=1.0)
    assert s.take(1.29) == []
    assert s.take(1.31) == [(10.0, {"a": "a0"})]
    s.add("b", 10.0, "late", now=1.4)
    assert s.take(9.0) == [] and s.unmatched["b"] == 1
    s.add("a", 11.0, "a1", now=3.6)  # b was heard 2.2 s ago
    assert s.take(3.6) == [(11.0, {"a": "a1"})]


def test_a_camera_whose_clock_is_behind_is_left_out():
    s, sets = sync(), []
    for k in range(100):
        s.add("a", 1000 + k / 10, "a", now=k / 10)
        s.add("b", 995 + k / 10, "b", now=k / 10)
        sets += s.take(k / 10)
    assert len(sets) > 90 and all(set(items) == {"a"} for _, items in sets)
    assert s.unmatched["b"] > 90 and not s.unmatched["a"]


def test_a_recording_that_begins_again_is_followed():
    s = sync()
    for start, now in ((50.0, 0.0), (7.0, 5.0)):
        for name in "ab":
            s.add(name, start, name, now)
        assert s.take(now) == [(start, {"a": "a", "b": "b"})]


def test_a_stamp_that_comes_twice_counts_once():
    s = sync()
    for name in "aab":
        s.add(name, 1.0, name, 0.0)
    assert s.take(0.0) == [(1.0, {"a": "a", "b": "b"})]
    s.add("a", 1.0, "again", 0.0)
    assert s.take(9.0) == [] and s.unmatched["a"] == 2


def test_what_nobody_takes_is_bounded():
    s = sync(max_wait=1e9)
    s.add("b", 0.0, "", 0.0)
    s.take(0.0)
    for k in range(1, 1000):
        s.add("a", float(k), k, 0.0)
    assert s.unmatched["a"] == 999 - 100
