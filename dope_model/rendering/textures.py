"""Surfaces of places: floors, walls, furniture, pictures on the wall, sky; all procedural."""

from __future__ import annotations

import cv2
import numpy as np

from dope_model.rendering.materials import pick_color, smooth_noise

SIZE = 256


def _finish(rgb: np.ndarray) -> np.ndarray:
    return np.clip(rgb, 0, 255).astype(np.uint8)


def _grain(random, amount: float, size: int = SIZE) -> np.ndarray:
    return 1 + np.float32(amount) * random.standard_normal((size, size, 1), np.float32)


def tileable_noise(random: np.random.Generator, cells: int, size: int = SIZE) -> np.ndarray:
    """(size, size) float32, 0 to 1, that repeats without a seam."""
    coarse = random.uniform(0, 1, (cells, cells)).astype(np.float32)
    coarse = np.pad(coarse, 2, mode="wrap")
    scale = size // cells
    fine = cv2.resize(coarse, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    edge = 2 * scale
    return np.clip(fine[edge : edge + size, edge : edge + size], 0, 1)


def wood(random: np.random.Generator) -> np.ndarray:
    """Boards of parquet or planks."""
    base = np.array([random.uniform(70, 205)]) * np.array([1.0, random.uniform(0.68, 0.85),
                                                           random.uniform(0.4, 0.68)])  # fmt: skip
    boards = int(random.choice([4, 8]))
    wide = SIZE // boards
    rgb = np.zeros((SIZE, SIZE, 3), np.float32)
    for board in range(boards):
        strip = base * random.uniform(0.82, 1.15)
        lines = cv2.resize(random.uniform(0.86, 1.1, (wide, 6)).astype(np.float32), (SIZE, wide))
        rgb[board * wide : (board + 1) * wide] = strip * lines[..., None]
        rgb[board * wide] *= 0.55
        joint = int(random.integers(0, SIZE))
        rgb[board * wide : (board + 1) * wide, joint] *= 0.6
    return _finish(rgb * _grain(random, 0.02))


def tiles(random: np.random.Generator) -> np.ndarray:
    """Square tiles with grout, one or two colours."""
    count = int(random.choice([2, 4]))
    wide = SIZE // count
    one = pick_color(random, 0.95)
    other = one if random.random() < 0.7 else pick_color(random, 0.97)
    rgb = np.zeros((SIZE, SIZE, 3), np.float32)
    for row in range(count):
        for column in range(count):
            color = (one if (row + column) % 2 else other) * random.uniform(0.94, 1.06)
            rgb[row * wide : (row + 1) * wide, column * wide : (column + 1) * wide] = color
    grout = pick_color(random, 1.0)
    for k in range(count):
        rgb[k * wide : k * wide + 2] = grout
        rgb[:, k * wide : k * wide + 2] = grout
    rgb = rgb * (0.92 + 0.16 * tileable_noise(random, 16))[..., None]
    return _finish(rgb * _grain(random, 0.015))


def mottled(random: np.random.Generator, color: np.ndarray, amount: float = 0.15) -> np.ndarray:
    """One colour with coarse and fine variation: plaster, carpet, concrete, soil, grass."""
    rough = sum(tileable_noise(random, cells) * weight
                for cells, weight in ((4, 0.4), (16, 0.35), (64, 0.25)))  # fmt: skip
    rgb = color * (1 + amount * 2 * (rough[..., None] - 0.5))
    return _finish(rgb * _grain(random, amount * 0.35))


def carpet(random: np.random.Generator) -> np.ndarray:
    return mottled(random, pick_color(random, 0.7) * 0.8 + 20, random.uniform(0.08, 0.3))


def bricks(random: np.random.Generator) -> np.ndarray:
    """Rows of bricks, each with its own shade."""
    base = np.array([165, 85, 62.0]) if random.random() < 0.6 else pick_color(random, 0.9)
    rgb = np.zeros((SIZE, SIZE, 3), np.float32)
    rgb[:] = pick_color(random, 1.0) * 0.4 + 110
    rows, columns = 8, 4
    tall, wide = SIZE // rows, SIZE // columns
    for row in range(rows):
        for column in range(columns):
            color = tuple(float(c) for c in base * random.uniform(0.7, 1.2))
            left = column * wide + (wide // 2 if row % 2 else 0)
            for shift in (0, -SIZE):
                corner = (left + shift + 2, row * tall + 2)
                opposite = (left + shift + wide - 2, (row + 1) * tall - 2)
                cv2.rectangle(rgb, corner, opposite, color, -1)
    return _finish(rgb * _grain(random, 0.06))


def wallpaper(random: np.random.Generator) -> np.ndarray:
    """Stripes or dots on a pale wall."""
    base = pick_color(random, 0.8) * 0.35 + 150
    other = base * random.uniform(0.8, 1.15) + random.normal(0, 8, 3)
    y, x = np.mgrid[:SIZE, :SIZE]
    period = SIZE // int(random.choice([4, 8, 16]))
    if random.random() < 0.6:
        share = (x % period < period * random.uniform(0.2, 0.6)).astype(np.float32)
    else:
        share = (np.hypot(x % period - period / 2, y % period - period / 2) < period / 4) * 1.0
    return _finish((base + share[..., None] * (other - base)) * _grain(random, 0.01))


def wall(random: np.random.Generator) -> np.ndarray:
    kind = random.random()
    if kind < 0.62:
        color = pick_color(random, 0.85) * random.uniform(0.2, 0.7) + random.uniform(60, 170)
        return mottled(random, np.clip(color, 0, 245), random.uniform(0.01, 0.08))
    return (wallpaper, bricks, tiles, wood)[random.choice(4, p=[0.4, 0.3, 0.15, 0.15])](random)


def floor(random: np.random.Generator) -> np.ndarray:
    return (wood, tiles, carpet)[random.choice(3, p=[0.4, 0.3, 0.3])](random)


def open_ground(random: np.random.Generator) -> np.ndarray:
    """Asphalt, grass, sand, paving."""
    kind = random.choice(4, p=[0.35, 0.3, 0.15, 0.2])
    if kind == 3:
        paving = tiles(random).astype(np.float32)
        grey = paving.mean(axis=2, keepdims=True)
        return _finish(grey + 0.3 * (paving - grey))
    color = ([92, 92, 94.0], [84, 110, 52.0], [190, 168, 128.0])[kind]
    return mottled(random, np.array(color) * random.uniform(0.7, 1.25), random.uniform(0.12, 0.35))


def facade(random: np.random.Generator) -> np.ndarray:
    """A house front with rows of windows."""
    rgb = mottled(random, pick_color(random, 0.85) * 0.5 + 80, 0.08)
    rows, columns = (int(v) for v in random.integers(2, 6, 2))
    tall, wide = SIZE // rows, SIZE // columns
    for row in range(rows):
        for column in range(columns):
            shade = random.normal(70, 30) + random.normal(0, 6, 3)
            glass = tuple(int(v) for v in np.clip(shade, 10, 220))
            top, left = row * tall + tall // 5, column * wide + wide // 4
            cv2.rectangle(rgb, (left, top), (left + wide // 2, top + tall * 3 // 5), glass, -1)
            cv2.rectangle(rgb, (left, top), (left + wide // 2, top + tall * 3 // 5), (225,) * 3, 2)
    return rgb


def shelf(random: np.random.Generator) -> np.ndarray:
    """Boards full of books and boxes."""
    rgb = np.zeros((SIZE, SIZE, 3), np.uint8)
    rgb[:] = pick_color(random, 1.0) * 0.5
    boards = int(random.integers(3, 6))
    tall = SIZE // boards
    for board in range(boards):
        x = 3
        while x < SIZE - 8:
            wide = int(random.integers(4, 22))
            high = int(tall * random.uniform(0.5, 0.86))
            color = tuple(int(c) for c in pick_color(random, 0.5))
            bottom = (board + 1) * tall - 4
            if random.random() < 0.85:
                cv2.rectangle(rgb, (x, bottom - high), (x + wide - 2, bottom), color, -1)
            x += wide
        rgb[(board + 1) * tall - 4 : (board + 1) * tall] = (205, 190, 165)
    return rgb


def picture(random: np.random.Generator, size: int = SIZE) -> np.ndarray:
    """Something to hang on a wall or show on a screen: landscapes, shapes, blots, a chart."""
    kind = random.random()
    if kind < 0.35:
        return landscape(random, size, size, size * random.uniform(0.35, 0.65))
    rgb = np.zeros((size, size, 3), np.uint8)
    rgb[:] = pick_color(random)
    if kind < 0.75:
        for _ in range(int(random.integers(3, 14))):
            color = tuple(int(c) for c in pick_color(random, 0.3))
            start, end = (tuple(int(v) for v in random.integers(0, size, 2)) for _ in range(2))
            if random.random() < 0.5:
                cv2.rectangle(rgb, start, end, color, -1)
            else:
                cv2.circle(rgb, start, int(random.integers(5, size // 3)), color, -1, cv2.LINE_AA)
    else:
        rgb[:] = 235
        for row in range(size // 10, size - size // 10, size // 14):
            length = int(random.uniform(0.3, 0.85) * size)
            cv2.line(rgb, (size // 10, row), (size // 10 + length, row), (60, 60, 70), 2)
    return rgb


def landscape(random, width: int, height: int, horizon: float, slope: float = 0.0) -> np.ndarray:
    """Sky, clouds, hills and land; `horizon` is its row in the middle, `slope` its tilt, px/px."""
    rows = np.arange(height)[:, None] - horizon - slope * (np.arange(width)[None] - width / 2)
    top = np.array([random.uniform(90, 190), random.uniform(140, 205), random.uniform(190, 250)])
    if random.random() < 0.35:
        top = np.full(3, random.uniform(140, 230)) + random.normal(0, 8, 3)
    low = top + (245 - top) * random.uniform(0.4, 0.95)
    way = np.clip(-rows / max(height * 0.8, 1), 0, 1)[..., None]
    rgb = low + way * (top - low)
    clouds = cv2.resize(smooth_noise(random, 128, int(random.integers(4, 16))), (width, height))
    clouds = np.clip((clouds - random.uniform(0.45, 0.8)) * 3, 0, 0.8)[..., None]
    rgb = rgb + clouds * (250 - rgb)
    land = pick_color(random, 0.5) * 0.35 + np.array([55, 75, 45.0]) * random.uniform(0.5, 1.2)
    for layer in range(int(random.integers(1, 4))):
        waves = np.interp(np.arange(width), np.linspace(0, width, 9),
                          random.uniform(0, 0.16 / (layer + 1), 9))  # fmt: skip
        ragged = waves + np.repeat(random.uniform(0, 0.02, width // 6 + 1), 6)[:width]
        shade = land * (0.75 + 0.25 * layer) + (1 - 0.3 * layer) * 18
        rgb = np.where((rows > -ragged[None] * height)[..., None], shade, rgb)
    return _finish(rgb * (1 + 0.02 * random.standard_normal((height, width, 1), np.float32)))


def abstract(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Blurred blobs, gradients and hard shapes: a backdrop that is no place at all."""
    first, second = pick_color(random, 0.8), pick_color(random, 0.8)
    y, x = np.mgrid[:height, :width] / max(width, height)
    angle = random.uniform(0, 2 * np.pi)
    way = np.clip(0.5 + (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.4)), 0, 1)[..., None]
    rgb = (first + way * (second - first)).astype(np.float32)
    for _ in range(int(random.integers(0, 4))):
        cells = int(random.integers(2, 7) if random.random() < 0.7 else random.integers(7, 40))
        noise = cv2.resize(smooth_noise(random, 128, cells), (width, height))
        sharpness = random.uniform(0.8, 2) if random.random() < 0.7 else random.uniform(4, 12)
        share = np.clip((noise - 0.5) * sharpness, 0, 1)[..., None]
        rgb = rgb + share * (pick_color(random, 0.8) - rgb) * random.uniform(0.2, 0.8)
    canvas = np.ascontiguousarray(_finish(rgb))
    for _ in range(int(random.integers(0, 16))):
        color = tuple(int(c) for c in pick_color(random, 0.7))
        points = random.uniform(0, 1, (int(random.integers(2, 6)), 2)) * [width, height] * 1.4
        size = random.uniform(0.05, 0.5)
        points = (points.mean(axis=0) + (points - points.mean(axis=0)) * size).astype(np.int32)
        if random.random() < 0.6:
            cv2.fillPoly(canvas, [points], color, cv2.LINE_AA)
        else:
            cv2.polylines(canvas, [points], False, color, int(random.integers(1, 9)), cv2.LINE_AA)
    return cv2.GaussianBlur(canvas, (0, 0), random.uniform(0.4, 5))
