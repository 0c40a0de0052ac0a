"""Finger poses: gestures, grasps and anything in between, within the joints' limits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dope_model.rendering.body import BodyModel, rotation_about

# Degrees: least and most flexion of the knuckle (MCP), middle (PIP) and last joint (DIP).
FINGER_LIMITS = np.array([(-15.0, 88.0), (0.0, 105.0), (0.0, 68.0)])


@dataclass(frozen=True)
class FingerPose:
    """Angles in degrees of one hand; side does not matter.

    Attributes:
        flexion: (4, 3) index to little finger, MCP PIP DIP, positive towards the palm.
        spread: (4,) away from the middle finger's line, positive towards the thumb.
        thumb: (4,) the root's lift out of the palm's plane, its swing across the palm, and the
            bend of MCP and IP.
    """

    flexion: np.ndarray
    spread: np.ndarray
    thumb: np.ndarray

    def limited(self) -> FingerPose:
        """Inside the joints' limits; bent fingers cannot be spread."""
        flexion = np.clip(self.flexion, FINGER_LIMITS[:, 0], FINGER_LIMITS[:, 1])
        free = 1 - np.clip(flexion[:, 0] / 80, 0, 0.9)
        spread = np.clip(self.spread, -16, 18) * free
        thumb = np.clip(self.thumb, (-10, -18, -8, -15), (50, 42, 55, 80))
        return FingerPose(flexion, spread, thumb)


def _pose(mcp, pip, thumb, spread=0.0, dip=None) -> FingerPose:
    """Four fingers from angles given for all or one by one; `spread` opens them like a fan."""
    mcp = np.broadcast_to(np.asarray(mcp, float), 4)
    pip = np.broadcast_to(np.asarray(pip, float), 4)
    dip = pip * 0.6 if dip is None else np.broadcast_to(np.asarray(dip, float), 4)
    fan = np.array([1.0, 0.1, -0.7, -1.4]) * spread
    return FingerPose(np.stack([mcp, pip, dip], 1), fan, np.array(thumb, float))


GESTURES = {
    "relaxed": (0.20, _pose((18, 24, 28, 32), (28, 32, 34, 34), (18, 8, 12, 15), 3)),
    "flat": (0.10, _pose(0, 2, (2, 0, 0, 0), 1)),
    "spread": (0.10, _pose(-4, 4, (22, -14, -4, -6), 11)),
    "fist": (0.09, _pose(82, 98, (22, 30, 40, 45), 0, dip=60)),
    "point": (0.07, _pose((4, 76, 82, 84), (6, 92, 96, 94), (24, 28, 38, 40), 2)),
    "victory": (0.05, _pose((0, 2, 80, 82), (4, 4, 96, 94), (26, 34, 40, 50), 10)),
    "thumb_up": (0.05, _pose(76, 96, (-4, -16, -4, -10), 0, dip=55)),
    "three": (0.03, _pose((0, 0, 2, 80), (3, 3, 5, 92), (28, 38, 40, 50), 8)),
    "four": (0.03, _pose(0, 4, (30, 42, 34, 60), 9)),
    "ok": (0.05, _pose((52, 16, 10, 6), (52, 18, 14, 12), (38, 16, 22, 28), 5)),
    "pinch": (0.05, _pose((48, 46, 38, 34), (44, 40, 36, 34), (38, 16, 16, 22), 1)),
    "tripod": (0.03, _pose((50, 54, 66, 72), (48, 50, 66, 70), (36, 20, 18, 26), 0)),
    "cylinder": (0.07, _pose((34, 38, 40, 42), (48, 52, 54, 54), (40, 12, 18, 22), 2)),
    "ball": (0.04, _pose((20, 22, 24, 26), (32, 32, 34, 36), (44, 0, 10, 16), 9)),
    "phone": (0.02, _pose((30, 32, 34, 38), (34, 40, 44, 46), (24, -6, 4, 8), 2)),
    "hook": (0.02, _pose(6, (76, 80, 80, 78), (10, 10, 20, 20), 0)),
}
"""Share and angles of the gestures that hands are sampled around."""


def sample_fingers(random: np.random.Generator, gesture: str | None = None) -> FingerPose:
    """A gesture (sampled by its share if None) with variation, or one of free angles."""
    if gesture is None and random.random() < 0.15:
        return _free_fingers(random)
    if gesture is None:
        names = list(GESTURES)
        shares = np.array([GESTURES[name][0] for name in names])
        gesture = names[random.choice(len(names), p=shares / shares.sum())]
    base = GESTURES[gesture][1]
    if random.random() < 0.25:
        # Between one gesture and another.
        other = GESTURES[list(GESTURES)[random.integers(len(GESTURES))]][1]
        way = random.uniform(0, 0.5)
        base = FingerPose(*((1 - way) * a + way * b for a, b in zip(
            (base.flexion, base.spread, base.thumb), (other.flexion, other.spread, other.thumb),
            strict=True)))  # fmt: skip
    loose = 7.0 if gesture in ("relaxed", "cylinder", "ball") else 4.0
    common = random.normal(0, loose)
    flexion = base.flexion + common + random.normal(0, loose, (4, 1)) + random.normal(0, 3, (4, 3))
    return replace(
        base,
        flexion=flexion,
        spread=base.spread + random.normal(0, 2.0, 4),
        thumb=base.thumb + random.normal(0, 5.0, 4),
    ).limited()


def _free_fingers(random: np.random.Generator) -> FingerPose:
    """Neighbouring fingers move alike, and last joints follow the middle ones."""
    curl = random.uniform(-0.05, 1) + np.cumsum(random.normal(0, 0.22, 4))
    curl = np.clip(curl, -0.05, 1)
    knuckle = np.clip(curl + random.normal(0, 0.25), -0.1, 1) * 85
    middle = np.clip(curl + random.normal(0, 0.15, 4), 0, 1) * 100
    flexion = np.stack([knuckle, middle, middle * random.uniform(0.4, 0.7)], 1)
    spread = np.array([1.0, 0.1, -0.7, -1.4]) * random.uniform(-1, 11)
    thumb = random.uniform((0, -15, -5, -10), (45, 38, 45, 65))
    return FingerPose(flexion, spread, thumb).limited()


class HandFrame:
    """Axes of a hand at rest, from its bones: `along` the fingers, `palm` out of the palm."""

    def __init__(self, model: BodyModel, heads: np.ndarray, side: str) -> None:

        def at(bone: str) -> np.ndarray:
            return heads[model.index[f"{bone}.{side}"]]

        wrist, index, little = at("wrist"), at("finger2-1"), at("finger5-1")
        self.along = at("finger3-1") - wrist
        self.along = self.along / np.linalg.norm(self.along)
        back = np.cross(index - wrist, little - wrist) * (1 if side == "L" else -1)
        self.palm = -back / np.linalg.norm(back)
        # A right-handed turn about this axis spreads towards the thumb on a left hand.
        self.side = side
        self._at = at

    def local_rotations(self, pose: FingerPose) -> dict[str, np.ndarray]:
        """Rotations of the finger bones relative to their parents."""
        turns: dict[str, np.ndarray] = {}
        sign = 1.0 if self.side == "L" else -1.0
        for row, finger in enumerate(range(2, 6)):
            direction = self._at(f"finger{finger}-2") - self._at(f"finger{finger}-1")
            curl = np.cross(direction, self.palm)
            for joint in range(3):
                turn = rotation_about(curl, np.radians(pose.flexion[row, joint]))
                if joint == 0:
                    turn = rotation_about(self.palm, sign * np.radians(pose.spread[row])) @ turn
                turns[f"finger{finger}-{joint + 1}.{self.side}"] = turn
        turns.update(self._thumb(pose.thumb))
        return turns

    def _thumb(self, angles: np.ndarray) -> dict[str, np.ndarray]:
        lift, swing, mcp, ip = np.radians(angles)
        root, middle, last = (self._at(f"finger1-{k}") for k in (1, 2, 3))
        direction = last - middle
        across = self._at("finger5-1") - middle
        across = across - direction * (across @ direction) / (direction @ direction)
        curl = np.cross(direction, across / np.linalg.norm(across) + 0.5 * self.palm)
        lifting = np.cross(middle - root, self.palm)
        side = self.side
        return {
            f"finger1-1.{side}": rotation_about(curl, swing) @ rotation_about(lifting, lift),
            f"finger1-2.{side}": rotation_about(curl, mcp),
            f"finger1-3.{side}": rotation_about(curl, ip),
        }
