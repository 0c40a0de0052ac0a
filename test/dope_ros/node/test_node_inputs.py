"""The node and its camera: encodings, quality of service, time, rates, rubbish, and death."""

from array import array

import numpy as np
import pytest
from camera_help import compressed_at, compressed_of, grey, header_at, image_at, seconds_of
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from dope_msgs.msg import WholeBodyPoseArray
from dope_ros import pipeline
from dope_ros.tools.demo_camera import AS_CAMERAS_DO

RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


@pytest.mark.parametrize("qos", [AS_CAMERAS_DO, RELIABLE, LATCHED], ids=["best", "rel", "latch"])
def test_cameras_of_every_quality_of_service_are_heard(graph, start, qos):
    process = start("light_node", "-r", f"__ns:={graph.node.get_namespace()}")
    camera = graph.node.create_publisher(Image, "image", qos)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    assert graph.publish_until(camera, image_at(grey(9), 5.5), lambda: poses), process.output()
    assert poses[0].header == header_at(5.5)
    assert (poses[0].image_width, poses[0].image_height) == (64, 48)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_compressed_images_beside_the_raw_topic_wherever_that_is(graph, start, suffix):
    namespace = graph.node.get_namespace()
    process = start(
        "light_node",
        *("-r", f"__ns:={namespace}", "-r", f"image:={namespace}/camera/image_raw"),
        *("-p", "image_transport:=compressed"),
    )
    topic = "camera/image_raw/compressed"
    camera = graph.node.create_publisher(CompressedImage, topic, AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    image = compressed_at(grey(9), 6.25, suffix)
    assert graph.publish_until(camera, image, lambda: poses), process.output()
    assert poses[0].header == header_at(6.25)
    assert (poses[0].image_width, poses[0].image_height) == (64, 48)


def test_a_topic_that_is_named_compressed_already_is_taken_as_it_is(graph, start):
    start(
        "light_node",
        *("-r", f"__ns:={graph.node.get_namespace()}", "-r", "image:=camera/compressed"),
        *("-p", "image_transport:=compressed"),
    )
    camera = graph.node.create_publisher(CompressedImage, "camera/compressed", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    assert graph.publish_until(camera, compressed_at(grey(9), 1), lambda: poses)


def test_the_compressed_topic_may_be_remapped_itself(graph, start):
    """Fault 14: log and diagnostics named a topic that nobody publishes."""
    namespace = graph.node.get_namespace()
    process = start(
        "light_node",
        *("-r", f"__ns:={namespace}", "-p", "image_transport:=compressed"),
        *("-r", f"image/compressed:={namespace}/eye"),
    )
    camera = graph.node.create_publisher(CompressedImage, "eye", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    diagnostics, _ = graph.listen(DiagnosticArray, "/diagnostics")
    assert graph.publish_until(camera, compressed_at(grey(9), 1), lambda: poses), process.output()
    assert f"waiting for images on {namespace}/eye" in process.output()

    def told() -> dict[str, str]:
        statuses = [status for message in diagnostics for status in message.status]
        return {pair.key: pair.value for status in statuses for pair in status.values}

    diagnostics.clear()
    assert graph.spin_until(lambda: told().get("topic") == f"{namespace}/eye"), told()
    assert told()["publishers"] == "1"


def test_16_bit_images_that_use_little_of_their_range_are_told(graph, stand_in):
    """Fault 7: ten bits of sixteen are black to whoever scales them to eight."""
    node, _ = stand_in
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    ramp = np.tile(np.linspace(0, 1023, 64).astype(np.uint16), (48, 1))
    for values, told in ((ramp * 64, 0), (ramp, 1), (29000 + ramp, 2)):
        poses.clear()
        image = raw(encoding="mono16", step=128, data=array("B", values.tobytes()))
        image.header = header_at(10 + told)
        before = sum(node.statistics.summary(0.0).faults["value range"].values())
        assert graph.publish_until(camera, image, lambda: poses)
        after = sum(node.statistics.summary(0.0).faults["value range"].values())
        assert (after > before) == bool(told)
    assert "of the range of its values" in node.statistics.summary(0.0).last_fault["value range"]


def test_the_transport_can_be_changed_while_the_node_rests(graph, stand_in):
    node, _ = stand_in
    name = node.get_fully_qualified_name()
    assert "deactivate the node" in graph.set_parameter(name, "image_transport", "compressed")
    assert graph.transition(name, "deactivate")
    assert graph.set_parameter(name, "image_transport", "compressed") == ""
    assert graph.transition(name, "activate")
    camera = graph.node.create_publisher(CompressedImage, "image/compressed", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    image = compressed_at(grey(9), 3)
    assert graph.publish_until(camera, image, lambda: any(m.people for m in poses))


def test_simulated_time(graph, start):
    """Stamps are kept, and the latency is of the simulation's clock, which may stand still."""
    namespace = graph.node.get_namespace()
    process = start("light_node", "-r", f"__ns:={namespace}", "-p", "use_sim_time:=true")
    clock = graph.node.create_publisher(Clock, "/clock", 10)
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    diagnostics, _ = graph.listen(DiagnosticArray, "/diagnostics")
    now = Clock(clock=header_at(1000.25).stamp)

    def statuses(of: str) -> list[DiagnosticStatus]:
        return [
            status
            for message in diagnostics
            for status in message.status
            if status.name == f"{namespace[1:]}/dope_node: {of}"
        ]

    def trouble() -> str:
        camera.publish(image_at(grey(9), 1000))
        return statuses("camera")[-1].message if poses and statuses("camera") else ""

    assert graph.spin_until(lambda: "nothing comes on /clock" in trouble()), process.output()
    assert "no stamp" not in trouble()

    def latency() -> str:
        clock.publish(now)
        camera.publish(image_at(grey(9), 1000))
        values = [
            pair.value
            for status in statuses("detector")
            for pair in status.values
            if pair.key == "latency p50 (ms)"
        ]
        return values[-1] if values else ""

    assert graph.spin_until(lambda: latency() == "250.0"), process.output()
    assert {seconds_of(message.header) for message in poses} == {1000}
    diagnostics.clear()
    assert graph.spin_until(lambda: statuses("camera") and latency() == "250.0")
    assert "/clock" not in statuses("camera")[-1].message


def test_only_the_newest_image_waits(graph, stand_in):
    node, detector = stand_in
    camera = graph.node.create_publisher(Image, "image", RELIABLE)
    graph.listen(WholeBodyPoseArray, "poses")
    detector.gate.clear()
    assert graph.publish_until(camera, image_at(grey(1), 1), lambda: detector.seen)
    for level in range(2, 12):
        camera.publish(image_at(grey(level), level))
        graph.spin_for(0.05)
    received = node.statistics.summary(0.0).received
    detector.gate.set()
    assert graph.spin_until(lambda: 11 in detector.seen, 10)
    assert detector.seen == [1, 11]
    skipped = node.statistics.summary(0.0).skipped
    assert skipped == {"newer image": received - 2}


def test_the_next_image_is_decoded_while_the_detector_works(graph, stand_in, monkeypatch):
    """Where decoding takes long beside detecting; else only what is worked on is decoded."""
    node, detector = stand_in
    decoded, decode = [], pipeline.image_to_rgb

    def remember(message: Image) -> np.ndarray:
        rgb = decode(message)
        decoded.append(int(rgb[0, 0, 0]))
        return rgb

    monkeypatch.setattr(pipeline, "image_to_rgb", remember)
    camera = graph.node.create_publisher(Image, "image", RELIABLE)
    graph.listen(WholeBodyPoseArray, "poses")
    detector.gate.clear()
    assert graph.publish_until(camera, image_at(grey(1), 1), lambda: detector.seen)
    node.activation.decoding_share = 1.0
    camera.publish(image_at(grey(2), 2))
    assert graph.spin_until(lambda: 2 in decoded)
    assert detector.seen == [1]
    detector.gate.set()
    assert graph.spin_until(lambda: 2 in detector.seen)
    assert decoded.count(2) == 1

    detector.gate.clear()
    assert graph.publish_until(camera, image_at(grey(3), 3), lambda: 3 in detector.seen)
    node.activation.decoding_share = 0.0
    camera.publish(image_at(grey(4), 4))
    graph.spin_for(0.5)
    assert 4 not in decoded
    detector.gate.set()
    assert graph.spin_until(lambda: 4 in detector.seen)


def test_a_burst_at_five_times_the_sustainable_rate_makes_no_queue(graph, start):
    """All times are told against the node's own time per image."""
    seconds_per_image = 0.2
    process = start(
        "light_node",
        *("-r", f"__ns:={graph.node.get_namespace()}"),
        options=(str(seconds_per_image),),
    )
    camera = graph.node.create_publisher(Image, "image", RELIABLE)
    heard = []

    def hear(message: WholeBodyPoseArray) -> None:
        now = graph.node.get_clock().now().nanoseconds / 1e9
        heard.append((seconds_of(message.header), now))

    graph.node.create_subscription(WholeBodyPoseArray, "poses", hear, 10)
    assert graph.publish_until(camera, image_at(grey(9), 1), lambda: heard), process.output()
    graph.spin_for(1.0)
    heard.clear()

    published = 0
    started = graph.node.get_clock().now().nanoseconds / 1e9
    while (now := graph.node.get_clock().now().nanoseconds / 1e9) < started + 5:
        camera.publish(image_at(grey(9), now))
        published += 1
        # Rates, not sleeps: a machine that is late publishes the missing ones at once.
        graph.spin_for(max(0.0, published * seconds_per_image / 5 - (now - started)))
    before_the_end = len(heard)
    graph.spin_for(8 * seconds_per_image)

    stamps, arrivals = np.array(heard).T
    assert published > 4 * before_the_end, "no burst"
    assert len(heard) > 5
    assert (np.diff(stamps) > 0).all()
    # One was being worked on and one waited.
    assert len(heard) - before_the_end <= 2
    time_per_image = np.median(np.diff(arrivals))
    assert np.median(arrivals - stamps) < 2 * time_per_image


def changed(message, **fields):
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def raw(**fields) -> Image:
    """A good rgb8 image of 64 x 48 px but for `fields`."""
    return changed(image_at(grey(7), 1), **fields)


NOISE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
JPEG = bytes(compressed_at(NOISE, 1).data)
PNG = bytes(compressed_at(grey(7), 1, ".png").data)
TRUNCATED = array("B", bytes(1000))

BAD_RAW = {
    "nothing set": (Image(), "unknown encoding"),
    "unknown encoding": (raw(encoding="rgb9"), "unknown encoding"),
    "no encoding": (raw(encoding=""), "unknown encoding"),
    "endless encoding": (raw(encoding="rgb8" * 5000), "unknown encoding"),
    "encoding in another script": (raw(encoding="色"), "unknown encoding"),
    "a depth image in mm": (raw(encoding="16UC1"), "unknown encoding"),
    "a depth image in m": (raw(encoding="32FC1"), "unknown encoding"),
    "truncated": (raw(data=TRUNCATED), "truncated"),
    "no data": (raw(data=array("B")), "truncated"),
    "one byte too few": (raw(data=array("B", bytes(48 * 64 * 3 - 1))), "truncated"),
    "one byte too many": (raw(data=array("B", bytes(48 * 64 * 3 + 1))), "too long"),
    "no width": (raw(width=0), "empty"),
    "no height": (raw(height=0), "empty"),
    "no size": (raw(width=0, height=0, step=0, data=array("B")), "empty"),
    "no step": (raw(step=0), "wrong step"),
    "step too small": (raw(step=64 * 3 - 1), "wrong step"),
    "step too large": (raw(step=64 * 3 + 1), "truncated"),
    "step of 4 GB": (raw(step=2**32 - 1), "truncated"),
    "width of 4 G": (raw(width=2**32 - 1), "wrong step"),
    "height of 4 G": (raw(height=2**32 - 1), "truncated"),
    "width and height of 4 G": (raw(width=2**32 - 1, height=2**32 - 1), "wrong step"),
    "mono data called bgr8": (
        raw(encoding="bgr8", step=64 * 3, data=array("B", bytes(48 * 64))),
        "truncated",
    ),
    "rgb data called rgba8": (raw(encoding="rgba8"), "wrong step"),
    "rgb data called rgb16": (raw(encoding="rgb16", step=64 * 6), "truncated"),
    "odd yuv422": (raw(encoding="yuv422", width=63), "odd size"),
    "odd nv12": (raw(encoding="nv12", height=47), "odd size"),
    "nv12 without chroma": (
        raw(encoding="nv12", step=64, data=array("B", bytes(48 * 64))),
        "truncated",
    ),
    "one row of Bayer": (
        raw(encoding="bayer_rggb8", height=1, step=64, data=array("B", bytes(64))),
        "too small",
    ),
    "1 x 1": (raw(width=1, height=1, step=3, data=array("B", bytes(3))), "too small"),
    "1 x 4000": (raw(width=1, height=4000, step=3, data=array("B", bytes(12000))), "too small"),
    "black": (raw(data=array("B", bytes(48 * 64 * 3))), None),  # on which this detector fails
}
BAD_COMPRESSED = {
    "no data": (b"", "empty"),
    "one byte": (b"\xff", "unknown encoding"),
    "a GIF": (b"GIF89a" + bytes(50), "unknown encoding"),
    "text": (b"no image", "unknown encoding"),
    "compressedDepth": (bytes(12) + PNG, "unknown encoding"),
    "half a JPEG": (JPEG[: len(JPEG) // 2], "truncated"),
    "half a PNG": (PNG[: len(PNG) // 2], "truncated"),
    "a JPEG without content": (b"\xff\xd8\xff\xd9", "not decodable"),
    "a JPEG of noise": (JPEG[:2] + bytes(range(200)) + JPEG[-2:], "not decodable"),
    "a PNG with a broken header": (PNG[:16] + bytes(17) + PNG[33:], "not decodable"),
}


def check_rubbish(graph, stand_in, camera, bad, good, kind) -> None:
    """A bad image is counted under its kind, and the good one that follows is answered."""
    node, _ = stand_in
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")

    def counted() -> bool:
        summary = node.statistics.summary(0.0)
        return bool(summary.failed if kind is None else summary.bad.get(kind))

    assert not counted()
    assert graph.publish_until(camera, bad, counted), node.statistics
    assert not poses
    assert graph.publish_until(camera, good, lambda: poses)
    assert poses[0].header == good.header


@pytest.mark.parametrize("name", BAD_RAW)
def test_rubbish_is_counted_and_the_next_image_is_answered(graph, stand_in, name):
    bad, kind = BAD_RAW[name]
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    check_rubbish(graph, stand_in, camera, bad, image_at(grey(9), 2), kind)


@pytest.mark.parametrize("name", BAD_COMPRESSED)
def test_compressed_rubbish_is_counted_and_the_next_image_is_answered(graph, stand_in, name):
    node, _ = stand_in
    data, kind = BAD_COMPRESSED[name]
    for change in ("deactivate", "activate"):
        assert graph.transition(node.get_fully_qualified_name(), change)
        if change == "deactivate":
            assert (
                graph.set_parameter(
                    node.get_fully_qualified_name(), "image_transport", "compressed"
                )
                == ""
            )
    camera = graph.node.create_publisher(CompressedImage, "image/compressed", AS_CAMERAS_DO)
    good = compressed_at(grey(9), 2)
    check_rubbish(graph, stand_in, camera, compressed_of(data, 1), good, kind)


@pytest.mark.parametrize("sec", [0, -5, 2**31 - 1, -(2**31)])
def test_an_image_with_any_stamp_is_answered_with_that_stamp(graph, stand_in, sec):
    node, _ = stand_in
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    image = image_at(grey(9), 1)
    image.header.stamp.sec = sec
    image.header.frame_id = ""
    assert graph.publish_until(camera, image, lambda: poses)
    assert poses[0].header == image.header


def test_a_camera_that_dies_and_comes_back(graph, start):
    namespace = graph.node.get_namespace()
    node = start("light_node", "-r", f"__ns:={namespace}", "-p", "silent_after:=1.0")
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    told = []

    def hear(message: DiagnosticArray) -> None:
        told.extend(
            (status.level, status.message)
            for status in message.status
            if status.name == f"{namespace[1:]}/dope_node: camera"
        )

    graph.node.create_subscription(DiagnosticArray, "/diagnostics", hear, 10)
    for _ in range(2):
        camera = start("demo_camera", "-r", f"__ns:={namespace}", "-p", "max_side:=64")
        poses.clear()
        assert graph.spin_until(lambda: poses), node.output()
        assert graph.spin_until(lambda: told and told[-1] == (b"\0", "images come")), told
        camera.kill()
        assert graph.spin_until(lambda: told[-1][0] == b"\1"), told
        assert "no image for" in told[-1][1]
    assert node.process.poll() is None


def test_a_node_that_was_killed_is_started_again(graph, start):
    namespace = graph.node.get_namespace()
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    for number in (1, 2):
        process = start("light_node", "-r", f"__ns:={namespace}")
        image = image_at(grey(9), number)
        assert graph.publish_until(
            camera, image, lambda n=number: any(m.header.stamp.sec == n for m in poses)
        ), process.output()
        process.kill()
