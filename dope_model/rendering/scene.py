"""One scene: positions of people, the camera, and the place around them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dope_model.rendering.body import BODY_VERTICES, SEGMENTS, rotation
from dope_model.rendering.camera import Camera
from dope_model.rendering.collision import Capsules, bodies_overlap, segment_distance
from dope_model.rendering.meshes import Mesh
from dope_model.rendering.person import Closet, Person, PosedPerson
from dope_model.rendering.places import Occupied, Place, chair, held_thing, sample_place
from dope_model.skeleton import HAND

SHOTS = {
    "full": 0.26, "half": 0.20, "head": 0.16, "hand": 0.14, "crowd": 0.10, "robot": 0.14,
}  # fmt: skip
"""Shares of pictures: whole bodies, from the hips up, head and shoulders, a hand, many people at
all distances, and a robot's low camera with a wide lens. "acrobat", a whole body at any angle, is
only used on request."""

# Degrees across the picture: narrowest and widest lens of a shot.
_LENSES = {
    "full": (38, 75), "half": (35, 70), "head": (25, 60), "hand": (28, 65), "crowd": (45, 80),
    "robot": (60, 105),
}  # fmt: skip
_UPRIGHT_SHARE = 0.2
"""Pictures that are higher than wide."""


@dataclass
class SceneOptions:
    """What scenes are made of.

    Attributes:
        people: least and most people in a scene.
        width, height: of the picture, px; a share of the pictures is in portrait format.
        pictures: files without people, used as backdrops; may be empty.
        shots: shares of kinds of pictures.
    """

    people: tuple[int, int] = (1, 4)
    width: int = 640
    height: int = 480
    pictures: list[Path] = field(default_factory=list)
    shots: dict[str, float] = field(default_factory=lambda: dict(SHOTS))


@dataclass
class Scene:
    """Everything that is drawn and measured; people are numbered from 1 in `people`'s order."""

    camera: Camera
    people: list[PosedPerson]
    things: list[Mesh]
    place: Place
    shot: str

    @property
    def meshes(self) -> list[Mesh]:
        """People first, each surface marked with its person's number."""
        meshes = []
        for number, person in enumerate(self.people, 1):
            for mesh in person.meshes:
                mesh.person = number
                meshes.append(mesh)
        return meshes + self.things + self.place.meshes


@dataclass
class _Standing:
    """A person in its place, with the solids that keep others away."""

    posed: PosedPerson
    capsules: Capsules
    things: list[Mesh]

    @property
    def ground(self) -> np.ndarray:
        """(2,) x and z of the middle."""
        return self.posed.joints.body[:12, [0, 2]].mean(axis=0)

    @property
    def reach(self) -> float:
        """m from the middle to the outermost joint, along the ground."""
        joints = np.concatenate([self.posed.joints.body, self.posed.joints.right_hand,
                                 self.posed.joints.left_hand])  # fmt: skip
        return float(np.linalg.norm(joints[:, [0, 2]] - self.ground, axis=1).max())


def sample_scene(
    closet: Closet, random: np.random.Generator, options: SceneOptions | None = None
) -> Scene:
    """A random scene; the same state of `random` gives the same scene."""
    options = options or SceneOptions()
    shot = list(options.shots)[
        random.choice(len(options.shots), p=np.array(list(options.shots.values())))
    ]
    least, most = options.people
    count = int(random.integers(least, most + 1))
    if shot == "crowd":
        count = max(count, int(random.integers((least + most + 1) // 2, most + 1)))
    width, height = options.width, options.height
    if random.random() < _UPRIGHT_SHARE:
        width, height = height, width

    subject = _stand(random, Person(closet, random), _yaw(random), np.zeros(2), shot)
    for _ in range(10):
        camera, target = _camera_for(random, subject, shot, width, height)
        if shot not in ("head", "hand") or _in_sight(camera, target, subject.capsules):
            break
    people = [subject]
    side_by_side = random.random() < 0.3
    for _ in range(count - 1):
        person = Person(closet, random)
        placed = _place_beside(random, person, people, camera, shot, side_by_side)
        if placed is not None:
            people.append(placed)
    order = random.permutation(len(people))
    people = [people[i] for i in order]

    eye = camera.eye[[0, 2]]
    # Furniture may hide others, but not the subject of the picture.
    sight = [eye + share * (subject.ground - eye) for share in (0.2, 0.35, 0.5, 0.65, 0.8)]
    grounds = np.array([p.ground for p in people] + [eye, *sight])
    radii = np.array([p.reach + 0.15 for p in people] + [0.4] + [0.25] * len(sight))
    top = max(max(m.vertices[:, 1].max() for m in p.posed.meshes) for p in people)
    place = sample_place(random, camera, Occupied(grounds, radii), max(top, camera.eye[1]),
                         options.pictures)  # fmt: skip
    things = [thing for p in people for thing in p.things]
    return Scene(camera, [p.posed for p in people], things, place, shot)


def _yaw(random) -> float:
    """Degrees from facing the camera."""
    if random.random() < 0.75:
        return float(random.normal(0, 42))
    return float(random.uniform(-180, 180))


def _stand(random, person: Person, yaw: float, ground: np.ndarray, shot: str) -> _Standing:
    """A person in a sampled pose on the floor, its hips over a point (x, z)."""
    activity = "acrobat" if shot == "acrobat" else None
    if shot in ("head", "hand") and random.random() < 0.7:
        activity = "stand"
    pose = person.poser.sample(random, activity)
    posed = person.posed(pose)
    lift = 0.0
    if pose.activity == "jump":
        lift = random.uniform(0.02, 0.4)
    elif pose.activity == "acrobat" and random.random() < 0.6:
        lift = random.uniform(0.0, 1.2)
    return _set_down(random, posed, yaw, ground, lift)


def _set_down(
    random, posed: PosedPerson, yaw: float, ground: np.ndarray, lift: float = 0.0
) -> _Standing:
    """Turned by `yaw`, with the lowest point `lift` m over the floor; seats and held things come
    along."""
    person, pose = posed.person, posed.pose
    things: list[Mesh] = []
    if pose.seat == "chair":
        pelvis = posed.meshes[0].vertices[:BODY_VERTICES]
        torso = pelvis[person.model.segments[:BODY_VERTICES] == SEGMENTS.index("torso")]
        height = float(torso[:, 1].min()) - posed.lowest
        things += [
            thing.moved(np.eye(3), np.array([torso[:, 0].mean(), posed.lowest, pose.heads[0][2]]))
            for thing in chair(random, height + 0.015, random.uniform(0.38, 0.6))
        ]
    if pose.held is not None:
        things += _held(random, posed)
    turn = rotation("y", yaw)
    hips = turn @ pose.heads[0]
    shift = np.array([ground[0] - hips[0], lift - posed.lowest, ground[1] - hips[2]])
    moved = posed.moved(turn, shift)
    solids = person.poser.solids.posed(pose.rotations, pose.heads)
    solids.starts, solids.ends = solids.starts @ turn.T + shift, solids.ends @ turn.T + shift
    return _Standing(moved, solids, [thing.moved(turn, shift) for thing in things])


def _held(random, posed: PosedPerson) -> list[Mesh]:
    """What the hand holds, inside the bent fingers."""
    side, kind = posed.pose.held
    hand = posed.joints.right_hand if side == "R" else posed.joints.left_hand
    frame = posed.person.poser.hands[side]
    turn = posed.pose.rotations[posed.person.model.index[f"wrist.{side}"]]
    palm, along = turn @ frame.palm, turn @ frame.along
    across = np.cross(palm, along)
    # Fingers wrap round a cup's axis, which runs across them; a phone lies along the palm.
    gap = 0.032 if kind == "cup" else 0.016
    middle = hand[1:6].mean(axis=0) + palm * gap + along * (0.012 if kind == "cup" else 0.03)
    axes = (np.stack([along, across, palm], 1) if kind == "cup"
            else np.stack([-across, along, palm], 1))  # fmt: skip
    return [thing.moved(axes, middle) for thing in held_thing(random, kind)]


def _in_sight(camera: Camera, target: np.ndarray, capsules: Capsules) -> bool:
    """Whether no part of the subject's own body is between the camera and its target."""
    way = target - camera.eye
    distance = float(np.linalg.norm(way))
    # The target itself lies inside a solid: stop short of it.
    end = camera.eye + way * max(1 - 0.14 / distance, 0.1)
    count = len(capsules.radii)
    gap = segment_distance(
        np.tile(camera.eye, (count, 1)), np.tile(end, (count, 1)), capsules.starts, capsules.ends
    )
    return bool((gap > capsules.radii + 0.02).all())


def _framing(shot: str) -> str:
    """Acrobats are seen as other whole bodies are."""
    return "full" if shot == "acrobat" else shot


def _camera_for(
    random, subject: _Standing, shot: str, width: int, height: int
) -> tuple[Camera, np.ndarray]:
    """A camera that shows the subject as the shot requires, and its target point (3,)."""
    shot = _framing(shot)
    joints = subject.posed.joints
    fov = float(random.uniform(*_LENSES[shot]))
    if width < height:
        fov *= width / height
    points = np.concatenate([mesh.vertices for mesh in subject.posed.meshes[:1]])
    low, high = points.min(axis=0), points.max(axis=0)
    tall = max(float(high[1] - low[1]), 0.35)
    roll = float(random.normal(0, 3)) if random.random() < 0.6 else 0.0
    tilt = float(random.normal(7, 9))
    azimuth = float(random.normal(0, 8))
    if shot in ("full", "crowd"):
        target = (low + high) / 2
        share = random.uniform(0.42, 1.0) if shot == "full" else random.uniform(0.3, 0.75)
        extent = max(tall, float(high[0] - low[0]) * height / width) / share
    elif shot == "robot":
        target = (low + high) / 2 + np.array([0, random.uniform(-0.2, 0.35) * tall, 0])
        extent = tall / random.uniform(0.45, 1.3)
    elif shot == "half":
        hips, head = joints.body[4:6].mean(axis=0), joints.body[12]
        target = hips + (head - hips) * random.uniform(0.45, 0.75)
        extent = float(np.linalg.norm(head - hips)) * random.uniform(1.5, 2.4)
    elif shot == "head":
        target = joints.face.mean(axis=0) * 0.6 + joints.body[12] * 0.4
        extent = float(np.ptp(joints.face[:33, 1]) + 0.05) * random.uniform(2.0, 4.2)
    else:
        left = random.random() < 0.5
        hand = joints.left_hand if left else joints.right_hand
        target = hand.mean(axis=0)
        size = float(np.linalg.norm(hand[0] - hand[HAND.index["middle_pip"]])) * 1.4
        extent = max(size, 0.12) * random.uniform(1.2, 2.8)
        # From anywhere round the hand, but not from inside the body.
        out = hand.mean(axis=0) - joints.body[:12].mean(axis=0)
        azimuth = float(np.degrees(np.arctan2(out[0], out[2]))) * random.uniform(0, 1)
        azimuth += float(random.normal(0, 35))
        tilt = float(random.normal(12, 25))
    vertical = np.tan(np.radians(fov) / 2) * height / width
    distance = max(extent / 2 / vertical, 0.32 if shot == "hand" else 0.4)
    if shot in ("full", "crowd", "robot"):
        distance += float(high[2] - low[2]) / 2
    if shot == "robot":
        eye_height = random.uniform(0.2, 1.35)
        rise = (eye_height - target[1]) / distance
        tilt = float(np.degrees(np.arcsin(np.clip(rise, -0.9, 0.9))))
    turn = np.radians([azimuth, np.clip(tilt, -60, 60)])
    way = np.array([np.sin(turn[0]) * np.cos(turn[1]), np.sin(turn[1]),
                    np.cos(turn[0]) * np.cos(turn[1])])  # fmt: skip
    eye = target + distance * way
    eye[1] = max(eye[1], 0.12)
    aim = target + random.normal(0, 0.07, 3) * extent * [1, 1, 0]
    return Camera.looking(eye, aim, roll, fov, width, height), target


def _place_beside(
    random, person: Person, people: list[_Standing], camera: Camera, shot: str, side_by_side: bool
) -> _Standing | None:
    """Another person in the picture, near the others or anywhere; None when there is no space."""
    subject = people[0]
    eye, away = camera.eye[[0, 2]], camera.turn[2][[0, 2]]
    away = away / max(float(np.linalg.norm(away)), 1e-6)
    aside = np.array([-away[1], away[0]])
    own = float((subject.ground - eye) @ away)
    half = camera.width / 2 / camera.intrinsics.fx
    first = _stand(random, person, _yaw(random), np.zeros(2), shot)
    shot = _framing(shot)
    heading = np.degrees(np.arctan2(-away[0], -away[1]))
    for attempt in range(30):
        if side_by_side and attempt < 12:
            near = people[int(random.integers(len(people)))]
            shift = random.uniform(0.38, 0.85) * (1 if random.random() < 0.5 else -1)
            ground = near.ground + aside * shift + away * random.normal(0, 0.2)
        else:
            nearest = {"crowd": 0.6, "full": 0.75, "robot": 0.6}.get(shot, 1.0) * own
            farthest = {"crowd": 3.2, "full": 2.0, "robot": 2.5}.get(shot, 1.0) * own
            farthest = max(farthest, own + 2.5) + attempt * 0.1
            depth = random.uniform(max(nearest, 0.7), farthest)
            ground = eye + away * depth + aside * depth * half * random.uniform(-1.0, 1.0)
        yaw = heading + _yaw(random)
        turn = rotation("y", yaw)
        hips = turn @ first.posed.joints.body[4:6].mean(axis=0)
        shift = np.array([ground[0] - hips[0], 0, ground[1] - hips[2]])
        moved = _Standing(
            first.posed.moved(turn, shift),
            Capsules(first.capsules.starts @ turn.T + shift, first.capsules.ends @ turn.T + shift,
                     first.capsules.radii, first.capsules.names),
            [thing.moved(turn, shift) for thing in first.things],
        )  # fmt: skip
        if np.linalg.norm(moved.ground - eye) < moved.reach + 0.25:
            continue
        if any(bodies_overlap(moved.capsules, other.capsules) for other in people):
            continue
        if shot in ("head", "hand", "half") and _hides(camera, moved, subject):
            continue
        return moved
    return None


def _hides(camera: Camera, one: _Standing, subject: _Standing) -> bool:
    """Whether `one` is directly in front of the subject of a close-up."""
    depth = camera.to_optical(one.posed.joints.body)[:, 2].min()
    return depth < camera.to_optical(subject.posed.joints.body)[:, 2].mean()
