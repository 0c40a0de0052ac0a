"""A sheet of pictures: each lies in the middle of its cell, with its caption."""

from __future__ import annotations

import numpy as np

from dope_model.pictures import picture_sheet


def test_pictures_lie_in_their_cells():
    red = np.zeros((50, 100, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    blue = np.zeros((400, 100, 3), np.uint8) + np.array([0, 0, 255], np.uint8)
    sheet = picture_sheet([red, blue, red], ["one", "two", "three"], 2, (200, 160))
    assert sheet.shape == (320, 400, 3)
    assert (sheet[80, 100] == red[0, 0]).all() and (sheet[25, 100] == 30).all()
    assert (sheet[80, 300] == blue[0, 0]).all() and (sheet[80, 215] == 30).all()
    assert (sheet[240, 100] == red[0, 0]).all() and (sheet[240, 300] == 30).all()
    # The captions are there: something yellow in the corner of each cell.
    for top, left in ((0, 0), (0, 200), (160, 0)):
        corner = sheet[top : top + 16, left : left + 40].astype(int)
        assert ((corner[..., 0] > 180) & (corner[..., 1] > 180) & (corner[..., 2] < 90)).any()
