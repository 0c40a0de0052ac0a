"""Messages of several cameras that belong to the same moment. Nothing here knows ROS."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

STEP_BACK = 1.0
"""A camera's stamps that go back by more than this, s, mean another recording."""
_MOST = 100
"""Messages kept for each camera."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class _Waiting(Generic[Item]):
    stamp: float
    arrived: float
    item: Item


class Synchronizer(Generic[Item]):
    """Sets of messages whose stamps differ by at most `tolerance`, in the order of time.

    Each set has one message of every camera that is heard, or as many as there are after
    `max_wait`: a camera that is late or silent delays the others by that much and no more. A camera
    that says nothing for `silent_after` is not waited for. The slowest camera determines the rate;
    of the others the nearest message is taken.

    Args:
        cameras: their names.
        tolerance, max_wait, silent_after: s.

    Attributes:
        unmatched: messages by camera that belong to no set: they came too late, between two
            sets, or nothing of the other cameras was near.
        heard: when each camera was heard last, s of the clock of `now`.
        stamps: the newest stamp of each camera, s.
    """

    def __init__(
        self, cameras: Sequence[str], tolerance: float, max_wait: float, silent_after: float
    ) -> None:
        self._queues: dict[str, deque[_Waiting[Item]]] = {name: deque() for name in cameras}
        self._tolerance, self._max_wait, self._silent = tolerance, max_wait, silent_after
        self._last_set = -float("inf")
        self.unmatched: Counter[str] = Counter()
        self.heard: dict[str, float] = {}
        self.stamps: dict[str, float] = {}

    def add(self, camera: str, stamp: float, item: Item, now: float) -> None:
        """Take a message.

        Args:
            stamp: of its image, s.
            now: s of any monotonic clock.
        """
        self.heard[camera] = now
        if stamp < self.stamps.get(camera, stamp) - STEP_BACK:
            for queue in self._queues.values():
                queue.clear()
            self.stamps.clear()
            self._last_set = -float("inf")
        self.stamps[camera] = stamp
        queue = self._queues[camera]
        if stamp <= self._last_set or (queue and stamp <= queue[-1].stamp):
            self.unmatched[camera] += 1
            return
        queue.append(_Waiting(stamp, now, item))
        if len(queue) > _MOST:
            queue.popleft()
            self.unmatched[camera] += 1

    def take(self, now: float) -> list[tuple[float, dict[str, Item]]]:
        """The sets that are complete, or have waited long enough: stamp and items by camera."""
        sets = []
        while (found := self._next(now)) is not None:
            sets.append(found)
        return sets

    def _next(self, now: float) -> tuple[float, dict[str, Item]] | None:
        heads = {name: queue[0] for name, queue in self._queues.items() if queue}
        if not heads:
            return None
        # The newest of the oldest: what is older has no partner in that camera.
        pivot = max(heads.values(), key=lambda one: one.stamp)
        for name, queue in self._queues.items():
            decided = queue and queue[-1].stamp >= pivot.stamp
            live = now - self.heard.get(name, -float("inf")) <= self._silent
            if live and not decided and now - pivot.arrived < self._max_wait:
                return None
        items: dict[str, Item] = {}
        for name, queue in self._queues.items():
            near = min(queue, key=lambda one: abs(one.stamp - pivot.stamp), default=None)
            end = pivot.stamp
            if near is not None and abs(near.stamp - pivot.stamp) <= self._tolerance:
                items[name], end = near.item, max(end, near.stamp)
            while queue and queue[0].stamp <= end:
                if queue.popleft() is not near or name not in items:
                    self.unmatched[name] += 1
        self._last_set = pivot.stamp
        return pivot.stamp, items
