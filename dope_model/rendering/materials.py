"""Textures of people: cloth in many colours and patterns, hair, skin, eyes."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import cv2
import numpy as np

from dope_model.rendering.assets import Asset, Wardrobe

PATTERNS = {
    "plain": 0.38, "stripes": 0.14, "check": 0.10, "dots": 0.06, "blotches": 0.08, "melange": 0.10,
    "print": 0.08, "gradient": 0.06,
}  # fmt: skip

HAIR_COLORS = np.array(
    [(24, 18, 15), (40, 28, 20), (66, 44, 28), (104, 72, 42), (158, 122, 76), (120, 58, 30),
     (150, 148, 144), (205, 202, 198)], float,
)  # fmt: skip
_HAIR_SHARES = np.array([0.27, 0.24, 0.18, 0.10, 0.07, 0.05, 0.05, 0.04])

EYE_COLORS = ((92, 58, 34), (70, 42, 24), (50, 30, 18), (96, 112, 130), (84, 104, 76),
              (120, 96, 60))  # fmt: skip


def pick_color(random: np.random.Generator, muted: float = 0.6) -> np.ndarray:
    """An RGB colour (3,), 0 to 255: near grey with probability `muted`, else strong; blues, and
    reds to browns, are more frequent than other hues, as they are on people and in rooms."""
    if random.random() < muted:
        saturation, value = random.beta(1.2, 5), random.uniform(0.05, 0.95)
    else:
        saturation, value = 0.2 + 0.75 * random.beta(1.6, 2.4), random.uniform(0.15, 0.85)
    family = random.random()
    hue = random.random()
    if family < 0.35:
        hue = random.normal(0.61, 0.04)
    elif family < 0.65:
        hue = random.normal(0.05, 0.05)
    return 255 * np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def _matching_color(random: np.random.Generator, color: np.ndarray) -> np.ndarray:
    """A second colour (3,) for a pattern: mostly a lighter, darker or greyer shade."""
    if random.random() < 0.35:
        return pick_color(random)
    grey = random.choice([20.0, 110.0, 235.0])
    return color + random.uniform(0.35, 1.0) * (grey - color)


def smooth_noise(random: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """(size, size) float32 between 0 and 1, soft blobs."""
    coarse = random.uniform(0, 1, (cells, cells)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), 0, 1)


def cloth_pattern(
    random: np.random.Generator, size: int = 512, plain: float = 0.0
) -> np.ndarray:  # fmt: skip
    """(size, size, 3) float32 RGB 0 to 255 of a fabric, without folds or shading.

    Args:
        plain: probability of one muted colour, before PATTERNS are drawn from.
    """
    kind = list(PATTERNS)[random.choice(len(PATTERNS), p=np.array(list(PATTERNS.values())))]
    first = pick_color(random)
    if random.random() < plain:
        kind, first = "plain", pick_color(random, 0.85)
    second, third = _matching_color(random, first), _matching_color(random, first)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    if random.random() < 0.5:
        x, y = y, x
    if kind == "plain":
        share = np.zeros((size, size), np.float32)
    elif kind == "stripes":
        period = random.uniform(12, 60)
        share = ((y % period) / period < random.uniform(0.15, 0.6)).astype(np.float32)
    elif kind == "check":
        period = random.uniform(16, 60)
        bars = ((y % period) < period * random.uniform(0.2, 0.6)).astype(np.float32)
        posts = ((x % period) < period * random.uniform(0.2, 0.6)).astype(np.float32)
        share = (bars + posts) / 2
    elif kind == "dots":
        period = random.uniform(12, 36)
        radius = period * random.uniform(0.18, 0.36)
        share = (
            np.hypot(x % period - period / 2, y % period - period / 2) < radius
        ).astype(np.float32)  # fmt: skip
    elif kind == "blotches":
        noise = smooth_noise(random, size, int(random.integers(12, 48)))
        share = np.clip((noise - 0.5) * 12 + 0.5, 0, 1)
    elif kind == "melange":
        share = smooth_noise(random, size, size // 3) * 0.5
    elif kind == "gradient":
        share = np.clip((y - size * 0.2) / (size * 0.4), 0, 1)
    else:
        share = np.zeros((size, size), np.float32)
        for _ in range(int(random.integers(2, 7))):
            centre = tuple(int(v) for v in random.uniform(0, size, 2))
            axes = tuple(int(v) for v in random.uniform(10, 70, 2))
            cv2.ellipse(share, centre, axes, float(random.uniform(0, 180)), 0, 360,
                        float(random.uniform(0.4, 1)), -1, cv2.LINE_AA)  # fmt: skip
    first, second, third = (c.astype(np.float32) for c in (first, second, third))
    color = first + share.astype(np.float32)[..., None] * (second - first)
    if kind in ("check", "blotches", "print") and random.random() < 0.6:
        extra = np.clip((smooth_noise(random, size, int(random.integers(5, 24))) - 0.6) * 10, 0, 1)
        color = color + extra[..., None] * (third - color)
    return color


def cloth_texture(
    random: np.random.Generator, asset: Asset, denim: bool, plain: float = 0.0
) -> np.ndarray:  # fmt: skip
    """A garment's texture (H, W, 3 or 4) in a new colour: its own folds and seams, our fabric.

    Args:
        plain: as of `cloth_pattern`.
        denim: the garment's own picture shows jeans that may be kept, only tinted.
    """
    own = asset.texture()
    folds = _folds(asset)
    if denim and random.random() < 0.45:
        rgb = own[..., :3].astype(np.float32)
        tint = (random.uniform(0.35, 1.25) + random.normal(0, 0.06, 3)).astype(np.float32)
        grey = rgb.mean(axis=2, keepdims=True)
        rgb = (grey + (rgb - grey) * np.float32(random.uniform(0, 1.1))) * tint
    else:
        rgb = cloth_pattern(random, own.shape[0], plain) * folds[..., None]
        if denim and random.random() < 0.5:
            grain = own[..., :3].mean(axis=2, dtype=np.float32) / 110.0
            rgb = rgb * (0.5 + 0.5 * np.clip(grain, 0.3, 1.8))[..., None]
    rgb = np.clip(rgb, 0, 255).astype(np.uint8)
    return rgb if own.shape[2] == 3 else np.concatenate([rgb, own[..., 3:]], axis=2)


@lru_cache(maxsize=64)
def _folds(asset: Asset) -> np.ndarray:
    """(H, W) about 1: darker in folds, from the garment's shading and normal maps."""
    occlusion, normal = asset.texture("_ao"), asset.texture("_normal")
    if occlusion is None:
        grey = asset.texture()[..., :3].astype(np.float32).mean(axis=2)
        return np.clip(grey / max(float(np.median(grey)), 8.0), 0.45, 1.6).astype(np.float32)
    height, width = asset.texture().shape[:2]
    shade = cv2.resize(occlusion[..., :3].mean(axis=2).astype(np.float32), (width, height)) / 255
    if normal is not None:
        slope = cv2.resize(normal[..., :3], (width, height)).astype(np.float32) / 127.5 - 1
        shade = shade * np.clip(1 + 0.35 * slope[..., 0] + 0.45 * slope[..., 1], 0.5, 1.5)
    return np.clip(shade, 0.2, 1.5).astype(np.float32)


def hair_color(random: np.random.Generator, age: float) -> np.ndarray:
    """RGB (3,); old people are grey more often."""
    shares = _HAIR_SHARES.copy()
    if age > 0.8:
        shares[-2:] *= 8
    base = HAIR_COLORS[random.choice(len(shares), p=shares / shares.sum())]
    if random.random() < 0.007:
        return pick_color(random, 0)
    return np.clip(base * random.uniform(0.75, 1.3) + random.normal(0, 4, 3), 4, 240)


def hair_texture(texture: np.ndarray, color: np.ndarray) -> np.ndarray:
    """A hair texture (H, W, 4) in another colour; its strands keep their light and dark."""
    rgb, alpha = texture[..., :3].astype(np.float32), texture[..., 3:]
    grey = rgb.mean(axis=2)
    covered = alpha[..., 0] > 128
    mean = max(float(grey[covered].mean()) if covered.any() else 1.0, 1.0)
    # Highlights painted into the texture fight with the scene's light: keep half of them.
    relief = 1 + 0.55 * (np.clip(grey / mean, 0, 2.2) - 1)
    tinted = np.clip(relief[..., None] * color.astype(np.float32), 0, 255).astype(np.uint8)
    return np.concatenate([tinted, alpha], axis=2)


@lru_cache(maxsize=2)
def _scalp(light: Asset, dark: Asset) -> np.ndarray:
    """(H, W) 0 to 1: where the dark skin's picture has close-cropped hair painted on the head."""
    bright = light.texture()[..., :3].astype(np.float32).mean(axis=2)
    shorn = dark.texture()[..., :3].astype(np.float32).mean(axis=2)
    ratio = shorn / np.maximum(bright, 1)
    mask = np.clip((0.30 - ratio / np.median(ratio) * 0.5) * 8, 0, 1)
    mask[:, : int(mask.shape[1] * 0.6)] = 0
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 2)


def skin_texture(
    random: np.random.Generator, wardrobe: Wardrobe, phenotype: dict[str, float], male: bool,
    shorn: np.ndarray | None,
) -> np.ndarray:  # fmt: skip
    """(1024, 1024, 3) uint8 RGB: a skin of the phenotype's age and origin with its own tone.

    Args:
        shorn: colour of close-cropped hair painted on the scalp; None leaves it as it is.
    """
    skins = {asset.name: asset for asset in wardrobe.kinds["skins"]}
    age = phenotype["age"]
    stage = "old" if age > 0.85 else "middleage" if age > 0.7 else "young"
    sex = "male" if male else "female"

    def picture(origin: str) -> np.ndarray:
        return skins[f"{stage}_{origin}_{sex}"].texture()[..., :3].astype(np.float32)

    african, asian, caucasian = (phenotype[k] for k in ("african", "asian", "caucasian"))
    if african > max(asian, caucasian):
        rgb = picture("african") * random.uniform(0.85, 1.6)
        grey = rgb.mean(axis=2, keepdims=True)
        rgb = grey + (rgb - grey) * random.uniform(0.6, 0.9)
    else:
        way = asian / max(asian + caucasian, 1e-6)
        rgb = way * picture("asian") + (1 - way) * picture("caucasian")
        rgb = rgb * (1 - 0.75 * african * random.uniform(0.4, 1) * np.array([0.75, 0.9, 1.0]))
    if shorn is not None:
        scalp = _scalp(skins["young_caucasian_male"], skins["young_african_male"])[..., None]
        rgb = rgb + scalp * random.uniform(0.55, 0.9) * (shorn - rgb)
    tone = random.uniform(0.82, 1.08) * (1 + random.normal(0, 0.025, 3))
    # The textures are small: pores and freckles add detail to close-ups.
    shift = tuple(int(s) for s in random.integers(0, 1024, 2))
    fine = np.roll(_pores(), shift, (0, 1))[..., None]
    rgb = cv2.resize((rgb * tone).astype(np.float32), (1024, 1024), interpolation=cv2.INTER_CUBIC)
    return np.clip(rgb * fine, 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _pores() -> np.ndarray:
    """(1024, 1024) about 1: fine grain and blotches; every skin shows another part of it."""
    random = np.random.default_rng(0)
    grain = random.standard_normal((512, 512), np.float32)
    grain = cv2.resize(grain, (1024, 1024), interpolation=cv2.INTER_LINEAR)
    return 1 + 0.022 * grain + 0.05 * (smooth_noise(random, 1024, 96) - 0.5)


def eye_texture(random: np.random.Generator, size: int = 128) -> np.ndarray:
    """(size, size, 3) uint8 RGB: an eyeball seen from the front."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size * 2 - 1
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    white = np.array([232, 226, 220.0]) - 18 * np.clip(radius, 0, 1)[..., None] * [0.4, 1, 1]
    color = np.array(EYE_COLORS[random.integers(len(EYE_COLORS))]) * random.uniform(0.7, 1.3)
    spokes = sum(
        random.normal(0, 0.12) * np.cos(k * angle + random.uniform(0, 6)) for k in range(9, 24)
    )
    iris = color * (1 + 0.6 * spokes + 0.4 * np.clip(1 - radius / 0.45, 0, 1))[..., None]
    iris_size, pupil_size = 0.46, random.uniform(0.14, 0.24)
    edge = 0.03
    inside = np.clip((iris_size - radius) / edge + 0.5, 0, 1)[..., None]
    rim = np.clip((radius - iris_size * 0.82) / (iris_size * 0.18), 0, 1)[..., None]
    pupil = np.clip((pupil_size - radius) / edge + 0.5, 0, 1)[..., None]
    rgb = white + inside * (iris * (1 - 0.55 * rim) - white)
    rgb = rgb * (1 - 0.96 * pupil)
    return np.clip(rgb, 0, 255).astype(np.uint8)
