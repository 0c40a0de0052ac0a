"""Lens distortion, against the models' formulas written out here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dope_model.camera.lens import LensCamera
from dope_model.camera.placement import Intrinsics

INTRINSICS = Intrinsics(520.0, 525.0, 322.0, 241.0)
PLUMB_BOB = (-0.35, 0.15, 0.001, -0.0005, -0.02)
RATIONAL = (0.5, -0.3, 0.0005, -0.0002, 0.02, 0.9, -0.25, 0.01)
EQUIDISTANT = (0.02, -0.01, 0.003, -0.001)
CAMERAS = {
    "plumb_bob": LensCamera(INTRINSICS, "plumb_bob", PLUMB_BOB),
    "rational_polynomial": LensCamera(INTRINSICS, "rational_polynomial", RATIONAL),
    "equidistant": LensCamera(INTRINSICS, "equidistant", EQUIDISTANT),
}


def brown(x: float, y: float, coefficients: tuple) -> tuple[float, float]:
    """Brown's model with a denominator (Brown 1966; OpenCV's calib3d)."""
    k1, k2, p1, p2, k3, k4, k5, k6 = (*coefficients, 0, 0, 0, 0)[:8]
    r2 = x * x + y * y
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def fisheye(x: float, y: float, coefficients: tuple) -> tuple[float, float]:
    """Kannala and Brandt 2006."""
    r = np.hypot(x, y)
    angle = np.arctan(r)
    bent = angle * (1 + sum(k * angle ** (2 * n + 2) for n, k in enumerate(coefficients)))
    return (x * bent / r, y * bent / r) if r > 0 else (x, y)


FORMULAS = {"plumb_bob": brown, "rational_polynomial": brown, "equidistant": fisheye}


@pytest.mark.parametrize("model", CAMERAS)
@settings(deadline=None, max_examples=50)
@given(x=st.floats(-0.55, 0.55), y=st.floats(-0.42, 0.42), z=st.floats(0.3, 20))
def test_projection_is_the_models_formula_and_rays_undo_it(model, x, y, z):
    camera = CAMERAS[model]
    pixel = camera.project(np.array([x * z, y * z, z]))
    bent_x, bent_y = FORMULAS[model](x, y, camera.coefficients)
    assert np.allclose(pixel, (322 + 520 * bent_x, 241 + 525 * bent_y), atol=1e-6)
    assert np.allclose(camera.rays(pixel), (x, y), atol=1e-4)


def test_many_points_keep_their_shape():
    rays = np.random.default_rng(0).uniform(-0.4, 0.4, (2, 5, 2))
    points = np.concatenate([rays, np.ones((2, 5, 1))], axis=-1)
    camera = CAMERAS["plumb_bob"]
    assert np.allclose(camera.rays(camera.project(points)), rays, atol=1e-4)


@pytest.mark.parametrize("model", CAMERAS)
def test_pixels_that_the_lens_cannot_show_have_no_ray(model):
    wild = np.array([[-9000.0, 200], [9000, 9000], [np.nan, 10], [322, 241]])
    rays = CAMERAS[model].rays(wild)
    # What is given is a ray of that pixel; what is not, NaN.
    found = np.isfinite(rays).all(axis=1)
    assert list(found[2:]) == [False, True]
    assert not found[1]
    solid = np.concatenate([rays[found], np.ones((found.sum(), 1))], axis=1)
    assert np.allclose(CAMERAS[model].project(solid), wild[found], atol=0.5)


@pytest.mark.parametrize(
    ("model", "coefficients", "said"),
    [
        ("double_sphere", (0.1,), "plumb_bob, rational_polynomial, equidistant"),
        ("plumb_bob", (0.1, 0.2, 0.3), "takes 4 or 5 coefficients, not 3"),
        ("equidistant", (0.1, 0.2, np.nan, 0.0), "not finite"),
    ],
)
def test_what_is_no_lens_is_refused(model, coefficients, said):
    with pytest.raises(ValueError, match=said):
        LensCamera(INTRINSICS, model, coefficients)
