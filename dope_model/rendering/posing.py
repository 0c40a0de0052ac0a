"""Body poses: activities, reaching and free angles, all within anatomical limits.

Directions are those of the rest pose: x to the person's left, y up, z forward. Angles are degrees.
The limits follow the usual ranges of motion of healthy adults (elevation of the upper arm to 170,
elbow 0 to 145, forearm turned 80 either way, hip bent to 120, knee to 140).
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
from dope_model.rendering.collision import Solids
from dope_model.rendering.hands import FingerPose, HandFrame, sample_fingers
from dope_model.rendering.pose_library import LibraryPose, pose_library

DOWN = np.array([0.0, -1.0, 0.0])
SIGN = {"L": 1.0, "R": -1.0}


@dataclass
class Pose:
    """The pose of one body.

    Attributes:
        rotations: (B, 3, 3) world rotations of the bones relative to rest.
        heads: (B, 3) where the bones start.
        activity: what the body is doing; "lifted" or "makehuman" for poses of the library.
        seat: height and depth matter: where a seat must be, "chair" or None.
        held: the side of the hand that holds something, and what: ("R", "phone").
    """

    rotations: np.ndarray
    heads: np.ndarray
    activity: str
    seat: str | None = None
    held: tuple[str, str] | None = None


POSE_SOURCES = {"sampled": 0.56, "lifted": 0.40, "makehuman": 0.04}
"""Shares of whole poses by where they come from."""
LIFTED_ARMS = 0.3
"""Share of sampled poses that take both arms from the library."""

ACTIVITIES = {
    "stand": 0.36, "walk": 0.13, "free": 0.12, "sit": 0.13, "lunge": 0.07, "crouch": 0.04,
    "bend": 0.05, "floor_sit": 0.03, "kneel": 0.03, "jump": 0.02, "lie": 0.02,
}  # fmt: skip
"""Shares of what the lower body does in sampled poses; "acrobat" is only used on request."""

ARM_GOALS = {
    "hang": 0.20, "free": 0.16, "gesture": 0.20, "hip": 0.07, "face": 0.09, "wave": 0.06,
    "point": 0.06, "carry": 0.07, "up": 0.04, "behind_head": 0.02, "reach": 0.05,
}  # fmt: skip
BOTH_ARMS = {"fold": 0.05, "clasp": 0.07, "tablet": 0.04, "cheer": 0.02, "hips": 0.03}
"""Shares of what an arm does, and of poses that need both arms."""

_GESTURE_OF_GOAL = {
    "wave": ("spread", "flat", "four"), "point": ("point",), "carry": ("cylinder", "ball"),
    "hip": ("flat", "relaxed", "fist"), "hang": ("relaxed", "relaxed", "hook"),
    "behind_head": ("relaxed", "flat"), "fold": ("relaxed", "flat"), "clasp": ("relaxed", "hook"),
    "tablet": ("cylinder", "phone"), "hips": ("flat", "relaxed"),
}  # fmt: skip


@dataclass
class _Draft:
    """Rotations under construction, bone by bone from the root outwards."""

    model: BodyModel
    rest: np.ndarray
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


class Poser:
    """Samples poses of one body shape."""

    def __init__(self, model: BodyModel, rest_vertices: np.ndarray, heads: np.ndarray) -> None:
        self.model = model
        self.heads = heads
        self.solids = Solids(model, rest_vertices, heads)
        self.hands = {side: HandFrame(model, heads, side) for side in SIDES}
        self.floor = float(rest_vertices[:, 1].min())

    def sample(self, random: np.random.Generator, activity: str | None = None) -> Pose:
        """A pose without parts that run through each other.

        A limb that collides is sampled again; after many samples the arms hang.

        Args:
            activity: one of ACTIVITIES, or "acrobat", at any angle and bent as far as people can;
                if None, only poses of the library.
        """
        if activity is None:
            source = _draw(random, POSE_SOURCES)
            pose = self._from_library(random, source) if source != "sampled" else None
            if pose is not None:
                return pose
        activity = activity or _draw(random, ACTIVITIES)
        for _ in range(6):
            draft, seat = self._lower_body(random, activity)
            if all(_of_arms(pair) for pair in self._hits(draft)):
                break
        held = None
        if random.random() >= LIFTED_ARMS or not self._lift_arms(draft, random):
            goals = self._arm_goals(random, activity)
            for side in SIDES:
                held = self._place_arm(draft, random, side, goals[side]) or held
        self._bend_toes(draft)
        return Pose(
            draft.turns, self.model.pose_bones(self.heads, draft.turns), activity, seat, held
        )

    def from_controls(self, controls: Controls) -> Pose:
        """The pose that a set of angles describes: what motion is made of."""
        draft = _Draft(self.model, self.heads)
        self._set_trunk(draft, controls.root, controls.spine, controls.neck)
        for side in SIDES:
            if controls.ankles is not None:
                self._leg_to(draft, side, *controls.ankles[side])
            else:
                self._leg(draft, side, *controls.legs[side])
            self._arm(draft, side, controls.arms[side])
            self._fingers(draft, side, controls.fingers[side])
        self._bend_toes(draft)
        return Pose(draft.turns, self.model.pose_bones(self.heads, draft.turns), "controlled")

    def _set_library_arms(self, draft: _Draft, pose: LibraryPose) -> None:
        for side in SIDES:
            self._arm(draft, side, ArmAngles(*pose.arms[side], 0.0))

    def _from_library(self, random: np.random.Generator, source: str) -> Pose | None:
        """A whole pose of a source, with sampled hands and head; None when ten draws do not fit
        this body."""
        for _ in range(10):
            found = pose_library().draw(random, source)
            draft = self._draft_of(found, random)
            # Arms hang so far, through raised thighs perhaps: only the rest counts.
            clear = all(_of_arms(pair) for pair in self._hits(draft))
            if clear and self._set_free_arms(draft, random, found.arms):
                self._bend_toes(draft)
                heads = self.model.pose_bones(self.heads, draft.turns)
                return Pose(draft.turns, heads, source, self._seat_of(heads, draft.turns))
        return None

    def _draft_of(self, pose: LibraryPose, random: np.random.Generator | None = None) -> _Draft:
        """Trunk and legs of a pose of the library."""
        draft = _Draft(self.model, self.heads)
        root = Rotation.from_rotvec(pose.root, degrees=True).as_matrix()
        neck = np.zeros(3) if random is None else _sample_neck(random)
        self._set_trunk(draft, root, pose.spine, neck)
        for side in SIDES:
            self._arm(draft, side, _HANGING)
            if pose.legs is not None:
                self._leg(draft, side, *pose.legs[side], 0.0)
        ankles = {side: draft.position(f"foot.{side}") for side in SIDES}
        lowest = min(ankle[1] for ankle in ankles.values())
        for side in SIDES:
            shin = draft.get(f"lowerleg01.{side}")
            rise = float(np.degrees(np.arcsin(np.clip((shin @ [0, 0, 1.0])[1], -1, 1))))
            if ankles[side][1] < lowest + 0.09 and (shin @ DOWN)[1] < -0.4:
                lift = float(np.clip(-rise, -45, 25))  # flat on the floor
            else:
                lift = -15.0 if random is None else random.uniform(-35, 0)
            draft.set(f"foot.{side}", shin @ rotation("x", -lift))
        return draft

    def _lift_arms(self, draft: _Draft, random: np.random.Generator) -> bool:
        """Both arms from a pose of the library; False when ten draws collide with the body."""
        return any(
            self._set_free_arms(draft, random, pose_library().draw(random).arms)
            for _ in range(10)
        )  # fmt: skip

    def _set_free_arms(self, draft, random, arms: dict[str, np.ndarray]) -> bool:
        """Set both arms, forearms and hands turned at random, and the fingers; False when they
        collide with anything."""
        for side in SIDES:
            pronation = random.uniform(-60, 75)
            wrist = random.normal(0, 14), random.normal(0, 6)
            self._arm(draft, side, ArmAngles(*arms[side], pronation, *wrist))
        if any(_of_arms(pair) for pair in self._hits(draft)):
            return False
        for side in SIDES:
            self._fingers(draft, side, sample_fingers(random, None))
        return True

    def _seat_of(self, heads: np.ndarray, turns: np.ndarray) -> str | None:
        """A chair under a body that sits: upright, both thighs level, the hips over the feet."""
        index = self.model.index
        hip, knee, foot = (
            np.array([heads[index[f"{bone}.{side}"]] for side in SIDES])
            for bone in ("upperleg01", "lowerleg01", "foot")
        )
        upright = turns[index["root"]][1, 1] > 0.7
        thigh = knee - hip
        level = abs(thigh[:, 1]) < 0.5 * np.linalg.norm(thigh, axis=1)
        high = hip[:, 1].min() - foot[:, 1].min() > 0.6 * np.linalg.norm(foot - knee, axis=1).max()
        return "chair" if upright and level.all() and high else None

    def _hits(self, draft: _Draft) -> list[tuple[str, str]]:
        heads = self.model.pose_bones(self.heads, draft.turns)
        return self.solids.overlaps(self.solids.posed(draft.turns, heads))

    # Trunk and legs

    def _set_trunk(
        self, draft: _Draft, root: np.ndarray, spine: np.ndarray, neck: np.ndarray
    ) -> None:
        """Root rotation; spine and neck as (bend forward, turn left, lean left) shared by bones."""
        for bone in ("root", "pelvis.L", "pelvis.R"):
            draft.set(bone, root)
        for bones, angles in ((SPINE, spine), (NECK, neck)):
            base = root if bones is SPINE else draft.get("spine01")
            bend, turn, lean = angles
            whole = Rotation.from_euler("YXZ", (turn, bend, -lean), degrees=True).as_rotvec()
            for number, bone in enumerate(bones, 1):
                part = Rotation.from_rotvec(whole * number / len(bones)).as_matrix()
                draft.set(bone, base @ part)
        for side in SIDES:
            draft.set(f"eye.{side}", draft.get("head"))
            draft.set(f"clavicle.{side}", draft.get("spine01"))
            draft.set(f"shoulder01.{side}", draft.get("spine01"))

    def _leg(self, draft, side, flexion, abduction, twist, knee, ankle) -> None:
        """A leg from hip flexion, abduction and outward twist, knee bend and foot lift."""
        sign, pelvis = SIGN[side], draft.get("root")
        fl, ab = np.radians(flexion), np.radians(abduction)
        thigh = np.array([sign * np.sin(ab), -np.cos(ab) * np.cos(fl), np.cos(ab) * np.sin(fl)])
        hinge = rotation_between(DOWN, thigh) @ np.array([1.0, 0, 0])
        hinge = rotation_about(thigh, -sign * np.radians(twist)) @ hinge
        self._set_leg(draft, side, pelvis @ thigh, pelvis @ hinge, knee)
        shin = draft.get(f"lowerleg01.{side}")
        draft.set(f"foot.{side}", shin @ rotation("x", -ankle))

    def _set_leg(self, draft, side, thigh, hinge, knee) -> None:
        """Thigh and shin from the thigh's direction, the knee's axis and its bend."""
        hip, knee_at, ankle_at = (
            draft.rest_of(f"{bone}.{side}") for bone in ("upperleg01", "lowerleg01", "foot")
        )
        side_axis = np.array([1.0, 0, 0])
        turn = frame_of(thigh, hinge) @ frame_of(knee_at - hip, side_axis).T
        for bone in ("upperleg01", "upperleg02"):
            draft.set(f"{bone}.{side}", turn)
        shin = rotation_about(hinge, np.radians(knee)) @ thigh
        turn = frame_of(shin, hinge) @ frame_of(ankle_at - knee_at, side_axis).T
        for bone in ("lowerleg01", "lowerleg02", "foot"):
            draft.set(f"{bone}.{side}", turn)

    def _leg_to(self, draft, side, ankle, heading, pitch=0.0, pole=None) -> None:
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
        hip = draft.position(f"upperleg01.{side}")
        target = draft.rest_of("root") + ankle
        rest = [draft.rest_of(f"{bone}.{side}") for bone in ("upperleg01", "lowerleg01", "foot")]
        upper, lower = np.linalg.norm(rest[1] - rest[0]), np.linalg.norm(rest[2] - rest[1])
        forward = draft.get("root") @ np.array([0, 0, 1.0])
        pole = toe + forward if pole is None else pole
        thigh, shin = two_bones(hip, target, upper, lower, pole)
        # The knee bends so that the shin goes back, away from the pole.
        hinge = np.cross(thigh, shin)
        if np.linalg.norm(hinge) < 1e-6:
            hinge = np.cross(pole, thigh)
        knee = np.degrees(np.arccos(np.clip(thigh @ shin, -1, 1)))
        self._set_leg(draft, side, thigh, hinge, knee)
        if heading is not None:
            draft.set(f"foot.{side}", foot_turn @ rotation("x", pitch))

    def _bend_toes(self, draft: _Draft) -> None:
        for side in SIDES:
            foot = draft.get(f"foot.{side}")
            for bone in self.model.bones:
                if bone.startswith("toe") and bone.endswith(side):
                    draft.set(bone, foot)

    def _lower_body(self, random, activity: str) -> tuple[_Draft, str | None]:
        """Trunk, head and legs of an activity."""
        draft = _Draft(self.model, self.heads)
        normal, uniform = random.normal, random.uniform
        spine = np.array([normal(2, 6), normal(0, 8), normal(0, 4)])
        neck = _sample_neck(random)
        root = rotation("y", normal(0, 4)) @ rotation("x", normal(0, 3))
        seat = None
        ankle_height = self.heads[self.model.index["foot.L"]][1] - self.floor
        hip = self.heads[self.model.index["upperleg01.L"]] - self.heads[0]
        thigh = _chain_length(self.model, self.heads, ("upperleg01", "lowerleg01"))
        shin = _chain_length(self.model, self.heads, ("lowerleg01", "foot"))

        def stand_on(feet: dict[str, tuple[float, float, float, float]], drop: float) -> None:
            """Feet at (sideways, forward, heading, heel pitch); the hips `drop` m lower than where
            the straighter leg is straight."""
            lifts = {
                side: np.sin(np.radians(max(pitch, 0))) * 0.12
                for side, (_, _, _, pitch) in feet.items()
            }
            height = min(
                lifts[side] + np.sqrt(max((0.998 * (thigh + shin)) ** 2 - (foot[0] - hip[0]) ** 2
                                          - (foot[1] - hip[2]) ** 2, 0.01))
                for side, foot in feet.items()
            ) - hip[1]  # fmt: skip
            for side, (sideways, forward, heading, pitch) in feet.items():
                ankle = [SIGN[side] * sideways, drop + lifts[side] - height, forward]
                self._leg_to(draft, side, np.array(ankle), heading, pitch)

        if activity == "stand":
            self._set_trunk(draft, root @ rotation("z", normal(0, 3)), spine, neck)
            wide, shift = abs(normal(0.11, 0.04)) + 0.04, normal(0, 0.02)
            step = normal(0, 0.05)
            stand_on(
                {
                    side: (wide + SIGN[side] * shift, SIGN[side] * step, uniform(-4, 28), 0.0)
                    for side in SIDES
                },
                uniform(0, 0.004) if random.random() < 0.75 else uniform(0.005, 0.06),
            )
        elif activity in ("walk", "lunge"):
            long = uniform(0.18, 0.38) if activity == "walk" else uniform(0.35, 0.6)
            drop = uniform(0, 0.01) if activity == "walk" else uniform(0, 0.2)
            spine[0] += uniform(0, 12)
            self._set_trunk(draft, root, spine, neck)
            front = "L" if random.random() < 0.5 else "R"
            stand_on(
                {
                    side: (
                        uniform(0.05, 0.12),
                        long * (1 if side == front else -1) * uniform(0.7, 1),
                        uniform(-2, 15),
                        uniform(-8, 0) if side == front else uniform(18, 45),
                    )
                    for side in SIDES
                },
                drop,
            )
        elif activity == "crouch":
            spine[0] += uniform(15, 40)
            self._set_trunk(draft, root @ rotation("x", uniform(5, 35)), spine, neck)
            neck[0] -= 10
            wide, heading = uniform(0.12, 0.3), uniform(0, 35)
            stand_on(
                {s: (wide, uniform(-0.12, 0.12), heading, uniform(0, 25)) for s in SIDES},
                uniform(0.35, 0.62) * (thigh + shin),
            )
        elif activity == "bend":
            neck[0] = normal(-10, 15)
            spine[0] = uniform(15, 45)
            self._set_trunk(draft, rotation("x", uniform(15, 60)) @ root, spine, neck)
            wide = uniform(0.08, 0.22)
            stand_on({s: (wide, uniform(-0.1, 0.1), uniform(0, 20), 0.0) for s in SIDES},
                     uniform(0.0, 0.15))  # fmt: skip
        elif activity == "sit":
            seat = "chair"
            self._set_trunk(draft, root @ rotation("x", uniform(-16, 10)), spine, neck)
            height = shin * uniform(0.9, 1.15) + ankle_height
            apart, forward = uniform(0.07, 0.24), thigh * 0.95
            for side in SIDES:
                ahead = forward + uniform(-0.2, 0.2) * shin
                ankle = np.array([SIGN[side] * apart, ankle_height - height, ahead])
                self._leg_to(draft, side, ankle, uniform(-5, 25), max(0.0, normal(0, 8)))
        elif activity == "floor_sit":
            self._set_trunk(draft, root @ rotation("x", uniform(-22, 5)), spine, neck)
            height = 0.24 * thigh
            if random.random() < 0.4:
                for side, ahead in zip(SIDES, (0.55, 0.72), strict=True):
                    ankle = np.array([-SIGN[side] * 0.12, 0.05 - height, ahead]) * [1, 1, thigh]
                    outward = np.array([SIGN[side], 0.25, 0.6])
                    self._leg_to(draft, side, ankle, None, 0, outward)
            else:
                apart = uniform(0.07, 0.25)
                for side in SIDES:
                    ahead = uniform(0.7, 0.99)
                    ankle = [SIGN[side] * apart, 0.04 - height, ahead * (thigh + shin)]
                    heel = -70 if ahead > 0.85 else -15
                    self._leg_to(draft, side, np.array(ankle), uniform(0, 20), heel,
                                 np.array([0, 1.0, 0.3]))  # fmt: skip
        elif activity == "kneel":
            self._set_trunk(draft, root, spine, neck)
            down = "L" if random.random() < 0.5 else "R"
            both = random.random() < 0.35
            for side in SIDES:
                if side == down or both:
                    self._leg(draft, side, uniform(-8, 10), uniform(2, 8), 0, uniform(85, 100), -35)
                else:
                    self._leg(draft, side, uniform(80, 92), uniform(0, 14), 4, uniform(84, 98), 0)
        elif activity == "jump":
            self._set_trunk(draft, rotation("x", normal(0, 10)) @ root, spine * 1.5, neck)
            for side in SIDES:
                self._leg(draft, side, uniform(-20, 70), uniform(0, 30), uniform(-5, 15),
                          uniform(5, 100), uniform(-35, 5))  # fmt: skip
        elif activity == "acrobat":
            spine = np.array([uniform(-35, 65), uniform(-35, 35), uniform(-22, 22)])
            neck = np.array([uniform(-30, 35), uniform(-45, 45), uniform(-15, 15)])
            self._set_trunk(draft, Rotation.random(random_state=random).as_matrix(), spine, neck)
            # Lowest and highest flexion, abduction, twist, knee and ankle of a leg.
            low, high = [-25, -4, -15, 0, -40], [120, 55, 30, 140 * random.random(), 12]
            legs = [uniform(low, high) for _ in SIDES]
            if random.random() < 0.4:  # gymnasts' legs often do the same
                legs[1] = np.clip(legs[0] + normal(0, 6, 5), low, high)
            for side, angles in zip(SIDES, legs, strict=True):
                self._leg(draft, side, *angles)
        elif activity == "lie":
            way = random.choice(["back", "front", "side"], p=[0.5, 0.2, 0.3])
            turn = {"back": rotation("x", -90), "front": rotation("x", 90)}.get(
                way, rotation("z", 90) @ rotation("y", 0)
            )
            self._set_trunk(draft, rotation("y", normal(0, 8)) @ turn, spine * 0.6, neck * 0.6)
            for side in SIDES:
                bend = uniform(0, 70) if way != "front" else uniform(0, 8)
                self._leg(draft, side, bend * 0.8, uniform(2, 14), uniform(0, 10), bend, -25)
        else:
            self._set_trunk(
                draft,
                rotation("x", normal(0, 12)) @ rotation("z", normal(0, 8)) @ root,
                np.array([uniform(-18, 35), uniform(-32, 32), uniform(-18, 18)]),
                np.array([uniform(-25, 35), uniform(-55, 55), uniform(-18, 18)]),
            )
            for side in SIDES:
                self._leg(
                    draft,
                    side,
                    uniform(-18, 80) * random.random(),
                    uniform(-2, 35) * random.random() + 2,
                    uniform(-12, 25),
                    uniform(0, 110) * random.random(),
                    uniform(-30, 12),
                )
        return draft, seat

    # Arms

    def _arm_goals(self, random, activity: str) -> dict[str, str]:
        both = _draw(random, BOTH_ARMS) if random.random() < sum(BOTH_ARMS.values()) else None
        if both:
            return dict.fromkeys(SIDES, both)
        if activity == "acrobat":
            return dict.fromkeys(SIDES, "up" if random.random() < 0.25 else "free")
        goals = {side: _draw(random, ARM_GOALS) for side in SIDES}
        for side in SIDES:
            if activity == "walk" and random.random() < 0.5:
                goals[side] = "hang"
            if activity in ("sit", "floor_sit") and goals[side] in ("hang", "hip"):
                goals[side] = "thigh"
        return goals

    def _place_arm(self, draft, random, side: str, goal: str) -> tuple[str, str] | None:
        """Bend one arm and its fingers; returns what the hand holds, if anything."""
        best, fewest = None, 99
        for attempt in range(24):
            # A goal that keeps colliding is replaced by a free arm, then by one at the side.
            trying = goal if attempt < 12 else ("free" if attempt < 20 else "hang")
            found = self._try_goal(draft, random, side, trying)
            if not found:
                continue
            hits = [
                pair
                for pair in self._hits(draft)
                if any(f"{part}.{side}" in pair for part in ("upper_arm", "forearm", "palm"))
            ]
            if len(hits) < fewest:
                arm = [f"{bone}.{side}" for bone in _ARM_BONES]
                best, fewest = [draft.get(bone).copy() for bone in arm], len(hits)
                used = trying
            if not hits:
                break
        for bone, turn in zip(_ARM_BONES, best, strict=True):
            draft.set(f"{bone}.{side}", turn)
        choices = _GESTURE_OF_GOAL.get(used)
        gesture = None
        if choices and random.random() < 0.8:
            gesture = choices[random.integers(len(choices))]
        held = None
        if used in ("carry", "tablet", "gesture") and random.random() < 0.3 and goal == used:
            held = (side, "phone" if random.random() < 0.4 else "cup")
            gesture = "phone" if held[1] == "phone" else "cylinder"
        self._fingers(draft, side, sample_fingers(random, gesture))
        return held

    def _fingers(self, draft: _Draft, side: str, fingers: FingerPose) -> None:
        local = self.hands[side].local_rotations(fingers)
        for number, bone in enumerate(self.model.bones):
            if bone.endswith(f".{side}") and bone.startswith(("finger", "metacarpal")):
                above = draft.turns[self.model.parents[number]]
                draft.turns[number] = above @ local.get(bone, np.eye(3))

    def _try_goal(self, draft, random, side: str, goal: str) -> bool:
        """Set one arm for a goal; False when the goal cannot be reached within the limits."""
        uniform, normal = random.uniform, random.normal
        sign, chest = SIGN[side], draft.get("spine01")
        wrist = (normal(0, 12), normal(0, 6))
        if goal in ("hang", "free", "gesture", "wave", "point", "up", "carry", "cheer"):
            angles = {
                "hang": (uniform(4, 20), uniform(-25, 60), uniform(-10, 45), uniform(6, 40),
                         uniform(-25, 45)),
                "free": (uniform(5, 165), uniform(-25, 125), uniform(-55, 75), uniform(0, 140),
                         uniform(-75, 80)),
                "gesture": (uniform(8, 60), uniform(10, 105), uniform(-25, 60), uniform(50, 130),
                            uniform(-75, 60)),
                "wave": (uniform(40, 110), uniform(-10, 60), uniform(-95, -45), uniform(60, 130),
                         uniform(0, 80)),
                "point": (uniform(45, 115), uniform(-10, 110), uniform(-30, 40), uniform(0, 35),
                          uniform(-20, 80)),
                "up": (uniform(115, 168), uniform(0, 90), uniform(-30, 30), uniform(0, 70),
                       uniform(-60, 60)),
                "cheer": (uniform(110, 160), uniform(0, 70), uniform(-30, 30), uniform(0, 90),
                          uniform(-60, 60)),
                "carry": (uniform(4, 40), uniform(20, 90), uniform(-5, 40), uniform(55, 110),
                          uniform(-60, 15)),
            }[goal]  # fmt: skip
            self._arm(draft, side, ArmAngles(*angles, *wrist))
            return True
        head, pelvis = draft.get("head"), draft.get("root")
        head_at, size = draft.position("head"), self._head_size
        hip_at = draft.position(f"upperleg01.{side}")
        body = self._reach
        if goal == "face":
            spot = [(0.45, 0.1, 0.75), (0.15, -0.25, 0.8), (0.75, 0.3, 0.25), (0.35, 0.9, 0.65),
                    (0.2, 0.15, 0.95)][random.integers(5)]  # fmt: skip
            touch = head_at + head @ (np.array(spot) * [sign, 1, 1] * size) + normal(0, 0.012, 3)
            away = head @ np.array([sign * uniform(0.2, 0.9), uniform(-1.1, -0.3), uniform(0.3, 1)])
            target = touch + away / np.linalg.norm(away) * self._hand_length * uniform(0.75, 1.1)
            palm = touch - head_at
            return self._arm_to(draft, random, side, target, -away, -palm)
        if goal == "behind_head":
            target = head_at + head @ (np.array([sign * 0.75, 0.15, -0.75]) * size)
            return self._arm_to(
                draft, random, side, target, head @ np.array([-sign, 0.3, -0.4]),
                head @ np.array([0, 0, 1.0]), pole=np.array([sign, 0.4, 0.3]),
            )  # fmt: skip
        if goal in ("hip", "hips"):
            target = hip_at + pelvis @ np.array([sign * 0.16, 0.17, 0.02]) * body
            return self._arm_to(
                draft, random, side, target, pelvis @ np.array([-sign * 0.5, -0.5, 0.7]),
                pelvis @ np.array([-sign, -0.2, 0]), pole=np.array([sign, 0, -0.5]),
            )  # fmt: skip
        if goal == "thigh":
            knee = draft.position(f"lowerleg01.{side}")
            way = uniform(0.35, 0.95)
            target = hip_at + (knee - hip_at) * way + np.array([0, 0.11, 0]) * body
            return self._arm_to(draft, random, side, target, knee - hip_at, DOWN)
        if goal == "fold":
            other = draft.position(f"upperarm01.{'L' if side == 'R' else 'R'}")
            high = 0.0 if side == "R" else -0.055
            target = other + chest @ np.array([sign * 0.20, -0.27 + high, 0.21]) * body
            return self._arm_to(
                draft, random, side, target, chest @ np.array([-sign, 0.25, -0.1]),
                chest @ np.array([0, -0.2, -1.0]), pole=np.array([sign * 0.5, -1, 0.2]),
            )  # fmt: skip
        if goal in ("clasp", "tablet"):
            lift = 0.12 if goal == "clasp" else 0.24
            middle = draft.position("root") + chest @ np.array([0, lift, 0.27]) * body
            target = middle + chest @ np.array([sign * (0.09 if goal == "clasp" else 0.14), 0, 0])
            forward = np.array([-sign * 0.8, -0.15, 0.5])
            inward = np.array([-sign, 0.3 if goal == "tablet" else 0, -0.3])
            return self._arm_to(draft, random, side, target, chest @ forward, chest @ inward)
        if goal == "reach":
            shoulder = draft.position(f"upperarm01.{side}")
            way = chest @ np.array([sign * uniform(-0.5, 1), uniform(-0.9, 0.9), uniform(0.2, 1)])
            target = shoulder + way / np.linalg.norm(way) * uniform(0.55, 0.97) * self._arm_length
            return self._arm_to(draft, random, side, target, way, random.normal(0, 1, 3))
        raise ValueError(f"no arm goal {goal!r}")

    @property
    def _head_size(self) -> float:
        """m, a scale of the head: 0.1 on an average adult."""
        eye, head = (self.heads[self.model.index[bone]] for bone in ("eye.L", "head"))
        return float(np.linalg.norm(eye - head)) * 1.1

    @property
    def _reach(self) -> float:
        """1 on an average adult."""
        base = self.model.base_heads
        return float(self._arm_length / _chain_length(self.model, base, _ARM_JOINTS))

    @property
    def _arm_length(self) -> float:
        return _chain_length(self.model, self.heads, _ARM_JOINTS)

    @property
    def _hand_length(self) -> float:
        return _chain_length(self.model, self.heads, ("wrist", "finger3-1", "finger3-3"))

    def _arm(self, draft: _Draft, side: str, angles: ArmAngles) -> None:
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
        chest = draft.get("spine01")
        self._set_arm(draft, side, chest @ upper, chest @ fore, chest @ hinge, angles)

    def _set_arm(self, draft, side, upper, fore, hinge, angles: ArmAngles) -> None:
        sign, chest = SIGN[side], draft.get("spine01")
        raised = max(0.0, float(np.degrees(np.arccos(np.clip(-(chest.T @ upper)[1], -1, 1)))) - 35)
        forward = float((chest.T @ upper)[2])
        clavicle = chest @ rotation("z", sign * 0.22 * raised) @ rotation("y", -sign * 8 * forward)
        draft.set(f"clavicle.{side}", clavicle)
        draft.set(f"shoulder01.{side}", clavicle)
        shoulder, elbow, wrist = (
            draft.rest_of(f"{bone}.{side}") for bone in ("upperarm01", "lowerarm01", "wrist")
        )
        rest_upper, rest_fore = elbow - shoulder, wrist - elbow
        rest_hinge = np.cross(rest_upper, rest_fore)
        turn = frame_of(upper, hinge) @ frame_of(rest_upper, rest_hinge).T
        swing = rotation_between(chest @ rest_upper, upper) @ chest
        draft.set(f"upperarm01.{side}", swing @ _fraction(swing.T @ turn, 0.5))
        draft.set(f"upperarm02.{side}", turn)
        turn = frame_of(fore, hinge) @ frame_of(rest_fore, rest_hinge).T
        draft.set(f"lowerarm01.{side}", turn)
        frame = self.hands[side]
        palm = rotation_about(fore, sign * np.radians(angles.pronation)) @ (sign * hinge)
        hand = frame_of(fore, palm) @ frame_of(frame.along, frame.palm).T
        draft.set(f"lowerarm02.{side}", turn @ _fraction(turn.T @ hand, 0.5))
        flex = rotation_about(np.cross(fore, palm), np.radians(angles.wrist_flexion))
        deviate = rotation_about(palm, sign * np.radians(angles.wrist_deviation))
        draft.set(f"wrist.{side}", flex @ deviate @ hand)

    def _arm_to(
        self, draft, random, side, target, along, palm, pole: np.ndarray | None = None
    ) -> bool:
        """An arm whose wrist is at `target`, m; the hand as near to the wished direction and palm
        as wrist and forearm allow. False when no elbow position is within the limits."""
        sign, chest = SIGN[side], draft.get("spine01")
        draft.set(f"clavicle.{side}", chest)
        draft.set(f"shoulder01.{side}", chest)
        shoulder = draft.position(f"upperarm01.{side}")
        rest = [draft.rest_of(f"{bone}.{side}") for bone in ("upperarm01", "lowerarm01", "wrist")]
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
        self._set_arm(draft, side, upper, fore, hinge, angles)
        # The shoulder moved with the clavicle: aim once more from where it is now.
        shoulder = draft.position(f"upperarm01.{side}")
        upper, fore = two_bones(shoulder, target, *lengths, bent)
        hinge = np.cross(upper, fore)
        if np.linalg.norm(hinge) > 1e-4:
            self._set_arm(draft, side, upper, fore, hinge / np.linalg.norm(hinge), angles)
        return True

    @staticmethod
    def _twist_within_limits(upper: np.ndarray, hinge: np.ndarray, sign: float) -> bool:
        neutral = rotation_between(DOWN, upper) @ np.array([-1.0, 0, 0])
        twist = sign * np.degrees(np.arctan2(np.cross(neutral, hinge) @ upper, neutral @ hinge))
        backward = upper[2] < -0.75
        return -85 <= twist <= 100 and not backward


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
class Controls:
    """A whole pose as a few angles, for motion.

    Attributes:
        root: (3, 3); spine, neck: (3,) degrees, bend forward, turn left, lean left.
        arms, fingers: by side.
        ankles: by side (place relative to the root m, heading, heel pitch degrees), or None.
        legs: by side (flexion, abduction, twist, knee, ankle), used where ankles is None.
    """

    root: np.ndarray
    spine: np.ndarray
    neck: np.ndarray
    arms: dict[str, ArmAngles]
    fingers: dict[str, FingerPose]
    ankles: dict[str, tuple[np.ndarray, float, float]] | None = None
    legs: dict[str, tuple[float, float, float, float, float]] | None = None


_HANGING = ArmAngles(12.0, 20.0, 15.0, 15.0, 10.0)

_ARM_BONES = (
    "clavicle", "shoulder01", "upperarm01", "upperarm02", "lowerarm01", "lowerarm02", "wrist",
)  # fmt: skip
_ARM_JOINTS = ("upperarm01", "lowerarm01", "wrist")


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


def _of_arms(pair: tuple[str, str]) -> bool:
    """Whether one of two solids is a part of an arm."""
    return any(name.partition(".")[0] in ("upper_arm", "forearm", "palm") for name in pair)


def _sample_neck(random: np.random.Generator) -> np.ndarray:
    """(3,) degrees: bend forward, turn left, lean left."""
    return random.normal((4, 0, 0), (12, 24, 7))


def _chain_length(model: BodyModel, heads: np.ndarray, bones: tuple[str, ...]) -> float:
    points = np.array([heads[model.index[f"{bone}.L"]] for bone in bones])
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def _fraction(turn: np.ndarray, part: float) -> np.ndarray:
    return Rotation.from_rotvec(Rotation.from_matrix(turn).as_rotvec() * part).as_matrix()


def _draw(random: np.random.Generator, shares: dict[str, float]) -> str:
    values = np.array(list(shares.values()))
    return list(shares)[random.choice(len(values), p=values / values.sum())]
