"""The `thorough` experts: for labels, with the models that `prepare` brings.

The network and two person detectors propose people. Bodies are those on which two pose models agree
(people.py); faces and hands are searched in the whole picture and on these bodies, and kept if
repeated passes agree. What is found but not trusted becomes an ignore region: no expert finds more
than half of the people in a crowd, and a network trained with them as background unlearns people.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dope_model.experts.bodies import Body, WristView, body_detections, head_box, wrist_views
from dope_model.experts.faces import (
    Face,
    face_detections,
    is_same_face,
    refined_faces,
    trusted_faces,
)
from dope_model.experts.hands import (
    Hand,
    fills_same_place,
    hand_detections,
    nearest_wrist,
    refined_hand,
    trusted_hands,
)
from dope_model.experts.landmarks import FaceLandmarker, HandLandmarker, hand_regions
from dope_model.experts.people import PeopleFinder
from dope_model.experts.proposals import Guess, NetworkProposals, guesses_of
from dope_model.experts.regions import Picture, Region, tiles
from dope_model.experts.ssd import close_face_detector, face_detector, palm_detector
from dope_model.poses import PartDetections

Boxes = dict[str, np.ndarray]


class ThoroughExperts:
    """Body, hand and face experts that label a picture."""

    def __init__(self, threads: int = 2) -> None:
        self._propose = NetworkProposals("eager")
        self._people = PeopleFinder(threads)
        self._find_faces = face_detector(threads)
        self._find_close_faces = close_face_detector(threads)
        self._find_palms = palm_detector(threads)
        self._face = FaceLandmarker(threads)
        self._hand = HandLandmarker(threads)

    def __call__(self, rgb: np.ndarray) -> dict[str, PartDetections]:
        """Detections of "body", "hand" and "face" in `rgb` (H, W, 3) uint8."""
        return self.detect_with_ignored(rgb)[0]

    def detect_with_ignored(
        self, rgb: np.ndarray, guesses: Sequence[Guess] = (), only_bodies: bool = False
    ) -> tuple[dict[str, PartDetections], Boxes]:
        """Detections, and what may be a further body, hand or face.

        Args:
            rgb: (H, W, 3) uint8.
            guesses: where people know of bodies; the network is asked where they know of none.
            only_bodies: neither hands nor faces.

        Returns:
            Detections of "body", "hand" and "face", and for each of them boxes (M, 4) as
            x0 y0 x1 y1, px, inside the picture. Such a box may hold a part without a detection: it
            counts neither as a part nor as background. It may overlap detections, which stay valid.
        """
        picture = Picture(rgb)
        proposed = None if guesses else self._propose(rgb)[0]
        if proposed is not None:
            guesses = guesses_of(proposed["body"])
        bodies, other_people = self._people(rgb, picture, guesses)
        detections = {"body": body_detections(bodies, picture)}
        if only_bodies:
            return detections, {"body": inside(other_people, picture)}
        all_faces = self._all_faces(picture, bodies)
        faces = trusted_faces(all_faces, [body.head_centre for body in bodies])
        wrists = [view for body in bodies for view in wrist_views(body.pose)]
        all_hands = self._all_hands(picture, wrists)
        hands = trusted_hands(all_hands, wrists)
        detections["hand"] = hand_detections(hands, picture)
        detections["face"] = face_detections(faces, picture)
        people = [*other_people, *bodies_of_lone_faces(faces, bodies, other_people)]
        ignored = {
            "body": people,
            "hand": people + unlabelled_hands(all_hands, hands, wrists, picture),
            "face": people + unlabelled_faces(all_faces, faces, bodies),
        }
        return detections, {part: inside(boxes, picture) for part, boxes in ignored.items()}

    def _all_faces(self, picture: Picture, bodies: list[Body]) -> list[Face]:
        divisions = (1, 2, 3) if min(picture.width, picture.height) > 400 else (1, 2)
        found = self._find_faces.on_tiles(picture, divisions)
        faces = refined_faces(picture, self._face, found)
        for body in bodies:
            for detector, scale in ((self._find_faces, 3.0), (self._find_close_faces, 1.6)):
                on_head = detector(picture, head_box(body, scale), 0.4)
                faces += refined_faces(picture, self._face, on_head)
        return faces

    def _all_hands(self, picture: Picture, wrists: list[WristView]) -> list[Hand]:
        hands = []
        for divisions in (1, 2):
            for tile in tiles(picture.width, picture.height, divisions):
                hands += self._hands_of_palms(picture, tile)
        for view in wrists:
            if view.visibility < 0.1:
                continue
            for scale in (1.1, 0.7):
                hands += self._hands_of_palms(picture, view.search_box(scale))
            direct = refined_hand(picture, self._hand, view.direct)
            hands += [direct] if direct is not None else []
        return hands

    def _hands_of_palms(self, picture: Picture, box: np.ndarray) -> list[Hand]:
        palms = self._find_palms(picture, box, 0.3)
        hands = (
            refined_hand(picture, self._hand, region, float(score))
            for region, score in zip(hand_regions(palms), palms.scores, strict=True)
        )
        return [hand for hand in hands if hand is not None]


def bodies_of_lone_faces(
    faces: list[Face], bodies: list[Body], people: np.ndarray
) -> list[np.ndarray]:
    """Where the bodies of faces are that neither a body nor a box in `people` (M, 4) holds."""
    boxes = []
    for face in faces:
        held = ((people[:, :2] <= face.centre) & (people[:, 2:] >= face.centre)).all(axis=1).any()
        if held or any(face.is_on(body.head_centre) for body in bodies):
            continue
        x, y = face.centre
        size = face.size
        boxes.append(np.array([x - 2.5 * size, y - size, x + 2.5 * size, y + 8 * size]))
    return boxes


def unlabelled_faces(
    candidates: list[Face], faces: list[Face], bodies: list[Body]
) -> list[np.ndarray]:
    """Boxes of faces that did not reproduce, and of heads without a face."""
    boxes = [
        face.box
        for face in candidates
        if face.score >= 0.3 and not any(is_same_face(face, other) for other in faces)
    ]
    boxes += [
        head_box(body, 1.3)
        for body in bodies
        if not any(face.is_on(body.head_centre) for face in faces)
    ]
    return boxes


def unlabelled_hands(
    candidates: list[Hand], hands: list[Hand], wrists: list[WristView], picture: Picture
) -> list[np.ndarray]:
    """Boxes of hands that did not reproduce, and around wrists without a hand."""
    boxes = [
        hand.box
        for hand in candidates
        if hand.score >= 0.5 and not any(fills_same_place(hand, other) for other in hands)
    ]
    for view in wrists:
        seen = view.visibility >= 0.3 and picture.contains(view.wrist)
        if seen and not any(nearest_wrist(hand, [view]) for hand in hands):
            boxes.append(upright_box(view.direct))
    return boxes


def upright_box(region: Region) -> np.ndarray:
    """The box x0 y0 x1 y1 of the region's size, not turned."""
    centre = np.array([region.x, region.y])
    return np.concatenate([centre - region.size / 2, centre + region.size / 2])


def inside(boxes: list[np.ndarray], picture: Picture) -> np.ndarray:
    """What of the boxes lies inside the picture, (M, 4), the empty ones left out."""
    clipped = np.clip(np.reshape(boxes, (-1, 4)), 0, [picture.width, picture.height] * 2).astype(
        np.float32
    )
    return clipped[(clipped[:, 2:] > clipped[:, :2]).all(axis=1)]
