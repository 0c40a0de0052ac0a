#!/bin/sh
# Says everything that this machine lacks for `make demo` and `make test`, with the one apt line
# that brings it. Prints the Python to use on standard output, all else on standard error.
#
#   PYTHON=/path/to/python3.11 setup/check_machine.sh      to choose the Python

packages=""
problems=""

problem() {
    problems="$problems
  - $1"
}

need() { # need PACKAGE REASON
    packages="$packages $1"
    problem "$2"
}

"$(dirname "$0")/ros_kind.sh" | grep -q '^wheels' && ros_is_sourced=no || ros_is_sourced=yes
# A sourced ROS brings its own Python; without one, nothing newer than 3.12 was tried.
[ "$ros_is_sourced" = yes ] && newest=14 || newest=12

supported() {
    "$1" -c "import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, $newest))" 2>/dev/null
}

python=""
if [ -n "$PYTHON" ]; then
    if supported "$PYTHON"; then
        python=$PYTHON
    else
        problem "PYTHON=$PYTHON is not a Python 3.10 to 3.$newest."
    fi
elif [ "$ros_is_sourced" = yes ]; then
    # Only ROS's own Python can import its rclpy.
    if supported python3; then
        python=python3
    else
        problem "Python 3.10 to 3.14 in the sourced ROS 2 $ROS_DISTRO (found: $(python3 --version))."
    fi
else
    for candidate in python3 python3.12 python3.11 python3.10; do
        if supported "$candidate"; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        found=$(python3 --version 2>/dev/null || echo "no python3")
        available=""
        for version in 3.12 3.11 3.10; do
            if apt-cache show "python$version" >/dev/null 2>&1; then
                available=python$version
                break
            fi
        done
        if [ -n "$available" ]; then
            need "$available $available-venv $available-dev" \
                "Python 3.10 to 3.12 (found: $found)."
        else
            problem "Python 3.10 to 3.12 (found: $found). This system's apt has none of them: \
install one with pyenv or uv and name it: make demo PYTHON=/path/to/python3.12"
        fi
    fi
fi

if [ "$ros_is_sourced" = no ]; then
    if [ "$(uname -s)/$(uname -m)" != Linux/x86_64 ]; then
        problem "ROS 2: on $(uname -s) $(uname -m) there are no ROS 2 wheels for pip. Install \
ROS 2 (https://docs.ros.org) and source its setup.bash first."
    fi
fi

if [ -n "$python" ]; then
    # Debian's and Ubuntu's own Python has packages named python3-*, any other python3.x-*.
    if [ "$(command -v "$python")" = /usr/bin/python3 ]; then
        prefix=python3
    else
        prefix=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    fi
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        need "$prefix-venv" "$python cannot make virtual environments (no ensurepip)."
    "$python" -c '
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' ||
        need "$prefix-dev" "Python.h, the headers of $python."
fi
command -v g++ >/dev/null || need g++ "g++, which compiles the ROS messages."
command -v make >/dev/null || need make "make."

case $(cd "$(dirname "$0")/.." && pwd) in
*[[:space:]]*) problem "A path without spaces for this clone: colcon cannot build in one with." ;;
esac

if [ -n "$problems" ]; then
    echo "This machine lacks:$problems" >&2
    if [ -n "$packages" ]; then
        echo >&2
        echo "Install it with" >&2
        echo "    sudo apt-get install -y$packages" >&2
        echo "and run the same make command again." >&2
    fi
    exit 1
fi
echo "$python"
