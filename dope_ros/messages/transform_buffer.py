"""Transforms between frames as they come on /tf and /tf_static, and what they say about a moment.

As much of tf2's buffer as the nodes need. tf2_ros itself is not among the ROS packages on PyPI.
Nothing here imports ROS: any object with a message's fields works.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from dope_ros.messages.camera_info import nanoseconds
from dope_ros.messages.errors import BadMessageError

if TYPE_CHECKING:
    from geometry_msgs.msg import TransformStamped

MEMORY = 10.0
"""s for which transforms are kept, as in tf2."""
_BEYOND = 0.1
"""A transform holds for this long before and after the moments it was published for, s."""
_DEEPEST = 200

Pose = tuple[np.ndarray, np.ndarray]
"""A rotation (3, 3) and a shift (3,), m: a point p of a frame is at turn @ p + shift in another."""


class NoTransformError(BadMessageError):
    """Two frames are not connected at a moment; the text says why."""


class _Edge:
    """From a frame to its parent: one pose for ever, or one for each of many moments."""

    def __init__(self, parent: str, static: bool) -> None:
        self.parent, self.static = parent, static
        self.poses: deque[tuple[int, np.ndarray, np.ndarray]] = deque()

    def add(self, stamp: int, turn: np.ndarray, shift: np.ndarray) -> None:
        if self.static or (self.poses and stamp < self.poses[-1][0] - MEMORY * 1e9):
            self.poses.clear()  # for ever, or another recording
        self.poses.append((stamp, turn, shift))
        if len(self.poses) > 1 and stamp < self.poses[-2][0]:
            self.poses = deque(sorted(self.poses, key=lambda pose: pose[0]))
        while self.poses[0][0] < self.poses[-1][0] - MEMORY * 1e9:
            self.poses.popleft()

    def at(self, child: str, stamp: int) -> Pose:
        """The pose at a moment, interpolated."""
        if self.static:
            _, turn, shift = self.poses[0]
            return _matrix(turn), shift
        for name, pose, sign in (("oldest", self.poses[0], 1), ("newest", self.poses[-1], -1)):
            away = sign * (pose[0] - stamp) / 1e9
            if away > _BEYOND:
                side = "later" if sign > 0 else "earlier"
                raise NoTransformError(
                    "no transform of that time",
                    f"the {name} transform from {child!r} to {self.parent!r} is {away:.2f} s "
                    f"{side} than the people",
                )
        after = next((k for k, pose in enumerate(self.poses) if pose[0] >= stamp), None)
        if after is None or after == 0:
            _, turn, shift = self.poses[-1 if after is None else 0]
            return _matrix(turn), shift
        (t0, q0, p0), (t1, q1, p1) = self.poses[after - 1], self.poses[after]
        share = (stamp - t0) / max(t1 - t0, 1)
        turn = q0 + share * (q1 * (1 if q0 @ q1 >= 0 else -1) - q0)
        return _matrix(turn / np.linalg.norm(turn)), p0 + share * (p1 - p0)


def _matrix(quaternion: np.ndarray) -> np.ndarray:
    """(3, 3) of a unit quaternion x y z w."""
    x, y, z, w = quaternion
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross


class TransformBuffer:
    """The newest transforms, and poses of frames at a moment."""

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}

    def add(self, transforms: Iterable[TransformStamped], static: bool) -> None:
        """Take the transforms of a message on /tf or, `static`, on /tf_static. Those that are no
        transforms (a frame in itself, numbers that are not finite, no rotation) are ignored.
        """
        for one in transforms:
            child, parent = one.child_frame_id.lstrip("/"), one.header.frame_id.lstrip("/")
            t, q = one.transform.translation, one.transform.rotation
            turn, shift = np.array([q.x, q.y, q.z, q.w]), np.array([t.x, t.y, t.z])
            length = np.linalg.norm(turn)
            usable = np.isfinite(shift).all() and 0.9 < length < 1.1  # False for NaN
            if not usable or not child or not parent or child == parent:
                continue
            edge = self._edges.get(child)
            if edge is None or (edge.parent, edge.static) != (parent, static):
                edge = self._edges[child] = _Edge(parent, static)
            edge.add(nanoseconds(one.header.stamp), turn / length, shift)

    def lookup(self, target: str, source: str, stamp: int) -> Pose:
        """The pose of frame `source` in frame `target` at a moment, ns.

        Raises:
            NoTransformError: the frames are not connected, or not at that moment.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        if target == source:
            return np.eye(3), np.zeros(3)
        up_source, up_target = self._ancestors(source), self._ancestors(target)
        shared = next((frame for frame in up_source if frame in up_target), None)
        if shared is None:
            unknown = [f for f in (source, target) if not self._knows(f)]
            why = (
                "there is no frame " + " and no frame ".join(map(repr, unknown))
                if unknown
                else ("nothing connects them")
            )
            raise NoTransformError(
                "no transform",
                f"no transform from {source!r} to {target!r}: {why} on /tf and /tf_static",
            )
        turn, shift = self._up(up_source, shared, stamp)
        back, origin = self._up(up_target, shared, stamp)
        return back.T @ turn, back.T @ (shift - origin)

    def _knows(self, frame: str) -> bool:
        return frame in self._edges or any(edge.parent == frame for edge in self._edges.values())

    def _ancestors(self, frame: str) -> list[str]:
        """A frame, its parent, and so on."""
        chain = [frame]
        while frame in self._edges and len(chain) < _DEEPEST:
            frame = self._edges[frame].parent
            chain.append(frame)
        return chain

    def _up(self, chain: list[str], end: str, stamp: int) -> Pose:
        turn, shift = np.eye(3), np.zeros(3)
        for child in chain[: chain.index(end)]:
            step, moved = self._edges[child].at(child, stamp)
            turn, shift = step @ turn, step @ shift + moved
        return turn, shift
