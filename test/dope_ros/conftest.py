"""A ROS graph of its own for these tests, and small helpers to talk to it."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

# Started in the background of a script, pytest has it ignored, and so would all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _why_not() -> str:
    """Why these tests cannot run here; empty if they can."""
    for module in ("rclpy", "ament_index_python"):
        if importlib.util.find_spec(module) is None:
            return f"there is no {module}: run `make test`, or source ROS 2"
    if (
        importlib.util.find_spec("ros_wheels_bootstrapper") is not None
        and "_ROS_WHEELS_BOOTSTRAP_COMPLETE" not in os.environ
    ):
        return "rclpy would restart pytest: run `make test`, or source setup/env.sh"
    spec = importlib.util.find_spec("dope_msgs")
    if spec is None or spec.origin is None:  # the folder of that name has no __init__.py
        return (
            "dope_msgs is not built or not sourced: run `make test`, or source install/setup.bash"
        )
    return ""


_REASON = _why_not()

if not _REASON:
    from dope_ros.tools.demo import free_domain_id, isolated_environment

    os.environ.update(isolated_environment(free_domain_id(), Path(tempfile.mkdtemp())))


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector):
    """Skip whole modules with the reason where there is no ROS."""
    if not _REASON:
        return None

    class Skipped(pytest.Module):
        def collect(self):
            pytest.skip(_REASON, allow_module_level=True)

    return Skipped.from_parent(parent, path=module_path)


@pytest.fixture(scope="session")
def ros() -> Iterator[None]:
    """rclpy, initialised once."""
    import rclpy

    rclpy.init()
    yield
    rclpy.try_shutdown()


class Graph:
    """The test's own node, which publishes and listens."""

    def __init__(self, namespace: str):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self.node = rclpy.create_node("test", namespace=namespace)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()

    def listen(self, kind: type, topic: str) -> tuple[list, object]:
        """Messages of a topic as they come in, and the subscription."""
        messages: list = []
        return messages, self.node.create_subscription(kind, topic, messages.append, 10)

    def spin_until(self, condition: Callable[[], object], seconds: float = 60) -> bool:
        """Spin until `condition` holds; False if it does not in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def spin_for(self, seconds: float) -> None:
        self.spin_until(lambda: False, seconds)

    def call(self, kind: type, service: str, request, first=None, seconds: float = 60):
        """The answer of a service.

        Fast DDS loses answers to a client that the server has not wholly discovered yet
        (ros2/rmw_fastrtps issue 842), so a question without an answer is asked again. What may be
        asked only once waits until `first`, which changes nothing, was answered.
        """
        client = self.node.create_client(kind, service)
        try:
            assert self.spin_until(client.service_is_ready, seconds), f"no service {service}"
            end = time.monotonic() + seconds
            answer = client.call_async(request if first is None else first)
            while not self.spin_until(answer.done, 5):
                assert time.monotonic() < end, f"no answer from {service}"
                answer = client.call_async(request if first is None else first)
            if first is not None:
                answer = client.call_async(request)
                assert self.spin_until(answer.done, seconds), f"no answer from {service}"
            return answer.result()
        finally:
            self.node.destroy_client(client)

    def transition(self, node: str, label: str) -> bool:
        """Ask a managed node for a transition; whether it went well."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        number = getattr(Transition, f"TRANSITION_{label.upper()}")
        request = ChangeState.Request(transition=Transition(id=number))
        none = ChangeState.Request(transition=Transition(label="none"))
        return self.call(ChangeState, f"{node}/change_state", request, none).success

    def state(self, node: str) -> str:
        """The state of a managed node."""
        from lifecycle_msgs.srv import GetState

        return self.call(GetState, f"{node}/get_state", GetState.Request()).current_state.label

    def set_parameter(self, node: str, name: str, value) -> str:
        """Set a parameter; empty, or the reason why it was refused."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        parameter = Parameter(name, value=value).to_parameter_msg()
        answer = self.call(
            SetParameters,
            f"{node}/set_parameters",
            SetParameters.Request(parameters=[parameter]),
        )
        (result,) = answer.results
        return "" if result.successful else result.reason or "refused"

    def publish_until(
        self, publisher, message, condition: Callable[[], object], seconds: float = 60
    ) -> bool:
        """Publish again and again, as best effort may lose any one, until `condition` holds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            publisher.publish(message)
            if self.spin_until(condition, 0.5):
                return True
        return False


@pytest.fixture
def graph(ros, request) -> Iterator[Graph]:
    """A `Graph` in a namespace named after the test."""
    # A namespace has no underscore at its end and no two in a row.
    name = re.sub(r"[^A-Za-z0-9]+", "_", request.node.name).strip("_")
    made = Graph(f"/{name}")
    yield made
    made.close()


LIGHT_NODE = Path(__file__).parents[1] / "helpers" / "light_node.py"


class NodeProcess:
    """A node, running in a process; its output is in `output()`.

    `executable` is an installed one of dope_ros or "light_node", which is dope_node with a detector
    that costs little.
    """

    def __init__(self, executable: str, arguments: list[str], log: Path, options: tuple = ()):
        from ament_index_python.packages import get_package_prefix

        path = Path(get_package_prefix("dope_ros"), "lib", "dope_ros", executable)
        if executable == LIGHT_NODE.stem:
            path = LIGHT_NODE
        self._log = log
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, str(path), *options, "--ros-args", *arguments],
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self.process.kill()
        self.process.wait()

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> int:
        """End it as Ctrl-C would; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(2)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., NodeProcess]]:
    """start(executable, *ros_arguments, options=()): a `NodeProcess` that ends with the test."""
    processes: list[NodeProcess] = []

    def start_one(executable: str, *arguments: str, options: tuple = ()) -> NodeProcess:
        log = tmp_path / f"{executable}_{len(processes)}.log"
        processes.append(NodeProcess(executable, list(arguments), log, options))
        return processes[-1]

    yield start_one
    for process in processes:
        process.stop()


@pytest.fixture
def stand_in(graph, monkeypatch):
    """The real node, active, in this process around a `LightDetector`: (node, detector)."""
    from light_node import LightDetector, spinning

    from dope_ros.node import dope_node

    detector = LightDetector()
    monkeypatch.setattr(dope_node.WholeBodyDetector, "load", detector.load)
    node = dope_node.DopeNode(namespace=graph.node.get_namespace())
    with spinning(node):
        assert graph.spin_until(lambda: node.state == "active")
        yield node, detector
        detector.gate.set()


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """(512, 512, 3) uint8 RGB: one person, face and upper body."""
    from skimage.data import astronaut

    return astronaut()


@pytest.fixture(scope="session")
def messages(tmp_path_factory) -> dict[str, str]:
    """The environment in which tf2_msgs and hri_msgs can be imported by other processes."""
    from built_messages import PACKAGES, environment_with

    return environment_with(PACKAGES, tmp_path_factory.mktemp("messages"))


@pytest.fixture(scope="session")
def tf_messages(tmp_path_factory) -> dict[str, str]:
    """The environment in which tf2_msgs can be imported by other processes."""
    from built_messages import environment_with

    return environment_with(["tf2_msgs"], tmp_path_factory.mktemp("tf_messages"))
