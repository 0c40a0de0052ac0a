"""A worker thread that processes only the newest item: nothing queues, whatever the input rate."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class LatestWorker(Generic[Item]):
    """Calls `work(item)` in its own thread, one item after the other.

    At most one item waits; a newer item replaces it. `work` must not raise.
    """

    def __init__(self, work: Callable[[Item], None], name: str) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._waiting: list[Item] = []
        self._stopped = False
        # A daemon: neither `stop` nor the end of the process waits for the current item.
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def offer(self, item: Item) -> bool:
        """Submit an item; True if one is dropped for it: the waiting one or, after `stop`, the item
        itself.
        """
        with self._changed:
            if self._stopped:
                return True
            replaced = bool(self._waiting)
            self._waiting = [item]
            self._changed.notify()
        return replaced

    def stop(self) -> bool:
        """Accept no more items and end after the current one, without waiting for it; True if a
        waiting item is dropped.
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
            # Released at once: an image can be large.
            del item
