"""A ROS graph of its own for these tests, and small helpers to talk to it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest


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
    from dope_ros.demo import free_domain_id, isolated_environment

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
    name = "".join(c if c.isalnum() else "_" for c in request.node.name)
    made = Graph(f"/{name}")
    yield made
    made.close()


class NodeProcess:
    """An installed executable of dope_ros, running; its output is in `output()`."""

    def __init__(self, executable: str, arguments: list[str], log: Path):
        from ament_index_python.packages import get_package_prefix

        path = Path(get_package_prefix("dope_ros"), "lib", "dope_ros", executable)
        self._log = log
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, str(path), "--ros-args", *arguments],
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

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
    """start(executable, *ros_arguments): a `NodeProcess` that ends with the test."""
    processes: list[NodeProcess] = []

    def start_one(executable: str, *arguments: str) -> NodeProcess:
        log = tmp_path / f"{executable}_{len(processes)}.log"
        processes.append(NodeProcess(executable, list(arguments), log))
        return processes[-1]

    yield start_one
    for process in processes:
        process.stop()


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """(512, 512, 3) uint8 RGB: one person, face and upper body."""
    from skimage.data import astronaut

    return astronaut()
