"""The demo camera: sources, the hand-held motion, and images on the graph."""

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import odd_pictures
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dope_model.pictures import read_rgb
from dope_model.sample import PEOPLE
from dope_ros.messages.camera_info import camera_from_info
from dope_ros.messages.conversions import image_to_rgb
from dope_ros.node.qos import NEWEST_MESSAGE
from dope_ros.tools.demo_camera import (
    DEMO_CAMERA,
    Pictures,
    SourceError,
    Video,
    camera_info,
    fit,
    hand_held_view,
    move,
    open_source,
)


def settings(**changes) -> SimpleNamespace:
    return SimpleNamespace(**({s.name: s.default for s in DEMO_CAMERA} | changes))


def write(path, rgb) -> None:
    assert cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))


@pytest.mark.parametrize("size", [(512, 512), (640, 360), (360, 640), (1000, 20), (3, 3), (1, 1)])
def test_the_view_stays_inside_the_picture(size):
    width, height = size
    corners = np.array([(x, y, 1) for x in (0, width - 1) for y in (0, height - 1)], float)
    for seconds in np.arange(0, 60, 0.37):
        seen = corners @ hand_held_view(width, height, seconds).T
        assert (seen >= -1e-6).all()
        assert (seen <= np.array([width - 1, height - 1]) + 1e-6).all()


def test_the_view_moves_little_between_frames_and_much_in_the_long_run():
    views = [hand_held_view(512, 512, seconds) for seconds in np.arange(0, 30, 1 / 15)]
    middle = np.array([view @ (255.5, 255.5, 1) for view in views])
    steps = np.linalg.norm(np.diff(middle, axis=0), axis=1)
    assert steps.max() < 4
    assert np.ptp(middle, axis=0).min() > 15
    zooms = [1 / np.linalg.norm(view[:, 0]) for view in views]
    rolls = [np.degrees(np.arctan2(view[1, 0], view[0, 0])) for view in views]
    assert np.ptp(zooms) > 0.05
    assert np.ptp(rolls) > 2


def test_moving_maps_pixels_as_the_view_says():
    # A picture whose red is its column and green its row.
    rows, columns = np.mgrid[0:200, 0:250]
    picture = np.stack([columns, rows, np.zeros_like(rows)], axis=2).astype(np.uint8)
    moved = move(picture, 2.5).astype(float)
    view = hand_held_view(250, 200, 2.5)
    for x, y in ((0, 0), (249, 0), (0, 199), (249, 199), (120, 80)):
        np.testing.assert_allclose(moved[y, x, :2], view @ (x, y, 1), atol=1)


def test_large_pictures_are_scaled_down_and_small_ones_kept():
    assert fit(np.zeros((1000, 2000, 3), np.uint8), 640).shape == (320, 640, 3)
    assert fit(np.zeros((3000, 3, 3), np.uint8), 640).shape == (640, 1, 3)
    small = np.zeros((100, 50, 3), np.uint8)
    assert fit(small, 640) is small


def test_a_folder_is_shown_in_order_and_again(tmp_path):
    for number, name in enumerate(("b.png", "a.PNG", "c.png")):
        write(tmp_path / name, np.full((20, 30, 3), 50 * number, np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    source = open_source(settings(source=str(tmp_path), seconds_per_picture=2.0))
    levels = [int(source.frame(seconds)[0, 0, 0]) for seconds in (0, 1.9, 2, 4, 5.9, 6)]
    assert levels == [50, 50, 0, 100, 100, 50]


def test_what_cannot_be_read_in_a_folder_is_told_once_and_passed_over(tmp_path):
    odd_pictures.add_unreadable(tmp_path)
    write(tmp_path / "good.png", np.full((20, 30, 3), 50, np.uint8))
    source = open_source(settings(source=str(tmp_path)))
    told = []
    for seconds in np.arange(0, 60, 0.5):
        try:
            assert (source.frame(seconds) == 50).all()
        except SourceError as error:
            told.append(str(error))
    assert len(told) == len(odd_pictures.UNREADABLE)
    for name in odd_pictures.UNREADABLE:
        assert sum(f"{tmp_path / name} " in text for text in told) == 1
    (tmp_path / "good.png").unlink()
    source = open_source(settings(source=str(tmp_path)))
    for _ in range(9):
        with pytest.raises(SourceError) as error:
            source.frame(0.0)
    assert str(error.value) == "none of the pictures can be read"


def test_a_still_camera_shows_the_picture_itself(tmp_path, astronaut):
    write(tmp_path / "a.png", astronaut)
    source = open_source(settings(source=str(tmp_path / "a.png"), motion=False))
    np.testing.assert_array_equal(source.frame(3.0), astronaut)


def test_a_video_starts_again_and_keeps_its_rate(tmp_path):
    path = str(tmp_path / "grey.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 12.5, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write videos")
    for level in (40, 120, 200):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    source = open_source(settings(source=path))
    assert isinstance(source, Video)
    assert source.rate == pytest.approx(12.5)
    levels = [source.frame(0.0).mean() for _ in range(5)]
    np.testing.assert_allclose(levels, [40, 120, 200, 40, 120], atol=3)


def test_the_default_is_a_picture_that_comes_with_the_package():
    source = open_source(settings(motion=False))
    assert isinstance(source, Pictures)
    np.testing.assert_array_equal(source.frame(0.0), fit(read_rgb(PEOPLE), 640))


def test_the_astronaut(astronaut):
    source = open_source(settings(source="astronaut", motion=False))
    np.testing.assert_array_equal(source.frame(0.0), astronaut)


def test_without_scikit_image_the_astronaut_is_refused_with_what_to_install(monkeypatch):
    for name in ("skimage", "skimage.data"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SourceError, match="pip install scikit-image.*'clip' needs no"):
        open_source(settings(source="astronaut"))
    assert isinstance(open_source(settings(source="clip")), Video)


def test_the_clip_comes_with_the_package():
    source = open_source(settings(source="clip"))
    assert isinstance(source, Video)
    assert source.rate == pytest.approx(25)
    assert source.frame(0.0).shape == (360, 640, 3)


def test_a_source_that_cannot_be_had_is_refused_by_name(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        open_source(settings(source="/no/such/thing.png"))
    with pytest.raises(SourceError, match="holds no pictures"):
        open_source(settings(source=str(tmp_path)))
    (tmp_path / "empty.png").touch()
    with pytest.raises(SourceError, match="empty.png is not a picture"):
        open_source(settings(source=str(tmp_path / "empty.png")))
    (tmp_path / "words.mp4").write_text("not a video")
    with pytest.raises(SourceError, match="words.mp4 is not a picture or video"):
        open_source(settings(source=str(tmp_path / "words.mp4")))
    with pytest.raises(SourceError, match="camera 97"):
        open_source(settings(source="/dev/video97"))


@pytest.mark.parametrize("fov", [40.0, 60.0])
def test_camera_info_is_that_of_a_camera_of_the_field_of_view(fov):
    header = Header(frame_id="eye")
    info = camera_info(header, 640, 480, SimpleNamespace(horizontal_fov=fov))
    camera = camera_from_info(info, "eye", 640, 480)
    right, middle = camera.rays(np.array([[640.0, 240.0], [320.0, 240.0]]))
    assert np.degrees(np.arctan(right[0])) == pytest.approx(fov / 2)
    assert np.allclose(middle, 0)


def test_images_on_the_graph(graph, start, tmp_path):
    write(tmp_path / "grey.png", np.full((48, 64, 3), 99, np.uint8))
    start(
        "demo_camera",
        *("-r", f"__ns:={graph.node.get_namespace()}"),
        *("-p", f"source:={tmp_path / 'grey.png'}", "-p", "frame_id:=my_camera"),
    )
    images: list[Image] = []
    graph.node.create_subscription(Image, "image", images.append, NEWEST_MESSAGE)
    assert graph.spin_until(lambda: len(images) >= 3)
    # All grey: the picture's edges never come into view.
    np.testing.assert_array_equal(image_to_rgb(images[-1]), np.full((48, 64, 3), 99, np.uint8))
    assert images[0].header.frame_id == "my_camera"
    stamps = [image.header.stamp.sec + image.header.stamp.nanosec / 1e9 for image in images]
    assert stamps == sorted(stamps)
    now = graph.node.get_clock().now().nanoseconds / 1e9
    assert now - 60 < stamps[-1] <= now


def test_the_process_says_why_it_cannot_start(start):
    process = start("demo_camera", "-p", "source:=/no/such/thing.png")
    assert process.process.wait(60) == 1
    assert "/no/such/thing.png" in process.output()
    assert "Traceback" not in process.output()
