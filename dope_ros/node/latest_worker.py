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
        # A daemon, so that a process that ends in an error does not wait for a detection.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, item: Item) -> bool:
        """Leave an item to be worked on; True if it took the place of one that still waited."""
        with self._changed:
            replaced = bool(self._waiting)
            self._waiting = [item]
            self._changed.notify()
        return replaced

    def stop(self) -> bool:
        """End after the item that is being worked on; True if another one waited and is dropped."""
        with self._changed:
            dropped = bool(self._waiting)
            self._waiting = []
            self._stopped = True
            self._changed.notify()
        self._thread.join()
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
