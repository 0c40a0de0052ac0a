"""fuse on a real graph: messages of two cameras and real TF in, everybody once out."""

import json
import re
import shlex
import subprocess
import sys
import time

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from people import CAMERA, body_joints
from repository import ROOT
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from dope_model.poses import PartPose, WholeBody
from dope_model.skeleton import BODY
from dope_msgs.msg import WholeBodyPoseArray
from dope_ros.messages.conversions import message_to_people, people_to_message

# Publishes transforms (parent, child, x y z, quaternion) on /tf_static, once and for all.
STATIC = """
import json, sys, time
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

rclpy.init()
node = rclpy.create_node("frames")
latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
publisher = node.create_publisher(TFMessage, "/tf_static", latched)
message = TFMessage()
for parent, child, place, turn in json.loads(sys.argv[1]):
    one = TransformStamped(child_frame_id=child)
    one.header.frame_id = parent
    t, q = one.transform.translation, one.transform.rotation
    t.x, t.y, t.z = place
    q.x, q.y, q.z, q.w = turn
    message.transforms.append(one)
publisher.publish(message)
try:
    rclpy.spin(node)
except KeyboardInterrupt:
    pass
"""

STANDING = body_joints(
    {
        "ankle": (0.1, 0.9, 0),
        "knee": (0.1, 0.45, 0),
        "hip": (0.1, 0, 0),
        "wrist": (0.3, 0, 0),
        "elbow": (0.25, -0.25, 0),
        "shoulder": (0.2, -0.5, 0),
    },
    head=(0, -0.75, 0),
)
# Both cameras are 1.2 m over the floor and 4 m from (0, 4); world has z up.
# front looks along world's y, side along -x: optical x right, y down, z away.
FRONT = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float), np.array([0, 0, 1.2])
SIDE = np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]], float), np.array([4, 4, 1.2])
HALF = 0.5
FRAMES = [
    ["world", "front_optical", [0.0, 0.0, 1.2], [-(0.5**0.5), 0.0, 0.0, 0.5**0.5]],
    ["world", "side_optical", [4.0, 4.0, 1.2], [-HALF, -HALF, HALF, HALF]],
]
# In the world: upright at (0, 4), who faces the front camera.
UPRIGHT = STANDING @ FRONT[0].T + np.array([0, 4, 1.0])


def test_the_quaternions_are_those_of_the_cameras():
    from dope_ros.messages.transform_buffer import _matrix

    for (turn, _), frame in zip((FRONT, SIDE), FRAMES, strict=True):
        np.testing.assert_allclose(_matrix(np.array(frame[3])), turn, atol=1e-12)


def seen(joints: np.ndarray, camera, factor: float = 1.0) -> WholeBody:
    """A body in the world as a camera sees it: too far away and too large by a factor."""
    turn, shift = camera
    optical = (joints - shift) @ turn * factor
    root = BODY.root_of(optical)
    ones = np.ones(13, np.float32)
    pixels = CAMERA.project(optical)
    return WholeBody(body=PartPose(0.9, pixels, optical - root, ones, root=root), track_id=1)


def lost(person: WholeBody) -> WholeBody:
    person.body.root = None
    return person


def at(seconds: float, frame: str) -> Header:
    whole = int(seconds)
    stamp = Time(sec=whole, nanosec=round((seconds - whole) * 1e9))
    return Header(stamp=stamp, frame_id=frame)


class Cameras:
    """Two cameras that publish, and what comes out of fuse."""

    def __init__(self, graph):
        self.graph, self.time = graph, time.time()
        create = graph.node.create_publisher
        self.publishers = {
            name: create(WholeBodyPoseArray, f"{name}/poses", 10) for name in ("front", "side")
        }
        self.info = create(CameraInfo, "front/camera_info", 10)
        self.poses, _ = graph.listen(WholeBodyPoseArray, "fused/poses")
        self.markers, _ = graph.listen(MarkerArray, "fused/markers")
        self.diagnostics, _ = graph.listen(DiagnosticArray, "/diagnostics")

    def say(self, front=None, side=None, frames=("front_optical", "side_optical"), behind=0.0):
        """One image of each camera that is given."""
        self.time += 0.2
        k = [500.0, 0.0, 319.5, 0.0, 500.0, 239.5, 0.0, 0.0, 1.0]
        info = CameraInfo(header=at(self.time, frames[0]), width=640, height=480, k=k)
        info.distortion_model = "plumb_bob"
        self.info.publish(info)
        for publisher, people, frame, late in zip(
            self.publishers.values(), (front, side), frames, (0.0, behind), strict=True
        ):
            if people is not None:
                header = at(self.time - late, frame)
                publisher.publish(people_to_message(people, header, 640, 480))

    def until(self, condition, **said) -> WholeBodyPoseArray:
        """The first fused message that is as it should be; the cameras speak until it comes."""
        del self.poses[:]
        end = time.monotonic() + 60
        while time.monotonic() < end:
            self.say(**said)
            if self.graph.spin_until(lambda: any(map(condition, self.poses)), 0.3):
                return next(filter(condition, self.poses))
        raise AssertionError(f"not in {len(self.poses)} messages: {self.poses[-1:]}")

    def status(self, part: str) -> bool:
        """Whether the status of fuse says it, in its text or its values."""
        return any(
            part in status.message or any(part in f"{v.key}={v.value}" for v in status.values)
            for message in self.diagnostics
            for status in message.status
            if status.name.endswith("fuse: fusion")
        )


@pytest.fixture
def cameras(graph, start, tf_messages, monkeypatch):
    for name, value in tf_messages.items():
        monkeypatch.setenv(name, value)
    frames = subprocess.Popen([sys.executable, "-c", STATIC, json.dumps(FRAMES)])
    space = graph.node.get_namespace()
    made = Cameras(graph)
    made.process = start(
        "fuse",
        *("-r", f"__ns:={space}/fused"),
        *("-p", f"cameras:=[{space}/front/poses, {space}/side/poses]"),
        *("-p", f"camera_infos:=['{space}/front/camera_info', '']"),
        *("-p", "silent_after:=1.0"),
    )
    yield made
    frames.send_signal(2)
    frames.wait(20)


def test_everybody_is_in_the_world_once(cameras):
    """The front camera takes the person for 10 % too near, the side camera for 10 % too far."""
    front, side = [seen(UPRIGHT, FRONT, 0.9)], [seen(UPRIGHT, SIDE, 1.1)]

    def one(message) -> bool:
        return len(message.people) == 1

    def right(message) -> bool:
        """To 0.1 m; each camera is 0.4 m off, and speaks alone until both are discovered."""
        bodies = [person.body.placed_3d for person in message_to_people(message)]
        return len(bodies) == 1 and np.linalg.norm(bodies[0] - UPRIGHT, axis=1).mean() < 0.1

    message = cameras.until(right, front=front, side=side)
    assert message.header.frame_id == "world" and message.image_width == message.image_height == 0
    (person,) = message_to_people(message)
    assert np.isnan(person.body.keypoints_2d).all()
    # Both cameras call the person 1; a second person, whom one camera sees, is another one.
    other = seen(UPRIGHT + (2, 1, 0), FRONT)
    number = message.people[0].track_id
    message = cameras.until(lambda m: len(m.people) == 2, front=[*front, other], side=side)
    ids = [person.track_id for person in message.people]
    assert number in ids and len(set(ids)) == 2 and min(ids) > 0
    assert cameras.graph.spin_until(lambda: cameras.markers)
    assert cameras.markers[-1].markers[0].header.frame_id == "world"
    stamps = [m.header.stamp.sec + m.header.stamp.nanosec / 1e9 for m in cameras.poses]
    assert stamps == sorted(stamps)

    # Nothing is published of a person without a position, and it is counted.
    cameras.until(one, front=[lost(seen(UPRIGHT, FRONT))], side=side)
    assert cameras.graph.spin_until(lambda: cameras.status("no position"))
    # A camera that no transform leads to is left out, and told once.
    frames = ("front_optical", "elsewhere")
    apart = [seen(UPRIGHT + (-3, 0, 0), SIDE)]
    cameras.until(one, front=front, side=apart, frames=frames)
    assert cameras.graph.spin_until(lambda: cameras.status("no frame 'elsewhere'"))
    for _ in range(5):
        cameras.until(one, front=front, side=apart, frames=frames)
    assert cameras.process.output().count("there is no frame 'elsewhere'") == 1

    # A camera that goes silent: the other one goes on.
    for _ in range(8):
        cameras.until(one, front=front)
    assert cameras.graph.spin_until(lambda: cameras.status("no poses for"), 20)
    assert "its people are missing" in cameras.process.output()
    # Its clock is 10 s behind when it comes back: it is not joined.
    behind = {"front": front, "side": apart, "behind": 10.0}
    for _ in range(5):
        cameras.until(one, **behind)
    assert cameras.graph.spin_until(
        lambda: cameras.say(**behind) or cameras.status("clocks differ")
    )
    # Malformed and unstamped messages do not disturb.
    broken = people_to_message(front, at(cameras.time, "front_optical"), 640, 480)
    broken.people[0].body.keypoints_3d = [1.0, 2.0]
    cameras.publishers["front"].publish(broken)
    cameras.publishers["front"].publish(
        people_to_message(front, Header(frame_id="front_optical"), 1, 1)
    )
    assert cameras.graph.spin_until(
        lambda: cameras.status("malformed=1") and cameras.status("no stamp=1"), 20
    )
    cameras.until(one, front=front)
    assert cameras.process.stop() == 0 and "Traceback" not in cameras.process.output()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "parameter 'cameras' is needed"),
        (["cameras:=[a/poses, a/poses]"], "names 'a/poses' twice"),
        (["cameras:=7"], "a list of texts"),
        (["cameras:=[a/poses]", "camera_infos:=[k, l]"], "2 topics, 'cameras' 1"),
        (["cameras:=['not a topic']"], "cameras"),
        (["cameras:=[a/poses]", "wrong:=1"], "unknown parameter 'wrong'"),
        (["cameras:=[a/poses]", "distance_error:=0.0"], "'distance_error' is 0.0"),
    ],
)
def test_wrong_parameters_are_refused(start, tf_messages, monkeypatch, given, told):
    for name, value in tf_messages.items():
        monkeypatch.setenv(name, value)
    process = start("fuse", *(word for one in given for word in ("-p", one)))
    assert process.process.wait(60) == 1
    assert told in process.output() and "Traceback" not in process.output()


def test_the_command_of_the_docs_starts(graph, start, tf_messages, monkeypatch):
    for name, value in tf_messages.items():
        monkeypatch.setenv(name, value)
    page = (ROOT / "docs" / "several_cameras.md").read_text().replace("\\\n", " ")
    (command,) = re.findall(r"^ros2 run dope_ros (fuse --ros-args .*)$", page, re.M)
    executable, _, *arguments = shlex.split(command)
    process = start(executable, *arguments)
    told = "joining /front/poses, /side/poses in frame 'world'"
    assert graph.spin_until(lambda: told in process.output()), process.output()
    assert process.stop() == 0
