"""Bodies for labels: boxes of two person detectors, on which two pose models must agree.

MoveNet and BlazePose were trained on different pictures. If both find the same pose, it is almost
always right; that is better evidence than either's score. In such a body, joints on which they
differ are BlazePose's, and trusted if its own passes agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dope_model.boxes import box_ious
from dope_model.experts.bodies import (
    MINIMUM_JOINTS,
    Body,
    body_passes,
    one_each,
    pose_agreement,
    steady_joints,
)
from dope_model.experts.joints import COCO_OF_POSE, body_from_coco, body_from_pose
from dope_model.experts.landmarks import Pose, PoseLandmarker
from dope_model.experts.models import CENTERNET, POSE_HEAVY, models_folder, prepared_model
from dope_model.experts.onnx_models import CenterNet, MoveNet, Nanodet
from dope_model.experts.proposals import Guess
from dope_model.experts.regions import Picture, Region
from dope_model.experts.similarity import COCO_POINTS, agreement, distinct

SMALLEST = 32  # px of the longer side: smaller persons have boxes, but no reliable poses
_SAME_BOX = 0.5  # IoU
_SHOULDERS, _HIPS = [5, 6], [11, 12]
_TORSO = _SHOULDERS + _HIPS
_SEEN = 0.15  # MoveNet's score of a point that counts for the extent of a body


@dataclass
class PersonBox:
    """`box` x0 y0 x1 y1 px, the best `score`, and the `detectors` that found it."""

    box: np.ndarray
    score: float
    detectors: frozenset[str]


@dataclass
class Track:
    """One person between box and body.

    `first`, `second`, `mirrored` are MoveNet's passes, (17, 3) x y px score; `guess` is what the
    track began with if not a box.
    """

    person: PersonBox
    visible: np.ndarray | None
    first: np.ndarray
    second: np.ndarray | None = None
    mirrored: np.ndarray | None = None
    guess: Guess | None = None

    @property
    def mean(self) -> np.ndarray:
        return (self.second + self.mirrored) / 2


@dataclass
class Evidence:
    """The evidence for a body; all but the counts in 0..1.

    Attributes:
        flag: BlazePose's score.
        models_agree: similarity of the two models' poses.
        reproduced: the smallest similarity between passes of the same model.
        mirrored: similarity of BlazePose's plain and mirrored pass.
        detectors: how many detectors found the box.
        guess_agrees: how much of the guess is within 0.1 body sizes of BlazePose's pose.
        guess_seen: how many joints of the guess were seen; 0 without a guess.
    """

    flag: float
    models_agree: float
    reproduced: float
    mirrored: float
    detectors: int
    guess_agrees: float = 0.0
    guess_seen: int = 0


def is_trusted(evidence: Evidence, detectors: int = 2) -> bool:
    """The rule for labels.

    Args:
        detectors: number of person detectors; a single one is no independent evidence.
    """
    if evidence.flag <= 0.5:
        return False
    if not evidence.detectors and evidence.guess_seen < 4:
        return False  # umbrellas and birds, as three more witnesses see them
    if evidence.guess_seen and evidence.mirrored > 0.7:
        # The independent evidence is MoveNet, or a guess with half of the body's joints.
        sure = evidence.guess_seen >= 6 and evidence.guess_agrees > 0.5
        if sure or (evidence.guess_agrees > 0.3 and evidence.models_agree > 0.45):
            return True
    if evidence.models_agree <= 0.45:
        return False
    if detectors == 2 and evidence.detectors == 2:
        return True
    return evidence.models_agree > 0.5 and evidence.reproduced > 0.7


def may_be_somebody(evidence: Evidence) -> bool:
    """Whether a guess that is not trusted is to be ignored; else it is background."""
    if not evidence.guess_seen or evidence.flag <= 0.5:
        return False
    return evidence.mirrored > 0.7 or evidence.models_agree > 0.3 or evidence.guess_seen >= 4


class PersonDetectors:
    """Boxes of persons, of both detectors where both are prepared.

    Attributes:
        count: how many detectors there are.
    """

    _NANODET_SCORE, _CENTERNET_SCORE = 0.25, 0.18

    def __init__(self, threads: int) -> None:
        self._nanodet = Nanodet(threads)
        has_centernet = (models_folder() / CENTERNET).is_file()
        self._centernet = CenterNet(threads) if has_centernet else None
        self.count = 1 + has_centernet

    def __call__(self, rgb: np.ndarray, picture: Picture) -> list[PersonBox]:
        """The boxes, best first; those of both detectors that overlap are one."""
        scores, boxes = self._nanodet(rgb, self._NANODET_SCORE)
        found = [(score, box, "nanodet") for score, box in zip(scores, boxes, strict=True)]
        if self._centernet is not None:
            scores, boxes = self._centernet(rgb, self._CENTERNET_SCORE)
            # Its scores run a little lower.
            found += [
                (1.1 * score, box, "centernet") for score, box in zip(scores, boxes, strict=True)
            ]
        people: list[PersonBox] = []
        for score, box, detector in sorted(found, key=lambda entry: -entry[0]):
            box = np.clip(box, 0, [picture.width, picture.height] * 2)
            if box[2] - box[0] < 8 or box[3] - box[1] < 12:
                continue
            for person in people:
                if box_ious(person.box[None], box[None])[0, 0] > 0.65:
                    person.detectors |= {detector}
                    break
            else:
                people.append(PersonBox(box, min(1.0, float(score)), frozenset([detector])))
        return people


class PeopleFinder:
    """Finds the bodies in a picture."""

    def __init__(self, threads: int) -> None:
        self._boxes = PersonDetectors(threads)
        self._movenet = MoveNet(threads)
        self._blazepose = PoseLandmarker(prepared_model(POSE_HEAVY), threads)

    def __call__(
        self, rgb: np.ndarray, picture: Picture, guesses: Sequence[Guess] = ()
    ) -> tuple[list[Body], np.ndarray]:
        """Trusted bodies, best first, and boxes (M, 4) px that may hold other people.

        Args:
            guesses: where bodies may be, beside those that the person detectors find.
        """
        people = self._boxes(rgb, picture)
        bodies: list[Body] = []
        sources: list[np.ndarray] = []
        doubtful: list[np.ndarray] = []

        def judge(track: Track) -> None:
            found = self._body(picture, track)
            if found is None:
                return
            body, evidence = found
            trusted = is_trusted(evidence, self._boxes.count)
            if trusted and body.trusted.sum() >= MINIMUM_JOINTS:
                bodies.append(body)
                sources.append(track.person.box)
            elif may_be_somebody(evidence):
                doubtful.append(track.person.box)

        for guess in guesses:
            judge(self._guessed(picture, guess, people))
        placed = np.reshape(sources, (-1, 4))
        missed = [p for p in people if not (box_ious(p.box[None], placed) > _SAME_BOX).any()]
        for track in self._tracks(picture, missed):
            judge(track)
        order = np.argsort([-body.score for body in bodies], kind="stable")
        kept = [order[i] for i in one_each([bodies[i].pose for i in order])]
        labelled = np.reshape([sources[i] for i in kept], (-1, 4))
        others = np.reshape([*(person.box for person in people), *doubtful], (-1, 4))
        known = (box_ious(others, labelled) > _SAME_BOX).any(axis=1)
        return [bodies[i] for i in kept], others[~known]

    def _guessed(self, picture: Picture, guess: Guess, people: list[PersonBox]) -> Track:
        """MoveNet's passes on a guess, with the torso upright, and the detectors that found it."""
        region = guess.tight_region()
        plain, mirrored = (self._movenet(picture, region, way) for way in (False, True))
        box = widened(guess.box)
        seen_by = [p.detectors for p in people if box_ious(p.box[None], box[None]) > _SAME_BOX]
        person = PersonBox(box, 1.0, frozenset().union(*seen_by))
        return Track(person, None, plain, plain, mirrored, guess)

    def _tracks(self, picture: Picture, people: list[PersonBox]) -> list[Track]:
        """MoveNet's pose of every person, each person once.

        Two passes per box: on the picture, and with everything around the box black, because in a
        crowd MoveNet jumps to a neighbour.
        """
        tracks = []
        for person in people:
            if max(person.box[2:] - person.box[:2]) < SMALLEST:
                continue
            for visible in (None, widened(person.box)):
                region = Region.around(person.box, 1.25)
                first = self._movenet(picture, region, visible=visible)
                if np.sort(first[:, 2])[-8:].mean() >= 0.15:
                    tracks.append(Track(person, visible, first))
        tracks = merged(tracks, [track.first for track in tracks])
        for track in tracks:
            region = movenet_region(track.first)
            track.second = self._movenet(picture, region, visible=track.visible)
        tracks = merged(tracks, [track.second for track in tracks])
        for track in tracks:
            region = movenet_region(track.second)
            track.mirrored = self._movenet(picture, region, True, track.visible)
        return tracks

    def _body(self, picture: Picture, track: Track) -> tuple[Body, Evidence] | None:
        """BlazePose's passes on a person, and the mean of both models' poses.

        None if the first pass finds nobody, or a pose far from MoveNet's.
        """
        movenet = track.mean
        guess = track.guess or Guess.of_movenet(movenet)
        passes = body_passes(picture, self._blazepose, guess.region())
        if passes is None:
            return None
        blazepose = coco_keypoints(passes.mean)
        reproduced = min(
            keypoint_agreement(track.second, track.first),
            keypoint_agreement(track.second, track.mirrored),
            pose_agreement(passes.second, passes.first),
            passes.reproduced,
        )
        evidence = Evidence(
            passes.score,
            keypoint_agreement(movenet, blazepose),
            reproduced,
            passes.reproduced,
            len(track.person.detectors),
        )
        if track.guess is not None:
            evidence.guess_agrees = guess.agreement(body_from_pose(passes.mean.points))
            evidence.guess_seen = int(guess.seen.sum())
        box = track.person.box
        steady = steady_joints(passes.second, passes.mirrored)
        size = float(np.sqrt(box_area(box)))
        keypoints_2d, trusted = fused_joints(movenet, blazepose, size, steady)
        score = min(1.0, max(0.0, passes.score * evidence.models_agree))
        pose = passes.mean
        return Body(score, pose, keypoints_2d, body_from_pose(pose.world), trusted), evidence


def box_area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def widened(box: np.ndarray) -> np.ndarray:
    """A person's box with a margin for what a detector cuts off."""
    width, height = box[2] - box[0], box[3] - box[1]
    margin = 0.15 * max(width, height / 2) + 3
    return box + margin * np.array([-1, -1, 1, 1])


def coco_keypoints(pose: Pose) -> np.ndarray:
    """A pass of BlazePose as COCO keypoints (17, 3): x, y px, visibility."""
    points = list(COCO_OF_POSE)
    return np.column_stack([pose.points[points], pose.visibility[points]])


def keypoint_agreement(keypoints: np.ndarray, others: np.ndarray) -> float:
    """Similarity of COCO keypoints (17, 3), 0..1, in the worse direction."""
    ours, theirs = keypoints[list(COCO_POINTS)], others[list(COCO_POINTS)]
    return float(agreement(ours[:, :2], ours[:, 2], theirs[:, :2], theirs[:, 2]))


def merged(tracks: list[Track], keypoints: list[np.ndarray]) -> list[Track]:
    """The best track of each person; it inherits the detectors of the others."""
    if not tracks:
        return []
    points = np.stack(keypoints)[:, list(COCO_POINTS)]
    quality = [
        points[:, 2].mean() * (1.3 if len(track.person.detectors) > 1 else 1.0)
        for points, track in zip(keypoints, tracks, strict=True)
    ]
    order = np.argsort(-np.array(quality), kind="stable")
    groups = distinct(points[..., :2], points[..., 2], order, 0.6)
    for group in groups:
        for i in group[1:]:
            tracks[group[0]].person.detectors |= tracks[i].person.detectors
    return [tracks[group[0]] for group in groups]


def movenet_region(keypoints: np.ndarray) -> Region:
    """MoveNet's region for a second pass: around mid-hip, as far as its points."""
    centre = keypoints[_HIPS, :2].mean(axis=0)
    reach = np.abs(keypoints[:, :2] - centre).max(axis=1)
    seen = keypoints[:, 2] > _SEEN
    body = reach[seen].max(initial=0)
    half = max(1.9 * reach[_TORSO].max(), 1.2 * body, 8)
    return Region(float(centre[0]), float(centre[1]), 2 * float(half))


def fused_joints(
    movenet: np.ndarray, blazepose: np.ndarray, size: float, steady: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The mean of both models' poses, weighted with their scores; BlazePose's where they differ.

    Of 344 joints of athletes on which they differed, BlazePose had 49 % right by human annotations,
    MoveNet 14 %. Of 1,500 other joints 66 % are right this way, 63 % with the mean throughout; 86 %
    instead of 77 % are trusted, and 72 % instead of 73 % of these are right.

    Args:
        movenet, blazepose: COCO keypoints (17, 3): x, y px, score.
        size: of the person, px.
        steady: (13,) bool, our joints on which BlazePose's passes agree.

    Returns:
        Our joints (13, 2) px, and which of them are trusted (13,): those at the same place in both
        models or in BlazePose's passes.
    """
    ours, theirs = body_from_coco(movenet), body_from_coco(blazepose)
    weights, others = movenet[:, 2:] + 0.02, blazepose[:, 2:] + 0.02
    mean = (movenet[:, :2] * weights + blazepose[:, :2] * others) / (weights + others)
    near = np.linalg.norm(ours[:, :2] - theirs[:, :2], axis=1) < 0.08 * size
    visible = (theirs[:, 2] > 0.5) | (ours[:, 2] > 0.3)
    joints = np.where(near[:, None], body_from_coco(mean), theirs[:, :2])
    return joints, visible & (near | steady)
