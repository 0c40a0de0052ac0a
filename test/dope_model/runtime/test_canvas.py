"""Any size of image on one of a few canvases, and candidates back in its own pixels."""

from __future__ import annotations

import numpy as np
import pytest

from dope_model.network.config import MODES, CoarseScale, Mode, resized_shape
from dope_model.postprocess.candidates import Candidates
from dope_model.runtime.canvas import Canvas, canvas_for, canvases
from dope_model.runtime.scales import candidates_that_count

REALTIME = MODES["realtime"]


@pytest.mark.parametrize(
    ("width", "height"),
    [(640, 480), (1280, 720), (1920, 1080), (512, 512), (480, 640), (1080, 1920), (400, 600)],
)
def test_usual_cameras_lose_nothing(width, height):
    """The canvas is what the network's mode asks for, to the pixel."""
    canvas = canvas_for(height, width, REALTIME)
    assert (canvas.height, canvas.width) == resized_shape(height, width, REALTIME)
    assert canvas.content(height, width) == (canvas.height, canvas.width)


@pytest.mark.parametrize(
    ("width", "height", "name"),
    [(2000, 1000, "711x400"), (1170, 2532, "400x711"), (640, 427, "600x400"), (1, 1, "400x400")],
)
def test_other_sizes_go_where_they_are_largest(width, height, name):
    assert canvas_for(height, width, REALTIME).name == name


@pytest.mark.parametrize("mode", [REALTIME, MODES["paper"], Mode(256, 1333, 50, True)])
def test_a_canvas_is_the_input_of_the_first_scale(mode):
    for canvas in canvases(mode):
        assert resized_shape(canvas.height, canvas.width, mode) == (canvas.height, canvas.width)


@pytest.mark.parametrize("size", [(1, 1), (20, 3000), (3000, 20), (333, 517)])
def test_an_image_lies_in_the_corner_and_its_points_come_back(size):
    rgb = np.zeros((*size, 3), np.uint8)
    canvas = canvas_for(*size, REALTIME)
    fitted = canvas.fit(rgb)
    assert fitted.shape == canvas.shape and fitted.flags.c_contiguous
    height, width = canvas.content(*size)
    assert not fitted[:height, :width].any()
    assert fitted[height:].all() and fitted[:, width:].all()
    corners = np.array([[0, 0, width, height]], np.float32)
    points = np.array([[[width / 2, height / 4]]], np.float32)
    one = np.ones(1)
    on_canvas = Candidates("body", one.astype(int), one, corners, points, np.zeros((1, 1, 3)))
    found = canvas.back(on_canvas, *size)
    np.testing.assert_allclose(found.boxes, [[0, 0, size[1], size[0]]], rtol=1e-5)
    np.testing.assert_allclose(found.keypoints_2d, [[[size[1] / 2, size[0] / 4]]], rtol=1e-5)


def test_a_picture_keeps_its_shape():
    """A bright square stays one, and where it was, in every size of image."""
    for height, width in ((480, 640), (700, 500), (300, 1000)):
        rgb = np.zeros((height, width, 3), np.uint8)
        rgb[100:200, 300:400] = 255
        canvas = canvas_for(height, width, REALTIME)
        content = canvas.content(height, width)
        rows, columns = np.nonzero(canvas.fit(rgb)[: content[0], : content[1], 0] > 127)
        scale = content[0] / height, content[1] / width
        np.testing.assert_allclose([rows.min(), rows.max() + 1], np.array([100, 200]) * scale[0],
                                   atol=1)  # fmt: skip
        np.testing.assert_allclose(
            [columns.min(), columns.max() + 1], np.array([300, 400]) * scale[1], atol=1
        )


def candidates(part: str, sides: list[float], score: float) -> Candidates:
    """One candidate for each longer side of a box, px."""
    count, joints = len(sides), {"body": 13, "face": 84}[part]
    boxes = np.array([[10, 20, 10 + 0.5 * side, 20 + side] for side in sides]).reshape(-1, 4)
    return Candidates(
        part, np.arange(count), np.full(count, score), boxes,
        np.zeros((count, joints, 2)), np.zeros((count, joints, 3)),
    )  # fmt: skip


def test_each_scale_gives_what_is_in_its_range():
    first = {"body": candidates("body", [19, 20, 21], 0.9), "face": candidates("face", [500], 0.8)}
    second = {"body": candidates("body", [15, 21, 99], 0.4), "face": candidates("face", [9], 0.3)}
    found = candidates_that_count([first, second], CoarseScale(0.5, {"body": 20}))
    body = found["body"]
    np.testing.assert_allclose(body.boxes[:, 3] - body.boxes[:, 1], [19, 20, 21, 99])
    np.testing.assert_allclose(body.scores, [0.9, 0.9, 0.4, 0.4])
    assert body.keypoints_2d.shape == (4, 13, 2) and body.keypoints_3d.shape == (4, 13, 3)
    assert found["face"].scores.tolist() == [0.8]
    nobody = {"body": candidates("body", [], 0)}
    assert len(candidates_that_count([nobody, nobody], CoarseScale(0.5, {"body": 20}))["body"]) == 0
    # An expert of one part, boxes that are wide, and no second scale at all.
    wide = candidates("body", [30, 90], 0.5)
    wide.boxes = wide.boxes[:, [1, 0, 3, 2]]
    coarse = CoarseScale(0.5, {"body": 40, "face": 40})
    found = candidates_that_count([{"body": wide}, {"body": wide}], coarse)
    assert list(found) == ["body"] and len(found["body"]) == 2
    assert candidates_that_count([first], None) == first


def test_a_canvas_is_named_by_width_and_height():
    assert Canvas(height=400, width=533).name == "533x400"
