"""The executables: they handle signals before they import anything slow."""

from dope_ros.node.process import stop_signals


def main() -> None:
    """Run the node until a signal stops it; exit code 1 if it cannot start."""
    stop_signals()
    from dope_ros.node import dope_node

    dope_node.main()


def fuse() -> None:
    """Run the node fuse likewise."""
    stop_signals()
    from dope_ros.node import fuse

    fuse.main()
