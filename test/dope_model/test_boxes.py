"""Overlaps of boxes, against values by hand and torchvision's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dope_model.boxes import box_iou, box_ious


def test_box_iou_by_hand():
    a, b = np.array([0.0, 0, 10, 10]), np.array([5.0, 0, 15, 10])
    assert box_iou(a, b) == pytest.approx(50 / 150)
    assert box_iou(a, b, pixel_inclusive=True) == pytest.approx(6 * 11 / (2 * 121 - 66))
    assert box_iou(a, a + 20) == 0
    assert box_iou(np.zeros(4), np.zeros(4)) == 0


def test_box_ious_by_hand():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [3, 3, 3, 3]], float)
    ious = box_ious(boxes, boxes)
    assert ious[0].tolist() == pytest.approx([1, 1 / 3, 0, 0])
    assert ious[3].tolist() == [0, 0, 0, 0]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_box_ious_are_torchvisions(seed):
    torch = pytest.importorskip("torch")
    torchvision_iou = pytest.importorskip("torchvision").ops.box_iou

    random = np.random.default_rng(seed)
    corners = random.random((9, 2, 2)) * 50
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    expected = torchvision_iou(torch.from_numpy(boxes[:4]), torch.from_numpy(boxes[4:])).numpy()
    assert np.allclose(box_ious(boxes[:4], boxes[4:]), expected, atol=1e-6)
