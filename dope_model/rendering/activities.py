"""What bodies do: activities of trunk and legs, and goals of arms, within anatomical limits.

The limits follow the usual ranges of motion of healthy adults (elevation of the upper arm to 170,
elbow 0 to 145, forearm turned 80 either way, hip bent to 120, knee to 140).
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from dope_model.rendering.body import SIDES, rotation
from dope_model.rendering.limbs import DOWN, SIGN, ArmAngles, Draft, chain_length

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


def lower_body(
    draft: Draft, random: np.random.Generator, activity: str, floor: float
) -> str | None:
    """Set trunk, head and legs for an activity; where a seat must be, "chair" or None.

    Args:
        floor: height of the floor under the body at rest, m.
    """
    normal, uniform = random.normal, random.uniform
    spine = np.array([normal(2, 6), normal(0, 8), normal(0, 4)])
    neck = sample_neck(random)
    root = rotation("y", normal(0, 4)) @ rotation("x", normal(0, 3))
    seat = None
    ankle_height = draft.rest[draft.model.index["foot.L"]][1] - floor
    hip = draft.rest[draft.model.index["upperleg01.L"]] - draft.rest[0]
    thigh = chain_length(draft.model, draft.rest, ("upperleg01", "lowerleg01"))
    shin = chain_length(draft.model, draft.rest, ("lowerleg01", "foot"))

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
            draft.leg_to(side, np.array(ankle), heading, pitch)

    if activity == "stand":
        draft.set_trunk(root @ rotation("z", normal(0, 3)), spine, neck)
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
        draft.set_trunk(root, spine, neck)
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
        draft.set_trunk(root @ rotation("x", uniform(5, 35)), spine, neck)
        neck[0] -= 10
        wide, heading = uniform(0.12, 0.3), uniform(0, 35)
        stand_on(
            {s: (wide, uniform(-0.12, 0.12), heading, uniform(0, 25)) for s in SIDES},
            uniform(0.35, 0.62) * (thigh + shin),
        )
    elif activity == "bend":
        neck[0] = normal(-10, 15)
        spine[0] = uniform(15, 45)
        draft.set_trunk(rotation("x", uniform(15, 60)) @ root, spine, neck)
        wide = uniform(0.08, 0.22)
        stand_on({s: (wide, uniform(-0.1, 0.1), uniform(0, 20), 0.0) for s in SIDES},
                 uniform(0.0, 0.15))  # fmt: skip
    elif activity == "sit":
        seat = "chair"
        draft.set_trunk(root @ rotation("x", uniform(-16, 10)), spine, neck)
        height = shin * uniform(0.9, 1.15) + ankle_height
        apart, forward = uniform(0.07, 0.24), thigh * 0.95
        for side in SIDES:
            ahead = forward + uniform(-0.2, 0.2) * shin
            ankle = np.array([SIGN[side] * apart, ankle_height - height, ahead])
            draft.leg_to(side, ankle, uniform(-5, 25), max(0.0, normal(0, 8)))
    elif activity == "floor_sit":
        draft.set_trunk(root @ rotation("x", uniform(-22, 5)), spine, neck)
        height = 0.24 * thigh
        if random.random() < 0.4:
            for side, ahead in zip(SIDES, (0.55, 0.72), strict=True):
                ankle = np.array([-SIGN[side] * 0.12, 0.05 - height, ahead]) * [1, 1, thigh]
                outward = np.array([SIGN[side], 0.25, 0.6])
                draft.leg_to(side, ankle, None, 0, outward)
        else:
            apart = uniform(0.07, 0.25)
            for side in SIDES:
                ahead = uniform(0.7, 0.99)
                ankle = [SIGN[side] * apart, 0.04 - height, ahead * (thigh + shin)]
                heel = -70 if ahead > 0.85 else -15
                draft.leg_to(side, np.array(ankle), uniform(0, 20), heel,
                             np.array([0, 1.0, 0.3]))  # fmt: skip
    elif activity == "kneel":
        draft.set_trunk(root, spine, neck)
        down = "L" if random.random() < 0.5 else "R"
        both = random.random() < 0.35
        for side in SIDES:
            if side == down or both:
                draft.leg(side, uniform(-8, 10), uniform(2, 8), 0, uniform(85, 100), -35)
            else:
                draft.leg(side, uniform(80, 92), uniform(0, 14), 4, uniform(84, 98), 0)
    elif activity == "jump":
        draft.set_trunk(rotation("x", normal(0, 10)) @ root, spine * 1.5, neck)
        for side in SIDES:
            draft.leg(side, uniform(-20, 70), uniform(0, 30), uniform(-5, 15),
                      uniform(5, 100), uniform(-35, 5))  # fmt: skip
    elif activity == "acrobat":
        spine = np.array([uniform(-35, 65), uniform(-35, 35), uniform(-22, 22)])
        neck = np.array([uniform(-30, 35), uniform(-45, 45), uniform(-15, 15)])
        draft.set_trunk(Rotation.random(random_state=random).as_matrix(), spine, neck)
        # Lowest and highest flexion, abduction, twist, knee and ankle of a leg.
        low, high = [-25, -4, -15, 0, -40], [120, 55, 30, 140 * random.random(), 12]
        legs = [uniform(low, high) for _ in SIDES]
        if random.random() < 0.4:  # gymnasts' legs often do the same
            legs[1] = np.clip(legs[0] + normal(0, 6, 5), low, high)
        for side, angles in zip(SIDES, legs, strict=True):
            draft.leg(side, *angles)
    elif activity == "lie":
        way = random.choice(["back", "front", "side"], p=[0.5, 0.2, 0.3])
        turn = {"back": rotation("x", -90), "front": rotation("x", 90)}.get(
            way, rotation("z", 90) @ rotation("y", 0)
        )
        draft.set_trunk(rotation("y", normal(0, 8)) @ turn, spine * 0.6, neck * 0.6)
        for side in SIDES:
            bend = uniform(0, 70) if way != "front" else uniform(0, 8)
            draft.leg(side, bend * 0.8, uniform(2, 14), uniform(0, 10), bend, -25)
    else:
        draft.set_trunk(
            rotation("x", normal(0, 12)) @ rotation("z", normal(0, 8)) @ root,
            np.array([uniform(-18, 35), uniform(-32, 32), uniform(-18, 18)]),
            np.array([uniform(-25, 35), uniform(-55, 55), uniform(-18, 18)]),
        )
        for side in SIDES:
            draft.leg(
                side,
                uniform(-18, 80) * random.random(),
                uniform(-2, 35) * random.random() + 2,
                uniform(-12, 25),
                uniform(0, 110) * random.random(),
                uniform(-30, 12),
            )
    return seat


def arm_goals(random: np.random.Generator, activity: str) -> dict[str, str]:
    """What each arm does, by side."""
    both = draw(random, BOTH_ARMS) if random.random() < sum(BOTH_ARMS.values()) else None
    if both:
        return dict.fromkeys(SIDES, both)
    if activity == "acrobat":
        return dict.fromkeys(SIDES, "up" if random.random() < 0.25 else "free")
    goals = {side: draw(random, ARM_GOALS) for side in SIDES}
    for side in SIDES:
        if activity == "walk" and random.random() < 0.5:
            goals[side] = "hang"
        if activity in ("sit", "floor_sit") and goals[side] in ("hang", "hip"):
            goals[side] = "thigh"
    return goals


def reach_goal(draft: Draft, random: np.random.Generator, side: str, goal: str) -> bool:
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
        draft.arm(side, ArmAngles(*angles, *wrist))
        return True
    head, pelvis = draft.get("head"), draft.get("root")
    head_at, size = draft.position("head"), draft.head_size
    hip_at = draft.position(f"upperleg01.{side}")
    body = draft.reach
    if goal == "face":
        spot = [(0.45, 0.1, 0.75), (0.15, -0.25, 0.8), (0.75, 0.3, 0.25), (0.35, 0.9, 0.65),
                (0.2, 0.15, 0.95)][random.integers(5)]  # fmt: skip
        touch = head_at + head @ (np.array(spot) * [sign, 1, 1] * size) + normal(0, 0.012, 3)
        away = head @ np.array([sign * uniform(0.2, 0.9), uniform(-1.1, -0.3), uniform(0.3, 1)])
        target = touch + away / np.linalg.norm(away) * draft.hand_length * uniform(0.75, 1.1)
        palm = touch - head_at
        return draft.arm_to(random, side, target, -away, -palm)
    if goal == "behind_head":
        target = head_at + head @ (np.array([sign * 0.75, 0.15, -0.75]) * size)
        return draft.arm_to(
            random, side, target, head @ np.array([-sign, 0.3, -0.4]),
            head @ np.array([0, 0, 1.0]), pole=np.array([sign, 0.4, 0.3]),
        )  # fmt: skip
    if goal in ("hip", "hips"):
        target = hip_at + pelvis @ np.array([sign * 0.16, 0.17, 0.02]) * body
        return draft.arm_to(
            random, side, target, pelvis @ np.array([-sign * 0.5, -0.5, 0.7]),
            pelvis @ np.array([-sign, -0.2, 0]), pole=np.array([sign, 0, -0.5]),
        )  # fmt: skip
    if goal == "thigh":
        knee = draft.position(f"lowerleg01.{side}")
        way = uniform(0.35, 0.95)
        target = hip_at + (knee - hip_at) * way + np.array([0, 0.11, 0]) * body
        return draft.arm_to(random, side, target, knee - hip_at, DOWN)
    if goal == "fold":
        other = draft.position(f"upperarm01.{'L' if side == 'R' else 'R'}")
        high = 0.0 if side == "R" else -0.055
        target = other + chest @ np.array([sign * 0.20, -0.27 + high, 0.21]) * body
        return draft.arm_to(
            random, side, target, chest @ np.array([-sign, 0.25, -0.1]),
            chest @ np.array([0, -0.2, -1.0]), pole=np.array([sign * 0.5, -1, 0.2]),
        )  # fmt: skip
    if goal in ("clasp", "tablet"):
        lift = 0.12 if goal == "clasp" else 0.24
        middle = draft.position("root") + chest @ np.array([0, lift, 0.27]) * body
        target = middle + chest @ np.array([sign * (0.09 if goal == "clasp" else 0.14), 0, 0])
        forward = np.array([-sign * 0.8, -0.15, 0.5])
        inward = np.array([-sign, 0.3 if goal == "tablet" else 0, -0.3])
        return draft.arm_to(random, side, target, chest @ forward, chest @ inward)
    if goal == "reach":
        shoulder = draft.position(f"upperarm01.{side}")
        way = chest @ np.array([sign * uniform(-0.5, 1), uniform(-0.9, 0.9), uniform(0.2, 1)])
        target = shoulder + way / np.linalg.norm(way) * uniform(0.55, 0.97) * draft.arm_length
        return draft.arm_to(random, side, target, way, random.normal(0, 1, 3))
    raise ValueError(f"no arm goal {goal!r}")


def sample_neck(random: np.random.Generator) -> np.ndarray:
    """(3,) degrees: bend forward, turn left, lean left."""
    return random.normal((4, 0, 0), (12, 24, 7))


def draw(random: np.random.Generator, shares: dict[str, float]) -> str:
    """One of the names, with a probability in proportion to its share."""
    values = np.array(list(shares.values()))
    return list(shares)[random.choice(len(values), p=values / values.sum())]
