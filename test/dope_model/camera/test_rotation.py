"""Tests of dope_model.camera.rotation."""

import numpy as np
import pytest

from dope_model.camera.rotation import ROTATIONS, rotate_back, rotate_image
from dope_model.detector import WholeBodyDetector
from dope_model.poses import PartDetections

HEIGHT, WIDTH = 40, 60


def at_brightest(rgb):
    """A hand whose joints are the brightest pixel's middle, and that tells the image's axes."""
    row, column = np.unravel_index(rgb[..., 0].argmax(), rgb.shape[:2])
    points = np.tile([column + 0.5, row + 0.5], (1, 21, 1))
    axes = np.zeros((1, 21, 3))
    axes[0, :3] = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]  # right, down, away in what the model sees
    return {"hand": PartDetections("hand", [0.9], points, axes, [True])}


def image_with_dot():
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[7, 52] = 255
    return rgb


@pytest.mark.parametrize("degrees", ROTATIONS)
def test_points_are_in_pixels_of_the_original_image(degrees):
    rgb = image_with_dot()
    found = rotate_back(at_brightest(rotate_image(rgb, degrees)), degrees, rgb.shape)
    np.testing.assert_allclose(found["hand"].keypoints_2d[0, 5], [52.5, 7.5])
    assert found["hand"].is_left[0]


def test_clockwise_by_hand():
    turned = rotate_image(image_with_dot(), 90)
    assert turned.shape == (WIDTH, HEIGHT, 3)
    # Row 7 of 40 is 32 columns from the right edge afterwards; column 52 becomes the row.
    assert turned[52, HEIGHT - 1 - 7, 0] == 255


@pytest.mark.parametrize(
    ("degrees", "right", "down"),
    [
        (0, (1, 0, 0), (0, 1, 0)),
        (90, (0, -1, 0), (1, 0, 0)),
        (180, (-1, 0, 0), (0, -1, 0)),
        (270, (0, 1, 0), (-1, 0, 0)),
    ],
)
def test_axes_are_those_of_the_camera(degrees, right, down):
    rgb = image_with_dot()
    axes = rotate_back(at_brightest(rotate_image(rgb, degrees)), degrees, rgb.shape)
    np.testing.assert_allclose(axes["hand"].keypoints_3d[0, :3], [right, down, (0, 0, 1)])


@pytest.mark.parametrize("degrees", (90, 180, 270))
def test_a_turned_camera_sees_the_same_people(degrees):
    upright = image_with_dot()
    hanging = rotate_image(upright, 360 - degrees)
    detector = WholeBodyDetector(at_brightest, "test", rotation=degrees)
    (person,) = detector(hanging)
    row, column = np.unravel_index(hanging[..., 0].argmax(), hanging.shape[:2])
    np.testing.assert_allclose(person.left_hand.keypoints_2d[0], [column + 0.5, row + 0.5])
    assert person.right_hand is None


def test_other_angles_are_refused():
    with pytest.raises(ValueError, match="0, 90, 180 or 270 degrees, not 45"):
        WholeBodyDetector(at_brightest, "test", rotation=45)(image_with_dot())
