"""A short video of two people who walk, cross and gesture, with exact labels of every frame:

    python -m tools.rendering.sample_clip --out DIR

writes `clip.mp4` and `labels.npz`, whose sample i is frame i. It serves as sample material: for
the demo, for tests, and for checks of tracking and placement.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from dope_model.datasets.labels import LabelSet
from dope_model.rendering.assets import MissingAssetError, Wardrobe, manifest
from dope_model.rendering.body import BodyModel
from dope_model.rendering.camera import Camera
from dope_model.rendering.labels import label_scene
from dope_model.rendering.limbs import ArmAngles
from dope_model.rendering.person import Closet, Person, sample_phenotype
from dope_model.rendering.places import Occupied, sample_place
from dope_model.rendering.renderer import Renderer
from dope_model.rendering.scene import Scene
from tools.rendering.motion import Gesture, Walk, Walker

WIDTH, HEIGHT = 640, 360
FRAMES_PER_SECOND = 25
SECONDS = 10.0
FILE = "clip.mp4"
EXPOSURE = 1.25
ROOM_SEED, ACTOR_SEEDS = 14, (14, 13)
"""Chosen by eye: visible faces, and a room with some furniture."""

WAVE = ArmAngles(62, 20, -72, 88, 30)
POINT = ArmAngles(78, 72, 0, 14, 35)
TALK = ArmAngles(22, 55, 18, 88, -38)
PHONE = ArmAngles(38, 62, 62, 128, 5, 12)
COUNT = ArmAngles(45, 50, -40, 112, -20)


def walkers(closet: Closet) -> list[Walker]:
    """Two people: one comes from the left, stops, waves, talks and goes on with a phone; one
    comes from the right, passes before the first, stops, counts and points."""
    first = Walk(
        np.array([-1.0, 2.6, 6.3, 8.6, 12.0]),
        np.array([(-3.0, 0.25), (0.12, 0.1), (0.12, 0.1), (1.65, 0.45), (1.65, 0.45)]),
        facing=8.0,
        gestures=[
            Gesture("R", 2.3, 4.5, WAVE, "spread", (20, 10)),
            Gesture("L", 4.2, 6.5, TALK, "relaxed", (16, 14), 0.9),
            Gesture("R", 4.9, 6.6, TALK, "flat", (14, 16), 1.1),
            Gesture("L", 6.9, 8.9, PHONE, "phone"),
            Gesture("R", 8.7, 11.0, WAVE, "flat", (18, 10)),
        ],
    )
    second = Walk(
        np.array([-1.0, 0.4, 5.2, 12.0]),
        np.array([(3.4, 1.1), (2.6, 1.05), (-1.0, 0.85), (-1.0, 0.85)]),
        facing=20.0,
        gestures=[
            Gesture("L", 1.6, 3.4, COUNT, "thumb_up"),
            Gesture("L", 5.3, 6.6, COUNT, "victory"),
            Gesture("L", 6.5, 8.3, POINT, "point", (6, 4), 0.8),
            Gesture("R", 5.8, 8.4, TALK, "pinch", (12, 16), 1.2),
            Gesture("R", 8.3, 11.0, COUNT, "thumb_up"),
        ],
        phase=0.3,
    )
    people = []
    for number, (walk, gender) in enumerate(((first, 0.9), (second, 0.08))):
        random = np.random.default_rng([ACTOR_SEEDS[number], number])
        phenotype = sample_phenotype(random) | {
            "gender": gender, "age": 0.62, "height": (0.36, 0.4)[number], "weight": 0.45,
        }  # fmt: skip
        expression = {"mouthSmileLeft": 0.45, "mouthSmileRight": 0.4, "jawOpen": 0.06}
        people.append(Walker(Person(closet, random, phenotype, expression), walk))
    return people


def make_clip(out: Path, seconds: float = SECONDS) -> Path:
    """Render the film and its labels into a folder; returns the film's path.

    Raises:
        MissingAssetError: something that rendering needs is missing.
        OSError: this OpenCV cannot write the film.
    """
    out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    wardrobe = Wardrobe()
    renderer = Renderer(supersampling=2)
    actors = walkers(Closet(BodyModel(), wardrobe))
    camera = Camera.looking(
        np.array([0.1, 1.4, 4.25]), np.array([0.05, 0.98, 0.3]), 0.0, 62, WIDTH, HEIGHT
    )
    random = np.random.default_rng([ROOM_SEED, 99])
    # The path of both, with some space around it, stays free of furniture.
    stripe = np.array([(x, z) for x in np.arange(-5, 5.1, 0.5) for z in (0.1, 0.9, 1.3)])
    ground = np.concatenate([stripe, camera.eye[None, [0, 2]]])
    occupied = Occupied(ground, np.full(len(ground), 0.7))
    place = sample_place(random, camera, occupied, 2.0, [], "room")
    path = out / FILE
    codec = cv2.VideoWriter_fourcc(*"mp4v")
    film = cv2.VideoWriter(str(path), codec, FRAMES_PER_SECOND, (WIDTH, HEIGHT))
    if not film.isOpened():
        raise OSError(f"OpenCV cannot write {path} here")
    samples = []
    noise = np.random.default_rng(7)
    for number in tqdm(range(int(seconds * FRAMES_PER_SECOND)), unit="frame"):
        people = [actor.at(number / FRAMES_PER_SECOND) for actor in actors]
        scene = Scene(camera, people, [], place, "clip")
        frame = renderer.render(scene.meshes, camera, place.light, place.behind)
        samples.append(label_scene(scene, frame, f"{FILE}#{number}"))
        image = EXPOSURE * frame.rgb + noise.standard_normal(frame.rgb.shape, np.float32) * 0.5
        film.write(np.clip(image[..., ::-1], 0, 255).astype(np.uint8))
    film.release()
    listed = manifest()
    about = {
        "source": "rendered people, tools/rendering/sample_clip.py",
        "frames_per_second": str(FRAMES_PER_SECOND),
        "licence": f"bodies, clothes, hair and skins: {listed['licence']}",
    }
    LabelSet(samples, about).save(out / "labels.npz")
    return path


def main(arguments: list[str] | None = None) -> int:
    """Make the film; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.rendering.sample_clip", description=__doc__
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for film and labels")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args(arguments)
    try:
        path = make_clip(options.out, options.seconds)
    except (MissingAssetError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{path}, {path.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
