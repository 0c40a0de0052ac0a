"""The demo's picture: two rendered people who show their hands, near enough to see fingers.

python -m tools.rendering.sample_picture --out people.jpg
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from dope_model.pictures import write_picture
from dope_model.rendering.assets import MissingAssetError, Wardrobe
from dope_model.rendering.body import BodyModel
from dope_model.rendering.camera import Camera
from dope_model.rendering.limbs import ArmAngles
from dope_model.rendering.person import Closet, Person, PosedPerson, sample_phenotype
from dope_model.rendering.places import Occupied, sample_place
from dope_model.rendering.renderer import Renderer
from dope_model.rendering.scene import Scene
from tools.rendering.motion import Gesture, Walk, Walker

WIDTH, HEIGHT = 960, 720
EXPOSURE = 1.25
WAVE = ArmAngles(70, 25, -75, 96, 30)
SHOW = ArmAngles(30, 70, -30, 112, 0)
GREET = ArmAngles(58, 30, -72, 112, 25)
ACTORS = (
    # Where they stand, m, where they face, degrees, gender, what right and left hand do, and seed.
    ((-0.60, 0.0), 12.0, 0.9, (WAVE, "spread"), (WAVE, "flat"), 4),
    ((0.60, 0.1), -14.0, 0.08, (SHOW, "thumb_up"), (GREET, "victory"), 30),
)
PLACE_SEED = 15
"""This and the actors' seeds were chosen by eye."""


def actors(closet: Closet) -> list[PosedPerson]:
    """Both people, who stand and smile."""
    people = []
    for number, (place, facing, gender, right, left, seed) in enumerate(ACTORS):
        random = np.random.default_rng([seed, number])
        phenotype = sample_phenotype(random) | {
            "gender": gender, "age": 0.62, "height": (0.4, 0.42)[number], "weight": 0.45,
        }  # fmt: skip
        smile = {"mouthSmileLeft": 0.6, "mouthSmileRight": 0.55, "jawOpen": 0.08}
        gestures = [
            Gesture(side, -9, 9, *what, (0, 0)) for side, what in (("R", right), ("L", left))
        ]
        walk = Walk(
            np.array([-9.0, 9.0]), np.array([place, place]), facing=facing, gestures=gestures
        )
        people.append(Walker(Person(closet, random, phenotype, smile), walk).at(0.0))
    return people


def main(arguments: list[str] | None = None) -> int:
    """Render it; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.rendering.sample_picture", description=__doc__
    )
    parser.add_argument("--out", type=Path, required=True, help="the picture")
    options = parser.parse_args(arguments)
    try:
        people = actors(Closet(BodyModel(), Wardrobe()))
    except MissingAssetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    camera = Camera.looking(
        np.array([0.0, 1.35, 3.1]), np.array([0.0, 0.98, 0.0]), 0.0, 50, WIDTH, HEIGHT
    )
    ground = np.array([*(place for place, *_ in ACTORS), camera.eye[[0, 2]]])
    random = np.random.default_rng(PLACE_SEED)
    place = sample_place(random, camera, Occupied(ground, np.full(3, 1.0)), 2.0, [], "room")
    scene = Scene(camera, people, [], place, "picture")
    frame = Renderer(supersampling=2).render(scene.meshes, camera, place.light, place.behind)
    noise = np.random.default_rng(7).standard_normal(frame.rgb.shape, np.float32) * 0.5
    write_picture(options.out, np.clip(EXPOSURE * frame.rgb + noise, 0, 255).astype(np.uint8))
    return 0


if __name__ == "__main__":
    sys.exit(main())
