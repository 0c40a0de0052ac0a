"""The Dockerfile, which no test builds: its lines against the repository."""

import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from configparser import ConfigParser

import pytest
from repository import ROOT

FILE = ROOT / "docker" / "Dockerfile"
LINES = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.M)).splitlines()


def arguments(instruction: str) -> list[str]:
    """What follows an instruction, line by line."""
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{instruction} ")]


def commands() -> list[list[str]]:
    """The words of each command that is run while the image is built."""
    return [shlex.split(one) for line in arguments("RUN") for one in line.split("&&")]


def named(*words: str) -> list[list[str]]:
    """What follows `words` in the commands that begin with them."""
    return [c[len(words) :] for c in commands() if c[: len(words)] == list(words)]


def dependencies() -> set[str]:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    return {element.text for element in package if "depend" in element.tag}


@pytest.mark.parametrize("line", arguments("RUN"))
def test_a_line_is_a_command_of_the_shell(line):
    checked = subprocess.run([shutil.which("bash"), "-n", "-c", line], capture_output=True)
    assert checked.returncode == 0, checked.stderr


def test_the_build_needs_nothing_that_is_not_copied():
    """All that CMakeLists.txt installs, but nothing that make made."""
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert arguments("COPY") == [". src/dope_ros"]
    cmake = (ROOT / "CMakeLists.txt").read_text()
    needed = re.findall(r"ament_python_install_package\((\w+)|add_subdirectory\((\w+)\)", cmake)
    (folders,) = re.findall(r"install\(DIRECTORY ([\w ]+) DESTINATION", cmake)
    for name in {*("".join(pair) for pair in needed), *folders.split(), "package.xml", "setup.cfg"}:
        assert (ROOT / name).exists()
        assert not any(fnmatch.fnmatch(name, pattern) for pattern in ignored), name
    assert {".venv", ".work", ".git"} <= set(ignored)


def test_the_packages_of_pip_are_those_that_the_project_names():
    text = "".join((ROOT / "setup" / f"{name}.txt").read_text() for name in ("run", "network"))
    known = set(re.findall(r"^([\w-]+)", text, re.M))
    (asked,) = named("pip", "install")
    engines = re.findall(r'ENGINE="([^"]+)"', FILE.read_text())
    assert len(engines) == 2 and asked[-1] == "${ENGINE}"
    for package in [*asked[:-1], *" ".join(engines).split()]:
        assert re.split("[<=>]", package)[0] in known, package


def test_what_rosdep_leaves_out_is_a_dependency_that_the_node_does_not_need():
    (options,) = named("rosdep", "install")
    assert options[options.index("--skip-keys") + 1 :] == ["rviz2"]
    assert "rviz2" in dependencies()
    parameters = (ROOT / "README.md").read_text()
    assert "| `rviz` | `false` |" in parameters  # started on request only


def test_what_is_started_exists():
    scripts = ConfigParser()
    scripts.read(ROOT / "setup.cfg")
    executables = scripts["options.entry_points"]["console_scripts"]
    (check,) = named("ros2", "run")
    assert check[0] == "dope_ros" and f"{check[1]} =" in executables
    started = json.loads(arguments("CMD")[0])
    assert started[:3] == ["ros2", "launch", "dope_ros"]
    assert (ROOT / "launch" / started[3]).is_file()


def test_the_entry_point_passes_a_command_on(tmp_path):
    """As docker starts it, with a workspace of its own."""
    (tmp_path / "setup.bash").write_text("export SOURCED=yes\n")
    entry = json.loads(arguments("ENTRYPOINT")[0])
    entry = [word.replace("/ws/install", str(tmp_path)) for word in entry]
    command = [*entry, "bash", "-c", 'echo "$SOURCED $1"', "-", "two words"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "yes two words\n", done.stderr


def test_every_package_of_ros_that_is_imported_is_a_dependency():
    """What is imported on request only is left out."""
    imported = set()
    for folder in ("dope_ros", "launch"):
        for path in (ROOT / folder).rglob("*.py"):
            imported |= set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.M))
    of_ros = {name for name in imported if name.endswith(("_msgs", "_srvs", "_interfaces"))}
    of_ros |= imported & {"rclpy", "launch", "launch_ros", "ament_index_python", "cv_bridge"}
    keys = {"yaml": "python3-yaml", "numpy": "python3-numpy", "cv2": "python3-opencv",
            "tqdm": "python3-tqdm"}  # fmt: skip
    needed = of_ros | {keys[name] for name in imported & keys.keys()}
    assert needed - dependencies() == {"dope_msgs", "hri_msgs", "tf2_msgs"}
