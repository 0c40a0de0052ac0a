"""A body while it is posed: trunk, legs, arms and fingers from angles and from goals.

Directions are those of the rest pose: x to the person's left, y up, z forward. Angles are degrees.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from dope_model.rendering.body import (
    NECK,
    SIDES,
    SPINE,
    BodyModel,
    frame_of,
    rotation,
    rotation_about,
    rotation_between,
)
from dope_model.rendering.hands import FingerPose, HandFrame

DOWN = np.array([0.0, -1.0, 0.0])
SIGN = {"L": 1.0, "R": -1.0}
_ARM_JOINTS = ("upperarm01", "lowerarm01", "wrist")


@dataclass(frozen=True)
class ArmAngles:
    """Degrees: the upper arm's elevation from hanging and its azimuth (0 sideways, 90 forward), its
    inward twist, the elbow's bend, the forearm's pronation, and the wrist's bend to the palm and
    towards the thumb."""

    elevation: float
    azimuth: float
    twist: float
    elbow: float
    pronation: float
    wrist_flexion: float = 0.0
    wrist_deviation: float = 0.0

    def limited(self) -> ArmAngles:
        """Within anatomical limits; an arm that reaches backward cannot be raised far."""
        azimuth = float(np.clip(self.azimuth, -60, 130))
        highest = 170.0 if azimuth >= -15 else 50.0 + max(0.0, 60 + azimuth)
        return ArmAngles(
            float(np.clip(self.elevation, 0, highest)),
            azimuth,
            float(np.clip(self.twist, -85, 90)),
            float(np.clip(self.elbow, 0, 145)),
            float(np.clip(self.pronation, -80, 85)),
            float(np.clip(self.wrist_flexion, -60, 65)),
            float(np.clip(self.wrist_deviation, -25, 18)),
        )


@dataclass
class Draft:
    """Rotations under construction, bone by bone from the root outwards.

    Attributes:
        rest: (B, 3) where the bones start at rest.
        hands: by side.
        turns: (B, 3, 3) world rotations of the bones relative to rest.
    """

    model: BodyModel
    rest: np.ndarray
    hands: dict[str, HandFrame]
    turns: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.turns = np.tile(np.eye(3), (len(self.model.bones), 1, 1))

    def set(self, bone: str, turn: np.ndarray) -> None:
        self.turns[self.model.index[bone]] = turn

    def get(self, bone: str) -> np.ndarray:
        return self.turns[self.model.index[bone]]

    def rest_of(self, bone: str) -> np.ndarray:
        return self.rest[self.model.index[bone]]

    def position(self, bone: str) -> np.ndarray:
        """Where a bone starts, given the rotations of the bones before it."""
        chain = [self.model.index[bone]]
        while self.model.parents[chain[-1]] >= 0:
            chain.append(self.model.parents[chain[-1]])
        point = self.rest[chain[-1]]
        for child, parent in zip(chain[-2::-1], chain[:0:-1], strict=True):
            point = point + self.turns[parent] @ (self.rest[child] - self.rest[parent])
        return point

    def set_trunk(self, root: np.ndarray, spine: np.ndarray, neck: np.ndarray) -> None:
        """Root rotation; spine and neck as (bend forward, turn left, lean left) shared by bones."""
        for bone in ("root", "pelvis.L", "pelvis.R"):
            self.set(bone, root)
        for bones, angles in ((SPINE, spine), (NECK, neck)):
            base = root if bones is SPINE else self.get("spine01")
            bend, turn, lean = angles
            whole = Rotation.from_euler("YXZ", (turn, bend, -lean), degrees=True).as_rotvec()
            for number, bone in enumerate(bones, 1):
                part = Rotation.from_rotvec(whole * number / len(bones)).as_matrix()
                self.set(bone, base @ part)
        for side in SIDES:
            self.set(f"eye.{side}", self.get("head"))
            self.set(f"clavicle.{side}", self.get("spine01"))
            self.set(f"shoulder01.{side}", self.get("spine01"))

    def leg(self, side, flexion, abduction, twist, knee, ankle) -> None:
        """A leg from hip flexion, abduction and outward twist, knee bend and foot lift."""
        sign, pelvis = SIGN[side], self.get("root")
        fl, ab = np.radians(flexion), np.radians(abduction)
        thigh = np.array([sign * np.sin(ab), -np.cos(ab) * np.cos(fl), np.cos(ab) * np.sin(fl)])
        hinge = rotation_between(DOWN, thigh) @ np.array([1.0, 0, 0])
        hinge = rotation_about(thigh, -sign * np.radians(twist)) @ hinge
        self._set_leg(side, pelvis @ thigh, pelvis @ hinge, knee)
        shin = self.get(f"lowerleg01.{side}")
        self.set(f"foot.{side}", shin @ rotation("x", -ankle))

    def _set_leg(self, side, thigh, hinge, knee) -> None:
        """Thigh and shin from the thigh's direction, the knee's axis and its bend."""
        hip, knee_at, ankle_at = (
            self.rest_of(f"{bone}.{side}") for bone in ("upperleg01", "lowerleg01", "foot")
        )
        side_axis = np.array([1.0, 0, 0])
        turn = frame_of(thigh, hinge) @ frame_of(knee_at - hip, side_axis).T
        for bone in ("upperleg01", "upperleg02"):
            self.set(f"{bone}.{side}", turn)
        shin = rotation_about(hinge, np.radians(knee)) @ thigh
        turn = frame_of(shin, hinge) @ frame_of(ankle_at - knee_at, side_axis).T
        for bone in ("lowerleg01", "lowerleg02", "foot"):
            self.set(f"{bone}.{side}", turn)

    def leg_to(self, side, ankle, heading, pitch=0.0, pole=None) -> None:
        """A leg whose ankle is at a point and whose foot lies flat, pointing to a heading.

        Args:
            ankle: (3,) m, relative to the root bone's head.
            heading: degrees that the foot is turned outwards; None: the foot follows the shin.
            pitch: degrees that the heel is lifted.
            pole: (3,) where the knee points; forward when None.
        """
        sign = SIGN[side]
        foot_turn = rotation("y", sign * (heading or 0.0))
        toe = foot_turn @ np.array([0, 0, 1.0])
        hip = self.position(f"upperleg01.{side}")
        target = self.rest_of("root") + ankle
        rest = [self.rest_of(f"{bone}.{side}") for bone in ("upperleg01", "lowerleg01", "foot")]
        upper, lower = np.linalg.norm(rest[1] - rest[0]), np.linalg.norm(rest[2] - rest[1])
        forward = self.get("root") @ np.array([0, 0, 1.0])
        pole = toe + forward if pole is None else pole
        thigh, shin = two_bones(hip, target, upper, lower, pole)
        # The knee bends so that the shin goes back, away from the pole.
        hinge = np.cross(thigh, shin)
        if np.linalg.norm(hinge) < 1e-6:
            hinge = np.cross(pole, thigh)
        knee = np.degrees(np.arccos(np.clip(thigh @ shin, -1, 1)))
        self._set_leg(side, thigh, hinge, knee)
        if heading is not None:
            self.set(f"foot.{side}", foot_turn @ rotation("x", pitch))

    def bend_toes(self) -> None:
        """Toes as straight as the foot."""
        for side in SIDES:
            foot = self.get(f"foot.{side}")
            for bone in self.model.bones:
                if bone.startswith("toe") and bone.endswith(side):
                    self.set(bone, foot)

    def arm(self, side: str, angles: ArmAngles) -> None:
        """An arm from its joint angles, on top of the trunk."""
        angles = angles.limited()
        sign = SIGN[side]
        elevation, azimuth = np.radians(angles.elevation), np.radians(angles.azimuth)
        upper = np.array(
            [
                sign * np.sin(elevation) * np.cos(azimuth),
                -np.cos(elevation),
                np.sin(elevation) * np.sin(azimuth),
            ]
        )
        hinge = rotation_between(DOWN, upper) @ np.array([-1.0, 0, 0])
        hinge = rotation_about(upper, sign * np.radians(angles.twist)) @ hinge
        fore = rotation_about(hinge, np.radians(angles.elbow)) @ upper
        chest = self.get("spine01")
        self._set_arm(side, chest @ upper, chest @ fore, chest @ hinge, angles)

    def _set_arm(self, side, upper, fore, hinge, angles: ArmAngles) -> None:
        sign, chest = SIGN[side], self.get("spine01")
        raised = max(0.0, float(np.degrees(np.arccos(np.clip(-(chest.T @ upper)[1], -1, 1)))) - 35)
        forward = float((chest.T @ upper)[2])
        clavicle = chest @ rotation("z", sign * 0.22 * raised) @ rotation("y", -sign * 8 * forward)
        self.set(f"clavicle.{side}", clavicle)
        self.set(f"shoulder01.{side}", clavicle)
        shoulder, elbow, wrist = (
            self.rest_of(f"{bone}.{side}") for bone in ("upperarm01", "lowerarm01", "wrist")
        )
        rest_upper, rest_fore = elbow - shoulder, wrist - elbow
        rest_hinge = np.cross(rest_upper, rest_fore)
        turn = frame_of(upper, hinge) @ frame_of(rest_upper, rest_hinge).T
        swing = rotation_between(chest @ rest_upper, upper) @ chest
        self.set(f"upperarm01.{side}", swing @ _fraction(swing.T @ turn, 0.5))
        self.set(f"upperarm02.{side}", turn)
        turn = frame_of(fore, hinge) @ frame_of(rest_fore, rest_hinge).T
        self.set(f"lowerarm01.{side}", turn)
        frame = self.hands[side]
        palm = rotation_about(fore, sign * np.radians(angles.pronation)) @ (sign * hinge)
        hand = frame_of(fore, palm) @ frame_of(frame.along, frame.palm).T
        self.set(f"lowerarm02.{side}", turn @ _fraction(turn.T @ hand, 0.5))
        flex = rotation_about(np.cross(fore, palm), np.radians(angles.wrist_flexion))
        deviate = rotation_about(palm, sign * np.radians(angles.wrist_deviation))
        self.set(f"wrist.{side}", flex @ deviate @ hand)

    def arm_to(self, random, side, target, along, palm, pole: np.ndarray | None = None) -> bool:
        """An arm whose wrist is at `target`, m; the hand as near to the wished direction and palm
        as wrist and forearm allow. False when no elbow position is within the limits."""
        sign, chest = SIGN[side], self.get("spine01")
        self.set(f"clavicle.{side}", chest)
        self.set(f"shoulder01.{side}", chest)
        shoulder = self.position(f"upperarm01.{side}")
        rest = [self.rest_of(f"{bone}.{side}") for bone in ("upperarm01", "lowerarm01", "wrist")]
        lengths = [float(np.linalg.norm(b - a)) for a, b in zip(rest, rest[1:], strict=False)]
        if np.linalg.norm(target - shoulder) > sum(lengths) * 1.02:
            return False
        base = np.array([sign * 0.45, -1.0, -0.35]) if pole is None else pole
        for _ in range(8):
            bent = chest @ (base + random.normal(0, 0.25, 3))
            upper, fore = two_bones(shoulder, target, *lengths, bent)
            hinge = np.cross(upper, fore)
            if np.linalg.norm(hinge) < 1e-4:
                continue
            hinge /= np.linalg.norm(hinge)
            if self._twist_within_limits(chest.T @ upper, chest.T @ hinge, sign):
                break
        else:
            return False
        neutral = sign * hinge
        wished = palm - fore * (palm @ fore)
        pronation = np.degrees(np.arctan2(np.cross(neutral, wished) @ fore, neutral @ wished))
        pronation = float(np.clip(sign * pronation, -80, 85))
        real_palm = rotation_about(fore, sign * np.radians(pronation)) @ neutral
        along = along / np.linalg.norm(along)
        bend = np.degrees(np.arctan2(along @ real_palm, max(along @ fore, 0.2)))
        aside = np.degrees(np.arctan2(along @ np.cross(real_palm, fore), max(along @ fore, 0.2)))
        angles = ArmAngles(
            0, 0, 0, 0, pronation, float(np.clip(bend, -55, 60)),
            float(np.clip(sign * aside, -22, 16)),
        )  # fmt: skip
        self._set_arm(side, upper, fore, hinge, angles)
        # The shoulder moved with the clavicle: aim once more from where it is now.
        shoulder = self.position(f"upperarm01.{side}")
        upper, fore = two_bones(shoulder, target, *lengths, bent)
        hinge = np.cross(upper, fore)
        if np.linalg.norm(hinge) > 1e-4:
            self._set_arm(side, upper, fore, hinge / np.linalg.norm(hinge), angles)
        return True

    @staticmethod
    def _twist_within_limits(upper: np.ndarray, hinge: np.ndarray, sign: float) -> bool:
        neutral = rotation_between(DOWN, upper) @ np.array([-1.0, 0, 0])
        twist = sign * np.degrees(np.arctan2(np.cross(neutral, hinge) @ upper, neutral @ hinge))
        backward = upper[2] < -0.75
        return -85 <= twist <= 100 and not backward

    def fingers(self, side: str, fingers: FingerPose) -> None:
        """The fingers, on top of the wrist."""
        local = self.hands[side].local_rotations(fingers)
        for number, bone in enumerate(self.model.bones):
            if bone.endswith(f".{side}") and bone.startswith(("finger", "metacarpal")):
                above = self.turns[self.model.parents[number]]
                self.turns[number] = above @ local.get(bone, np.eye(3))

    @property
    def head_size(self) -> float:
        """m, a scale of the head: 0.1 on an average adult."""
        eye, head = (self.rest[self.model.index[bone]] for bone in ("eye.L", "head"))
        return float(np.linalg.norm(eye - head)) * 1.1

    @property
    def reach(self) -> float:
        """1 on an average adult."""
        base = self.model.base_heads
        return float(self.arm_length / chain_length(self.model, base, _ARM_JOINTS))

    @property
    def arm_length(self) -> float:
        return chain_length(self.model, self.rest, _ARM_JOINTS)

    @property
    def hand_length(self) -> float:
        return chain_length(self.model, self.rest, ("wrist", "finger3-1", "finger3-3"))


def two_bones(
    start: np.ndarray, target: np.ndarray, first: float, second: float, pole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Directions of two bones of given lengths, m, from `start` to `target`, bent towards `pole`.

    A target that is too far or too near is approached as far as the bones allow.
    """
    way = target - start
    distance = float(np.clip(np.linalg.norm(way), abs(first - second) * 1.05 + 0.01,
                             (first + second) * 0.9985))  # fmt: skip
    way = way / max(np.linalg.norm(way), 1e-9)
    out = pole - way * (pole @ way)
    out = out / max(np.linalg.norm(out), 1e-9)
    cosine = (first**2 + distance**2 - second**2) / (2 * first * distance)
    angle = np.arccos(np.clip(cosine, -1, 1))
    one = way * np.cos(angle) + out * np.sin(angle)
    two = way * distance - one * first
    return one, two / np.linalg.norm(two)


def chain_length(model: BodyModel, heads: np.ndarray, bones: tuple[str, ...]) -> float:
    """Length of the left side's bones from joint to joint, m."""
    points = np.array([heads[model.index[f"{bone}.L"]] for bone in bones])
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def _fraction(turn: np.ndarray, part: float) -> np.ndarray:
    return Rotation.from_rotvec(Rotation.from_matrix(turn).as_rotvec() * part).as_matrix()
