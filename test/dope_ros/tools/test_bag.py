"""Bags made here, worked on with a light detector, read back and compared byte for byte."""

import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from repository import ROOT
from rosbags.highlevel import AnyReader
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

import dope_model.tracking.tracker
import dope_msgs
import dope_ros
from dope_model.camera.placement import Intrinsics, place_people
from dope_model.poses import PartPose, WholeBody
from dope_model.sample import CLIP
from dope_msgs.msg import WholeBodyPoseArray
from dope_ros.messages.conversions import message_to_people, people_to_message, rgb_to_image
from dope_ros.messages.markers import PersonMarkers
from dope_ros.messages.message_types import serialize, stand_in, types
from dope_ros.tools import bag, bag_topics
from dope_ros.tools.bag import process_bag
from dope_ros.tools.bag_topics import BagError, BagSettings

WIDTH, HEIGHT = 64, 48
IMAGES = 5
CAMERA = Intrinsics(60.0, 61.0, 32.0, 24.0)
JOINTS = np.random.default_rng(0).uniform(-0.4, 0.4, (13, 3)).astype(np.float32)
JOINTS -= JOINTS[[4, 5]].mean(axis=0)

STORE = get_typestore(Stores.ROS2_HUMBLE)
STORE.register(get_types_from_msg("uint8[] secret\nfloat64 x", "odd_msgs/msg/Odd"))
TYPES = STORE.types
QOS = Qos(
    QosHistory.KEEP_LAST, 3, QosReliability.BEST_EFFORT, QosDurability.VOLATILE,
    QosTime(0, 1), QosTime(0, 2), QosLiveliness.AUTOMATIC, QosTime(0, 3), False,
)  # fmt: skip


def root_of(number: int) -> np.ndarray:
    return np.array([0.1 * number, -0.05, 3.0])


def picture(number: int) -> np.ndarray:
    """(48, 64, 3): one colour, which says to the detector what to find."""
    return np.full((HEIGHT, WIDTH, 3), (40 * number, 100, 200), np.uint8)


def detector(rgb: np.ndarray) -> list[WholeBody]:
    """Somebody in all but black-red pictures, whose place the red says."""
    number = round(int(np.median(rgb[..., 0])) / 40)
    if number == 0:
        return []
    pixels = CAMERA.project(JOINTS + root_of(number)).astype(np.float32)
    return [WholeBody(body=PartPose(0.875, pixels, JOINTS, np.ones(13, bool)))]


def header(number: int, frame_id: str = "optical"):
    stamp = TYPES["builtin_interfaces/msg/Time"](sec=100, nanosec=40_000_000 * number + 7)
    return TYPES["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)


def image(number: int, **changes):
    fields = {
        "header": header(number), "height": HEIGHT, "width": WIDTH, "encoding": "bgr8",
        "is_bigendian": 0, "step": WIDTH * 3, "data": picture(number)[..., ::-1].reshape(-1),
    }  # fmt: skip
    return TYPES["sensor_msgs/msg/Image"](**(fields | changes))


def compressed(number: int):
    _, data = cv2.imencode(".jpg", picture(number)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return TYPES["sensor_msgs/msg/CompressedImage"](header(number), "jpeg", data.reshape(-1))


def camera_info():
    region = TYPES["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    k = np.array([CAMERA.fx, 0, CAMERA.cx - 0.5, 0, CAMERA.fy, CAMERA.cy - 0.5, 0, 0, 1])
    return TYPES["sensor_msgs/msg/CameraInfo"](
        header(0), HEIGHT, WIDTH, "plumb_bob", np.zeros(5), k, np.zeros(9), np.zeros(12), 0, 0,
        region,
    )  # fmt: skip


def depth(number: int):
    """The wall at 4 m, 25 ms after the image."""
    values = np.full(WIDTH * HEIGHT, 4000, np.uint16).view(np.uint8)
    made = header(number)
    made.stamp.nanosec += 25_000_000
    return TYPES["sensor_msgs/msg/Image"](made, HEIGHT, WIDTH, "16UC1", 0, WIDTH * 2, values)


def make_bag(
    path: Path,
    storage: str = "sqlite3",
    small: bool = False,
    info: bool = True,
    spoil: int | None = None,
    with_depth: bool = False,
    zstd: bool = False,
) -> Path:
    """A bag of five images, odd messages of an unknown type, and perhaps camera_info and depth."""
    plugin = {"sqlite3": StoragePlugin.SQLITE3, "mcap": StoragePlugin.MCAP}[storage]
    kind = "sensor_msgs/msg/CompressedImage" if small else "sensor_msgs/msg/Image"
    topic = "/camera/image_raw" + ("/compressed" if small else "")
    random = np.random.default_rng(1)
    made = Writer(path, version=8, storage_plugin=plugin)
    if zstd:
        made.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with made as writer:

        def connect(name, msgtype, **more):
            return writer.add_connection(name, msgtype, typestore=STORE, **more)

        images = connect(topic, kind, offered_qos_profiles=[QOS])
        odd = connect("/odd", "odd_msgs/msg/Odd")
        infos = connect("/camera/camera_info", "sensor_msgs/msg/CameraInfo") if info else None
        depths = connect("/camera/depth", "sensor_msgs/msg/Image") if with_depth else None
        for number in range(IMAGES):
            time = 5_000_000_000 + 40_000_000 * number
            message = compressed(number) if small else image(number)
            if number == spoil:
                message.data = message.data[:-5]
            writer.write(images, time, bytes(STORE.serialize_cdr(message, kind)))
            if info:
                raw = STORE.serialize_cdr(camera_info(), "sensor_msgs/msg/CameraInfo")
                writer.write(infos, time + 1, bytes(raw))
            secret = random.integers(0, 256, 20, dtype=np.uint8)
            raw = STORE.serialize_cdr(
                TYPES["odd_msgs/msg/Odd"](secret, 1.5 * number), "odd_msgs/msg/Odd"
            )
            writer.write(odd, time + 2, bytes(raw))
            if with_depth:
                raw = STORE.serialize_cdr(depth(number), "sensor_msgs/msg/Image")
                writer.write(depths, time + 25_000_000, bytes(raw))
    return path


def contents(path: Path) -> list[tuple[str, str, int, bytes]]:
    with Reader(path) as reader:
        return [(c.topic, c.msgtype, time, bytes(raw)) for c, time, raw in reader.messages()]


def work(source: Path, out: Path, **settings):
    chosen = {"image_topic": "/camera/image_raw"} | settings
    return process_bag(source, out, BagSettings(**chosen), lambda: detector, progress=False)


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_everything_is_copied_and_the_results_stand_at_their_images(tmp_path, storage):
    source = make_bag(tmp_path / "in", storage)
    summary = work(source, tmp_path / "out")
    assert (summary.messages, summary.images, summary.people) == (3 * IMAGES, IMAGES, 4)
    assert summary.complete and not summary.problems

    before, after = contents(source), contents(tmp_path / "out")
    added = {"/dope/poses", "/dope/markers", "/dope/image_annotated"}
    assert [one for one in after if one[0] not in added] == before
    assert set(summary.topics) == added
    times = [time for topic, _, time, _ in before if topic == "/camera/image_raw"]
    for topic in added:
        assert [time for name, _, time, _ in after if name == topic] == times
    suffix = {"sqlite3": ".db3", "mcap": ".mcap"}[storage]
    assert [p for p in (tmp_path / "out").iterdir() if p.suffix == suffix]

    with Reader(source) as one, Reader(tmp_path / "out") as other:
        copied = {c.topic: c for c in other.connections}
        for connection in one.connections:
            copy = copied[connection.topic]
            assert copy.msgdef == connection.msgdef and connection.msgdef.data
            assert copy.digest == connection.digest
            assert copy.ext == connection.ext


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_the_bag_says_by_itself_what_the_results_are(tmp_path, storage):
    """Read with no definitions but those in the bag, as Foxglove does."""
    work(make_bag(tmp_path / "in", storage), tmp_path / "out")
    with AnyReader([tmp_path / "out"]) as reader:
        read = {}
        for connection, _, raw in reader.messages():
            read.setdefault(connection.topic, []).append(
                reader.deserialize(raw, connection.msgtype)
            )
    for number in range(IMAGES):
        poses = read["/dope/poses"][number]
        assert (poses.header.stamp.sec, poses.header.frame_id) == (100, "optical")
        assert poses.header.stamp.nanosec == 40_000_000 * number + 7
        assert (poses.image_width, poses.image_height) == (WIDTH, HEIGHT)
        expected = detector(picture(number))
        assert len(poses.people) == len(expected)
        if expected:
            (person,) = poses.people
            assert person.track_id == 1 and person.score == 0.875
            flat = expected[0].body.keypoints_2d.reshape(-1)
            np.testing.assert_array_equal(person.body.keypoints_2d, flat)
            root = person.body.root
            assert (root.x, root.y, root.z) == pytest.approx(tuple(root_of(number)), abs=1e-4)
            assert np.isnan(person.face.root.x)
        drawn = read["/dope/image_annotated"][number]
        assert (drawn.encoding, drawn.width, drawn.height) == ("rgb8", WIDTH, HEIGHT)
        pixels = drawn.data.reshape(HEIGHT, WIDTH, 3)
        assert (pixels != picture(number)).any() == bool(expected)
    namespaces = [{marker.ns for marker in one.markers} for one in read["/dope/markers"]]
    assert namespaces == [set(), *[{"body/bones", "body/joints"}] * 4]


def documented_command() -> list[str]:
    """The arguments of the bag tool in docs/retargeting.md."""
    page = (ROOT / "docs" / "retargeting.md").read_text()
    (line,) = re.findall(r"^python -m dope_ros.bag (.*)$", page, re.M)
    return shlex.split(line)


def test_poses_are_exported(tmp_path, monkeypatch, capsys):
    """The command of docs/retargeting.md."""
    make_bag(tmp_path / "IN")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bag.WholeBodyDetector, "load", lambda **_: detector)
    assert bag.main(documented_command()) == 0
    assert "also walk.npz, walk_1.bvh" in capsys.readouterr().out
    with np.load("walk.npz") as file:
        read = dict(file)
    assert read["person"].tolist() == [1] * 4 and read["frame"].tolist() == [1, 2, 3, 4]
    stamps = 100 + 0.04 * np.arange(1, IMAGES) + 7e-9
    np.testing.assert_allclose(read["stamp"], stamps, atol=1e-6)
    for number, joints in enumerate(read["joints"], 1):
        np.testing.assert_allclose(joints[:13], JOINTS + root_of(number), atol=1e-3)
    motion = Path("walk_1.bvh").read_text().splitlines()
    assert motion[0] == "HIERARCHY" and "Frames: 4" in motion and "Frame Time: 0.040000" in motion


def test_without_camera_info_exported_people_are_placed_by_the_field_of_view(tmp_path):
    source = make_bag(tmp_path / "in", info=False)
    narrow = {"horizontal_fov": 30.0}
    distances = []
    for parameters in ({}, narrow):
        out = tmp_path / f"poses{len(distances)}.npz"
        work(source, tmp_path / out.stem, exports=(out,), parameters=parameters)
        distances.append(np.load(out)["joints"][0, :13, 2].mean())
    assert distances[1] > 1.7 * distances[0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--export", "poses.fbx"], "must end in .npz, .csv, .bvh"),
        (["--export", "none/poses.csv"], "no folder none"),
        (["--export", "a.bvh", "--tracking", "false"], "a.bvh needs tracking"),
    ],
)
def test_exports_that_cannot_be_are_refused_before_the_work(tmp_path, capsys, arguments, told):
    given = [str(tmp_path / "in"), "--image-topic", "/a", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        bag.main(given + arguments)
    assert told in capsys.readouterr().err


def test_ros_reads_the_results(tmp_path):
    work(make_bag(tmp_path / "in"), tmp_path / "out")
    after = contents(tmp_path / "out")
    raw = [raw for topic, _, _, raw in after if topic == "/dope/poses"]
    message = deserialize_message(raw[2], WholeBodyPoseArray)
    (person,) = message_to_people(message)
    np.testing.assert_array_equal(person.body.keypoints_3d, JOINTS)
    markers = [raw for topic, _, _, raw in after if topic == "/dope/markers"]
    first = deserialize_message(markers[1], MarkerArray).markers[0]
    assert (first.type, first.ns, first.id) == (Marker.LINE_LIST, "body/bones", 1)
    # At the joints' true places, from camera_info.
    ends = np.array([(point.x, point.y, point.z) for point in first.points])
    distances = np.linalg.norm(ends[:, None] - (JOINTS + root_of(1)), axis=-1).min(axis=1)
    assert distances.max() < 1e-3


def without_padding(message, kind: str) -> bytes:
    """The bytes that ROS makes of a message, zeros in the gaps, which ROS leaves as they were."""
    ours = types()
    return bytes(ours.serialize_cdr(ours.deserialize_cdr(serialize_message(message), kind), kind))


def test_our_bytes_are_those_of_ros():
    person = detector(picture(3))[0]
    here = Header(frame_id="somewhere")
    for message, kind in (
        (people_to_message([person], here, 640, 480), bag_topics.POSES),
        (people_to_message([], here, 640, 480), bag_topics.POSES),
        (PersonMarkers(1.5).build(place_people([person], CAMERA), here), bag_topics.MARKERS),
        (rgb_to_image(picture(2), here), bag_topics.IMAGE),
    ):
        assert serialize(message, kind) == without_padding(message, kind)


def test_stand_ins_are_like_the_classes_of_ros():
    for mine, real in (
        (stand_in("visualization_msgs/msg/Marker"), Marker),
        (stand_in("dope_msgs/msg/WholeBodyPoseArray"), WholeBodyPoseArray),
        (stand_in("std_msgs/msg/Header"), Header),
    ):
        kind = mine.__msgtype__
        message = real()
        if real is Marker:
            message.pose.orientation.w = 0.0  # the one default here that is not zero
        assert serialize(mine(), kind) == without_padding(message, kind)
        names = {name.lstrip("_") for name in real.get_fields_and_field_types()}
        assert set(vars(mine())) == names
    assert stand_in("visualization_msgs/msg/Marker").SPHERE_LIST == Marker.SPHERE_LIST
    with pytest.raises(TypeError, match="no field nonsense"):
        stand_in("std_msgs/msg/Header")(nonsense=1)


def test_an_installed_package_finds_the_definitions_that_were_installed(tmp_path):
    """There the package dope_msgs beside it is generated Python, and its msg/ has no definition."""
    for package in (Path(dope_ros.__file__).parent, Path(dope_msgs.__file__).parent):
        shutil.copytree(package, tmp_path / package.name)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from dope_ros.messages import message_types\n"
        "print(message_types.__file__)\n"
        "print('dope_msgs/msg/WholeBodyPoseArray' in message_types.types().fielddefs)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    expected = [str(tmp_path / "dope_ros" / "messages" / "message_types.py"), "True"]
    assert told.stdout.split() == expected, told.stderr


WITHOUT_ROS = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path

hidden = {"rclpy", "sensor_msgs", "std_msgs", "geometry_msgs", "builtin_interfaces",
          "visualization_msgs", "ament_index_python", "rcl_interfaces", "cv_bridge"}

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            return None
        return PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
# As in a checkout that was not built: the folder of the definitions, and no module.
sys.path[:] = [p for p in sys.path if not (Path(p) / "dope_msgs" / "__init__.py").is_file()]
try:
    import sensor_msgs
except ImportError:
    pass
else:
    sys.exit("sensor_msgs is still there")
"""


def test_it_works_where_ros_is_not_installed(tmp_path):
    source = make_bag(tmp_path / "in")
    work(source, tmp_path / "with")
    # The detector of this file, which itself needs ROS, written out.
    program = (
        WITHOUT_ROS
        + f"""
import numpy as np
from dope_model.poses import PartPose, WholeBody
from dope_ros.tools.bag import BagSettings, process_bag
pixels = np.load({str(tmp_path / "pixels.npy")!r})
joints = np.load({str(tmp_path / "joints.npy")!r})
def detector(rgb):
    number = round(int(np.median(rgb[..., 0])) / 40)
    pose = PartPose(0.875, pixels[number], joints, np.ones(13, bool))
    return [WholeBody(body=pose)] if number else []
settings = BagSettings(image_topic="/camera/image_raw")
process_bag(Path({str(source)!r}), Path({str(tmp_path / "without")!r}), settings, lambda: detector)
print(sorted(m for m in sys.modules if m.startswith("rclpy")))
"""
    )
    pixels = [CAMERA.project(JOINTS + root_of(n)).astype(np.float32) for n in range(IMAGES)]
    np.save(tmp_path / "pixels.npy", pixels)
    np.save(tmp_path / "joints.npy", JOINTS)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert contents(tmp_path / "without") == contents(tmp_path / "with")


def test_compressed_images(tmp_path):
    topic = "/camera/image_raw/compressed"
    summary = work(
        make_bag(tmp_path / "in", "mcap", small=True), tmp_path / "out", image_topic=topic
    )
    assert (summary.images, summary.people) == (IMAGES, 4)
    with AnyReader([tmp_path / "out"]) as reader:
        chosen = [c for c in reader.connections if c.topic == "/dope/image_annotated/compressed"]
        drawn = [reader.deserialize(raw, c.msgtype) for c, _, raw in reader.messages(chosen)]
        poses = [c for c in reader.connections if c.topic == "/dope/poses"]
        roots = [
            reader.deserialize(raw, c.msgtype).people[0].body.root.x
            for c, _, raw in list(reader.messages(poses))[1:]
        ]
    assert roots == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=1e-4)  # camera_info beside was found
    assert len(drawn) == IMAGES
    pixels = cv2.imdecode(drawn[0].data, cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(pixels.astype(int) - picture(0)).max() < 8


def test_depth_that_comes_after_its_image_is_waited_for(tmp_path):
    source = make_bag(tmp_path / "in", with_depth=True)
    summary = work(source, tmp_path / "out", depth_topic="/camera/depth")
    assert not summary.problems and summary.images == IMAGES
    message = next(
        deserialize_message(raw, WholeBodyPoseArray)
        for topic, _, _, raw in contents(tmp_path / "out")[::-1]
        if topic == "/dope/poses"
    )
    # The pose fits 3 m, the depth says about 4.
    assert 3.8 < message.people[0].body.root.z < 4.3
    assert [one for one in contents(tmp_path / "out") if "dope" not in one[0]] == contents(source)


def test_every_image_of_a_fast_camera_gets_the_depth_of_its_time(tmp_path):
    """At 90 Hz 18 depth images come while one image waits for its own."""
    count, period, kind = 60, 1_000_000_000 // 90, "sensor_msgs/msg/Image"
    with Writer(tmp_path / "in", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        images, infos, depths = (
            writer.add_connection(f"/camera/{name}", f"sensor_msgs/msg/{of}", typestore=STORE)
            for name, of in (("image_raw", "Image"), ("camera_info", "CameraInfo"),
                             ("depth", "Image"))
        )  # fmt: skip
        info = STORE.serialize_cdr(camera_info(), "sensor_msgs/msg/CameraInfo")
        writer.write(infos, 1_000_000_000, bytes(info))
        for k in range(count):
            time = 1_000_000_000 + period * (k + 1)
            seen, near = image(1), depth(0)
            seen.header = near.header = header(0)
            seen.header.stamp.sec, seen.header.stamp.nanosec = divmod(time, 1_000_000_000)
            near.data = np.full(WIDTH * HEIGHT, 2500 + 20 * k, np.uint16).view(np.uint8)
            writer.write(images, time, bytes(STORE.serialize_cdr(seen, kind)))
            writer.write(depths, time + 30_000_000, bytes(STORE.serialize_cdr(near, kind)))
    summary = work(tmp_path / "in", tmp_path / "out", depth_topic="/camera/depth")
    assert not summary.problems and summary.images == count
    z = [
        deserialize_message(raw, WholeBodyPoseArray).people[0].body.root.z
        for topic, _, _, raw in contents(tmp_path / "out")
        if topic == "/dope/poses"
    ]
    np.testing.assert_allclose(np.diff(z), 0.02, atol=1e-3)


def test_one_image_on_which_the_model_fails_is_counted_and_the_rest_is_worked_on(tmp_path):
    def failing(rgb: np.ndarray) -> list[WholeBody]:
        if rgb[0, 0, 0] == 80:
            raise RuntimeError("out of memory")
        return detector(rgb)

    source = make_bag(tmp_path / "in")
    settings = BagSettings(image_topic="/camera/image_raw")
    summary = process_bag(source, tmp_path / "out", settings, lambda: failing, progress=False)
    assert summary.images == IMAGES - 1
    told = "image on which the model failed: RuntimeError: out of memory"
    assert summary.problems == {told: 1}
    assert [one for one in contents(tmp_path / "out") if "dope" not in one[0]] == contents(source)


def test_one_bad_image_is_counted_and_the_rest_is_worked_on(tmp_path):
    source = make_bag(tmp_path / "in", spoil=2)
    summary = work(source, tmp_path / "out")
    assert summary.images == IMAGES - 1
    ((problem, count),) = summary.problems.items()
    assert count == 1 and "truncated" in problem
    assert [one for one in contents(tmp_path / "out") if "dope" not in one[0]] == contents(source)


def test_without_camera_info_roots_are_not_known(tmp_path):
    work(make_bag(tmp_path / "in", info=False), tmp_path / "out", annotate=False)
    topics = {topic for topic, *_ in contents(tmp_path / "out")}
    assert "/dope/image_annotated" not in topics
    raw = [raw for topic, _, _, raw in contents(tmp_path / "out") if topic == "/dope/poses"][1]
    assert np.isnan(deserialize_message(raw, WholeBodyPoseArray).people[0].body.root.z)


def test_without_norfair_nobody_has_an_id_and_that_is_told(tmp_path, monkeypatch):
    def missing():
        raise ImportError("tracking needs Norfair")

    monkeypatch.setattr(dope_model.tracking.tracker, "_import_norfair", missing)
    summary = work(make_bag(tmp_path / "in"), tmp_path / "out")
    assert list(summary.problems) == ["people have no track ids: tracking needs Norfair"]
    raw = [raw for topic, _, _, raw in contents(tmp_path / "out") if topic == "/dope/poses"][1]
    (person,) = deserialize_message(raw, WholeBodyPoseArray).people
    assert person.track_id == -1 and person.body.root.z == pytest.approx(3, abs=1e-4)


def test_another_kind_of_storage_and_another_namespace(tmp_path):
    source = make_bag(tmp_path / "in", "sqlite3")
    work(source, tmp_path / "out", storage="mcap", namespace="people/")
    assert (tmp_path / "out" / "out.mcap").is_file()
    after = contents(tmp_path / "out")
    assert [one for one in after if not one[0].startswith("/people/")] == contents(source)
    # A second run over the first one's bag, given as a file.
    again = work(tmp_path / "out" / "out.mcap", tmp_path / "again", annotate=False)
    assert again.images == IMAGES
    with pytest.raises(BagError, match="has /people/image_annotated, .* --namespace"):
        work(tmp_path / "out", tmp_path / "third", namespace="/people")


def test_ctrl_c_leaves_a_good_bag(tmp_path):
    def impatient(rgb: np.ndarray) -> list[WholeBody]:
        if rgb[0, 0, 0] == 80:
            raise KeyboardInterrupt
        return detector(rgb)

    source = make_bag(tmp_path / "in")
    settings = BagSettings(image_topic="/camera/image_raw")
    summary = process_bag(source, tmp_path / "out", settings, lambda: impatient, progress=False)
    assert not summary.complete and summary.images == 2
    after = contents(tmp_path / "out")
    old = [one for one in after if "dope" not in one[0]]
    assert old == contents(source)[: len(old)]
    assert sum(topic == "/dope/poses" for topic, *_ in after) == 2


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
@pytest.mark.parametrize("zstd", [True, False])
def test_damage_met_while_reading_leaves_a_good_bag_up_to_there(tmp_path, storage, zstd):
    source = make_bag(tmp_path / "in", storage, zstd=zstd)
    before = contents(source)
    (file,) = (path for path in source.iterdir() if path.suffix in (".db3", ".mcap"))
    content = bytearray(file.read_bytes())
    if zstd:  # the fourth to last message
        at = len(content)
        for _ in range(4):
            at = content.rindex(b"\x28\xb5\x2f\xfd", 0, at)
    elif storage == "mcap":  # the only chunk
        at = content.index(b"/odd") - 40
    else:  # where image 3 says which page it goes on in
        at = content.index(bytes([200, 100, 120]) * 900) // 4096 * 4096
    count = 40 if storage == "mcap" and not zstd else 4
    content[at : at + count] = b"\xff" * count
    file.write_bytes(content)
    summary = work(source, tmp_path / "out")
    assert not summary.complete and "the bag is damaged" in summary.fault
    after = contents(tmp_path / "out")
    old = [one for one in after if "dope" not in one[0]]
    assert old == before[: len(old)] and summary.messages == len(old)
    if storage == "sqlite3" or zstd:
        assert 0 < len(old) < len(before)
        assert sum(topic == "/dope/poses" for topic, *_ in after) == summary.images > 0


def test_the_command_says_why_it_ended_early(tmp_path, monkeypatch, capsys):
    source = make_bag(tmp_path / "in")
    command = [str(source), "--image-topic", "/camera/image_raw", "--out", str(tmp_path / "out")]

    def interrupted(**how):
        raise KeyboardInterrupt

    monkeypatch.setattr(bag.WholeBodyDetector, "load", interrupted)
    assert bag.main(command) == 130
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(bag.WholeBodyDetector, "load", lambda **how: detector)
    free = [10**9] * 8 + [10**6] * 9
    monkeypatch.setattr(bag.shutil, "disk_usage", lambda path: SimpleNamespace(free=free.pop(0)))
    assert bag.main(command) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"the disk of {tmp_path / 'out'} is full; the rest")
    assert len(contents(tmp_path / "out")) == 8


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_a_bag_that_cannot_be_written_is_not_in_the_way(tmp_path, storage):
    source = make_bag(tmp_path / "in", storage)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(BagError, match="out cannot be written: ") as error:
            work(source, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("same_qos", [True, False])
def test_channels_of_one_topic_and_type_become_one(tmp_path, monkeypatch, same_qos):
    """As the publishers of /tf have them in MCAP files that ROS did not record."""
    kind = "std_msgs/msg/String"
    other = QOS if same_qos else QOS._replace(depth=9)
    writer = Writer(tmp_path / "in", version=8, storage_plugin=StoragePlugin.MCAP)
    with writer:
        images = writer.add_connection("/image", "sensor_msgs/msg/Image", typestore=STORE)
        raw = bytes(STORE.serialize_cdr(image(1), "sensor_msgs/msg/Image"))
        writer.write(images, 1, raw)
        for number, qos in enumerate((QOS, other)):
            one = writer.add_connection(
                f"/tf{number}", kind, typestore=STORE, offered_qos_profiles=[qos]
            )
            text = STORE.serialize_cdr(TYPES[kind](str(number)), kind)
            writer.write(one, 2 + number, bytes(text))
    file = tmp_path / "in" / "in.mcap"
    # The writer refuses two of one name.
    file.write_bytes(file.read_bytes().replace(b"/tf1", b"/tf0"))
    # Its metadata.yaml still has /tf1.
    told = work(tmp_path / "in", tmp_path / "of_folder", image_topic="/image").problems
    assert [*told.values()] == ([] if same_qos else [1])
    assert not work(file, tmp_path / "out", image_topic="/image").problems
    after = contents(tmp_path / "out")
    assert [one for one in after if "dope" not in one[0]] == contents(file)
    with Reader(tmp_path / "out") as reader:
        (copied,) = (c for c in reader.connections if c.topic == "/tf0")
        assert copied.msgcount == 2
        assert copied.ext.offered_qos_profiles == ([QOS] if same_qos else [QOS, other])


def refuse() -> None:
    raise AssertionError("the model is not loaded before everything else is right")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"image_topic": "/nope"}, "no image topic /nope .*: /camera/depth, /camera/image_raw"),
        ({"image_topic": "/odd"}, "/odd holds odd_msgs/msg/Odd, which is no image topic"),
        ({"camera_info_topic": "/nope"}, "no topic of camera_info /nope .*: /camera/camera_info"),
        ({"depth_topic": "/odd"}, "/odd holds .*no topic of depth images"),
    ],
)
def test_wrong_topics_are_refused_before_anything_is_written(tmp_path, settings, said):
    source = make_bag(tmp_path / "in", with_depth=True)
    chosen = BagSettings(**({"image_topic": "/camera/image_raw"} | settings))
    with pytest.raises(BagError, match=said):
        process_bag(source, tmp_path / "out", chosen, refuse, progress=False)
    assert not (tmp_path / "out").exists()


def test_the_nodes_parameters_are_options(tmp_path, monkeypatch, capsys):
    source = make_bag(tmp_path / "in")
    asked = {}
    monkeypatch.setattr(bag.WholeBodyDetector, "load", lambda **how: asked.update(how) or detector)
    command = [str(source), "--image-topic", "/camera/image_raw", "--out"]
    options = ["--engine", "torch", "--image-rotation", "180", "--smoothing", "--tracking", "False"]
    assert bag.main([*command, str(tmp_path / "all"), *options]) == 0
    assert asked == {"model": "dope_lite", "device": "auto", "mode": "auto", "engine": "torch"}
    assert detector.rotation == 180
    assert f"{IMAGES - 1} people in {IMAGES} images" in capsys.readouterr().out
    assert bag.main([*command, str(tmp_path / "sure"), "--min-body-score", "0.95"]) == 0
    assert f"0 people in {IMAGES} images" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        bag.main([*command, str(tmp_path / "out"), "--engine", "best"])
    assert "parameter 'engine' is 'best', but must be one of" in capsys.readouterr().err


def test_wrong_paths_are_refused(tmp_path, capsys):
    source = make_bag(tmp_path / "in")
    (tmp_path / "text.mcap").write_text("no bag")
    (tmp_path / "folder").mkdir()
    for wrong in ("nothing", "text.mcap", "folder"):
        with pytest.raises(BagError, match=wrong):
            work(tmp_path / wrong, tmp_path / "out")
    (source / "metadata.yaml").rename(tmp_path / "metadata.yaml")
    with pytest.raises(BagError, match="in .* `ros2 bag reindex` .* the one file in the folder"):
        work(source, tmp_path / "out")
    assert work(source / "in.db3", tmp_path / "from_file").images == IMAGES
    (tmp_path / "metadata.yaml").rename(source / "metadata.yaml")
    cut = make_bag(tmp_path / "cut", "mcap") / "cut.mcap"
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(BagError, match="cut.mcap .* `mcap recover`"):
        work(cut, tmp_path / "out")
    with pytest.raises(BagError, match="exists already"):
        work(source, tmp_path / "folder")
    arguments = [str(source), "--image-topic", "/nope", "--out", str(tmp_path / "out")]
    assert bag.main(arguments) == 1
    assert "error: no image topic /nope" in capsys.readouterr().err
    arguments[2] = "/camera/image_raw"
    assert bag.main([*arguments, "--model", "dope_lit"]) == 1
    told = capsys.readouterr().err
    assert "error: no weights file at dope_lit" in told and "not a ROS 2 bag" not in told
    assert not (tmp_path / "out").exists()


def test_the_command_on_the_clip(tmp_path):
    """The default model on a bag of every tenth image of the clip, from the command line."""
    film = cv2.VideoCapture(str(CLIP))
    with Writer(tmp_path / "in", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        images = writer.add_connection("/image_raw", "sensor_msgs/msg/Image", typestore=STORE)
        for number in range(100):
            _, bgr = film.read()
            if number % 10 or number < 40:
                continue
            height, width = bgr.shape[:2]
            message = image(
                number, height=height, width=width, step=3 * width, data=bgr.reshape(-1),
                header=header(0),
            )  # fmt: skip
            message.header.stamp.sec = number
            raw = STORE.serialize_cdr(message, "sensor_msgs/msg/Image")
            writer.write(images, number * 40_000_000, bytes(raw))
    film.release()
    command = [sys.executable, "-m", "dope_ros.bag", str(tmp_path / "in"), "--image-topic"]
    done = subprocess.run(
        [*command, "/image_raw", "--out", str(tmp_path / "out")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "6 messages copied" in done.stdout and "in 6 images" in done.stdout
    raw = [raw for topic, _, _, raw in contents(tmp_path / "out") if topic == "/dope/poses"]
    people = [message_to_people(deserialize_message(one, WholeBodyPoseArray)) for one in raw]
    assert sum(any(p.body is not None for p in found) for found in people) >= 5
