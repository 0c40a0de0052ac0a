"""The ROS 2 side: the node, conversions of messages, markers, the demo. The model is dope_model."""
