"""The `fast` experts: for live use, with the models of the mediapipe package.

Faces first: they are found in all sizes. Bodies are searched in the whole picture and below each
face without a body. A plain and a mirrored pass must agree, because MediaPipe's own scores are high
on many things that are not bodies. Hands come from palms and from the bodies' wrists.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dope_model.boxes import box_ious
from dope_model.experts.bodies import (
    MINIMUM_JOINTS,
    Body,
    body_detections,
    head_box,
    mean_pose,
    one_each,
    pose_agreement,
    steady_joints,
    wrist_views,
)
from dope_model.experts.faces import Face, face_detections, refined_faces, trusted_faces
from dope_model.experts.hands import (
    Hand,
    hand_detections,
    nearest_wrist,
    refined_hand,
    trusted_hands,
)
from dope_model.experts.joints import body_from_pose
from dope_model.experts.landmarks import (
    FaceLandmarker,
    HandLandmarker,
    Pose,
    body_regions,
    hand_regions,
    pose_full,
)
from dope_model.experts.regions import Picture, Region
from dope_model.experts.ssd import SsdDetections, body_detector, face_detector, palm_detector
from dope_model.poses import PartDetections

# The two passes have slightly different regions and differ more than two passes on the same one.
_STEADY = 0.08


class FastExperts:
    """Body, hand and face experts of a whole picture."""

    def __init__(self, threads: int = 2) -> None:
        self._find_faces = face_detector(threads)
        self._find_bodies = body_detector(threads)
        self._find_palms = palm_detector(threads)
        self._face = FaceLandmarker(threads)
        self._pose = pose_full(threads)
        self._hand = HandLandmarker(threads)

    def __call__(self, rgb: np.ndarray) -> dict[str, PartDetections]:
        """Detections of "body", "hand" and "face" in `rgb` (H, W, 3) uint8."""
        picture = Picture(rgb)
        faces = refined_faces(picture, self._face, self._find_faces.on_tiles(picture, (1, 2)))
        bodies = self._bodies(picture, faces)
        return self._found(picture, bodies, faces, self._hands_of_palms(picture, picture.box, []))

    def _found(
        self, picture: Picture, bodies: list[Body], faces: list[Face], hands: list[Hand]
    ) -> dict[str, PartDetections]:
        """The bodies, and what is trusted of faces and hands; more are searched on the bodies."""
        for body in bodies:
            if not any(face.is_on(body.head_centre) for face in faces):
                found = self._find_faces(picture, head_box(body, 3.0), 0.4)
                faces = faces + refined_faces(picture, self._face, found)
        faces = trusted_faces(faces, [body.head_centre for body in bodies])
        return {
            "body": body_detections(bodies, picture),
            "hand": hand_detections(self._hands(picture, bodies, hands), picture),
            "face": face_detections(faces, picture),
        }

    def _bodies(self, picture: Picture, faces: list[Face]) -> list[Body]:
        poses: list[Pose] = []
        for region in self._body_regions(picture, faces):
            pose = self._pose(picture, region)
            if pose.score > 0.5:
                poses.append(pose)
        poses.sort(key=lambda pose: -pose.quality)

        bodies = []
        for pose in (poses[i] for i in one_each(poses, limit=0.6)):
            mirrored = self._pose(picture, pose.next_region, mirrored=True)
            has_face = any(
                face.score >= 0.5 and face.is_on(pose.points[:11].mean(axis=0)) for face in faces
            )
            reproduced = pose_agreement(pose, mirrored)
            # A face is further evidence, so the passes may agree less.
            if mirrored.score > 0.5 and reproduced >= (0.6 if has_face else 0.75):
                body = body_of(pose, mirrored, reproduced)
                if body.trusted.sum() >= MINIMUM_JOINTS:
                    bodies.append(body)
        bodies.sort(key=lambda body: -body.score)
        bodies = [bodies[i] for i in one_each([body.pose for body in bodies])]
        return without_bodies_inside(bodies, faces)

    def _body_regions(self, picture: Picture, faces: list[Face]) -> list[Region]:
        """Candidate bodies: in the whole picture, and below faces without a body."""
        found = self._find_bodies(picture, picture.box, 0.3)
        regions = body_regions(found)
        for face in faces:
            # The detector's boxes of bodies are boxes of their heads.
            if face.score < 0.5 or hits(found, face):
                continue
            for box in boxes_below(face):
                below = self._find_bodies(picture, box, 0.3)
                regions += body_regions(below)
                if hits(below, face):
                    break
            else:
                x, y = (face.detector_box[:2] + face.detector_box[2:]) / 2
                height = float(max(face.detector_box[2:] - face.detector_box[:2]))
                regions.append(Region(float(x), float(y + 3.3 * height), 12.5 * height))
        different: list[Region] = []
        for region in regions:
            if not any(region.is_close_to(other) for other in different):
                different.append(region)
        return different

    def _hands(self, picture: Picture, bodies: list[Body], found: list[Hand]) -> list[Hand]:
        """The trusted hands among those that are `found` and those at the bodies' wrists."""
        found = list(found)
        wrists = [view for body in bodies for view in wrist_views(body.pose)]
        for view in wrists:
            if view.visibility < 0.3 or not picture.contains(view.wrist):
                continue
            if any(nearest_wrist(hand, [view]) for hand in found):
                continue
            hands = self._hands_of_palms(picture, view.search_box(1.1), found)
            if not any(nearest_wrist(hand, [view]) for hand in hands):
                hands += self._refined_hands(picture, [view.direct], [0.0], found + hands)
            found += hands
        return trusted_hands(found, wrists)

    def _hands_of_palms(self, picture: Picture, box: np.ndarray, known: list[Hand]) -> list[Hand]:
        palms = self._find_palms(picture, box, 0.3)
        return self._refined_hands(picture, hand_regions(palms), palms.scores, known)

    def _refined_hands(
        self,
        picture: Picture,
        regions: list[Region],
        palm_scores: Sequence[float],
        known: list[Hand],
    ) -> list[Hand]:
        hands: list[Hand] = []
        for region, score in zip(regions, palm_scores, strict=True):
            hand = refined_hand(
                picture, self._hand, region, float(score), give_up_below=0.5, known=known + hands
            )
            hands += [hand] if hand is not None else []
        return hands


def boxes_below(face: Face) -> list[np.ndarray]:
    """Two places (x0 y0 x1 y1 px) in which to search for the body of a face: wide and close."""
    x, y = (face.detector_box[:2] + face.detector_box[2:]) / 2
    height = max(face.detector_box[2:] - face.detector_box[:2])
    return [
        np.array([x - side * height, y - up * height, x + side * height, y + down * height])
        for side, up, down in ((4.0, 1.5, 6.5), (2.2, 1.0, 3.4))
    ]


def hits(bodies: SsdDetections, face: Face) -> bool:
    """Whether a detected body has this face."""
    return bool((box_ious(bodies.boxes, face.detector_box[None]) > 0.15).any())


def body_of(plain: Pose, mirrored: Pose, reproduced: float) -> Body:
    """The body on which two passes agree by `reproduced`, 0..1."""
    pose = mean_pose(plain, mirrored)
    return Body(
        pose.score * reproduced,
        pose,
        body_from_pose(pose.points),
        body_from_pose(pose.world),
        steady_joints(plain, mirrored, _STEADY),
    )


def without_bodies_inside(bodies: list[Body], faces: list[Face]) -> list[Body]:
    """Without bodies that lie in a larger body's box and have no face: body parts, not people."""
    kept: list[Body] = []
    for body in sorted(bodies, key=lambda body: -float(body.box[3] - body.box[1])):
        box = body.box
        area = max(float((box[2:] - box[:2]).prod()), 1)
        has_face = any(face.score > 0.5 and face.is_on(body.head_centre) for face in faces)
        inside = False
        for other in kept:
            shared = np.minimum(box[2:], other.box[2:]) - np.maximum(box[:2], other.box[:2])
            much = float(np.clip(shared, 0, None).prod()) > 0.7 * area
            smaller = box[3] - box[1] < 0.75 * (other.box[3] - other.box[1])
            inside = inside or bool(much and smaller)
        if has_face or not inside:
            kept.append(body)
    return kept
