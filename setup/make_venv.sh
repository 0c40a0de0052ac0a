#!/bin/bash
# Makes the empty virtual environment .venv, anew where one for another ROS or place is there.
set -eo pipefail
cd "$(dirname "$0")/.."

python=$(setup/check_machine.sh)
kind=$(setup/ros_kind.sh)
rm -rf .venv .work
if [ "$kind" = wheels ]; then
    echo "== virtual environment .venv: $("$python" --version), ROS 2 from PyPI"
    "$python" -m venv .venv
else
    echo "== virtual environment .venv: $("$python" --version), the sourced ROS 2 $kind"
    "$python" -m venv --system-site-packages .venv
fi
mkdir -p .venv/stamps
echo "$kind $PWD" > .venv/stamps/kind
