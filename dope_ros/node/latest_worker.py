"""Work on the newest item only, in a thread of its own: nothing queues, whatever the input rate."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class LatestWorker(Generic[Item]):
    """Calls `work(item)` in its own thread, one item after the other.

    At most one item waits: a newer one takes its place. `work` must not raise.
    """

    def __init__(self, work: Callable[[Item], None], name: str) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._waiting: list[Item] = []
        self._stopped = False
        # A daemon: neither `stop` nor the end of the process waits for the item at work.
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def offer(self, item: Item) -> bool:
        """Leave an item to be worked on; True if one is dropped for that: the one that still
        waited, or, after `stop`, the item itself.
        """
        with self._changed:
            if self._stopped:
                return True
            replaced = bool(self._waiting)
            self._waiting = [item]
            self._changed.notify()
        return replaced

    def stop(self) -> bool:
        """Take no more items, and end after the one that is being worked on, which is not waited
        for; True if another one waited and is dropped.
        """
        with self._changed:
            dropped = bool(self._waiting)
            self._waiting = []
            self._stopped = True
            self._changed.notify()
        return dropped

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if self._stopped:
                    return
                (item,) = self._waiting
                self._waiting = []
            self._work(item)
            # Not kept until the next one comes: an image can be large.
            del item
