#!/bin/bash
# Builds the ROS packages with colcon, in the workspace .work/: its src/ holds a copy of this clone.
# Not in the clone itself, because CMake refuses include folders (those of .venv) that lie below
# the source folder.
set -eo pipefail
cd "$(dirname "$0")/.."
source setup/env.sh

package=.work/src/dope_ros
rm -rf "$package"
mkdir -p "$package"
# With their times, so that only what changed is built again.
cp -a package.xml CMakeLists.txt setup.cfg LICENSE dope_msgs dope_model dope_ros launch config \
    "$package"

echo "== colcon build (about a minute the first time)"
cd .work
# Not the command `colcon`: where it comes from apt, it runs on a Python of its own.
colcon=(python -c 'import sys; from colcon_core.command import main; sys.exit(main())')
if ! "${colcon[@]}" build --event-handlers status- --cmake-args \
    -DPython3_EXECUTABLE="$VIRTUAL_ENV/bin/python" -DBUILD_TESTING=OFF > colcon.log 2>&1; then
    cat colcon.log
    exit 1
fi
touch stamp
