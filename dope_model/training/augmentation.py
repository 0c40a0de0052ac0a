"""Augmented samples of a labelled picture: flip, scale, shift, rotation, perspective and colour.

One homography maps the picture to the canvas; the labels follow it exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dope_model.datasets.labels import PartLabels, Sample
from dope_model.skeleton import PARTS
from dope_model.training.instances import Instances, instances_of

_LARGEST_PIXEL = 3.0  # times its side: more shows nothing new
FILLED = (124, 116, 104)
"""RGB of what a view does not cover: ImageNet's mean colour."""
_AROUND = 16  # px of the picture around what the canvas shows


@dataclass(frozen=True)
class Augmentation:
    """The strength of the augmentation.

    Attributes:
        flip: probability of a mirror image.
        scale: the picture's size on the canvas, relative to just fitting it, is drawn
            log-uniformly from this range.
        centred: probability of an instance-centred crop: a random instance, of a part drawn first,
            lies in the view's middle half; otherwise the view lies anywhere in the picture.
        centred_parts: the parts that are drawn from; one that stands twice is drawn twice as often.
        centred_size: the longer side of the instance in the middle of a view, relative to the
            canvas' shorter one, is drawn log-uniformly from this range; (0, 0) leaves the view's
            scale as it is. Hands get large on small, cheap canvases that way.
        turn_deg: in-plane rotation, uniform within plus and minus this.
        turned: probability that the rotation is any angle instead.
        perspective: how far corners move, as a share of the picture's side (section 3.3: hands).
        colour: strength of the change of brightness, contrast, saturation and hue, 0 to 1.
        min_sizes: by part, px on the canvas: smaller instances become ignore regions.
        min_visible: instances with a smaller share of their box on the canvas are ignored.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (0.7, 1.6)
    centred: float = 0.0
    centred_parts: tuple[str, ...] = ("body", "hand", "face")
    centred_size: tuple[float, float] = (0.0, 0.0)
    turn_deg: float = 10.0
    turned: float = 0.0
    perspective: float = 0.04
    colour: float = 0.5
    min_sizes: tuple[tuple[str, float], ...] = (("body", 24), ("hand", 14), ("face", 14))
    min_visible: float = 0.35

    def __post_init__(self) -> None:
        if unknown := set(self.centred_parts) - set(PARTS):
            raise ValueError(
                f"centred_parts: {', '.join(sorted(unknown))} is no part; known: {', '.join(PARTS)}"
            )
        smallest, largest = self.centred_size
        if self.centred_size != (0, 0) and not 0 < smallest <= largest:
            raise ValueError(
                f"centred_size: {smallest} to {largest} is no range of sizes above 0; 0,0 is none"
            )


NO_AUGMENTATION = Augmentation(
    flip=0, scale=(1, 1), turn_deg=0, perspective=0, colour=0, min_visible=0
)


@dataclass
class View:
    """A training image.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        instances: by part.
        ignored: by part, (M, 4) boxes that are neither instances nor background.
        complete: by part, whether everything on the canvas is an instance or ignored.
    """

    image: np.ndarray
    instances: dict[str, Instances]
    ignored: dict[str, np.ndarray]
    complete: dict[str, bool]


def random_view(
    rgb: np.ndarray,
    sample: Sample,
    canvas: tuple[int, int],
    settings: Augmentation,
    random: np.random.Generator,
) -> View:
    """A random view of a labelled picture on a canvas of (width, height) px.

    What is uncovered is `FILLED`.
    """
    homography, flipped, turn = _random_homography(rgb, canvas, settings, random)
    if settings.centred and random.random() < settings.centred:
        homography = _centred(homography, sample, canvas, settings, random)
    image = _warp(rgb, homography, canvas)
    if settings.colour:
        image = jitter_colours(image, settings.colour, random)
    view = View(image, {}, {}, {})
    for part, labels in sample.parts.items():
        instances = _seen_through(labels, homography, flipped, turn, canvas)
        ignored = _warp_boxes(labels.ignored, homography, canvas)
        keep = _large_and_visible(instances, canvas, settings)
        view.instances[part] = instances.select(keep)
        view.ignored[part] = np.concatenate([ignored, instances.boxes[~keep]])
        view.complete[part] = labels.complete
    return view


def _random_homography(
    rgb: np.ndarray, canvas: tuple[int, int], settings: Augmentation, random: np.random.Generator
) -> tuple[np.ndarray, bool, float]:
    """Matrix (3, 3) from picture to canvas, whether it mirrors, and its turn in radians."""
    height, width = rgb.shape[:2]
    flipped = bool(random.random() < settings.flip)
    low, high = np.log(settings.scale)
    fit = min(canvas[0] / width, canvas[1] / height)
    scale = fit * np.exp(random.uniform(low, high))
    turn_deg = 180.0 if random.random() < settings.turned else settings.turn_deg
    turn = np.radians(random.uniform(-turn_deg, turn_deg))
    # Where the picture is smaller than the canvas it moves inside it, else the canvas moves in it.
    slack = np.array(canvas) - scale * np.array([width, height])
    target = np.array(canvas) / 2 + random.uniform(-0.5, 0.5, 2) * slack
    to_centre = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1.0]])
    mirror = np.diag([-1.0 if flipped else 1.0, 1, 1])
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    similarity = np.array([[cos, -sin, target[0]], [sin, cos, target[1]], [0, 0, 1]])
    tilt = np.eye(3)
    if settings.perspective:
        tilt[2, :2] = (
            random.uniform(-1, 1, 2) * settings.perspective / np.array([width, height]) * 2
        )
    return similarity @ tilt @ mirror @ to_centre, flipped, float(turn)


def _centred(
    homography: np.ndarray,
    sample: Sample,
    canvas: tuple[int, int],
    settings: Augmentation,
    random: np.random.Generator,
) -> np.ndarray:
    """The homography scaled and shifted for a random instance: its size is drawn, and its middle
    lies in the canvas' middle half."""
    parts = [sample.parts[name] for name in settings.centred_parts if sample.shows(name)]
    if not parts:
        return homography
    labels = parts[random.integers(len(parts))]
    some = np.flatnonzero(labels.valid_2d.any(axis=1))
    one = some[random.integers(len(some))]
    seen = labels.keypoints_2d[one][labels.valid_2d[one]]
    low, high = seen.min(axis=0).astype(float), seen.max(axis=0).astype(float)
    corners = _apply(homography, np.array([low, [high[0], low[1]], high, [low[0], high[1]]]))
    scale = 1.0
    if settings.centred_size != (0, 0):
        size = max(np.ptp(corners, axis=0).max(), 1.0)
        scale = min(canvas) * np.exp(random.uniform(*np.log(settings.centred_size))) / size
        enlarged = np.sqrt(abs(np.linalg.det(homography[:2, :2])))
        scale = min(scale, _LARGEST_PIXEL / enlarged)
    middle = scale * corners.mean(axis=0)
    shifted = np.diag([scale, scale, 1.0])
    shifted[:2, 2] = np.array(canvas) * random.uniform(0.25, 0.75, 2) - middle
    return shifted @ homography


def _warp(rgb: np.ndarray, homography: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
    """`rgb` on the canvas, averaged over the picture's pixels where it shrinks."""
    rgb, left, top = _needed(rgb, homography, canvas)
    homography = homography @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1.0]])
    shrink = np.sqrt(abs(np.linalg.det(homography[:2, :2])))
    if shrink < 0.6:
        factor = min(1.0, 1.4 * shrink)
        size = [max(1, round(factor * side)) for side in rgb.shape[1::-1]]
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        back = np.diag([rgb.shape[1] / small.shape[1], rgb.shape[0] / small.shape[0], 1])
        homography, rgb = homography @ back, small
    # OpenCV's integers are pixel centres, ours are pixel corners.
    corner, centre = np.eye(3), np.eye(3)
    corner[:2, 2], centre[:2, 2] = 0.5, -0.5
    return cv2.warpPerspective(
        rgb, centre @ homography @ corner, canvas, flags=cv2.INTER_LINEAR, borderValue=FILLED
    )


def _needed(
    rgb: np.ndarray, homography: np.ndarray, canvas: tuple[int, int]
) -> tuple[np.ndarray, int, int]:
    """The part of a picture that the canvas shows, and a little more, and where it begins in x and
    y; all of it where the horizon comes near."""
    height, width = rgb.shape[:2]
    corners = np.array([[0, 0], [canvas[0], 0], canvas, [0, canvas[1]]], float)
    homogeneous = np.column_stack([corners, np.ones(4)]) @ np.linalg.inv(homography).T
    depth = homogeneous[:, 2:]
    if depth.min() * depth.max() <= 0:
        return rgb, 0, 0
    points = homogeneous[:, :2] / depth
    left, top = np.clip(np.floor(points.min(axis=0)) - _AROUND, 0, [width - 1, height - 1])
    right, bottom = np.clip(np.ceil(points.max(axis=0)) + _AROUND, 1, [width, height])
    left, top = int(left), int(top)
    return rgb[top : max(top + 1, int(bottom)), left : max(left + 1, int(right))], left, top


def _apply(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 2) through a homography."""
    mapped = points @ homography[:, :2].T + homography[:, 2]
    return mapped[..., :2] / mapped[..., 2:]


def _warp_boxes(boxes: np.ndarray, homography: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
    """Boxes (M, 4) around the mapped corners, cut at the canvas; those beside it are dropped."""
    corners = _apply(homography, boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]].astype(float))
    mapped = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    mapped = np.clip(mapped, 0, [*canvas, *canvas])
    return mapped[(mapped[:, 2:] > mapped[:, :2]).all(axis=1)]


def _seen_through(
    labels: PartLabels, homography: np.ndarray, flipped: bool, turn: float, canvas: tuple[int, int]
) -> Instances:
    """The instances of a part on the canvas, 2D mapped, 3D mirrored and turned in the plane."""
    instances = instances_of(labels, *canvas, _apply(homography, labels.keypoints_2d.astype(float)))
    if flipped:  # the homography has mirrored the places
        instances = instances.with_sides_swapped()
    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    instances.keypoints_3d = instances.keypoints_3d @ rotation.T
    return instances


def _large_and_visible(
    instances: Instances, canvas: tuple[int, int], settings: Augmentation
) -> np.ndarray:
    """(N,) which instances are large enough, and have enough of themselves on the canvas."""
    size = instances.boxes[:, 2:] - instances.boxes[:, :2]
    minimum = dict(settings.min_sizes)[instances.part]
    large = (size.max(axis=1) >= minimum) & (size.min(axis=1) >= minimum / 4)
    low = np.where(instances.valid_2d[..., None], instances.keypoints_2d, np.inf).min(axis=1)
    high = np.where(instances.valid_2d[..., None], instances.keypoints_2d, -np.inf).max(axis=1)
    whole = np.prod(np.maximum(high - low, 1e-6), axis=1)
    frame = np.array(canvas)
    inside = np.prod(np.clip(np.minimum(high, frame) - np.maximum(low, 0), 0, None), axis=1)
    return large & (inside >= settings.min_visible * whole)


def jitter_colours(rgb: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Random brightness, contrast, saturation and hue; uint8 in, uint8 out."""
    hue, saturation = random.uniform(-18, 18) * strength, 1 + random.uniform(-0.5, 0.5) * strength
    contrast = 1 + random.uniform(-0.5, 0.5) * strength
    brightness = random.uniform(-50, 50) * strength
    values = np.arange(256, dtype=np.float32)
    new_hue, new_saturation = (values + hue) % 180, np.clip(values * saturation, 0, 255)
    table = np.stack([new_hue, new_saturation, values], axis=1).astype(np.uint8)
    hsv = cv2.LUT(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV), table[None])
    brighter = np.clip((values - 128) * contrast + 128 + brightness, 0, 255).astype(np.uint8)
    return cv2.LUT(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), brighter)
