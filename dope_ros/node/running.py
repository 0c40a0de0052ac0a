"""Starting and ending a node's process, the same way for all of them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node


class _RosLog(logging.Handler):
    """Passes what dope_model logs on to the node's log."""

    def __init__(self, name: str) -> None:
        super().__init__()
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
    """From now on what dope_model logs appears in the log of node `name`."""
    logger = logging.getLogger("dope_model")
    logger.setLevel(logging.INFO)
    logger.handlers = [_RosLog(name)]


def run_node(
    name: str, make_node: Callable[[], Node], cannot_start: tuple[type[Exception], ...]
) -> None:
    """Make a node and spin it until it is told to stop.

    An error of the kinds `cannot_start` is logged as one line and ends the process with exit
    code 1; any other is a bug and shows its traceback.
    """
    rclpy.init()
    log_to_ros(name)
    node = None
    try:
        node = make_node()
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except cannot_start as error:
        rclpy.logging.get_logger(name).fatal(f"cannot start: {error}")
        sys.exit(1)
    except Exception:
        # Told to stop in the middle of a callback: what it then publishes fails.
        if rclpy.ok():
            raise
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
