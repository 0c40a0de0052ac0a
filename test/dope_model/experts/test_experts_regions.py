"""Regions, crops and tiles of the part experts, against geometry done by hand."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dope_model.experts.regions import (
    Picture,
    Region,
    angle_of_right,
    angle_of_up,
    cut_by_tile,
    enclosing_region,
    tiles,
    wrapped_angle,
)

anywhere = st.floats(-300, 600)
regions = st.builds(Region, anywhere, anywhere, st.floats(5, 900), st.floats(-math.pi, math.pi))


@settings(deadline=None)
@given(regions, st.integers(0, 1000))
def test_to_the_image_and_back(region, seed):
    points = np.random.default_rng(seed).uniform(-0.5, 1.5, (7, 2))
    assert np.allclose(region.from_image(region.to_image(points)), points, atol=1e-9)


def test_corners_by_hand():
    upright = Region(100, 50, 20)
    assert upright.to_image(np.array([[0, 0], [1, 0], [0.5, 1]])) == pytest.approx(
        np.array([[90, 40], [110, 40], [100, 60]])
    )
    # Turned clockwise by a quarter: its right is the image's down.
    turned = Region(100, 50, 20, math.pi / 2)
    assert turned.to_image(np.array([[1.0, 0.5], [0.5, 0.0]])) == pytest.approx(
        np.array([[100, 60], [110, 50]])
    )


def test_joints_turn_with_the_region():
    turned = Region(7, 9, 3, math.pi / 2)
    joints = np.array([[1.0, 0.0, 5.0], [0.0, 1.0, -2.0]])
    assert turned.turn_to_image(joints) == pytest.approx(
        np.array([[0.0, 1.0, 5.0], [-1.0, 0.0, -2.0]])
    )


@given(st.floats(0, 2 * math.pi), st.floats(0.1, 50))
def test_angles_make_vectors_upright(direction, length):
    vector = length * np.array([math.cos(direction), math.sin(direction)])
    up = Region(0, 0, 1, angle_of_up(vector)).from_image(vector) - 0.5
    right = Region(0, 0, 1, angle_of_right(vector)).from_image(vector) - 0.5
    assert up == pytest.approx(np.array([0, -length]), abs=1e-6)
    assert right == pytest.approx(np.array([length, 0]), abs=1e-6)


@given(st.floats(-50, 50))
def test_wrapped_angles_are_the_same_angles(angle):
    wrapped = wrapped_angle(angle)
    assert -math.pi <= wrapped <= math.pi
    assert math.sin(wrapped) == pytest.approx(math.sin(angle), abs=1e-9)
    assert math.cos(wrapped) == pytest.approx(math.cos(angle), abs=1e-9)


@given(st.integers(0, 1000), st.floats(-3, 3))
def test_enclosing_region_holds_its_points_exactly(seed, angle):
    points = np.random.default_rng(seed).uniform(-100, 100, (6, 2))
    inside = enclosing_region(points, angle, scale=1.0).from_image(points)
    assert inside.min() >= -1e-9 and inside.max() <= 1 + 1e-9
    # The longer side touches both borders.
    extent = np.ptp(inside, axis=0).max()
    assert extent == pytest.approx(1)


def test_enclosing_region_is_lifted_along_its_own_up():
    points = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 10.0], [0.0, 10.0]])
    lifted = enclosing_region(points, 0.0, scale=2.0, lift=0.1)
    assert (lifted.x, lifted.y, lifted.size) == pytest.approx((2, 4, 20))
    upside_down = enclosing_region(points, math.pi, scale=2.0, lift=0.1)
    assert (upside_down.x, upside_down.y) == pytest.approx((2, 6))


def smooth_picture(width: int = 320, height: int = 240) -> np.ndarray:
    """Red rises with x, green with y: a crop tells where it came from."""
    x = (np.arange(width) + 0.5) / width * 200
    y = (np.arange(height) + 0.5) / height * 200
    blue = np.full((height, width), 77.0)
    channels = np.broadcast_to(x, (height, width)), np.broadcast_to(y[:, None], (height, width))
    return np.round(np.stack([*channels, blue], axis=-1)).astype(np.uint8)


@pytest.mark.parametrize(
    "region",
    [
        Region(160, 120, 100),
        Region(150, 110, 90, 0.7),
        Region(170, 120, 60, -2.5),
        Region(160, 120, 200, math.pi),
        Region(160, 120, 17, 0.2),
    ],
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_crop_shows_what_the_region_covers(region, mirrored):
    picture = Picture(smooth_picture())
    crop = picture.crop(region, 32, mirrored).astype(float)
    places = (np.stack(np.meshgrid(np.arange(32), np.arange(32)), axis=-1) + 0.5) / 32
    if mirrored:
        places[..., 0] = 1 - places[..., 0]
    expected = region.to_image(places) / (320, 240) * 200
    inside = picture.contains(region.to_image(places))
    # Steps of one level are rounding, in the picture and in the crop.
    assert np.abs(crop[..., :2] - expected)[inside].max() < 2.0
    assert (crop[inside][:, 2] == 77).mean() > 0.9


def test_shrinking_far_keeps_the_mean_and_its_place():
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 256, (511, 1023, 3), dtype=np.uint8)
    crop = Picture(picture).crop(Region(511.5, 255.5, 511), 8)
    columns = picture[:, 256:767].astype(np.float32)
    expected = cv2.resize(columns, (8, 8), interpolation=cv2.INTER_AREA)
    # Averages over hundreds of pixels of noise; one sampled pixel would be off by dozens.
    assert np.abs(crop - expected).max() < 12


def test_outside_is_black():
    white = Picture(np.full((20, 30, 3), 255, np.uint8))
    assert not white.crop(Region(-500, 10, 50), 16).any()
    half = white.crop(Region(0, 10, 10), 10)
    assert not half[:, :4].any() and (half[:, 6:] == 255).all()
    masked = white.crop(Region(15, 10, 10), 10, visible=np.array([12.0, 5.0, 14.0, 25.0]))
    assert (masked[:, 2:4] == 255).all()
    assert not masked[:, :2].any() and not masked[:, 4:].any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 50_000), (40_000, 2), (3, 5)])
def test_strange_sizes_can_be_cropped(shape):
    picture = Picture(np.full((*shape, 3), 200, np.uint8))
    crop = picture.crop(Region.around(picture.box), 64)
    assert crop.shape == (64, 64, 3) and crop.max() <= 200
    middle = Region(picture.width / 2, picture.height / 2, 1)
    assert picture.crop(middle, 9)[4, 4].tolist() == [200, 200, 200]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(wrong):
    with pytest.raises(ValueError, match="picture"):
        Picture(wrong)


@pytest.mark.parametrize("divisions, count", [(1, 1), (2, 9), (3, 25)])
def test_tiles_cover_the_picture_and_overlap_by_half(divisions, count):
    boxes = tiles(120, 60, divisions)
    assert len(boxes) == count
    assert boxes.min(axis=0)[:2].tolist() == [0, 0]
    assert boxes.max(axis=0)[2:] == pytest.approx([120, 60])
    assert np.allclose(boxes[:, 2] - boxes[:, 0], 120 / divisions)
    assert np.allclose(np.diff(np.unique(boxes[:, 0])), 60 / divisions)


def test_only_inner_borders_cut():
    tile = np.array([0.0, 0.0, 50.0, 100.0])  # the left half of a picture of 100 x 100
    boxes = np.array(
        [[-5, 10, 20, 30], [30, 10, 55, 30], [10, 80, 20, 110], [10, 10, 20, 20]], float
    )
    assert cut_by_tile(boxes, tile, 100, 100).tolist() == [False, True, False, False]
