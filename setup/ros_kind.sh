#!/bin/sh
# Which ROS 2 the virtual environment is for: the sourced one ("humble", "jazzy", ...) or "wheels".
if [ -n "$ROS_DISTRO" ] && python3 -c 'import rclpy' >/dev/null 2>&1; then
    echo "$ROS_DISTRO"
else
    echo wheels
fi
