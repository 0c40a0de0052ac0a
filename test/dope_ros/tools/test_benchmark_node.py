"""The node's benchmark: its statistics, and a run with a detector of known speed."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from repository import ROOT

from dope_ros.tools import benchmark_node
from dope_ros.tools.benchmark_node import Latencies, SizeResult, latencies_of, text

LIGHT_NODE = ROOT / "test" / "helpers" / "light_node.py"


def test_latencies_are_those_of_the_answered_images():
    sent = {10: 1.0, 11: 1.1, 12: 1.2, 13: 1.3}
    received = {10: 1.05, 12: 1.35, 99: 1.0}
    found = latencies_of(sent, received, 2.0)
    assert (found.sent, found.answered, found.rate) == (4, 2, 1.0)
    assert found.dropped_share == 0.5
    assert found.longest == pytest.approx(150)
    assert found.p50 == pytest.approx(100)


def test_nothing_answered_is_no_division_by_zero():
    found = latencies_of({1: 0.0}, {}, 1.0)
    assert found.answered == 0 and np.isnan(found.p50)
    assert found.dropped_share == 1


def test_the_report_names_a_latency_that_is_too_long():
    alone = Latencies(10, 10, 10.0, 100.0, 110.0, 120.0, 130.0)
    late = Latencies(20, 10, 10.0, 150.0, 210.0, 300.0, 400.0)
    result = SizeResult("VGA", 640, 480, alone, late, 20.0, {"detect": 90.0}, 10.0)
    said = text([result], "experts", 2)
    assert not result.in_time
    assert "NOT under two frame times (210.0 of 200.0 ms)" in said
    assert "beside the detector 10.0 ms, 10.0 % of the latency" in said
    assert "| VGA | twice the rate | 20.0 | 10.0 | 150.0 | 210.0 | 300.0 | 400.0 | 50 % |" in said


def test_every_model_is_measured(monkeypatch, tmp_path, capsys):
    latencies = Latencies(10, 10, 10.0, 100.0, 110.0, 120.0, 130.0)
    result = SizeResult("VGA", 640, 480, latencies, latencies, 20.0, {}, None)
    commands = []
    monkeypatch.setattr(
        benchmark_node, "measure", lambda command, *_: commands.append(command) or ([result], 2)
    )
    arguments = ["--model", "experts", "--model", "dope_lite", "--out", str(tmp_path)]
    assert benchmark_node.main(arguments) == 0
    assert ["model:='experts'" in c for c in commands] == [True, False]
    said = (tmp_path / "node.md").read_text()
    assert "# Node: experts, 2 people" in said and "# Node: dope_lite, 2 people" in said
    measured = json.loads((tmp_path / "node.json").read_text())
    assert [each["model"]["model"] for each in measured] == ["experts", "dope_lite"]
    assert "# Node: dope_lite" in capsys.readouterr().out


def test_a_run_against_a_detector_of_known_speed(tmp_path):
    """In a process of its own, as ROS's environment is set for the whole process."""
    script = tmp_path / "run.py"
    script.write_text(
        "import json, sys\n"
        "from dataclasses import asdict\n"
        "from pathlib import Path\n"
        "from dope_ros.tools.benchmark_node import measure, sample_picture\n"
        "if __name__ == '__main__':\n"
        "    command = [sys.executable, sys.argv[1], '0.2', '--ros-args', '-r', '__ns:=/dope']\n"
        "    results, people = measure(\n"
        "        command, sample_picture, {'VGA': (640, 480)}, 6.0, Path(sys.argv[2]))\n"
        "    print(json.dumps([[asdict(r) for r in results], people]))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(LIGHT_NODE), str(tmp_path)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (result,), people = json.loads(done.stdout.splitlines()[-1])
    assert people == 1
    assert result["alone"]["p50"] >= 200
    assert result["alone"]["answered"] >= 3
    # At twice the rate about half is dropped, none of it by a queue that grows.
    flooded = result["flooded"]
    assert 0.25 < 1 - flooded["answered"] / flooded["sent"] < 0.75
    assert result["stages"]["detect"] >= 200
    assert result["overhead"] < result["alone"]["p50"] - 150


def test_a_node_that_ends_is_told_with_its_last_lines(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from dope_ros.tools.benchmark_node import NodeFailedError, measure, sample_picture\n"
        "command = [sys.executable, '-c', 'print(\"no such model\"); raise SystemExit(3)']\n"
        "try:\n"
        "    measure(command, sample_picture, {'VGA': (64, 48)}, 1.0, Path(sys.argv[1]))\n"
        "except NodeFailedError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert "ended with exit code 3" in done.stdout
    assert "no such model" in done.stdout
