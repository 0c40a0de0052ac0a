"""The experts' scores as probabilities."""

import numpy as np
import pytest

from dope_model.experts.scores import CURVES, probabilities
from dope_model.poses import PartDetections


def test_scores_and_joints_become_probabilities():
    points = np.full((2, 21, 2), 10.0)
    points[:, 0] = -1  # outside
    trusted = np.ones((2, 21), bool)
    trusted[:, :2] = False
    hands = PartDetections(
        "hand", [0.95, 0.99], points, np.zeros((2, 21, 3)), [True, False], trusted
    )
    found = probabilities({"hand": hands}, (20, 30))["hand"]
    odds = np.array([0.95 / 0.05, 99]) * np.exp(CURVES["hand"].bias)
    assert found.scores == pytest.approx(odds / (1 + odds), rel=1e-5)
    assert found.confidence[0, :3] == pytest.approx([0, CURVES["hand"].guessed, 0.9])
    assert found.trusted[0].tolist() == [False, False] + [True] * 19
    assert found.is_left.tolist() == [True, False]
    assert hands.scores[0] == pytest.approx(0.95)
