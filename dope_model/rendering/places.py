"""Places around people: rooms, the open air, and pictures; each with its light.

None of them shows a person. Pictures from a folder must not either: people in them would be
unlabelled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from dope_model.pictures import read_rgb
from dope_model.rendering import textures
from dope_model.rendering.body import rotation
from dope_model.rendering.camera import Camera
from dope_model.rendering.materials import pick_color
from dope_model.rendering.meshes import Finish, Mesh, box, plane, revolved
from dope_model.rendering.renderer import Light

PLACES = {"room": 0.55, "outdoors": 0.29, "backdrop": 0.16}
"""Shares of places; with a folder of pictures, half of all places are those pictures."""

_MATT = Finish(shine=0.0, wrap=0.0)
_GLOSS = Finish(shine=0.08, sharpness=30)
_GLOW = Finish(emits=True, casts_shadow=False)
_CATCHER = Finish(backdrop=True, casts_shadow=False)
_FLAT = Finish(shine=0.0, wrap=0.0, casts_shadow=False)


@dataclass
class Place:
    """The surroundings of people, the picture behind them, and the light."""

    meshes: list[Mesh]
    behind: np.ndarray
    light: Light
    kind: str


@dataclass
class Occupied:
    """Ground that must stay free: `centres` (N, 2) as x, z and `radii` (N,), m."""

    centres: np.ndarray
    radii: np.ndarray

    def free(self, low: np.ndarray, high: np.ndarray, turn: np.ndarray) -> bool:
        """Whether the rectangle from `low` to `high` (x, z in turned axes) touches nobody."""
        points = np.stack([self.centres[:, 0], np.zeros(len(self.radii)), self.centres[:, 1]], 1)
        local = (points @ turn)[:, [0, 2]]
        nearest = np.clip(local, low, high)
        return bool((np.linalg.norm(local - nearest, axis=1) > self.radii).all())


def sample_place(
    random: np.random.Generator, camera: Camera, occupied: Occupied, top: float,
    pictures: list[Path], kind: str | None = None,
) -> Place:  # fmt: skip
    """A place for people who stand on y = 0.

    Args:
        occupied: where people and the camera are.
        top: height of the highest point of people and camera, m.
        pictures: files for backdrops; may be empty.
        kind: one of PLACES; drawn by its share when None.
    """
    if kind is None and pictures and random.random() < 0.5:
        path = pictures[random.integers(len(pictures))]
        return _backdrop(random, _photograph(random, path, camera), "picture")
    if kind is None:
        kind = list(PLACES)[random.choice(len(PLACES), p=list(PLACES.values()))]
    if kind == "room":
        return _room(random, camera, occupied, top)
    if kind == "outdoors":
        return _outdoors(random, camera, occupied)
    return _backdrop(random, textures.abstract(random, camera.width, camera.height), kind)


def _light(random, strong: float, ambient: float, softness: float, warm: float) -> Light:
    azimuth = random.uniform(-np.pi, np.pi)
    height = np.radians(random.uniform(25, 75))
    way = np.array([np.sin(azimuth) * np.cos(height), np.sin(height),
                    np.cos(azimuth) * np.cos(height)])  # fmt: skip
    tint = np.array([1 + warm, 1.0, 1 - warm])
    fill = random.uniform(-np.pi, np.pi)
    return Light(
        key=strong * tint,
        key_way=way,
        sky=ambient * (2 - tint),
        ground=ambient * random.uniform(0.35, 0.75) * np.ones(3),
        fill=random.uniform(0, 0.25) * np.ones(3),
        fill_way=np.array([np.sin(fill), 0.25, np.cos(fill)]),
        softness=softness,
    )


def _indoor_light(random) -> Light:
    return _light(random, random.uniform(0.2, 0.8), random.uniform(0.35, 0.85),
                  random.uniform(3, 14), random.normal(0.04, 0.06))  # fmt: skip


def _outdoor_light(random) -> Light:
    if random.random() < 0.45:
        return _light(random, random.uniform(0.05, 0.3), random.uniform(0.7, 1.0), 16,
                      random.normal(-0.02, 0.03))  # fmt: skip
    return _light(random, random.uniform(0.8, 1.5), random.uniform(0.3, 0.55), 1.5,
                  random.normal(0.06, 0.05))  # fmt: skip


def _photograph(random, path: Path, camera: Camera) -> np.ndarray:
    image = read_rgb(path)
    scale = max(camera.width / image.shape[1], camera.height / image.shape[0])
    scale *= random.uniform(1.0, 1.4)
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    slack = np.array(image.shape[:2]) - (camera.height, camera.width)
    top, left = (int(random.integers(0, max(s, 0) + 1)) for s in slack)
    image = image[top : top + camera.height, left : left + camera.width]
    if image.shape[:2] != (camera.height, camera.width):
        image = cv2.resize(image, (camera.width, camera.height))
    if random.random() < 0.5:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _backdrop(random, picture: np.ndarray, kind: str) -> Place:
    """A picture, with an unseen floor that only catches shadows; the light follows the picture."""
    mean = picture.reshape(-1, 3).mean(axis=0) / 255
    brightness = float(mean.mean())
    light = _indoor_light(random) if random.random() < 0.5 else _outdoor_light(random)
    tint = np.clip(mean / max(brightness, 0.05), 0.75, 1.3) ** 0.5
    level = 0.65 + 0.6 * brightness
    color = level * tint
    tinted = {name: getattr(light, name) * color for name in ("key", "sky", "ground")}
    light = replace(light, **tinted)
    floor = _ground_plane(12.0, np.full((2, 2, 3), 128, np.uint8), 1.0, _CATCHER)
    return Place([floor], picture, light, kind)


def _ground_plane(half: float, texture: np.ndarray, tile: float, finish: Finish) -> Mesh:
    corners = [[-half, 0, half], [half, 0, half], [half, 0, -half], [-half, 0, -half]]
    return plane(np.array(corners), texture, finish, tile)


def _room(random, camera: Camera, occupied: Occupied, top: float) -> Place:
    """Four walls around everybody and the camera, with furniture and things on the walls."""
    turn = rotation("y", random.uniform(0, 360))
    points = np.stack(
        [occupied.centres[:, 0], np.zeros(len(occupied.radii)), occupied.centres[:, 1]], 1
    )
    local = (points @ turn)[:, [0, 2]]
    low = (local - occupied.radii[:, None]).min(axis=0) - random.uniform(0.05, 2.5, 2)
    high = (local + occupied.radii[:, None]).max(axis=0) + random.uniform(0.05, 2.5, 2)
    height = max(random.uniform(2.35, 3.3), top + 0.15)
    wall = textures.wall(random)
    ceiling = textures.mottled(random, np.full(3, random.uniform(170, 245)), 0.02)
    (x0, z0), (x1, z1) = low, high
    tile = random.uniform(0.8, 2.2)
    meshes = [
        plane(np.array([[x0, 0, z1], [x1, 0, z1], [x1, 0, z0], [x0, 0, z0]]),
              textures.floor(random), _MATT, random.uniform(0.8, 2.0)),
        plane(np.array([[x0, height, z0], [x1, height, z0], [x1, height, z1], [x0, height, z1]]),
              ceiling, _FLAT, 2.0),
    ]  # fmt: skip
    sides = {
        "back": ((x0, z0), (x1, z0)), "front": ((x1, z1), (x0, z1)),
        "left": ((x0, z1), (x0, z0)), "right": ((x1, z0), (x1, z1)),
    }  # fmt: skip
    accent = textures.wall(random) if random.random() < 0.3 else wall
    for name, (start, end) in sides.items():
        own = accent if name == "back" else wall
        meshes += _wall(random, start, end, height, own, tile)
    for _ in range(int(random.integers(1, 9))):
        meshes += _furniture(random, low, high, height, occupied, turn)
    meshes = [mesh.moved(turn, np.zeros(3)) for mesh in meshes]
    behind = np.full((camera.height, camera.width, 3), 60, np.uint8)
    return Place(meshes, behind, _indoor_light(random), "room")


def _wall(random, start, end, height, texture, tile) -> list[Mesh]:
    """A wall from one corner to the next with windows, doors, pictures on it."""
    a, b = np.array([start[0], 0, start[1]]), np.array([end[0], 0, end[1]])
    length = float(np.linalg.norm(b - a))
    along = (b - a) / length
    inward = np.cross(along, [0, 1.0, 0])
    up = np.array([0, height, 0])
    meshes = [plane(np.array([a, b, b + up, a + up]), texture, _FLAT, tile)]

    def hang(left: float, bottom: float, wide: float, tall: float, picture, finish, depth=0.02):
        if left < 0.02 or left + wide > length - 0.02 or bottom + tall > height - 0.02:
            return
        corner = a + along * left + np.array([0, bottom, 0]) + inward * depth
        rise = np.array([0, tall, 0])
        quad = np.array([corner, corner + along * wide, corner + along * wide + rise,
                         corner + rise])  # fmt: skip
        meshes.append(plane(quad, picture, finish, None))

    skirting = np.zeros((4, 4, 3), np.uint8)
    skirting[:] = np.clip(pick_color(random, 1.0) * 0.5 + 110, 0, 255)
    hang(0.03, 0.0, length - 0.06, random.uniform(0.06, 0.12), skirting, _MATT, 0.012)
    position = random.uniform(0.1, 0.8)
    while position < length - 0.5:
        kind = random.random()
        wide = random.uniform(0.35, 1.4)
        if kind < 0.22:
            view = textures.landscape(random, 96, 96, random.uniform(30, 80))
            tall = random.uniform(0.9, 1.5)
            frame = np.full((4, 4, 3), int(random.uniform(60, 245)), np.uint8)
            hang(position - 0.06, 0.84, wide + 0.12, tall + 0.12, frame, _MATT, 0.015)
            bright = np.clip(view.astype(float) * random.uniform(0.8, 1.3), 0, 255)
            hang(position, 0.9, wide, tall, bright.astype(np.uint8), _GLOW)
        elif kind < 0.36:
            door = np.full((8, 8, 3), 0, np.uint8)
            door[:] = np.clip(pick_color(random, 0.9) * 0.6 + 50, 0, 255)
            wide = random.uniform(0.75, 0.95)
            hang(position - 0.06, 0, wide + 0.12, 2.1, (door * 0.75).astype(np.uint8), _MATT, 0.014)
            hang(position, 0, wide, 2.03, door, _GLOSS)
        elif kind < 0.75:
            tall = wide * random.uniform(0.6, 1.5)
            bottom = random.uniform(0.9, 1.6)
            frame = np.full((4, 4, 3), int(random.uniform(10, 240)), np.uint8)
            hang(position - 0.03, bottom - 0.03, wide + 0.06, tall + 0.06, frame, _MATT, 0.015)
            screen = random.random() < 0.2
            hang(position, bottom, wide, tall, textures.picture(random), _GLOW if screen else _MATT)
        position += wide + random.uniform(0.15, 1.6)
    return meshes


def _furniture(random, low, high, height, occupied: Occupied, turn) -> list[Mesh]:
    """One piece that touches nobody: along a wall or anywhere; none when there is no space."""
    size = random.uniform((0.35, 0.3), (1.8, 0.75))
    if random.random() < 0.5:
        size = size[::-1]
    for _ in range(12):
        corner = random.uniform(low + 0.02, np.maximum(high - size - 0.02, low + 0.03))
        if random.random() < 0.75:
            axis = int(random.integers(2))
            corner[axis] = low[axis] + 0.02 if random.random() < 0.5 else high[axis] - size[axis]
        if (corner + size > high).any() or not occupied.free(corner, corner + size, turn):
            continue
        return _piece(random, corner, corner + size, height)
    return []


def _piece(random, low, high, room_height) -> list[Mesh]:
    color = np.zeros((8, 8, 3), np.uint8)
    color[:] = pick_color(random, 0.75)
    surface = textures.wood(random) if random.random() < 0.5 else color
    kind = random.random()

    def span(bottom: float, top: float) -> tuple[np.ndarray, np.ndarray]:
        """Opposite corners of a box on this ground."""
        return np.array([low[0], bottom, low[1]]), np.array([high[0], top, high[1]])

    if kind < 0.25:
        tall = min(random.uniform(1.2, 2.1), room_height - 0.05)
        return [box(*span(0, tall), textures.shelf(random), _MATT, 1.2)]
    if kind < 0.45:
        return [box(*span(0, random.uniform(0.4, 1.1)), surface, _GLOSS, 1.0)]
    if kind < 0.75:
        top = random.uniform(0.42, 0.95)
        legs = []
        for x in (low[0], high[0] - 0.05):
            for z in (low[1], high[1] - 0.05):
                legs.append(box((x, 0, z), (x + 0.05, top - 0.04, z + 0.05), surface, _MATT))
        meshes = [box(*span(top - 0.04, top), surface, _GLOSS), *legs]
        return meshes + _clutter(random, low, high, top)
    cloth = textures.carpet(random)
    seat = random.uniform(0.36, 0.48)
    back = (np.array([low[0], seat, low[1]]), np.array([high[0], seat + 0.4, low[1] + 0.16]))
    return [box(*span(0.05, seat), cloth, _MATT, 0.6), box(*back, cloth, _MATT, 0.6)]


def _clutter(random, low, high, top: float) -> list[Mesh]:
    """Small things on a table."""
    meshes = []
    for _ in range(int(random.integers(0, 5))):
        x, z = random.uniform(low + 0.08, np.maximum(high - 0.08, low + 0.09))
        color = np.zeros((4, 4, 3), np.uint8)
        color[:] = pick_color(random, 0.4)
        if random.random() < 0.5:
            wide, tall, deep = random.uniform(0.04, (0.2, 0.3, 0.15))
            meshes.append(box((x, top, z), (x + wide, top + tall, z + deep), color, _GLOSS))
        else:
            radius, tall = random.uniform(0.025, 0.06), random.uniform(0.08, 0.3)
            outline = [(0, 0), (radius, 0), (radius * random.uniform(0.6, 1.3), tall * 0.6),
                       (radius * random.uniform(0.3, 1.1), tall), (0, tall)]  # fmt: skip
            thing = revolved(np.array(outline), color, _GLOSS, 12)
            meshes.append(thing.moved(np.eye(3), np.array([x, top, z])))
    return meshes


def _outdoors(random, camera: Camera, occupied: Occupied) -> Place:
    """Open ground under a sky, with houses, hedges, trees and posts some way off."""
    away = camera.turn[2]
    # Where the camera sees points at its own height, infinitely far away.
    level = np.hypot(away[0], away[2])
    horizon = camera.intrinsics.cy + camera.intrinsics.fy * away[1] / max(level, 0.05)
    slope = float(camera.turn[1, 1] and camera.turn[0, 1] / camera.turn[1, 1])
    behind = textures.landscape(random, camera.width, camera.height, float(horizon), slope)
    meshes = [_ground_plane(45.0, textures.open_ground(random), random.uniform(1.0, 3.0), _MATT)]
    eye = camera.eye
    ahead = np.array([away[0], away[2]]) / max(level, 1e-3)
    aside = np.array([-ahead[1], ahead[0]])
    nobody_turned = np.eye(3)
    for _ in range(int(random.integers(2, 16))):
        distance = random.uniform(4, 38)
        place = eye[[0, 2]] + ahead * distance + aside * distance * random.uniform(-0.9, 0.9)
        kind = random.random()
        size = random.uniform((3, 3), (12, 9)) if kind < 0.35 and distance > 12 else None
        reach = np.array([1.0, 1.0]) if size is None else size / 2
        if not occupied.free(place - reach, place + reach, nobody_turned):
            continue
        if size is not None:
            tall = random.uniform(2.6, 11)
            made = [box((-reach[0], 0, -reach[1]), (reach[0], tall, reach[1]),
                        textures.facade(random), _MATT, random.uniform(2.5, 6))]  # fmt: skip
        elif kind < 0.55:
            leaves = textures.mottled(random, np.array([58, 84, 40.0]) * random.uniform(0.6, 1.4),
                                      0.4)  # fmt: skip
            wide = random.uniform(0.4, 0.95)
            made = [box((-wide, 0, -0.4), (wide, random.uniform(0.5, 1.8), 0.4), leaves, _MATT)]
        elif kind < 0.85:
            made = _tree(random)
        else:
            grey = np.full((4, 4, 3), int(random.uniform(50, 160)), np.uint8)
            radius, tall = random.uniform(0.03, 0.12), random.uniform(1.0, 5)
            made = [revolved(np.array([(radius, 0), (radius, tall), (0, tall)]), grey, _GLOSS, 10)]
        turn = rotation("y", random.uniform(0, 360)) if size is None else np.eye(3)
        shift = np.array([place[0], 0, place[1]])
        meshes += [mesh.moved(turn, shift) for mesh in made]
    return Place(meshes, behind, _outdoor_light(random), "outdoors")


def _tree(random) -> list[Mesh]:
    bark = textures.mottled(random, np.array([86, 66, 48.0]) * random.uniform(0.6, 1.3), 0.3)
    green = np.array([random.uniform(40, 110), random.uniform(75, 125), random.uniform(25, 55)])
    leaves = textures.mottled(random, green, 0.5)
    trunk, radius = random.uniform(1.2, 2.6), random.uniform(0.07, 0.2)
    meshes = [revolved(np.array([(radius, 0), (radius * 0.7, trunk + 0.6)]), bark, _MATT, 10)]
    for _ in range(int(random.integers(2, 6))):
        size = random.uniform(0.5, 1.3)
        angles = np.linspace(0, np.pi, 8)
        outline = np.stack([np.sin(angles) * size * random.uniform(0.85, 1.1, 8),
                            (1 - np.cos(angles)) * size * 0.9], 1)  # fmt: skip
        crown = revolved(outline, leaves, _MATT, 12)
        offset = random.normal(0, 0.45, 3)
        meshes.append(crown.moved(np.eye(3), np.array([offset[0], trunk + abs(offset[1]) - 0.3,
                                                       offset[2]])))  # fmt: skip
    return meshes


def chair(random: np.random.Generator, height: float, width: float) -> list[Mesh]:
    """A seat whose top is at `height`, its middle at the origin, its front towards +z."""
    surface = np.zeros((8, 8, 3), np.uint8)
    surface[:] = pick_color(random, 0.7)
    if random.random() < 0.4:
        surface = textures.wood(random)
    w, kind = width / 2, random.random()
    if kind < 0.25 or height < 0.2:
        return [box((-w, 0, -0.24), (w, height, 0.2), surface, _MATT)]
    if kind < 0.4:
        outline = np.array([(0.2, 0), (0.05, 0.03), (0.04, height - 0.05), (w, height - 0.04),
                            (w, height), (0, height)])  # fmt: skip
        return [revolved(outline, surface, _GLOSS, 18)]
    meshes = [box((-w, height - 0.05, -0.24), (w, height, 0.2), surface, _MATT)]
    for x in (-w, w - 0.04):
        for z in (-0.24, 0.16):
            meshes.append(box((x, 0, z), (x + 0.04, height - 0.05, z + 0.04), surface, _MATT))
    if kind < 0.8:
        high = height + random.uniform(0.3, 0.55)
        meshes.append(box((-w, height + 0.08, -0.29), (w, high, -0.25), surface, _MATT))
    return meshes


def held_thing(random: np.random.Generator, kind: str) -> list[Mesh]:
    """A phone or a cup: the origin in the hand, y up the phone or along the cup's axis."""
    color = np.zeros((4, 4, 3), np.uint8)
    color[:] = pick_color(random, 0.6)
    if kind == "phone":
        return [box((-0.035, -0.07, -0.005), (0.035, 0.07, 0.004), color, _GLOSS)]
    radius, tall = random.uniform(0.02, 0.03), random.uniform(0.08, 0.18)
    outline = np.array([(0, -tall / 2), (radius, -tall / 2), (radius, tall / 4),
                        (radius * random.uniform(0.4, 1), tall / 2), (0, tall / 2)])  # fmt: skip
    return [revolved(outline, color, _GLOSS, 14)]
