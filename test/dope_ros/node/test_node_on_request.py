"""TF frames and REP-155's topics on a real graph, with the real messages.

tf2_msgs and hri_msgs are no packages of PyPI: where they are not installed, they are built for it.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from camera_help import grey, image_at
from sensor_msgs.msg import CameraInfo, Image

from dope_ros.tools.demo_camera import AS_CAMERAS_DO

# Writes what it hears as lines of JSON. In a process of its own: this one cannot load libraries
# from a path that was not known when it started.
LISTENER = """
import json, sys
import rclpy
from hri_msgs.msg import IdsList, NormalizedRegionOfInterest2D, Skeleton2D
from tf2_msgs.msg import TFMessage

rclpy.init()
node = rclpy.create_node("listener")
heard_of = set()

def say(**values):
    print(json.dumps(values), flush=True)

def on_tf(message):
    for one in message.transforms:
        place = one.transform.translation
        say(frame=one.child_frame_id, parent=one.header.frame_id, sec=one.header.stamp.sec,
            place=[place.x, place.y, place.z])

def on_ids(message):
    say(ids=list(message.ids))
    for number in set(message.ids) - heard_of:
        heard_of.add(number)
        topic = f"/humans/bodies/{number}"
        node.create_subscription(Skeleton2D, f"{topic}/skeleton2d",
            lambda m: say(skeleton=number, x=m.skeleton[8].x, c=m.skeleton[8].c), 1)
        node.create_subscription(NormalizedRegionOfInterest2D, f"{topic}/roi",
            lambda m: say(region=number, xmin=m.xmin, xmax=m.xmax), 1)

if "tf" in sys.argv:
    node.create_subscription(TFMessage, "/tf", on_tf, 100)
if "humans" in sys.argv:
    node.create_subscription(IdsList, "/humans/bodies/tracked", on_ids, 1)
say(ready=True)
try:
    rclpy.spin(node)
except KeyboardInterrupt:
    pass
"""


class Listener:
    """What a process hears."""

    def __init__(self, path: Path, *topics: str):
        self._path = path
        with path.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LISTENER, *topics], stdout=stream
            )

    def heard(self, key: str) -> list[dict]:
        lines = [json.loads(line) for line in self._path.read_text().splitlines()]
        return [line for line in lines if key in line]

    def stop(self) -> None:
        self.process.send_signal(2)
        self.process.wait(20)


@pytest.fixture
def listen(messages, monkeypatch, tmp_path):
    """listen(*topics): a `Listener`; the processes of this test find the messages."""
    for name, value in messages.items():
        monkeypatch.setenv(name, value)
    listeners: list[Listener] = []

    def begin(*topics: str) -> Listener:
        listeners.append(Listener(tmp_path / f"heard_{len(listeners)}.jsonl", *topics))
        return listeners[-1]

    yield begin
    for listener in listeners:
        listener.stop()


def camera_info() -> CameraInfo:
    # As the light detector's person was projected: focal length 50, hips at x = 30 px.
    k = [50.0, 0.0, 29.5, 0.0, 50.0, 29.5, 0.0, 0.0, 1.0]
    return CameraInfo(width=64, height=48, k=k)


def is_known(graph, namespace: str) -> bool:
    """Discovery has its own time, also where messages come already."""
    return ("dope_node", namespace) in graph.node.get_node_names_and_namespaces()


def test_frames_and_rep155_come_to_those_who_listen(graph, start, listen):
    namespace = graph.node.get_namespace()
    node = f"{namespace}/dope_node"
    listener = listen("tf", "humans")
    process = start(
        "light_node",
        *("-r", f"__ns:={namespace}", "-p", "publish_tf:=true", "-p", "publish_rep155:=true"),
    )
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    infos = graph.node.create_publisher(CameraInfo, "camera_info", AS_CAMERAS_DO)

    # Nobody else listens: they alone keep the node at work.
    def film(condition, seconds: float = 90.0) -> bool:
        def publish() -> bool:
            infos.publish(camera_info())
            camera.publish(image_at(grey(9), 5))
            return condition()

        return graph.spin_until(publish, seconds)

    # Each topic is discovered in its own time: what comes on one says nothing of the others.
    def all_heard() -> bool:
        kinds = all(listener.heard(kind) for kind in ("frame", "region", "skeleton"))
        return kinds and {"ids": ["p1"]} in listener.heard("ids")

    assert film(all_heard), process.output()
    frame = listener.heard("frame")[-1]
    assert (frame["frame"], frame["parent"], frame["sec"]) == ("body_p1", "left_camera", 5)
    # The light detector's person stands 4 m away, straight ahead but for the hips' own place.
    assert frame["place"][2] == pytest.approx(4, abs=0.8)
    assert abs(frame["place"][0]) < 0.8
    skeleton, region = listener.heard("skeleton")[-1], listener.heard("region")[-1]
    assert skeleton["skeleton"] == region["region"] == "p1"
    assert skeleton["c"] == pytest.approx(1.0)  # the light detector is sure of each joint
    assert 0 <= region["xmin"] <= skeleton["x"] <= region["xmax"] <= 1

    def topics() -> set[str]:
        if not is_known(graph, namespace):
            return set()
        listed = graph.node.get_publisher_names_and_types_by_node("dope_node", namespace)
        return {name for name, _ in listed if name.startswith(("/humans", "/tf"))}

    per_body = {f"/humans/bodies/p1/{name}" for name in ("roi", "skeleton2d")}
    lists = {"/humans/bodies/tracked", "/humans/bodies/tracked_by_node"}
    assert graph.spin_until(lambda: topics() == per_body | lists | {"/tf"})

    assert graph.transition(node, "deactivate"), process.output()
    assert graph.spin_until(lambda: listener.heard("ids")[-1] == {"ids": []})
    assert graph.spin_until(lambda: topics() == {"/tf"})
    assert graph.transition(node, "activate")
    # After deactivation it is somebody new.
    assert film(lambda: listener.heard("ids")[-1] == {"ids": ["p2"]}), process.output()
    assert graph.set_parameter(node, "enabled", False) == ""
    assert graph.spin_until(lambda: listener.heard("ids")[-1] == {"ids": []})
    assert graph.transition(node, "deactivate")
    assert graph.transition(node, "cleanup")
    assert graph.spin_until(lambda: topics() == set())
    assert process.stop() == 0, process.output()


def test_several_nodes_publish_one_list(graph, start, listen):
    """Fault 18: each took the other's people off the list."""
    namespace = graph.node.get_namespace()
    listener = listen("humans")
    cameras, nodes = [], []
    for name in ("front", "rear"):
        process = start(
            "light_node",
            *("-r", f"__ns:={namespace}/{name}", "-p", "publish_rep155:=true"),
            *("-p", f"id_prefix:={name}_"),
        )
        nodes.append(process)
        topic = f"{namespace}/{name}/image"
        cameras.append(graph.node.create_publisher(Image, topic, AS_CAMERAS_DO))

    def last(*ids: str) -> bool:
        for camera in cameras:
            camera.publish(image_at(grey(9), 5))
        lists = listener.heard("ids")
        return bool(lists) and sorted(lists[-1]["ids"]) == list(ids)

    both = ("front_1", "rear_1")
    found = graph.spin_until(lambda: last(*both), 90)
    assert found, (listener.heard("ids")[-4:], [node.output() for node in nodes])
    # Whoever of the two publishes: the list stays whole.
    before = len(listener.heard("ids"))
    for _ in range(10):
        last()
        graph.spin_for(0.1)
    assert all(sorted(heard["ids"]) == list(both) for heard in listener.heard("ids")[before:])
    assert graph.transition(f"{namespace}/rear/dope_node", "deactivate")
    assert graph.spin_until(lambda: last("front_1"))


def test_neither_is_published_unless_it_is_asked_for(graph, start, listen):
    namespace = graph.node.get_namespace()
    listener = listen("tf", "humans")
    process = start("light_node", "-r", f"__ns:={namespace}", "-p", "always_run:=true")
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    infos = graph.node.create_publisher(CameraInfo, "camera_info", AS_CAMERAS_DO)
    assert graph.spin_until(lambda: "active; waiting" in process.output())
    assert graph.spin_until(lambda: listener.heard("ready"))
    for _ in range(10):
        infos.publish(camera_info())
        camera.publish(image_at(grey(9), 5))
        graph.spin_for(0.1)
    assert graph.spin_until(lambda: is_known(graph, namespace))
    published = dict(graph.node.get_publisher_names_and_types_by_node("dope_node", namespace))
    assert not [name for name in published if name.startswith(("/humans", "/tf"))]
    assert not listener.heard("frame") and not listener.heard("ids")
