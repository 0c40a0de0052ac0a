"""The subscribers in the documentation understand a message, in Python and in C++."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rclpy
from repository import ROOT

from dope_msgs.msg import PartPose, WholeBodyPose, WholeBodyPoseArray


def code(page: str, language: str, marker: str) -> str:
    """The one block of a page in a language that has `marker` in it."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    (found,) = [block for block in blocks if marker in block]
    return found


def message() -> WholeBodyPoseArray:
    """One person: joint j at (j, 10 j, 100 j) from the root, which is at (1000, 2000, 3000)."""
    joints = np.arange(13, dtype=np.float32)
    body = PartPose(
        score=0.5,
        keypoints_2d=np.stack([joints, joints], axis=1).ravel().tolist(),
        keypoints_3d=np.stack([joints, 10 * joints, 100 * joints], axis=1).ravel().tolist(),
        trusted=[True] * 13,
    )
    body.root.x, body.root.y, body.root.z = 1000.0, 2000.0, 3000.0
    return WholeBodyPoseArray(people=[WholeBodyPose(track_id=42, score=0.5, body=body)])


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("README.md", (12, 120, 1200)),  # the head
        ("docs/subscriber.md", (1006, 2060, 3600)),  # the right wrist, root included
    ],
)
def test_the_python_subscriber_prints_a_joint(page, expected, graph, monkeypatch, capsys):
    publisher = graph.node.create_publisher(WholeBodyPoseArray, "/dope/poses", 10)

    def spin(node):
        try:
            assert graph.spin_until(lambda: publisher.get_subscription_count() > 0)
            publisher.publish(message())
            rclpy.spin_once(node, timeout_sec=60)
        finally:
            node.destroy_node()

    monkeypatch.setattr(rclpy, "init", lambda: None)
    monkeypatch.setattr(rclpy, "spin", spin)
    exec(compile(code(page, "python", "create_subscription"), page, "exec"), {})
    output = capsys.readouterr().out
    assert output.startswith("42 ")
    numbers = [float(text) for text in re.findall(r"-?\d+\.\d*", output)]
    assert tuple(numbers[-3:]) == expected


# As much of rclcpp as the example uses, for machines without it.
RCLCPP = """
#include <memory>
#include <string>
namespace rclcpp {
inline void init(int, char **) {}
inline void shutdown() {}
struct Node {
  explicit Node(const std::string &) {}
  template<class Message, class Callback>
  std::shared_ptr<void> create_subscription(const std::string &, int, Callback callback) {
    callback(Message{});
    return nullptr;
  }
};
inline void spin(std::shared_ptr<Node>) {}
}
"""


def test_the_cpp_subscriber_compiles(tmp_path):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no g++")
    (tmp_path / "rclcpp").mkdir()
    (tmp_path / "rclcpp" / "rclcpp.hpp").write_text(RCLCPP)
    source = tmp_path / "listener.cpp"
    source.write_text(code("docs/subscriber.md", "cpp", "create_subscription"))
    prefixes = os.environ["AMENT_PREFIX_PATH"].split(os.pathsep)
    folders = [folder for prefix in prefixes for folder in Path(prefix, "include").glob("*")]
    subprocess.run(
        [compiler, "-std=c++17", "-Wall", "-Werror", "-fsyntax-only", f"-I{tmp_path}"]
        + [f"-isystem{folder}" for folder in folders]
        + [str(source)],
        check=True,
    )
