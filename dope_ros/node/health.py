"""What went wrong at a node: counted, told once in the log, shown on /diagnostics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import Header

from dope_ros.messages.errors import BadMessageError
from dope_ros.node.qos import RESULTS

PERIOD = 1.0
"""s between two messages on /diagnostics."""


class Health:
    """The faults of a node by their source, such as a topic.

    A fault is logged when it begins, and again when it comes back after `well`.

    Args:
        node: has `describe()`, which gives the troubles and the values of the moment.
    """

    def __init__(self, node: Node, title: str) -> None:
        self._node, self._title = node, title
        self._counts: Counter[tuple[str, str]] = Counter()
        self._present: dict[tuple[str, str], str] = {}
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", RESULTS)
        # A wall-clock timer: simulated time may stop.
        self._timer = node.create_timer(
            PERIOD, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def fault(self, source: str, error: BadMessageError, effect: str) -> None:
        """Something of a source cannot be used: `effect` says what is missing therefore."""
        key = (source, error.kind)
        self._counts[key] += 1
        if key not in self._present:
            self._node.get_logger().warning(f"{source}: {error}: {effect}")
        self._present[key] = str(error)

    def well(self, source: str, kind: str = "") -> None:
        """The faults of a source, or those of one kind, are over."""
        for key in [k for k in self._present if k[0] == source and kind in ("", k[1])]:
            del self._present[key]

    def count(self, source: str, kind: str) -> int:
        """How often there was a fault."""
        return self._counts[source, kind]

    def publish(self) -> None:
        """The status: a warning while there are faults or other troubles."""
        troubles, values = self._node.describe()
        troubles = [*troubles, *(f"{source}: {text}" for (source, _), text in self._faults())]
        counts = {f"{source}: {kind}": n for (source, kind), n in sorted(self._counts.items())}
        name = self._node.get_fully_qualified_name().strip("/")
        self._publisher.publish(
            DiagnosticArray(
                header=Header(stamp=self._node.get_clock().now().to_msg()),
                status=[_status(f"{name}: {self._title}", troubles, {**values, **counts})],
            )
        )

    def _faults(self) -> list[tuple[tuple[str, str], str]]:
        return sorted(self._present.items())


def _status(name: str, troubles: Sequence[str], values: Mapping[str, object]) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=DiagnosticStatus.WARN if troubles else DiagnosticStatus.OK,
        name=name,
        message="; ".join(troubles) or "fine",
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
