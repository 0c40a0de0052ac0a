"""The 3D-aware 2D error of facial landmarks (equation 4) and its cumulative curve.

Source: DOPE, section 4.1; Deng et al., "The Menpo benchmark for multi-pose 2D and 3D facial
landmark localisation and tracking" (IJCV 2019).
"""

from __future__ import annotations

import numpy as np

from dope_model.benchmark.protocols.pck import area_under_curve, pck_curve


def normalised_error(predicted: np.ndarray | None, truth: np.ndarray) -> float:
    """Root mean square distance of landmarks (N, 2) over the diagonal of the truth's tight box.

    Infinite for a face that was missed.
    """
    if predicted is None:
        return float("inf")
    truth = np.asarray(truth, float)
    diagonal = np.linalg.norm(np.ptp(truth, axis=0))
    return float(np.linalg.norm(truth - predicted) / (np.sqrt(len(truth)) * diagonal))


def cumulative_auc(errors: np.ndarray, limit: float, steps: int = 1000) -> float:
    """Area under the share of faces over their error up to `limit`, as a share of `limit`."""
    thresholds = np.linspace(0, limit, steps + 1)
    return area_under_curve(thresholds, pck_curve(errors, thresholds))
