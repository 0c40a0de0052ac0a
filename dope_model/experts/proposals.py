"""What the network proposes: bodies, hands and faces at low thresholds, for the experts to place.

The network finds more people than the person detectors, and more that are none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dope_model.experts.bodies import body_size
from dope_model.experts.joints import body_from_coco
from dope_model.experts.models import MissingModelError
from dope_model.experts.regions import Region, angle_of_right, angle_of_up, enclosing_region
from dope_model.poses import PartDetections, boxes_around
from dope_model.skeleton import BODY, FACE84
from dope_model.weights import DEFAULT_MODEL

_SHOULDERS = [BODY.index["right_shoulder"], BODY.index["left_shoulder"]]
_HIPS = [BODY.index["right_hip"], BODY.index["left_hip"]]
_EYES = [
    [i for i, name in enumerate(FACE84.joints) if name.startswith(eye)]
    for eye in ("right_eye_", "left_eye_")
]
_MOVENET_SEEN = 0.15
_SMALLEST = 6.0  # px, of a body's reach


@dataclass(frozen=True, eq=False)
class Guess:
    """Where a body may be: `joints` (13, 2) px, and which of them were `seen` (13,) bool."""

    joints: np.ndarray
    seen: np.ndarray

    @classmethod
    def of_movenet(cls, keypoints: np.ndarray) -> Guess:
        """From COCO's keypoints (17, 3): x, y px, score."""
        joints = body_from_coco(keypoints)
        return cls(joints[:, :2], joints[:, 2] > _MOVENET_SEEN)

    @property
    def has_torso(self) -> bool:
        """Whether shoulders and hips were seen, without which there is no region."""
        return bool(self.seen[_SHOULDERS + _HIPS].all())

    @property
    def box(self) -> np.ndarray:
        """Of the joints that were seen, of all when those are fewer than four: (4,) px."""
        return boxes_around(self.joints[self.seen] if self.seen.sum() >= 4 else self.joints)

    def agreement(self, joints: np.ndarray) -> float:
        """Share of the joints that are within 0.1 body sizes of other ones (13, 2) px, 0..1."""
        apart = np.linalg.norm(joints - self.joints, axis=1)
        return float((apart < 0.1 * body_size(self.joints)).mean())

    @property
    def torso(self) -> np.ndarray:
        """From mid-hip to mid-shoulder, (2,) px."""
        return self.joints[_SHOULDERS].mean(axis=0) - self.joints[_HIPS].mean(axis=0)

    @property
    def angle(self) -> float:
        """By which a region has to be turned to see the torso upright, rad."""
        return angle_of_up(self.torso) if np.linalg.norm(self.torso) > 3 else 0.0

    def region(self) -> Region:
        """BlazePose's region for this body: around mid-hip, the torso upright."""
        centre = self.joints[_HIPS].mean(axis=0)
        distance = np.linalg.norm(self.joints - centre, axis=1)
        farthest = float(distance[self.seen].max(initial=0))
        reach = max(1.5 * float(np.linalg.norm(self.torso)), 1.15 * farthest, _SMALLEST)
        return Region(float(centre[0]), float(centre[1]), 2.5 * reach, self.angle)

    def tight_region(self) -> Region:
        """MoveNet's region for it: the square around its joints, the torso upright."""
        centre = self.joints[_HIPS].mean(axis=0)
        turned = Region(*centre.tolist(), 1.0, self.angle).from_image(self.joints) - 0.5
        reach = np.abs(turned).max(axis=1)
        torso = reach[_SHOULDERS + _HIPS].max()
        half = max(1.9 * torso, 1.2 * reach[self.seen].max(initial=0), _SMALLEST)
        return Region(float(centre[0]), float(centre[1]), 2 * float(half), self.angle)


def guesses_of(proposed: PartDetections) -> list[Guess]:
    """Bodies that the network proposes, as guesses."""
    joints = proposed.keypoints_2d.astype(float)
    return [Guess(*guess) for guess in zip(joints, proposed.trusted, strict=True)]


def region_of_face(landmarks: np.ndarray) -> Region:
    """The region of the mesh of a face with these 84 landmarks (84, 2) px."""
    right, left = (landmarks[eye].mean(axis=0) for eye in _EYES)
    return enclosing_region(landmarks, angle_of_right(left - right), scale=1.6, lift=0.1)


class NetworkProposals:
    """The network that comes with the package, at low thresholds.

    Args:
        engine: see `dope_model.runtime.load_engine`.

    Raises:
        MissingModelError: a package that the network needs is missing.
    """

    # Twice as many bodies as the network would report on everyday pictures.
    _MIN_SCORE = 0.01

    def __init__(self, engine: str = "auto") -> None:
        from dope_model.checkpoint import read_checkpoint
        from dope_model.network.config import mode_named
        from dope_model.runtime import load_engine

        checkpoint = read_checkpoint(DEFAULT_MODEL)
        try:
            run = load_engine(engine, checkpoint, mode_named("auto", checkpoint.mode), "auto")
        except ImportError as error:
            raise MissingModelError(f"these experts need the network: {error}") from error
        self._run, self._checkpoint = run, checkpoint

    def __call__(self, rgb: np.ndarray) -> tuple[dict[str, PartDetections], np.ndarray]:
        """What there may be in `rgb` (H, W, 3) uint8.

        Returns:
            Proposals of "body", "hand" and "face", best first, and which of the bodies the network
            would report itself, (N,) bool.
        """
        from dope_model.postprocess.fusion import detect_parts
        from dope_model.postprocess.scores import at_least

        known = self._checkpoint
        found = detect_parts(self._run(rgb), known.integration, rgb.shape, known.curves)
        found = at_least(found, dict.fromkeys(found, self._MIN_SCORE))
        return found, found["body"].scores >= known.curves["body"].min_score
