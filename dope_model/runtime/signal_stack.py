"""A thread's alternate signal stack, kept as it was.

OpenVINO's CPU plugin gives the thread that loads it another one, frees that with the plugin, and
puts the old one back only if the same thread unloads it, last loaded first. Otherwise the stack
points nowhere, and the next signal that Python handles, a Ctrl-C say, ends the process.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class SignalStack(ctypes.Structure):
    """C's stack_t of Linux."""

    _fields_ = (
        ("pointer", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


def signal_stack() -> SignalStack:
    """The calling thread's alternate signal stack; Linux only."""
    stack = SignalStack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """What happens inside leaves the calling thread's alternate signal stack as it was."""
    if not sys.platform.startswith("linux"):
        yield
        return
    before = signal_stack()
    try:
        yield
    finally:
        ctypes.CDLL(None).sigaltstack(ctypes.byref(before), None)
