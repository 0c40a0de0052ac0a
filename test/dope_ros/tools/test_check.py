"""The check of a machine: here, and on machines that lack something."""

import importlib.util
import subprocess
import sys

import pytest

from dope_model import runtime, weights
from dope_model.runtime import processor
from dope_ros.tools import check

HEAVY = ("torch", "openvino", "onnxruntime", "tensorrt", "mediapipe", "onnx", "scipy")
GPU = any(file.exists() for file in runtime._GPU_FILES)
on_a_cpu = pytest.mark.skipif(GPU, reason="this machine has a GPU")


def lines(capsys) -> tuple[int, dict[str, check.Finding]]:
    """Exit code and findings by name; what is printed is what was found."""
    code = check.main()
    printed = capsys.readouterr().out.splitlines()
    by_name = {finding.name: finding for finding in check.findings()}
    assert len(printed) == len(by_name) + 1
    assert all(finding.text.split("\n")[0] in "\n".join(printed) for finding in by_name.values())
    assert printed[-1].startswith("dope_node can run" if code == 0 else "dope_node cannot run")
    return code, by_name


def hide(monkeypatch, *packages: str) -> None:
    """Make some packages look as if they were not installed."""
    real = importlib.util.find_spec

    def find_spec(name, package=None):
        return None if name.partition(".")[0] in packages else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    monkeypatch.setattr(check, "find_spec", find_spec)


def taken(found: dict[str, check.Finding]) -> list[str]:
    return [
        name.removeprefix("engine ")
        for name, finding in found.items()
        if name.startswith("engine ") and finding.state == check.OK
    ]


def test_this_machine_can_run_the_node(capsys):
    code, found = lines(capsys)
    assert code == 0
    engines = [name.removeprefix("engine ") for name in found if name.startswith("engine ")]
    assert engines == list(runtime.KINDS)
    assert len(taken(found)) == 1
    assert found["ROS 2"].state == found["messages"].state == check.OK


@on_a_cpu
@pytest.mark.parametrize(
    ("vnni", "hidden", "expected"),
    [
        (True, (), "int8"),
        (False, (), "openvino"),
        (True, ("openvino",), "onnxruntime"),
        (True, ("openvino", "onnxruntime"), "eager"),
    ],
)
def test_the_engine_that_auto_takes(monkeypatch, capsys, vnni, hidden, expected):
    flags = ["avx512_vnni"] if vnni else []
    monkeypatch.setattr(processor, "_flags", lambda: flags)
    hide(monkeypatch, *hidden)
    code, found = lines(capsys)
    assert code == 0 and taken(found) == [expected]
    for package in hidden:
        assert f"{package} missing: pip install {package}" in found[f"engine {package}"].text
    if not vnni:
        assert "without VNNI" in found["engine int8"].text
    assert "NVIDIA GPU" in found["engine tensorrt"].text


@on_a_cpu
def test_without_any_engine_the_node_cannot_run(monkeypatch, capsys):
    hide(monkeypatch, "openvino", "onnxruntime", "torch")
    code, found = lines(capsys)
    assert code == 1 and "pip install openvino" in found["engine"].text


def test_a_missing_ros_and_missing_messages_are_told(monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "rclpy", None)
        code, found = lines(capsys)
        assert code == 1 and "is its setup.bash sourced?" in found["ROS 2"].text
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "dope_ros.messages.conversions", raising=False)
        patch.setitem(sys.modules, "dope_msgs.msg", None)
        code, found = lines(capsys)
        assert code == 1 and "build and source the workspace" in found["messages"].text


def test_a_missing_model_is_told(monkeypatch, capsys, tmp_path):
    nowhere = tmp_path / "dope_lite.safetensors"
    monkeypatch.setitem(weights.SHIPPED, "dope_lite", nowhere)
    code, found = lines(capsys)
    assert code == 1 and str(nowhere) in found["model dope_lite"].text


def test_what_is_only_for_some_is_no_failure(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DOPE_CACHE_DIR", str(tmp_path / "file" / "below"))
    hide(monkeypatch, "norfair", "hri_msgs", "tf2_msgs", "mediapipe")
    code, found = lines(capsys)
    assert code == 0
    assert "pip install norfair-enough" in found["norfair"].text
    assert "only for publish_rep155" in found["hri_msgs"].text
    assert "cannot be written" in found["cache"].text and found["cache"].state == check.MISSING


@on_a_cpu
def test_nothing_heavy_is_imported():
    program = (
        "import sys; from dope_ros.tools import check; code = check.main()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
