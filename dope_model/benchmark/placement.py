"""How far people are from where they are placed, in metres, against exact truth:

    python -m dope_model.benchmark.placement                  # the bodies of the shipped clip
    python -m dope_model.benchmark.placement --rendered 60    # rendered people, with depth

The first projects known 3D bodies, set at some distance, with a known camera and adds noise. The
second needs what `dope_model.rendering` needs: people of exact pose in exact depth images.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from dope_model.camera.depth import DepthImage
from dope_model.camera.lens import LensCamera
from dope_model.camera.placement import Camera, Intrinsics, place_people, place_root
from dope_model.datasets.labels import LabelSet, Sample, Visibility
from dope_model.poses import PartPose, WholeBody
from dope_model.sample import LABELS

WIDTH, HEIGHT = 640, 480
PINHOLE = Intrinsics(520.0, 520.0, 321.5, 238.0)
WIDE = LensCamera(PINHOLE, "plumb_bob", (-0.32, 0.12, 0.001, -0.0008, -0.02))
FISHEYE = LensCamera(
    Intrinsics(330.0, 330.0, 321.5, 238.0), "equidistant", (0.02, -0.01, 0.003, -0.001)
)

DISTANCES = (1.5, 3.0, 6.0)
NOISES = (0.0, 1.0, 2.0, 4.0)
DEPTH_NOISES = ((0.0, 0.0), (2.0, 0.0), (4.0, 0.0), (4.0, 0.05))
"""Noise of the joints, px, and standard deviation of the size of the 3D pose."""
_NOISY_METRES = 0.005
"""Noise of a depth image at one metre, which grows with the square of the distance, and ..."""
_HOLES = 0.2
"""... the share of it without data."""


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


def rendered_errors(
    scenes: list[tuple[Sample, np.ndarray]], noise: float, size_error: float, seed: int = 0
) -> dict[tuple[str, bool], np.ndarray]:
    """Distances between true and found roots, m, by part and whether depth was used.

    Args:
        scenes: labels and the depth (H, W) of pictures, m; see `render_scenes`.
    """
    errors = defaultdict(list)
    random = np.random.default_rng(seed)
    for sample, metres in scenes:
        depth = metres * (1 + random.normal(0, _NOISY_METRES, metres.shape) * metres)
        depth[random.random(metres.shape) < _HOLES] = 0
        people, truth = _people(sample, noise, size_error, random)
        images = (None, DepthImage(depth, sample.width, sample.height))
        for image in images:
            placed = place_people(people, sample.intrinsics, image)
            for person, roots in zip(placed, truth, strict=True):
                for slot, root in roots.items():
                    part = slot.rpartition("_")[2]
                    found = getattr(person, slot).root
                    error = np.inf if found is None else np.linalg.norm(found - root)
                    errors[part, image is not None].append(error)
    return {key: np.array(values) for key, values in errors.items()}


def _people(
    sample: Sample, noise: float, size_error: float, random: np.random.Generator
) -> tuple[list[WholeBody], list[dict[str, np.ndarray]]]:
    """The people of a picture as a detector would give them, and their true roots."""
    parts: dict[int, dict[str, PartPose]] = defaultdict(dict)
    roots: dict[int, dict[str, np.ndarray]] = defaultdict(dict)
    sizes = defaultdict(lambda: 1 + random.normal(0, size_error))
    for part, labels in sample.parts.items():
        for i, person in enumerate(labels.person):
            slot = part
            if labels.is_left is not None:
                slot = "left_hand" if labels.is_left[i] else "right_hand"
            pixels = labels.keypoints_2d[i] + random.normal(0, noise, labels.keypoints_2d[i].shape)
            visible = labels.visibility[i] == Visibility.VISIBLE
            solid = labels.keypoints_3d[i] * sizes[person]
            parts[person][slot] = PartPose(1.0, pixels, solid, visible)
            roots[person][slot] = labels.root[i]
    return [WholeBody(**found) for found in parts.values()], list(roots.values())


def render_scenes(count: int, seed: int = 77) -> Iterator[tuple[Sample, np.ndarray]]:
    """Labels and depth (H, W), m, of rendered pictures of one to three people.

    Raises:
        MissingAssetError: something that rendering needs is missing.
    """
    from dope_model.rendering.generate import RenderSettings, Studio

    studio = Studio(RenderSettings(seed=seed, people=(1, 3), size=(WIDTH, HEIGHT), supersampling=1))
    for number in range(count):
        image = studio.image(number)
        yield image.sample, image.frame.depth.astype(np.float32)


def _centimetres(errors: np.ndarray) -> str:
    middle, large = 100 * np.percentile(errors, (50, 90))
    return f"{middle:.1f} / {large:.1f}"


def print_projected() -> None:
    """The table of projected bodies."""
    print("Distance of found from true roots, cm: median / 90th percentile\n")
    print("| m | noise, px | pinhole | lens honoured | lens ignored | fisheye honoured |")
    print("|---|---|---|---|---|---|")
    for distance in DISTANCES:
        for noise in NOISES:
            cells = [
                _centimetres(placed_errors(camera, assumed, distance, noise))
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
        cells = [_centimetres(placed_errors(PINHOLE, PINHOLE, d, 2.0, size)) for d in DISTANCES]
        print(f"| {100 * size:.0f} % | {' | '.join(cells)} |")


def print_rendered(count: int) -> None:
    """The table of rendered people, without and with depth."""
    scenes = list(tqdm(render_scenes(count), total=count, unit="picture"))
    people = sum(len(sample.parts["body"]) for sample, _ in scenes)
    print(f"{len(scenes)} pictures, {people} bodies; cm: median / 90th percentile\n")
    print("| noise, px | size wrong by | depth | body | hand | face |")
    print("|---|---|---|---|---|---|")
    for noise, size in DEPTH_NOISES:
        errors = rendered_errors(scenes, noise, size)
        for used in (False, True):
            cells = [_centimetres(errors[part, used]) for part in ("body", "hand", "face")]
            print(
                f"| {noise:.0f} | {100 * size:.0f} % | {'yes' if used else 'no'} "
                f"| {' | '.join(cells)} |"
            )


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dope_model.benchmark.placement",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--rendered", type=int, default=0, metavar="N", help="render N pictures for the depth"
    )
    options = parser.parse_args(arguments)
    if not options.rendered:
        print_projected()
        return 0
    from dope_model.rendering.assets import MissingAssetError

    try:
        print_rendered(options.rendered)
    except MissingAssetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
