"""Ctrl-C and SIGTERM for long jobs that can stop between two steps."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stops_when_asked(stop: Callable[[], None]) -> Iterator[None]:
    """Calls `stop` on the first Ctrl-C or SIGTERM; a second one ends the program as usual.

    For the main thread, which receives the signals.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def asked(number: int, _: object) -> None:
        restore()
        print("stopping after this step; once more to stop at once", file=sys.stderr, flush=True)
        stop()

    for number in _SIGNALS:
        signal.signal(number, asked)
    try:
        yield
    finally:
        restore()
