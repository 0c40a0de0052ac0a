"""What the node says of itself: the numbers, and the messages on a real graph."""

import pytest
from camera_help import grey, image_at
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import Image

from dope_model.weights import DEFAULT_MODEL
from dope_msgs.msg import WholeBodyPoseArray
from dope_ros.node.diagnostics import CAMERA_KEYS, DETECTOR_KEYS, camera_status, detector_status
from dope_ros.node.statistics import STAGES, WINDOW, FrameStatistics, Window
from dope_ros.pipeline import StageTimes
from dope_ros.tools.demo_camera import AS_CAMERAS_DO

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def test_a_window_forgets_and_its_rate_sinks_when_nothing_comes():
    window = Window()
    assert window.rate(0.0) == 0.0
    for tenth in range(51):
        window.add(100 + tenth / 10, tenth)
    assert window.rate(105.0) == pytest.approx(50 / 5)
    assert window.values(105.0) == list(range(51))
    assert window.values(100.95 + WINDOW) == list(range(10, 51))
    assert window.rate(103.95 + WINDOW) == pytest.approx(11 / WINDOW)
    assert window.rate(200.0) == 0.0


def active(now: float = 0.0) -> FrameStatistics:
    statistics = FrameStatistics()
    statistics.restart_windows(now)
    return statistics


def test_latencies_are_percentiles_and_stages_are_means():
    statistics = active()
    for n in range(101):
        now = n / 20
        statistics.received(now, latency=n / 1000)
        statistics.answered(now, n / 100, {"decode": 0.001, "detect": n / 10}, "64 x 48 rgb8")
    summary = statistics.summary(5.0)
    assert summary.arrival == pytest.approx((0.05, 0.095))
    assert summary.latency == pytest.approx((0.5, 0.95))
    assert summary.stages == pytest.approx({"decode": 0.001, "detect": 5.0})
    assert summary.input_rate == summary.output_rate == pytest.approx(100 / 5)
    assert (summary.received, summary.answered) == (101, 101)
    much_later = statistics.summary(1000.0)
    assert much_later.latency is None and much_later.output_rate == 0
    assert much_later.silent_for == 995


def test_gaps_in_the_numbers_of_each_publisher_are_images_lost_on_the_way():
    statistics = active()
    assert statistics.summary(0.0).lost is None
    statistics.received(0.0, 0.0)
    assert statistics.summary(0.0).lost is None
    for publisher, sequence in (
        *((b"a", 5), (b"a", 6), (b"b", 1), (b"a", 9), (b"b", 2), (b"b", 4)),
        *((b"c", 1), (b"c", 2)),  # a camera that was started anew
    ):
        statistics.received(0.0, 0.0, publisher, sequence)
    assert statistics.summary(0.0).lost == 2 + 1


def test_stages_are_timed():
    times = StageTimes()
    with times("decode"):
        pass
    with times("detect"):
        sum(range(100_000))
    assert 0 <= times.times["decode"] < times.times["detect"]


def camera(
    statistics: FrameStatistics,
    now: float,
    publishers: int = 1,
    listens: bool = True,
    has_clock: bool = True,
):
    return camera_status(
        *("dope/dope_node", statistics.summary(now), listens, "/image", publishers, 2.0, 1.0),
        has_clock=has_clock,
    )


def test_a_camera_that_works():
    statistics = active()
    statistics.received(1.0, 0.01)
    status = camera(statistics, 1.5)
    assert (status.level, status.message) == (OK, "images come")
    assert status.name == "dope/dope_node: camera"


@pytest.mark.parametrize(
    ("publishers", "reason"), [(0, "which nobody publishes"), (2, "publishers: 2")]
)
def test_a_silent_camera(publishers, reason):
    statistics = active(10.0)
    assert camera(statistics, 11.5, publishers).level == OK
    status = camera(statistics, 13.0, publishers)
    assert status.level == WARN
    assert status.message == f"no image for 3.0 s on /image, {reason}"
    assert camera(statistics, 13.0, publishers, listens=False).level == OK


@pytest.mark.parametrize(
    ("latency", "reason"),
    [
        (1.5, "late: images come 1.50 s after their stamp"),
        (-3.0, "image stamps lie 3.00 s in the future"),
        (None, "the images have no stamp"),
    ],
)
def test_a_camera_with_wrong_stamps(latency, reason):
    statistics = active()
    statistics.received(1.0, latency, unstamped=latency is None)
    status = camera(statistics, 1.0)
    assert status.level == WARN
    assert reason in status.message


def test_simulated_time_without_a_clock_is_not_the_cameras_fault():
    statistics = active()
    statistics.received(1.0, None)
    status = camera(statistics, 1.0, has_clock=False)
    assert (status.level, status.message) == (
        WARN,
        "use_sim_time is on, but nothing comes on /clock",
    )
    assert camera(statistics, 1.0).level == OK
    assert camera(statistics, 1.0, listens=False, has_clock=False).level == OK


def test_bad_images_warn_for_a_while_and_stay_counted():
    statistics = active()
    statistics.received(1.0, 0.0)
    statistics.bad(1.0, "truncated", "there are 3 bytes")
    status = camera(statistics, 1.0)
    assert status.level == WARN and "bad images in the last 10 s: 1" in status.message
    statistics.received(100.0, 0.0)
    status = camera(statistics, 100.0)
    assert status.level == OK
    values = {pair.key: pair.value for pair in status.values}
    assert values["bad"] == values["bad: truncated"] == "1"
    assert values["last bad image"] == "there are 3 bytes"


def test_what_comes_beside_the_images_and_is_bad_is_named_and_counted_by_reason():
    statistics = active()
    statistics.received(1.0, 0.0)
    statistics.fault(1.0, "camera_info", "not calibrated", "K of camera_info is all zero")
    statistics.fault(1.0, "camera_info", "wrong size", "camera_info is of another size")
    statistics.fault(1.0, "depth", "wrong frame", "the depth image is in frame 'other'")
    statistics.answered(1.0, 0.1, {}, "64 x 48 rgb8", "none")
    status = camera(statistics, 2.0)
    assert status.level == WARN
    assert "bad camera_info: camera_info is of another size" in status.message
    assert "bad depth: the depth image is in frame 'other'" in status.message
    values = {pair.key: pair.value for pair in status.values}
    assert values["bad camera_info"] == "2" and values["bad depth"] == "1"
    assert values["bad camera_info: not calibrated"] == "1"
    assert values["bad depth: wrong frame"] == "1"
    assert values["last bad depth"] == "the depth image is in frame 'other'"
    assert values["positions"] == "none"
    # The images are fine: none of them counts as bad.
    assert values["bad"] == "0"
    statistics.received(100.0, 0.0)
    assert camera(statistics, 100.0).level == OK


def test_people_who_cannot_be_tracked_are_a_warning():
    assert detector(active()).level == detector(active(), track_ids="off").level == OK
    status = detector(active(), track_ids="tracking needs Norfair")
    assert status.level == WARN
    assert status.message == "people have no track ids: tracking needs Norfair"


def detector(statistics, now=1.0, state="active", resting="", error="", track_ids="on"):
    return detector_status(
        *("dope/dope_node", statistics.summary(now), state, resting, error),
        *("experts", "part experts (fast)", "auto", track_ids, 1.0),
    )


def test_a_detector_in_all_its_states():
    statistics = active()
    assert detector(statistics).message == "active"
    assert detector(statistics, resting="nobody listens").message == "active, nobody listens"
    status = detector(statistics, state="unconfigured", error="no weights file")
    assert (status.level, status.message) == (ERROR, "no weights file")

    statistics.answered(1.0, 1.5, {}, "")
    status = detector(statistics)
    assert (status.level, status.message) == (
        WARN,
        "late: 1.50 s from image stamp to publication (p95)",
    )


def test_some_failures_warn_and_failures_alone_are_an_error():
    statistics = active()
    statistics.failed(1.0, "RuntimeError: black")
    assert detector(statistics).level == ERROR
    statistics.answered(1.0, 0.1, {}, "")
    assert detector(statistics, now=2.0).level == WARN


def heard_of(graph, node: str) -> dict[str, DiagnosticStatus]:
    """The newest status of each name of a node, updated as they come."""
    newest: dict[str, DiagnosticStatus] = {}

    def hear(message: DiagnosticArray) -> None:
        for status in message.status:
            name, _, part = status.name.partition(": ")
            if name == node.strip("/"):
                newest[part] = status

    graph.node.create_subscription(DiagnosticArray, "/diagnostics", hear, 10)
    return newest


def value(status: DiagnosticStatus, key: str) -> str:
    (found,) = (pair.value for pair in status.values if pair.key == key)
    return found


def test_diagnostics_of_a_running_node(graph, start):
    namespace = graph.node.get_namespace()
    process = start("light_node", "-r", f"__ns:={namespace}", options=("0.05",))
    newest = heard_of(graph, f"{namespace}/dope_node")
    images = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, poses_subscription = graph.listen(WholeBodyPoseArray, "poses")
    _, picture_subscription = graph.listen(Image, "image_annotated")

    def publish_until(condition) -> bool:
        def publish() -> bool:
            now = graph.node.get_clock().now().to_msg()
            message = image_at(grey(9), 1)
            message.header.stamp = now
            images.publish(message)
            return bool(newest) and condition()

        return graph.spin_until(publish)

    assert publish_until(lambda: value(newest["detector"], "annotate (ms)")), process.output()
    # So many that the time of a single one does not change the rate.
    assert publish_until(lambda: int(value(newest["detector"], "answered")) > 60)
    camera, detector = newest["camera"], newest["detector"]
    assert (camera.level, detector.level) == (OK, OK), (camera.message, detector.message)
    always = [key for key in CAMERA_KEYS if not key.endswith("REASON")]
    assert [pair.key for pair in camera.values] == always
    assert [pair.key for pair in detector.values] == list(DETECTOR_KEYS)
    assert value(camera, "topic") == f"{namespace}/image"
    assert value(camera, "publishers") == "1"
    assert value(camera, "image") == "64 x 48 rgb8"
    assert value(detector, "engine") == "light detector"
    assert value(detector, "model") == DEFAULT_MODEL
    assert value(detector, "device") == "auto"
    assert value(detector, "state") == "active"
    assert float(value(detector, "detect (ms)")) >= 50
    assert value(detector, "markers (ms)") == ""
    assert float(value(detector, "latency p50 (ms)")) >= 50
    assert float(value(detector, "latency p50 (ms)")) <= float(value(detector, "latency p95 (ms)"))
    assert 0 < float(value(detector, "output rate (Hz)")) <= 21
    assert float(value(camera, "input rate (Hz)")) >= float(value(detector, "output rate (Hz)"))

    # Every image was answered or counted, but for one at work and one that waits.
    def balance() -> int:
        counted = sum(
            int(value(newest["detector"], key))
            for key in DETECTOR_KEYS
            if key.startswith("skipped") or key in ("answered", "failed")
        )
        received = int(value(newest["camera"], "received"))
        return received - counted - int(value(newest["camera"], "bad"))

    assert 0 <= balance() <= 2
    newest.clear()
    assert graph.spin_until(lambda: newest and balance() == 0)
    assert int(value(newest["detector"], "answered")) == len(poses)

    bad = image_at(grey(9), 1)
    bad.encoding = "rgb9"
    assert graph.publish_until(images, bad, lambda: value(newest["camera"], "bad") != "0")
    assert int(value(newest["camera"], "bad: unknown encoding")) > 0
    assert newest["camera"].level == WARN
    assert "'rgb9' is not known" in value(newest["camera"], "last bad image")

    for subscription in (poses_subscription, picture_subscription):
        graph.node.destroy_subscription(subscription)
    assert publish_until(lambda: newest["detector"].message == "active, nobody listens")
    assert int(value(newest["detector"], "skipped: nobody listens")) > 0


def test_diagnostics_of_a_late_node_and_of_one_that_is_not_configured(graph, start):
    namespace = graph.node.get_namespace()
    node = f"{namespace}/dope_node"
    start("light_node", "-r", f"__ns:={namespace}", "-p", "model:=/no/such/file")
    newest = heard_of(graph, node)
    assert graph.spin_until(lambda: newest and newest["detector"].level == ERROR)
    assert "no weights file at /no/such/file" in newest["detector"].message
    assert value(newest["detector"], "state") == "unconfigured"
    assert newest["camera"].message == "not listening"

    assert graph.set_parameter(node, "model", DEFAULT_MODEL) == ""
    assert graph.transition(node, "configure")
    assert graph.transition(node, "activate")
    assert graph.spin_until(lambda: newest["camera"].level == WARN)
    assert "which nobody publishes" in newest["camera"].message
    images = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    graph.listen(WholeBodyPoseArray, "poses")
    old = image_at(grey(9), 1)
    old.header.stamp.sec = graph.node.get_clock().now().to_msg().sec - 60
    assert graph.publish_until(images, old, lambda: newest["detector"].level == WARN)
    assert "from image stamp to publication" in newest["detector"].message
    assert graph.spin_until(lambda: "after their stamp" in newest["camera"].message)


def test_every_stage_has_its_key():
    assert [key for key in DETECTOR_KEYS if key.removesuffix(" (ms)") in STAGES] == [
        f"{stage} (ms)" for stage in STAGES
    ]
