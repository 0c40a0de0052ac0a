"""How far people are from where they are placed, in metres, against exact truth:

    python -m dope_model.benchmark.placement

Known 3D bodies of the shipped clip are set at some distance and projected by a known camera, and
noise is added. `dope_model.rendering.placement` does the same with depth images.
"""

from __future__ import annotations

import argparse

import numpy as np

from dope_model.camera.lens import LensCamera
from dope_model.camera.placement import Camera, Intrinsics, place_root
from dope_model.datasets.labels import LabelSet
from dope_model.sample import LABELS

WIDTH, HEIGHT = 640, 480
PINHOLE = Intrinsics(520.0, 520.0, 321.5, 238.0)
WIDE = LensCamera(PINHOLE, "plumb_bob", (-0.32, 0.12, 0.001, -0.0008, -0.02))
FISHEYE = LensCamera(
    Intrinsics(330.0, 330.0, 321.5, 238.0), "equidistant", (0.02, -0.01, 0.003, -0.001)
)

DISTANCES = (1.5, 3.0, 6.0)
NOISES = (0.0, 1.0, 2.0, 4.0)


def bodies() -> np.ndarray:
    """Bodies (N, 13, 3) of the shipped clip, root-relative, m."""
    return np.concatenate([sample.parts["body"].keypoints_3d for sample in LabelSet.load(LABELS)])


def placed_errors(
    camera: Camera,
    assumed: Camera,
    distance: float,
    noise: float,
    size_error: float = 0.0,
    count: int = 300,
    seed: int = 0,
) -> np.ndarray:
    """Distances (count,) between true and found roots, m; infinite where none was found.

    Bodies stand at a random place in the picture and are projected by `camera`; `assumed` is the
    camera that placement believes in.

    Args:
        distance: m along the optical axis.
        noise: standard deviation of the 2D joints, px.
        size_error: standard deviation of the factor by which a 3D pose is too large or small.
    """
    random = np.random.default_rng(seed)
    poses = bodies()
    errors = []
    for pose in poses[random.choice(len(poses), count)].astype(float):
        middle = random.uniform((0.2 * WIDTH, 0.4 * HEIGHT), (0.8 * WIDTH, 0.6 * HEIGHT))
        root = np.array([*(camera.rays(middle) * distance), distance])
        pixels = camera.project(pose + root) + random.normal(0, noise, (len(pose), 2))
        seen = ((pixels >= 0) & (pixels < (WIDTH, HEIGHT))).all(axis=1)
        guessed = pose * (1 + random.normal(0, size_error))
        found = place_root(pixels, guessed, assumed, seen)
        errors.append(np.inf if found is None else np.linalg.norm(found - root))
    return np.array(errors)


def centimetres(errors: np.ndarray) -> str:
    """Median and 90th percentile of errors in m."""
    middle, large = 100 * np.percentile(errors, (50, 90))
    return f"{middle:.1f} / {large:.1f}"


def print_tables() -> None:
    """Errors by distance and noise, and by how wrong the size of the 3D pose is."""
    print("Distance of found from true roots, cm: median / 90th percentile\n")
    print("| m | noise, px | pinhole | lens honoured | lens ignored | fisheye honoured |")
    print("|---|---|---|---|---|---|")
    for distance in DISTANCES:
        for noise in NOISES:
            cells = [
                centimetres(placed_errors(camera, assumed, distance, noise))
                for camera, assumed in (
                    (PINHOLE, PINHOLE),
                    (WIDE, WIDE),
                    (WIDE, PINHOLE),
                    (FISHEYE, FISHEYE),
                )
            ]
            print(f"| {distance} | {noise:.0f} | {' | '.join(cells)} |")
    print("\nPinhole, 2 px, and 3D poses whose size is wrong:\n")
    print("| size wrong by | " + " | ".join(f"{d} m" for d in DISTANCES) + " |")
    print("|---|" + "---|" * len(DISTANCES))
    for size in (0.0, 0.05, 0.1):
        cells = [centimetres(placed_errors(PINHOLE, PINHOLE, d, 2.0, size)) for d in DISTANCES]
        print(f"| {100 * size:.0f} % | {' | '.join(cells)} |")


if __name__ == "__main__":
    argparse.ArgumentParser("python -m dope_model.benchmark.placement", None, __doc__).parse_args()
    print_tables()
