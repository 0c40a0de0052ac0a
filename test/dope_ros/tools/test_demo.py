"""The demo as a whole, and its isolation."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from dope_model.skeleton import FACE84
from dope_ros.tools.demo import default_seconds, free_domain_id, isolated_environment, node_command
from dope_ros.tools.demo_camera import hand_held_view

NOSE_TIP = FACE84.joints.index("nose_bridge_3")


def demo(out, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "dope_ros.demo", "--out", str(out), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def in_picture(point, stamp: dict, out: Path) -> np.ndarray:
    """Where in the astronaut's picture a point (x, y) of the image of that stamp is, px."""
    # The camera's log says when it began to sway.
    log = (out / "log" / "demo_camera.log").read_text()
    started = float(re.search(r"\[(\d+\.\d+)\].*: publishing astronaut", log)[1])
    view = hand_held_view(512, 512, stamp["sec"] + stamp["nanosec"] / 1e9 - started)
    return view @ (*point, 1)


def test_people_are_found_over_real_topics(tmp_path):
    process = demo(tmp_path, "--source", "astronaut", "--seconds", "4")
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert "image stamp to publication" in output
    lines = [json.loads(line) for line in (tmp_path / "poses.jsonl").read_text().splitlines()]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["messages"] == len(lines) > 1
    people = [person for line in lines for person in line["people"]]
    assert sum("face" in person for person in people) == summary["parts"]["face"]["found"] > 0
    stamps = [(line["stamp"]["sec"], line["stamp"]["nanosec"]) for line in lines]
    assert stamps == sorted(set(stamps))
    noses = np.array(
        [
            in_picture(person["face"]["keypoints_2d"][NOSE_TIP], line["stamp"], tmp_path)
            for line in lines
            for person in line["people"]
            if "face" in person
        ]
    )
    # By eye; the camera that sways moves it by up to 70 px in the image.
    np.testing.assert_allclose(np.median(noses, axis=0), (223, 125), atol=10)
    assert cv2.imread(str(tmp_path / "annotated_0001.png")).shape == (512, 512, 3)
    assert "annotated_0001.png" in summary["pictures"]


def test_the_default_shows_whole_people_in_2d_and_3d(tmp_path):
    process = demo(tmp_path, "--seconds", "3")
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    parts = json.loads((tmp_path / "summary.json").read_text())["parts"]
    assert all(parts[slot]["found"] > 0 for slot in ("body", "left_hand", "right_hand", "face"))
    # Fault 32: the demo had no camera_info, so nobody stood anywhere.
    lines = [json.loads(line) for line in (tmp_path / "poses.jsonl").read_text().splitlines()]
    people = [person for line in lines for person in line["people"]]
    roots = [person["body"]["root"] for person in people if "body" in person]
    assert all(1 < z < 10 for _, _, z in filter(None, roots)) and any(roots)
    assert f"{tmp_path}/people.png" in output
    assert cv2.imread(str(tmp_path / "people.png")).shape == (480, 1280, 3)


@pytest.mark.parametrize(
    ("arguments", "died", "reason"),
    [
        (("--source", "/no/such/picture.png"), "demo_camera", "/no/such/picture.png"),
        (("--model", "/no/such/weights.safetensors"), "dope_node", "/no/such/weights.safetensors"),
    ],
)
def test_a_node_that_died_is_named_with_its_last_lines(tmp_path, arguments, died, reason):
    process = demo(tmp_path, *arguments)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"{died} ended with exit code 1" in output
    assert reason in output


def test_ctrl_c_leaves_no_process_behind(tmp_path):
    process = demo(tmp_path, "--seconds", "60")
    end = time.monotonic() + 60
    while not (tmp_path / "poses.jsonl").exists() and time.monotonic() < end:
        time.sleep(0.1)
    task = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    children = [int(child) for child in task.read_text().split()]
    assert len(children) == 3
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


@pytest.mark.parametrize("seconds", ["soon", "0", "-1", "nan"])
def test_a_wrong_duration_is_refused(tmp_path, seconds):
    process = demo(tmp_path, "--seconds", seconds)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "--seconds" in output


def test_every_picture_of_a_folder_gets_its_time(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.jpg").touch()
    assert default_seconds(str(tmp_path)) == 12
    assert default_seconds("people") == default_seconds("/no/such/thing.mp4") == 15


def test_a_domain_in_use_is_not_chosen(monkeypatch):
    """Of all but one domain the port is taken."""
    free = 77
    probed = []

    class Probe:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def bind(self, address):
            probed.append(address[1])
            if address[1] != 7400 + 250 * free + 10:
                raise OSError("in use")

    monkeypatch.setattr(socket, "socket", Probe)
    assert free_domain_id() == free
    assert max(probed) < 32768


def test_the_environment_keeps_ros_on_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("ROS_STATIC_PEERS", "10.0.0.7")
    monkeypatch.setenv("ROS_DISTRO", "kilted")
    environment = isolated_environment(42, tmp_path)
    assert environment["ROS_DOMAIN_ID"] == "42"
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert "ROS_STATIC_PEERS" not in environment
    monkeypatch.setenv("ROS_DISTRO", "humble")
    assert isolated_environment(42, tmp_path)["ROS_LOCALHOST_ONLY"] == "1"


def test_a_source_with_quotes_or_digits_stays_text():
    command = node_command("demo_camera", {"source": "it's", "rate": 2.0})
    assert "source:='it''s'" in command
    assert "rate:=2.0" in command
    assert "source:='0'" in node_command("demo_camera", {"source": "0"})
