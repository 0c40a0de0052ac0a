"""Start and end of a node's process, the same for all nodes.

SIGINT and SIGTERM end it within a second at any time, with exit code 0, also while a library is
loading or an image is processed. rclpy's own handlers would interrupt that work and report errors.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node

GRACE = 0.6
"""A main thread that has not heard of a signal after this time is inside a library, s."""
GOODBYE = 3.0
"""Time for its last messages once it has, s: enough for a busy machine, rarely used up."""


class StopSignals:
    """Handles SIGINT and SIGTERM from now on, whatever the main thread does.

    Attributes:
        asked: set by the first signal.
        wake: called then, in another thread; while it is None, there is nothing to say goodbye to,
            and the process ends at once.
        heard: to be set by the main thread once it stops.
    """

    def __init__(self) -> None:
        self.asked, self.heard = threading.Event(), threading.Event()
        self.wake: Callable[[], None] | None = None
        self._pipe, written = os.pipe()
        os.set_blocking(written, False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        # Python's handlers wait until the main thread is back from a library; this does not.
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        threading.Thread(target=self._wait, name="stop signals", daemon=True).start()

    def _wait(self) -> None:
        told = 0
        while told not in (signal.SIGINT, signal.SIGTERM):
            told = os.read(self._pipe, 1)[0]
        self.asked.set()
        if self.wake is not None:
            self.wake()
            if self.heard.wait(GRACE):
                time.sleep(GOODBYE)
        end_process()


_signals: StopSignals | None = None


def stop_signals() -> StopSignals:
    """The handler of this process, active from the first call, which must be in the main thread."""
    global _signals
    _signals = _signals or StopSignals()
    return _signals


def end_process() -> None:
    """End at once with exit code 0: threads that are inside a library are not waited for."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


class _RosLog(logging.Handler):
    """Passes dope_model's log messages to the node's log."""

    def __init__(self, name: str) -> None:
        super().__init__()
        import rclpy.logging

        self._logger = rclpy.logging.get_logger(name)

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def log_to_ros(name: str) -> None:
    """From now on dope_model's log messages appear in the log of node `name`."""
    logger = logging.getLogger("dope_model")
    logger.setLevel(logging.INFO)
    logger.handlers = [_RosLog(name)]


def run_node(
    name: str, make_node: Callable[[], Node], cannot_start: tuple[type[Exception], ...]
) -> None:
    """Make a node and spin it until a signal stops it.

    An error of the types `cannot_start` is logged as one line and ends the process with exit
    code 1; any other error is a bug and shows its traceback.
    """
    stop = stop_signals()
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions
    from rclpy.task import Future

    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    log_to_ros(name)
    node = None
    try:
        executor = SingleThreadedExecutor()
        node = make_node()
        executor.add_node(node)
        told = Future()
        stop.wake = lambda: told.set_result(None)
        if not stop.asked.is_set():
            executor.spin_until_future_complete(told)
        stop.heard.set()
    except ExternalShutdownException:
        pass
    except cannot_start as error:
        rclpy.logging.get_logger(name).fatal(f"cannot start: {error}")
        sys.exit(1)
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    end_process()
