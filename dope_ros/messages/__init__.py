"""Between ROS messages and arrays: images, poses, markers, camera_info, transforms, REP-155."""
