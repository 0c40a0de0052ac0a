"""The `guided` experts: the network finds people, MediaPipe's landmark models place their joints.

BlazePose runs three passes on every body that the network proposes. If the passes agree, their body
is taken; otherwise the network's, if its score is high enough. Person detectors, if they are
prepared, propose people whom the network missed. The hand and face models run on the network's
hands and faces and on those of the bodies.
"""

from __future__ import annotations

import numpy as np

from dope_model.boxes import box_ious
from dope_model.experts.bodies import (
    MINIMUM_JOINTS,
    Body,
    BodyPasses,
    body_passes,
    one_each,
    pose_of_joints,
)
from dope_model.experts.faces import Face, refined_face, refined_faces
from dope_model.experts.fast import FastExperts, body_of
from dope_model.experts.hands import Hand
from dope_model.experts.joints import body_from_pose, hand_to_mediapipe
from dope_model.experts.landmarks import region_of_hand
from dope_model.experts.models import NANODET, THUNDER, models_folder
from dope_model.experts.onnx_models import MoveNet
from dope_model.experts.people import SMALLEST, PersonDetectors
from dope_model.experts.proposals import Guess, NetworkProposals, guesses_of, region_of_face
from dope_model.experts.regions import Picture, Region
from dope_model.poses import PartDetections

_AGREEMENT = 0.7  # of a plain and a mirrored pass
_GUESS_AGREEMENT = 0.4
_SAME_PERSON_IOU = 0.3


class GuidedExperts(FastExperts):
    """Body, hand and face experts of a whole picture, guided by the network.

    Args:
        engine: what the network runs on; see `dope_model.runtime.load_engine`.
    """

    def __init__(self, threads: int = 2, engine: str = "auto") -> None:
        super().__init__(threads)
        self._propose = NetworkProposals(engine)
        prepared = all((models_folder() / name).is_file() for name in (NANODET, THUNDER))
        self._people = PersonDetectors(threads) if prepared else None
        self._movenet = MoveNet(threads) if prepared else None

    def __call__(self, rgb: np.ndarray) -> dict[str, PartDetections]:
        """Detections of "body", "hand" and "face" in `rgb` (H, W, 3) uint8."""
        picture = Picture(rgb)
        proposed, reported = self._propose(rgb)
        bodies = self._placed(rgb, picture, proposed["body"], reported)
        faces = self._proposed_faces(picture, proposed["face"])
        hands = self._proposed_hands(picture, proposed["hand"])
        return self._found(picture, bodies, faces, hands)

    def _placed(
        self, rgb: np.ndarray, picture: Picture, proposed: PartDetections, reported: np.ndarray
    ) -> list[Body]:
        """Each person once; those on whom BlazePose's passes agree come first."""
        agreed, others = [], []
        guesses = guesses_of(proposed)
        for i, guess in enumerate(guesses):
            body = self._body(picture, guess)
            if body is not None:
                agreed.append(body)
            elif reported[i]:
                others.append(body_of_network(proposed, i))
        missed = (self._body(picture, guess) for guess in self._missed(rgb, picture, guesses))
        agreed += [body for body in missed if body is not None]
        agreed.sort(key=lambda body: -body.score)
        bodies = agreed + others
        return [bodies[i] for i in one_each([body.pose for body in bodies])]

    def _body(self, picture: Picture, guess: Guess) -> Body | None:
        """The body on which BlazePose's passes on a guess agree; None if they do not."""
        passes = body_passes(picture, self._pose, guess.region())
        if passes is None or not passes_agree(passes, guess):
            return None
        body = body_of(passes.second, passes.mirrored, passes.reproduced)
        return body if body.trusted.sum() >= MINIMUM_JOINTS else None

    def _missed(self, rgb: np.ndarray, picture: Picture, guesses: list[Guess]) -> list[Guess]:
        """What MoveNet sees in boxes of persons whom the network did not propose."""
        if self._people is None:
            return []
        known = np.reshape([guess.box for guess in guesses], (-1, 4))
        boxes = [person.box for person in self._people(rgb, picture)]
        return [
            Guess.of_movenet(self._movenet(picture, Region.around(box, 1.25)))
            for box in boxes
            if max(box[2:] - box[:2]) >= SMALLEST
            and not (box_ious(box[None], known) > _SAME_PERSON_IOU).any()
        ]

    def _proposed_faces(self, picture: Picture, proposed: PartDetections) -> list[Face]:
        """The network's faces, and those that the face detector finds in the whole picture."""
        found = self._find_faces(picture, picture.box, 0.4)
        faces: list[Face | None] = [*refined_faces(picture, self._face, found)]
        for points, box, score in zip(
            proposed.keypoints_2d, proposed.boxes, proposed.scores.tolist(), strict=True
        ):
            region = region_of_face(points.astype(float))
            faces.append(refined_face(picture, self._face, region, score, box))
        return [face for face in faces if face is not None]

    def _proposed_hands(self, picture: Picture, proposed: PartDetections) -> list[Hand]:
        """The network's hands, and those whose palms are found in the whole picture."""
        points = hand_to_mediapipe(proposed.keypoints_2d.astype(float))
        regions = [region_of_hand(p) for p in points]
        hands = self._refined_hands(picture, regions, proposed.scores.tolist(), [])
        return hands + self._hands_of_palms(picture, picture.box, hands)


def passes_agree(passes: BodyPasses, guess: Guess) -> bool:
    """Whether three passes found the body of a guess: all have a high score, the last two agree,
    and enough joints are where the guess has them.

    Of 111 guesses in 60 pictures without people two pass (one shows a screen).
    """
    if passes.score <= 0.5 or passes.reproduced <= _AGREEMENT or not guess.seen.any():
        return False
    return guess.agreement(body_from_pose(passes.mean.points)) > _GUESS_AGREEMENT


def body_of_network(proposed: PartDetections, i: int) -> Body:
    """The network's detection `i`, unchanged."""
    joints, joints_3d = proposed.keypoints_2d[i], proposed.keypoints_3d[i]
    trusted = proposed.trusted[i]
    pose = pose_of_joints(joints, joints_3d, trusted)
    return Body(float(proposed.scores[i]), pose, joints, joints_3d, trusted)
