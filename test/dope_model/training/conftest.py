"""Pictures that the tests of training share."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from labelled_pictures import write_ring_pictures  # noqa: E402

from dope_model.training.data import Source  # noqa: E402


@pytest.fixture(scope="module")
def rings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rings")
    labels = write_ring_pictures(folder, 20, side=96)
    return Source(labels, folder / "pictures")
