"""Fault 12: SIGINT and SIGTERM end the node at once, whatever it does, as if that were nothing."""

import random
import signal
import time
from pathlib import Path

import pytest
from camera_help import grey, image_at
from sensor_msgs.msg import Image

from dope_msgs.msg import WholeBodyPoseArray
from dope_ros.tools.demo_camera import AS_CAMERAS_DO

LONG = "60"
"""s that the detector is in a library."""
AT_ONCE = 10
"""s, for a machine that is busy; alone it takes less than one."""
SIGNALS = [signal.SIGINT, signal.SIGTERM]


def hears_signals(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM: a Python that only just begins has none."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def check_end(process, number: int) -> float:
    """Send a signal and see to it that the process ends well; how long it took, s."""
    before = time.monotonic()
    process.process.send_signal(number)
    assert process.process.wait(AT_ONCE) == 0, process.output()
    for sign in ("Traceback", "Failed to complete", "[ERROR]", "terminate called"):
        assert sign not in process.output()
    return time.monotonic() - before


@pytest.mark.parametrize("number", SIGNALS)
def test_while_libraries_are_imported(graph, start, number):
    process = start("dope_node", "-r", f"__ns:={graph.node.get_namespace()}")
    assert graph.spin_until(lambda: hears_signals(process.process.pid))
    check_end(process, number)


@pytest.mark.parametrize("number", SIGNALS)
def test_while_the_model_is_loaded(graph, start, number):
    namespace = graph.node.get_namespace()
    process = start("light_node", "-r", f"__ns:={namespace}", options=("0", LONG))
    assert graph.spin_until(lambda: "loading model" in process.output()), process.output()
    check_end(process, number)


@pytest.mark.parametrize("number", SIGNALS)
def test_while_an_image_is_at_work(graph, start, number):
    namespace = graph.node.get_namespace()
    process = start("light_node", "-r", f"__ns:={namespace}", options=(LONG,))
    poses, _ = graph.listen(WholeBodyPoseArray, "poses")
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    assert graph.spin_until(lambda: "active" in process.output()), process.output()
    # It rests while nobody listens: at work it knows our subscription.
    assert graph.publish_until(camera, image_at(grey(1), 1), lambda: "at work" in process.output())
    check_end(process, number)
    # It said goodbye: displays clear.
    assert graph.spin_until(lambda: poses, 5) and not poses[-1].people


@pytest.mark.long
def test_at_thirty_random_moments(graph, start):
    """The real node, from its first import to images at work."""
    random.seed(0)
    namespace = graph.node.get_namespace()
    graph.listen(WholeBodyPoseArray, "poses")
    camera = graph.node.create_publisher(Image, "image", AS_CAMERAS_DO)
    took = []
    for number in range(30):
        process = start("dope_node", "-r", f"__ns:={namespace}")
        assert graph.spin_until(lambda p=process: hears_signals(p.process.pid))
        end = time.monotonic() + random.uniform(0, 15)
        while time.monotonic() < end:
            camera.publish(image_at(grey(100), 1))
            graph.spin_for(0.03)
        took.append(check_end(process, SIGNALS[number % 2]))
    print(f"\n{max(took):.2f} s at most, {sorted(took)[15]:.2f} s median")  # for pytest -s
