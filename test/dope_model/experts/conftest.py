"""What the tests of the experts share."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """A photo of one person (512, 512, 3) uint8."""
    data = pytest.importorskip("skimage.data", reason="the picture is in scikit-image")
    return data.astronaut()
