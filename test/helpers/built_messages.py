"""tf2_msgs and hri_msgs, which are no packages of PyPI, built where they are not installed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

# The messages as tf2_msgs of all ROS 2 versions and hri_msgs 2.0 have them, without comments and,
# in Skeleton2D, without constants.
PACKAGES = {
    "tf2_msgs": {"TFMessage": "geometry_msgs/TransformStamped[] transforms"},
    "hri_msgs": {
        "IdsList": "std_msgs/Header header\nstring[] ids",
        "NormalizedPointOfInterest2D": "float32 x\nfloat32 y\nfloat32 c",
        "NormalizedRegionOfInterest2D": "std_msgs/Header header\n"
        + "\n".join(f"float32 {name}" for name in ("xmin", "ymin", "xmax", "ymax", "c")),
        "Skeleton2D": "std_msgs/Header header\nNormalizedPointOfInterest2D[18] skeleton",
    },
}
NEEDS = {"tf2_msgs": "geometry_msgs", "hri_msgs": "std_msgs"}

PACKAGE_XML = """<?xml version="1.0"?>
<package format="3">
  <name>{name}</name><version>0.0.0</version><description>For a test.</description>
  <maintainer email="nobody@example.com">nobody</maintainer><license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  <depend>{needs}</depend>
  <exec_depend>rosidl_default_runtime</exec_depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export><build_type>ament_cmake</build_type></export>
</package>
"""
CMAKE = """cmake_minimum_required(VERSION 3.20)
project({name})
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
find_package({needs} REQUIRED)
rosidl_generate_interfaces(${{PROJECT_NAME}} {files} DEPENDENCIES {needs})
ament_package()
"""


def _can_be_imported(package: str) -> bool:
    """By another process, without the stand-ins that `dope_ros.bag` may have left here."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def environment_with(packages: Iterable[str], workspace: Path) -> dict[str, str]:
    """The environment in which packages of `PACKAGES` can be imported by other processes; they are
    built in a folder if they are not there."""
    missing = [name for name in packages if not _can_be_imported(name)]
    if not missing:
        return dict(os.environ)
    if not shutil.which("colcon"):
        pytest.skip("there is no colcon to build " + ", ".join(missing))
    for name in missing:
        files = []
        for message, definition in PACKAGES[name].items():
            files.append(f"msg/{message}.msg")
            path = workspace / "src" / name / files[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(definition + "\n")
        values = {"name": name, "needs": NEEDS[name], "files": " ".join(files)}
        (workspace / "src" / name / "package.xml").write_text(PACKAGE_XML.format(**values))
        (workspace / "src" / name / "CMakeLists.txt").write_text(CMAKE.format(**values))
    arguments = ["--cmake-args", f"-DPython3_EXECUTABLE={sys.executable}", "-DBUILD_TESTING=OFF"]
    built = subprocess.run(
        ["colcon", "build", "--executor", "sequential", *arguments],
        cwd=workspace, capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    told = subprocess.run(
        ["bash", "-c", 'source install/local_setup.bash && exec "$0" -c "$1"', sys.executable,
         "import json, os; print(json.dumps(dict(os.environ)))"],
        cwd=workspace, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(told.stdout)
