"""Motion: people who walk along a path with their feet planted, and gesture with their arms."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dope_model.rendering.body import SIDES, rotation
from dope_model.rendering.hands import GESTURES, FingerPose
from dope_model.rendering.limbs import SIGN, ArmAngles
from dope_model.rendering.person import Person, PosedPerson
from dope_model.rendering.posing import Controls, Pose

CYCLE = 1.08
"""s, from one step of a foot to its next."""
SWING = 0.40
"""Share of the cycle in which a foot is in the air."""


@dataclass(frozen=True)
class Gesture:
    """What an arm does from `start` to `end`, s; it comes up and goes down within `ease` s.

    `sway` adds (twist, elbow) degrees that swing to and fro `rate` times a second.
    """

    side: str
    start: float
    end: float
    arm: ArmAngles
    fingers: str
    sway: tuple[float, float] = (0.0, 0.0)
    rate: float = 1.6
    ease: float = 0.55

    def weight(self, time: float) -> float:
        """0 to 1: how much of the gesture there is."""
        return smooth((time - self.start) / self.ease) * smooth((self.end - time) / self.ease)


@dataclass
class Walk:
    """A path on the ground: `times` (N,) s, `places` (N, 2) x and z, m.

    The body faces where it goes, and where it stands still it faces `facing`, degrees.
    """

    times: np.ndarray
    places: np.ndarray
    facing: float = 0.0
    gestures: list[Gesture] = field(default_factory=list)
    phase: float = 0.0

    def place(self, time: float) -> np.ndarray:
        """(2,) at a time, starting and stopping gently."""
        around = np.linspace(time - 0.3, time + 0.3, 13)
        path = [np.interp(around, self.times, self.places[:, axis]) for axis in (0, 1)]
        return np.mean(path, axis=1)

    def heading(self, time: float) -> float:
        """Degrees about y; 0 faces +z."""
        around = np.linspace(time - 0.35, time + 0.35, 11)
        directions = []
        for moment in around:
            step = (self.place(moment + 0.05) - self.place(moment - 0.05)) / 0.1
            speed = float(np.linalg.norm(step))
            share = smooth(speed / 0.5)
            still = np.radians(self.facing)
            way = np.array([np.sin(still), np.cos(still)]) * (1 - share) * 0.5
            directions.append(way + (step / speed * share if speed > 1e-6 else 0))
        x, z = np.mean(directions, axis=0)
        return float(np.degrees(np.arctan2(x, z)))

    def speed(self, time: float) -> float:
        """m/s."""
        return float(np.linalg.norm(self.place(time + 0.1) - self.place(time - 0.1)) / 0.2)


class Walker:
    """One person on its way; `at` gives it at any time, the same for the same time."""

    def __init__(self, person: Person, walk: Walk) -> None:
        self.person, self.walk = person, walk
        model, heads = person.model, person.heads
        foot = heads[model.index["foot.L"]]
        self._ankle_height = float(foot[1] - person.poser.floor)
        hip, knee = (heads[model.index[bone]] for bone in ("upperleg01.L", "lowerleg01.L"))
        self._leg = float(np.linalg.norm(knee - hip) + np.linalg.norm(foot - knee))
        self._hip_offset = hip - heads[0]
        self._half_stance = 0.085 * person.height / 1.7
        rest = person.posed(_rest_pose(person))
        self._sole = person.poser.floor - rest.lowest

    def at(self, time: float) -> PosedPerson:
        """The person where it is at `time`, s; the ground is y = 0."""
        walk = self.walk
        ground, yaw = walk.place(time), walk.heading(time)
        pace = min(walk.speed(time) / 1.2, 1.0)
        # The right foot lands at a phase of SWING and stands from there to the end of the cycle.
        cycle = 2 * np.pi * (time / CYCLE + walk.phase)
        right_forward = pace * np.cos(cycle - 2 * np.pi * SWING)
        over_right = pace * np.cos(cycle - np.pi * (1 + SWING))
        turn = rotation("y", yaw)
        hips = np.mean([self._hip_height(time + shift) for shift in np.linspace(-0.12, 0.12, 7)])
        root = np.array([ground[0], hips - 0.008, ground[1]])
        root = root + turn @ np.array([-0.018 * over_right, 0, 0])
        ankles = {}
        for side in SIDES:
            world, foot_yaw, pitch = self._ankle(side, time)
            heading = SIGN[side] * _turn_between(yaw, foot_yaw)
            ankles[side] = (turn.T @ (world - root), heading, pitch)
        arms, fingers = {}, {}
        for side in SIDES:
            arms[side], fingers[side] = self._arm(side, time, pace, right_forward)
        breath = np.sin(2 * np.pi * time / 3.7)
        looking = max((g.weight(time) for g in walk.gestures), default=0.0)
        controls = Controls(
            root=rotation("y", 5 * right_forward) @ rotation("z", 2 * over_right),
            spine=np.array([2 * pace + 0.8 * breath, -9 * right_forward, 0]),
            neck=np.array([2 + 3 * looking * np.sin(time * 2.1), 8 * np.sin(time * 0.9), 0]),
            arms=arms,
            fingers=fingers,
            ankles=ankles,
        )
        pose = self.person.poser.from_controls(controls)
        shift = root - turn @ pose.heads[0]
        return self.person.posed(pose).moved(turn, shift)

    def _foothold(self, side: str, step: int) -> tuple[np.ndarray, float]:
        """Where (x, z) and how turned a foot stands after its `step`-th swing."""
        walk = self.walk
        middle = self._swing_start(side, step) + CYCLE * (SWING + (1 - SWING) / 2)
        yaw = walk.heading(middle)
        aside = rotation("y", yaw) @ np.array([SIGN[side] * self._half_stance, 0, 0])
        return walk.place(middle) + aside[[0, 2]], yaw + SIGN[side] * 7

    def _swing_start(self, side: str, step: int) -> float:
        return (step - self.walk.phase + (0.5 if side == "L" else 0.0)) * CYCLE

    def _hip_height(self, time: float) -> float:
        """Height of the root at which the legs are as straight as both feet allow."""
        turn = rotation("y", self.walk.heading(time))
        ground = self.walk.place(time)
        heights = []
        for side in SIDES:
            ankle, _, _ = self._ankle(side, time)
            hip = turn @ (self._hip_offset * [SIGN[side], 1, 1])
            aside = ankle[[0, 2]] - ground - hip[[0, 2]]
            rise = np.sqrt(max((0.995 * self._leg) ** 2 - aside @ aside, 0.01))
            heights.append(ankle[1] + rise - hip[1])
        return min(heights)

    def _ankle(self, side: str, time: float) -> tuple[np.ndarray, float, float]:
        """The ankle (3,) in the scene, the foot's heading and the heel's lift, degrees."""
        offset = 0.5 if side == "L" else 0.0
        cycles = time / CYCLE + self.walk.phase - offset
        step = int(np.floor(cycles))
        share = cycles - step
        before, yaw_before = self._foothold(side, step - 1)
        after, yaw_after = self._foothold(side, step)
        stride = min(float(np.linalg.norm(after - before)) / 0.7, 1.0)
        if share < SWING:
            way = share / SWING
            eased = smooth(way)
            place = before + (after - before) * eased
            foot_yaw = yaw_before + _turn_between(yaw_before, yaw_after) * eased
            lift = 0.09 * stride * np.sin(np.pi * way) ** 1.3
            pitch = stride * np.interp(way, [0, 0.25, 0.7, 1], [34, 40, 2, -13])
        else:
            way = (share - SWING) / (1 - SWING)
            place, foot_yaw, lift = after, yaw_after, 0.0
            following, _ = self._foothold(side, step + 1)
            next_stride = min(float(np.linalg.norm(following - after)) / 0.7, 1.0)
            pitch = np.interp(way, [0, 0.12, 0.6, 1],
                              [-13 * stride, 0, 0, 34 * next_stride])  # fmt: skip
        # The ankle goes up as the foot rolls over its ball.
        lift += 0.12 * np.sin(np.radians(max(pitch, 0)))
        world = np.array([place[0], self._ankle_height + self._sole + lift, place[1]])
        return world, foot_yaw, float(pitch)

    def _arm(self, side, time, pace, right_forward) -> tuple[ArmAngles, FingerPose]:
        """An arm that swings against the leg of its side, or gestures."""
        swing = (-1 if side == "R" else 1) * 24 * right_forward + 3
        forward = np.tan(np.radians(swing))
        elevation = np.degrees(np.arctan(np.hypot(0.14, forward)))
        azimuth = np.degrees(np.arctan2(forward, 0.14))
        elbow = 16 + 14 * pace + 0.4 * max(swing, 0)
        arm = np.array([elevation, azimuth, 12.0, elbow, 10.0, 4.0, 0.0])
        fingers = GESTURES["relaxed"][1]
        for gesture in self.walk.gestures:
            weight = gesture.weight(time) if gesture.side == side else 0.0
            if weight <= 0:
                continue
            wave = np.sin(2 * np.pi * gesture.rate * (time - gesture.start))
            goal = gesture.arm
            target = np.array([
                goal.elevation, goal.azimuth, goal.twist + gesture.sway[0] * wave,
                goal.elbow + gesture.sway[1] * wave, goal.pronation, goal.wrist_flexion,
                goal.wrist_deviation + 0.2 * gesture.sway[0] * wave,
            ])  # fmt: skip
            arm = arm + weight * (target - arm)
            shape = GESTURES[gesture.fingers][1]
            fingers = FingerPose(
                fingers.flexion + weight * (shape.flexion - fingers.flexion),
                fingers.spread + weight * (shape.spread - fingers.spread),
                fingers.thumb + weight * (shape.thumb - fingers.thumb),
            )
        return ArmAngles(*arm), fingers.limited()


def smooth(value: float) -> float:
    """From 0 to 1 with no corner at either end; 0 before and 1 after."""
    value = float(np.clip(value, 0, 1))
    return value * value * (3 - 2 * value)


def _turn_between(start: float, end: float) -> float:
    """Degrees from one heading to another, the short way round."""
    return (end - start + 180) % 360 - 180


def _rest_pose(person: Person) -> Pose:
    identity = np.tile(np.eye(3), (len(person.model.bones), 1, 1))
    return Pose(identity, person.heads, "rest")
