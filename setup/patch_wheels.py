"""Make the ROS 2 wheels' CMake files name this virtual environment's Python.

The wheels export the include folders of the machine they were built on
(/opt/python/cp311-cp311/...); CMake refuses to use folders that do not exist.

Run with the virtual environment's own Python; another folder than its can be named. Running it
again changes nothing.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

BUILD_MACHINE_INCLUDE = re.compile(r"/opt/python/cp3\d+-cp3\d+/include/python3\.\d+")
BUILD_MACHINE_SITE = re.compile(r"/opt/python/cp3\d+-cp3\d+/lib/python3\.\d+/site-packages")


def patch(text: str, include: str, site_packages: str) -> str:
    """`text` with the build machine's folders replaced by `include` and `site_packages`."""
    # Functions as replacements, so that a backslash in a path is taken as it is.
    text = BUILD_MACHINE_INCLUDE.sub(lambda _: include, text)
    return BUILD_MACHINE_SITE.sub(lambda _: site_packages, text)


def main(prefix: str = sys.prefix) -> None:
    include = sysconfig.get_paths()["include"]
    site_packages = sysconfig.get_paths()["purelib"]
    changed = 0
    for path in Path(prefix, "share").glob("**/*.cmake"):
        before = path.read_text()
        after = patch(before, include, site_packages)
        if after != before:
            path.write_text(after)
            changed += 1
    print(f"pointed {changed} CMake files of the ROS 2 wheels to {include}")


if __name__ == "__main__":
    main(*sys.argv[1:])
