"""Track ids: the same person has the same number from image to image.

Norfair does the matching (https://github.com/tryolabs/norfair, BSD 3-clause; installed as its
maintained fork norfair-enough, which works with NumPy 2). It was chosen because it tracks keypoints
with a visibility mask and is small: NumPy, SciPy and rich. Roboflow's trackers and supervision
track boxes only, and bring matplotlib and a second OpenCV.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dope_model.hints import pip_install
from dope_model.poses import PART_SLOTS, PartPose, WholeBody
from dope_model.skeleton import BODY

MEMORY = 1.5
"""s for which a person who is not seen keeps the id."""
_NEW_MEMORY = 0.3
"""The same for a person who was seen only once, s: false detections are forgotten soon."""

# Norfair counts frames. Here a frame is a tick of this many seconds of the images' stamps, and an
# image is as many frames as have passed, so the camera's rate and skipped images do not matter.
_TICK = 0.001
_UNKNOWN_INTERVAL = 1 / 30
"""s assumed between two images with the same stamp."""
_STEP_BACK = 0.5
"""Stamps that go back by more than this, s, mean another recording."""

# All distances are in heights of the person, so size and resolution do not matter.
_REACH = 0.35
"""Largest mean distance of the joints from their predicted positions for the same person."""
_LENIENCE = 1.0
"""Relative growth of that distance per second in which the person is not seen."""
_PARTIAL = 0.15
"""Added if fewer than `_LEAST_SEEN` joints are compared, as for a hand or a face alone, so that
bodies are matched to bodies first."""
_JOINT_NOISE = 0.02
_ACCELERATION = 1.2
"""Spectral density of the acceleration, heights / s^1.5."""

_LIMB_DAMPING = 0.15
"""Time constant, s, in which a limb's own velocity decays while it is not seen."""
_BODY_DAMPING = 1.0
"""The same for the velocity of the whole body."""

# A person's height, in longer sides of the box of a face or a hand that is seen alone (mostly from
# nearby).
_HEIGHTS = {"face": 7.0, "right_hand": 9.0, "left_hand": 9.0}
_ALONE_AS = {"face": "head", "right_hand": "right_wrist", "left_hand": "left_wrist"}
_LEAST_SEEN = 3


class PersonTracker:
    """Gives people track ids: 1, 2, ... in the order in which they are first seen.

    A hand or a face without a body is a body of which only the wrist or the head is seen.

    Args:
        memory: s for which a person who is not seen keeps the id.
        last_id: ids begin after this one, as where another tracker left off.
        in_metres: people are compared where they are, by their roots, instead of by their pixels;
            all parts need a root.

    Raises:
        ImportError: Norfair is not installed; the text has the command that brings it.
    """

    def __init__(self, memory: float = MEMORY, last_id: int = 0, in_metres: bool = False) -> None:
        if not memory > 0:
            raise ValueError(f"memory is {memory} s, but must be positive")
        self.memory = memory
        self._in_metres = in_metres
        self._longest = max(2, round(memory / _TICK))
        self._norfair = _import_norfair()
        self._first_id = last_id
        self._tracker = self._new_tracker()
        self._stamp: float | None = None
        self._image = 0

    def update(self, people: list[WholeBody], stamp: float) -> list[WholeBody]:
        """The people of the next image with their track ids, in the order given.

        Args:
            stamp: when the image was taken, s.
        """
        if self._stamp is not None and stamp < self._stamp - _STEP_BACK:
            self.reset()
        ticks = self._ticks_until(stamp)
        self._image += 1
        for one in self._tracker.tracked_objects:
            # The update below counts one more.
            one.hit_counter -= ticks - 1
            one.age += ticks - 1
            one.filter.interval = ticks * _TICK
        detections = [self._detection(i, person) for i, person in enumerate(people)]
        # At least two images, but after a pause no longer than for people who were seen often.
        period = min(max(round(_NEW_MEMORY / _TICK), 2 * ticks), self._longest)
        tracked = self._tracker.update(detections, period=period)
        ids = {}
        for one in tracked:
            image, place, height = one.last_detection.data
            if image == self._image:
                ids[place] = self._first_id + one.id
                one.filter.saw(height, one.last_detection.scores > 0)
        return [replace(person, track_id=ids.get(i, -1)) for i, person in enumerate(people)]

    @property
    def last_id(self) -> int:
        """The highest id so far."""
        return self._first_id + self._tracker.total_object_count

    def reset(self) -> None:
        """Forget everybody; new ids go on from the last one."""
        self._first_id = self.last_id
        self._tracker = self._new_tracker()
        self._stamp = None

    def _new_tracker(self):
        tracker = self._norfair.Tracker(
            "euclidean",
            distance_threshold=_REACH,
            hit_counter_max=self._longest,
            initialization_delay=0,
            filter_factory=_motion_factory(self._norfair)(),
            past_detections_length=0,
        )
        tracker.distance_function = _distance(self._norfair)()
        return tracker

    def _ticks_until(self, stamp: float) -> int:
        """Whole ticks since the last image; the remainder counts next time."""
        if self._stamp is None:
            self._stamp = stamp
            return 1
        if stamp <= self._stamp:
            return round(_UNKNOWN_INTERVAL / _TICK)
        ticks = max(1, round((stamp - self._stamp) / _TICK))
        if ticks * _TICK > self.memory + 1:
            ticks = round((self.memory + 1) / _TICK)
            self._stamp = stamp
        else:
            self._stamp += ticks * _TICK
        return ticks

    def _detection(self, place: int, person: WholeBody):
        points, seen, height = _as_body(person, self._in_metres)
        return self._norfair.Detection(
            points, scores=seen.astype(float), data=(self._image, place, height)
        )


def _as_body(person: WholeBody, in_metres: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """A person as the joints of a body.

    Returns:
        Joints (13, 2) px or (13, 3) m; (13,) bool, which are seen; the person's height, px or m.
    """

    def points(pose: PartPose) -> np.ndarray:
        return pose.placed_3d if in_metres else pose.keypoints_2d

    if person.body is not None:
        joints = points(person.body)[: len(BODY)].astype(float)
        seen = person.body.trusted[: len(BODY)]
        if seen.sum() < _LEAST_SEEN:
            seen = np.ones(len(BODY), bool)
        return joints, seen.copy(), max(1.0, float(np.ptp(joints, axis=0).max()))
    joints = np.zeros((len(BODY), 3 if in_metres else 2))
    seen = np.zeros(len(BODY), bool)
    height = 1.0
    for slot, pose in person.parts():
        joint = BODY.index[_ALONE_AS[slot]]
        part = points(pose)
        middle = (part.min(axis=0) + part.max(axis=0)) / 2
        joints[joint] = middle if slot == "face" else part[0]
        seen[joint] = True
        height = max(height, _HEIGHTS[slot] * float(np.ptp(part, axis=0).max()))
    joints[~seen] = joints[seen].mean(axis=0)
    return joints, seen, height


def _import_norfair():
    try:
        import norfair
    except ImportError as error:
        raise ImportError(
            f"tracking needs Norfair ({error}): {pip_install('norfair-enough')}"
        ) from error
    return norfair


def _distance(norfair) -> type:
    class MeanJointDistance(norfair.distances.Distance):
        """Mean distance of the joints that are seen in both, in heights of the person."""

        def get_distances(self, objects, candidates) -> np.ndarray:
            if not objects or not candidates:
                return np.full((len(candidates or ()), len(objects)), np.inf)
            seen = np.stack([detection.scores > 0 for detection in candidates])
            known = np.stack([one.detected_at_least_once_points for one in objects])
            both = seen[:, None] & known  # (detections, objects, joints)
            count = both.sum(axis=-1)
            points = np.stack([detection.points for detection in candidates])[:, None]
            axes = np.moveaxis(points - np.stack([one.estimate for one in objects]), -1, 0)
            away = (np.hypot.reduce(axes) * both).sum(axis=-1) / np.maximum(count, 1)
            height = np.maximum(
                np.array([detection.data[2] for detection in candidates])[:, None],
                [one.last_detection.data[2] for one in objects],
            )
            unseen = _TICK * np.array([one.age - one.last_detection.age for one in objects])
            # After a while without a detection the person may be anywhere nearby.
            lenience = 1 + _LENIENCE * np.maximum(0.0, unseen - _NEW_MEMORY)
            partial = np.where(count < _LEAST_SEEN, _PARTIAL, 0.0)
            return np.where(count > 0, away / height / lenience + partial, np.inf)

    return MeanJointDistance


def _motion_factory(norfair) -> type:
    class MotionFactory(norfair.filter.FilterFactory):
        def create_filter(self, initial_detection: np.ndarray) -> Motion:
            return Motion(initial_detection)

    return MotionFactory


class Motion:
    """A constant-velocity Kalman filter for each coordinate of N points, with Norfair's interface.

    While nothing is seen each point's own velocity decays quickly and the common velocity slowly.
    `x` (2 N D, 1) holds positions, px or m, and velocities per s; coordinates are independent, with
    the covariance of each in three arrays. Set `interval`, s, before each `predict`.
    """

    def __init__(self, points: np.ndarray) -> None:
        self._shape = points.shape
        count = points.size
        self.x = np.zeros((2 * count, 1))
        self.x[:count, 0] = points.reshape(-1)
        self.interval = _TICK
        self._height: float | None = None
        self._position, self._mixed, self._velocity = np.zeros((3, count))

    def saw(self, height: float, seen: np.ndarray) -> None:
        """Set the person's height, px or m, and the points (N,) seen, which Norfair omits."""
        if self._height is None:
            # A point that is not seen may be anywhere on the person.
            spread = np.where(np.repeat(seen, self._shape[1]), _JOINT_NOISE, 1.0)
            self._position = (spread * height) ** 2
            self._velocity = np.full(len(spread), height**2)
        self._height = height

    def predict(self) -> None:
        """Advance by `interval`."""
        count, interval = len(self._position), self.interval
        velocity = self.x[count:, 0].reshape(self._shape)
        common = velocity.mean(axis=0)
        own = velocity - common
        kept, own_kept = np.exp(-interval / _BODY_DAMPING), np.exp(-interval / _LIMB_DAMPING)
        self.x[count:, 0] = (kept * common + own_kept * own).reshape(-1)
        # The integral of the velocity while it decays.
        moved = _BODY_DAMPING * (1 - kept) * common + _LIMB_DAMPING * (1 - own_kept) * own
        self.x[:count, 0] += moved.reshape(-1)
        acceleration = (_ACCELERATION * (self._height or 0.0)) ** 2
        self._position += interval * (2 * self._mixed + interval * self._velocity)
        self._position += acceleration * interval**3 / 3
        self._mixed += interval * self._velocity + acceleration * interval**2 / 2
        self._velocity += acceleration * interval

    def update(
        self, z: np.ndarray, R: np.ndarray | None = None, H: np.ndarray | None = None
    ) -> None:
        """Update with positions (N D, 1): those that `H` has on its diagonal."""
        count = len(self._position)
        used = np.ones(count) if H is None else np.diagonal(H)
        total = self._position + (_JOINT_NOISE * (self._height or 1.0)) ** 2
        gain, gain_velocity = used * self._position / total, used * self._mixed / total
        error = z[:, 0] - self.x[:count, 0]
        self.x[:count, 0] += gain * error
        self.x[count:, 0] += gain_velocity * error
        self._velocity = self._velocity - gain_velocity * self._mixed
        self._position = (1 - gain) * self._position
        self._mixed = (1 - gain) * self._mixed


assert set(_ALONE_AS) | {"body"} == set(PART_SLOTS)
