"""Names of topics in the launch file, held against what ROS makes of them."""

import pytest
from rclpy.expand_topic_name import expand_topic_name
from rclpy.validate_full_topic_name import validate_full_topic_name

from dope_ros.launch_names import beside, in_namespace


@pytest.mark.parametrize(
    ("image", "heard"),
    [
        ("/image_raw", "/camera_info"),
        ("/front/color/image_raw", "/front/color/camera_info"),
        ("/front/image_raw/compressed", "/front/camera_info"),
        ("image_raw", "/dope/camera_info"),
        ("image_raw/compressed", "/dope/camera_info"),
        ("front/image_raw", "/dope/front/camera_info"),
        ("~/image_raw", "/dope/dope_node/camera_info"),
    ],
)
def test_camera_info_is_heard_beside_the_image(image, heard):
    name = beside(image, "camera_info")
    assert expand_topic_name(name, "dope_node", "/dope") == heard
    of_image = expand_topic_name(image.removesuffix("/compressed"), "dope_node", "/dope")
    assert of_image.rpartition("/")[0] == heard.rpartition("/")[0]


@pytest.mark.parametrize(
    ("namespace", "topic"),
    [
        ("dope", "/dope/markers"),
        ("/robot1", "/robot1/markers"),
        ("/robot1/", "/robot1/markers"),
        ("fleet/robot1", "/fleet/robot1/markers"),
        ("", "/markers"),
        ("/", "/markers"),
    ],
)
def test_rviz_hears_the_node_in_any_namespace(namespace, topic):
    name = in_namespace(namespace, "markers")
    assert name == topic
    validate_full_topic_name(name)
