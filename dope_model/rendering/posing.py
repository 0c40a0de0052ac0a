"""Body poses of one body shape, sampled or from the library, without parts that run through each
other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from dope_model.rendering.activities import (
    ACTIVITIES,
    arm_goals,
    draw,
    lower_body,
    reach_goal,
    sample_neck,
)
from dope_model.rendering.body import SIDES, BodyModel, rotation
from dope_model.rendering.collision import Solids
from dope_model.rendering.hands import FingerPose, HandFrame, sample_fingers
from dope_model.rendering.limbs import DOWN, ArmAngles, Draft
from dope_model.rendering.pose_library import LibraryPose, pose_library


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

_GESTURE_OF_GOAL = {
    "wave": ("spread", "flat", "four"), "point": ("point",), "carry": ("cylinder", "ball"),
    "hip": ("flat", "relaxed", "fist"), "hang": ("relaxed", "relaxed", "hook"),
    "behind_head": ("relaxed", "flat"), "fold": ("relaxed", "flat"), "clasp": ("relaxed", "hook"),
    "tablet": ("cylinder", "phone"), "hips": ("flat", "relaxed"),
}  # fmt: skip


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
            source = draw(random, POSE_SOURCES)
            pose = self._from_library(random, source) if source != "sampled" else None
            if pose is not None:
                return pose
        activity = activity or draw(random, ACTIVITIES)
        for _ in range(6):
            draft = self._draft()
            seat = lower_body(draft, random, activity, self.floor)
            if all(_of_arms(pair) for pair in self._hits(draft)):
                break
        held = None
        if random.random() >= LIFTED_ARMS or not self._lift_arms(draft, random):
            goals = arm_goals(random, activity)
            for side in SIDES:
                held = self._place_arm(draft, random, side, goals[side]) or held
        draft.bend_toes()
        return Pose(
            draft.turns, self.model.pose_bones(self.heads, draft.turns), activity, seat, held
        )

    def from_controls(self, controls: Controls) -> Pose:
        """The pose that a set of angles describes: what motion is made of."""
        draft = self._draft()
        draft.set_trunk(controls.root, controls.spine, controls.neck)
        for side in SIDES:
            if controls.ankles is not None:
                draft.leg_to(side, *controls.ankles[side])
            else:
                draft.leg(side, *controls.legs[side])
            draft.arm(side, controls.arms[side])
            draft.fingers(side, controls.fingers[side])
        draft.bend_toes()
        return Pose(draft.turns, self.model.pose_bones(self.heads, draft.turns), "controlled")

    def _draft(self) -> Draft:
        return Draft(self.model, self.heads, self.hands)

    def _from_library(self, random: np.random.Generator, source: str) -> Pose | None:
        """A whole pose of a source, with sampled hands and head; None when ten draws do not fit
        this body."""
        for _ in range(10):
            found = pose_library().draw(random, source)
            draft = self._draft_of(found, random)
            # Arms hang so far, through raised thighs perhaps: only the rest counts.
            clear = all(_of_arms(pair) for pair in self._hits(draft))
            if clear and self._set_free_arms(draft, random, found.arms):
                draft.bend_toes()
                heads = self.model.pose_bones(self.heads, draft.turns)
                return Pose(draft.turns, heads, source, self._seat_of(heads, draft.turns))
        return None

    def _draft_of(self, pose: LibraryPose, random: np.random.Generator) -> Draft:
        """Trunk and legs of a pose of the library."""
        draft = self._draft()
        root = Rotation.from_rotvec(pose.root, degrees=True).as_matrix()
        draft.set_trunk(root, pose.spine, sample_neck(random))
        for side in SIDES:
            draft.arm(side, _HANGING)
            if pose.legs is not None:
                draft.leg(side, *pose.legs[side], 0.0)
        ankles = {side: draft.position(f"foot.{side}") for side in SIDES}
        lowest = min(ankle[1] for ankle in ankles.values())
        for side in SIDES:
            shin = draft.get(f"lowerleg01.{side}")
            rise = float(np.degrees(np.arcsin(np.clip((shin @ [0, 0, 1.0])[1], -1, 1))))
            if ankles[side][1] < lowest + 0.09 and (shin @ DOWN)[1] < -0.4:
                lift = float(np.clip(-rise, -45, 25))  # flat on the floor
            else:
                lift = random.uniform(-35, 0)
            draft.set(f"foot.{side}", shin @ rotation("x", -lift))
        return draft

    def _lift_arms(self, draft: Draft, random: np.random.Generator) -> bool:
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
            draft.arm(side, ArmAngles(*arms[side], pronation, *wrist))
        if any(_of_arms(pair) for pair in self._hits(draft)):
            return False
        for side in SIDES:
            draft.fingers(side, sample_fingers(random, None))
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

    def _hits(self, draft: Draft) -> list[tuple[str, str]]:
        heads = self.model.pose_bones(self.heads, draft.turns)
        return self.solids.overlaps(self.solids.posed(draft.turns, heads))

    def _place_arm(self, draft, random, side: str, goal: str) -> tuple[str, str] | None:
        """Bend one arm and its fingers; returns what the hand holds, if anything."""
        best, fewest = None, 99
        for attempt in range(24):
            # A goal that keeps colliding is replaced by a free arm, then by one at the side.
            trying = goal if attempt < 12 else ("free" if attempt < 20 else "hang")
            if not reach_goal(draft, random, side, trying):
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
        draft.fingers(side, sample_fingers(random, gesture))
        return held


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


def _of_arms(pair: tuple[str, str]) -> bool:
    """Whether one of two solids is a part of an arm."""
    return any(name.partition(".")[0] in ("upper_arm", "forearm", "palm") for name in pair)
