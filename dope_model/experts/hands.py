"""Hands: landmarks from palms and wrists; kept if passes agree and a body fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dope_model.boxes import box_ious
from dope_model.experts.bodies import WristView
from dope_model.experts.joints import hand_from_mediapipe
from dope_model.experts.landmarks import HandLandmarker, HandPose
from dope_model.experts.regions import Picture, Region
from dope_model.poses import PartDetections, boxes_around
from dope_model.skeleton import HAND


@dataclass
class Hand:
    """One hand, seen in several passes.

    Attributes:
        points: (21, 2) px, MediaPipe's order, of the last pass; world: (21, 3) m.
        score: the smallest of the passes' scores.
        right: 0..1, that it is the person's right hand.
        palm_score: of the palm detection it began with; 0 when it began with a wrist.
        deviation: how far the last two passes differ, in sizes of the hand.
        is_left: the side, once it is decided.
    """

    points: np.ndarray
    world: np.ndarray
    score: float
    right: float
    palm_score: float
    deviation: float
    is_left: bool = False

    @property
    def box(self) -> np.ndarray:
        return boxes_around(self.points)

    @property
    def size(self) -> float:
        """The longer side of the box, px."""
        return float(np.ptp(self.points, axis=0).max())

    def wrist_distance(self, view: WristView) -> float:
        """From its wrist to a body's, in sizes of the hand."""
        return float(np.linalg.norm(self.points[0] - view.wrist)) / max(self.size, 1)


def refined_hand(
    picture: Picture,
    landmarker: HandLandmarker,
    region: Region,
    palm_score: float = 0.0,
    give_up_below: float = 0.1,
    known: Sequence[Hand] = (),
) -> Hand | None:
    """The hand in `region`, after three passes.

    None if a pass finds none, or if most of the hand is outside the picture and so only guessed.

    Args:
        give_up_below: a pass with a lower score counts as finding none.
        known: hands that are already known; None if it is one of them.
    """
    passes: list[HandPose] = []
    for _ in range(3):
        found = landmarker(picture, region)
        passes.append(found)
        if found.score < give_up_below or any(fills_same_place(found, hand) for hand in known):
            return None
        region = found.next_region
    _, before, last = passes
    if picture.contains(last.points).mean() < 0.5:
        return None
    size = max(float(np.ptp(last.points, axis=0).max()), 1)
    apart = np.linalg.norm(last.points - before.points, axis=1).mean()
    return Hand(
        last.points,
        last.world,
        min(found.score for found in passes),
        last.right,
        palm_score,
        float(apart / size),
        is_left=last.right <= 0.5,
    )


def trusted_hands(hands: list[Hand], wrists: list[WristView]) -> list[Hand]:
    """Each hand once, if its passes agree and it fits a body's wrist and side or is very certain.

    Args:
        wrists: of the trusted bodies.
    """
    kept: list[Hand] = []
    free, taken = list(wrists), []
    for hand in sorted(hands, key=lambda hand: hand.deviation - hand.score):
        if hand.score < 0.8 or hand.deviation > 0.08 or hand.size < 20:
            continue
        if any(fills_same_place(hand, other) for other in kept):
            continue
        seems_left = hand.right <= 0.5
        view = nearest_wrist(hand, [view for view in free if view.is_left == seems_left])
        if view is None:
            # A wrist has one hand, and a hand that fits no wrist has to be beyond doubt.
            second = nearest_wrist(hand, [view for view in taken if view.is_left == seems_left])
            if second is not None or hand.score <= 0.9 or hand.palm_score <= 0.6:
                continue
            view = nearest_wrist(hand, free)
        hand.is_left = seems_left if view is None else view.is_left
        if view is not None:
            free.remove(view)
            taken.append(view)
        kept.append(hand)
    return kept


def nearest_wrist(hand: Hand, wrists: list[WristView]) -> WristView | None:
    """The body's wrist that the hand hangs on, within 0.6 hand sizes."""
    seen = [view for view in wrists if view.visibility > 0.1]
    view = min(seen, key=hand.wrist_distance, default=None)
    return view if view is not None and hand.wrist_distance(view) < 0.6 else None


def fills_same_place(hand: Hand | HandPose, other: Hand) -> bool:
    """Whether two passes found the same hand, even with the fingers in reverse order."""
    apart = np.linalg.norm(hand.points - other.points, axis=1).mean()
    boxes = boxes_around(np.stack([hand.points, other.points]))
    size = (boxes[:, 2:] - boxes[:, :2]).max()
    return bool(apart < 0.4 * size or box_ious(boxes[:1], boxes[1:])[0, 0] > 0.6)


def hand_detections(hands: list[Hand], picture: Picture) -> PartDetections:
    """The hands' joints; those outside the picture are not trusted."""
    if not hands:
        return PartDetections.empty("hand", len(HAND))
    keypoints_2d = hand_from_mediapipe(np.stack([hand.points for hand in hands]))
    return PartDetections(
        "hand",
        np.array([hand.score for hand in hands]),
        keypoints_2d,
        HAND.centred(hand_from_mediapipe(np.stack([hand.world for hand in hands]))),
        np.array([hand.is_left for hand in hands]),
        picture.contains(keypoints_2d),
    )
