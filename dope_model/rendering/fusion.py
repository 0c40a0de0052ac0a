"""How far people are from where two cameras together place them: a real model on rendered views.

python -m dope_model.rendering.fusion 60
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field

import cv2
import numpy as np
from tqdm import tqdm

from dope_model.benchmark.placement import HEIGHT, WIDTH
from dope_model.camera.fusion import View, fuse
from dope_model.camera.placement import place_people
from dope_model.detector import WholeBodyDetector
from dope_model.poses import WholeBody
from dope_model.rendering.assets import MissingAssetError
from dope_model.rendering.camera import Camera
from dope_model.rendering.effects import photograph
from dope_model.rendering.generate import RenderSettings, Studio
from dope_model.rendering.scene import SceneOptions, sample_scene
from dope_model.skeleton import BODY
from dope_model.weights import DEFAULT_MODEL

_FOV = 65
_NEAR = 0.15
"""A detection is of a person if its trusted joints are nearer than this in the picture, on average;
share of the person's size there."""


@dataclass
class Errors:
    """Mean distances of bodies' 13 joints from the truth, m, one value per body seen by both.

    Attributes:
        single: of each camera; plain: of the mean of both; fused; with_lens: fused with the lens.
        both: bodies that both cameras see; joined, wrong: of `with_lens`, pairs of one person and
            others.
    """

    single: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    fused: list[float] = field(default_factory=list)
    with_lens: list[float] = field(default_factory=list)
    both: int = 0
    joined: int = 0
    wrong: int = 0


def measure(model: str, count: int, seed: int) -> Errors:
    """Errors in `count` scenes of one to three people, each seen from two sides, 40 to 140 degrees
    apart, from 2.5 to 6 m.

    Raises:
        MissingAssetError: something that rendering needs is missing.
    """
    studio = Studio(RenderSettings(seed=seed, people=(1, 3), size=(WIDTH, HEIGHT), supersampling=1))
    options = SceneOptions((1, 3), WIDTH, HEIGHT, [], {"full": 1.0})
    detector, errors = WholeBodyDetector.load(model), Errors()
    for number in tqdm(range(count), unit="scene"):
        random = np.random.default_rng([seed, number])
        scene = sample_scene(studio.closet, random, options)
        bodies = np.array([posed.joints.body[: len(BODY)] for posed in scene.people])
        middle = bodies[:, BODY.root].mean(axis=(0, 1))
        first, between = random.uniform(-180, 180), random.uniform(40, 140)
        views, who = [], []
        for angle in np.radians((first, first + between)):
            eye = middle + random.uniform(2.5, 6.0) * np.array([np.sin(angle), 0, np.cos(angle)])
            eye[1] = random.uniform(0.6, 2.2)
            camera = Camera.looking(eye, middle, random.normal(0, 2), _FOV, WIDTH, HEIGHT)
            coarse = random.integers(40, 215, (4, 6, 3)).astype(np.uint8)
            behind = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
            # Without the room, whose walls would be between people and cameras.
            meshes = scene.meshes[: len(scene.meshes) - len(scene.place.meshes)]
            frame = studio.renderer.render(meshes, camera, scene.place.light, behind)
            people = detector(photograph(frame.rgb, random))
            people = place_people(people, camera.intrinsics)
            turn = camera.turn.T
            views.append(View(people, turn, -turn @ camera.shift, camera.intrinsics))
            who.append(_who(people, camera, bodies))
        _add(errors, views, who, bodies)
    return errors


def _who(people: list[WholeBody], camera: Camera, bodies: np.ndarray) -> dict[int, int]:
    """Which body each person is, by the picture; those who are nobody are left out."""
    pixels = camera.intrinsics.project(camera.to_optical(bodies))
    found = {}
    for place, person in enumerate(people):
        if person.body is None or person.body.root is None or not person.body.trusted.any():
            continue
        trusted = person.body.trusted[: len(BODY)]
        off = pixels[:, trusted] - person.body.keypoints_2d[: len(BODY)][trusted]
        away = np.linalg.norm(off, axis=-1).mean(axis=1) / np.ptp(pixels, axis=1).max(axis=1)
        if away.min() < _NEAR:
            found[place] = int(away.argmin())
    return found


def _add(errors: Errors, views: list[View], who: list[dict[int, int]], bodies: np.ndarray) -> None:
    errors.both += len(set(who[0].values()) & set(who[1].values()))
    poses = {one.seen_by: one.person for one in fuse([_blind(view) for view in views])}
    for one in fuse(views):
        if len(one.seen_by) < 2:
            continue
        (_, first), (_, second) = one.seen_by
        number = who[0].get(first, -1)
        if number < 0 or number != who[1].get(second, -2):
            errors.wrong += 1
            continue
        errors.joined += 1
        truth = bodies[number]
        placed = [
            view.people[place].body.placed_3d[: len(BODY)] @ view.turn.T + view.shift
            for view, place in zip(views, (first, second), strict=True)
        ]
        errors.single += [_off(points, truth) for points in placed]
        errors.plain.append(_off(np.mean(placed, axis=0), truth))
        errors.with_lens.append(_off(one.person.body.placed_3d[: len(BODY)], truth))
        if one.seen_by in poses:
            fused = poses[one.seen_by].body.placed_3d[: len(BODY)]
            errors.fused.append(_off(fused, truth))


def _blind(view: View) -> View:
    return View(view.people, view.turn, view.shift)


def _off(points: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(points - truth, axis=1).mean())


def print_table(errors: Errors) -> None:
    """Mean, median and 90th percentile, cm."""
    print(
        f"\n{errors.both} people seen by both cameras; {errors.joined} joined, and {errors.wrong} "
        "joined with somebody else\n\n| cm | mean | median | 90 % |\n|---|---|---|---|"
    )
    for name in ("single", "plain", "fused", "with_lens"):
        values = 100 * np.array(getattr(errors, name))
        cells = [values.mean(), np.median(values), np.percentile(values, 90)]
        print(f"| {name} | {' | '.join(f'{cell:.1f}' for cell in cells)} |")


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dope_model.rendering.fusion", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("count", type=int, help="scenes to render")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--seed", type=int, default=78)
    options = parser.parse_args(arguments)
    try:
        print_table(measure(options.model, options.count, options.seed))
    except MissingAssetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
