# Source this in bash: the virtual environment, ROS 2 and the built packages in one shell.
#
#   source setup/env.sh

_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export VIRTUAL_ENV=$_root/.venv
export PATH=$VIRTUAL_ENV/bin:$PATH
unset PYTHONHOME

if [[ $(cat "$VIRTUAL_ENV/stamps/kind") == wheels\ * ]]; then
    export AMENT_PREFIX_PATH=$VIRTUAL_ENV CMAKE_PREFIX_PATH=$VIRTUAL_ENV
    # The wheels' rclpy restarts Python to set the library path, which pytest and others do not
    # survive. Asked once here, it has no reason to later.
    LD_LIBRARY_PATH=$("$VIRTUAL_ENV/bin/python" -c \
        'import os, rclpy; print(os.environ["LD_LIBRARY_PATH"])')
    export LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
fi
if [[ -f $_root/.work/install/local_setup.bash ]]; then
    source "$_root/.work/install/local_setup.bash"
fi
unset _root
