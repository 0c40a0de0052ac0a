"""The executable dope_node: hears signals before anything that takes time is imported."""

from dope_ros.node.process import stop_signals


def main() -> None:
    """Run the node until it is told to stop; exit code 1 if it cannot start."""
    stop_signals()
    from dope_ros.node import dope_node

    dope_node.main()
