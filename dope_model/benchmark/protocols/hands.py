"""3D metrics of hands: PCK after normalising scale and translation, and the area under it.

Source: DOPE, section 4.1; Zimmermann and Brox, "Learning to estimate 3D hand pose from single RGB
images" (ICCV 2017), whose successors report the area between 20 and 50 mm.
"""

from __future__ import annotations

import numpy as np

from dope_model.benchmark.protocols.pck import area_under_curve, pck_curve
from dope_model.skeleton import HAND

AUC_RANGE = (0.020, 0.050)
"""m"""
THRESHOLDS = 100
"""Steps of the range."""
REFERENCE_BONE = (HAND.index["middle_mcp"], HAND.index["middle_pip"])
"""The bone whose length is 1 in the poses of Zimmermann and Brox."""


def without_scale(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A pose (J, 3) with its wrist on the true one and the scale that fits best, least squares."""
    moved, wanted = predicted - predicted[0], truth - truth[0]
    spread = (moved**2).sum()
    scale = (moved * wanted).sum() / spread if spread > 1e-18 else 0.0
    return scale * moved + truth[0]


def with_true_reference_bone(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A pose (J, 3) with its wrist on the true one, and its reference bone as long as the truth's.

    This is how Zimmermann and Brox take the scale out.
    """
    a, b = REFERENCE_BONE
    own = max(float(np.linalg.norm(predicted[a] - predicted[b])), 1e-9)
    scale = np.linalg.norm(truth[a] - truth[b]) / own
    return scale * (predicted - predicted[0]) + truth[0]


def pck_auc(errors: np.ndarray, low: float, high: float) -> float:
    """Area under the PCK between two thresholds, as a share of the range; infinite errors miss."""
    thresholds = np.linspace(low, high, THRESHOLDS)
    return area_under_curve(thresholds, pck_curve(errors, thresholds))
