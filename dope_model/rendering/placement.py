"""How far rendered people are from where they are placed, with and without a depth image:

python -m dope_model.rendering.placement 60
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from dope_model.benchmark.placement import HEIGHT, WIDTH, centimetres
from dope_model.camera.depth import DepthImage
from dope_model.camera.placement import place_people
from dope_model.datasets.labels import Sample, Visibility
from dope_model.poses import PartPose, WholeBody
from dope_model.rendering.assets import MissingAssetError
from dope_model.rendering.generate import RenderSettings, Studio

DEPTH_NOISES = ((0.0, 0.0), (2.0, 0.0), (4.0, 0.0), (4.0, 0.05))
"""Noise of the joints, px, and standard deviation of the size of the 3D pose."""
_NOISY_METRES = 0.005
"""Noise of a depth image at one metre, which grows with the square of the distance, and ..."""
_HOLES = 0.2
"""... the share of it without data."""


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
    studio = Studio(RenderSettings(seed=seed, people=(1, 3), size=(WIDTH, HEIGHT), supersampling=1))
    for number in range(count):
        image = studio.image(number)
        yield image.sample, image.frame.depth.astype(np.float32)


def print_table(count: int) -> None:
    """The table, without and with depth."""
    scenes = list(tqdm(render_scenes(count), total=count, unit="picture"))
    people = sum(len(sample.parts["body"]) for sample, _ in scenes)
    print(f"{len(scenes)} pictures, {people} bodies; cm: median / 90th percentile\n")
    print("| noise, px | size wrong by | depth | body | hand | face |")
    print("|---|---|---|---|---|---|")
    for noise, size in DEPTH_NOISES:
        errors = rendered_errors(scenes, noise, size)
        for used in (False, True):
            cells = [centimetres(errors[part, used]) for part in ("body", "hand", "face")]
            print(
                f"| {noise:.0f} | {100 * size:.0f} % | {'yes' if used else 'no'} "
                f"| {' | '.join(cells)} |"
            )


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dope_model.rendering.placement", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("count", type=int, help="pictures to render")
    options = parser.parse_args(arguments)
    try:
        print_table(options.count)
    except MissingAssetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
