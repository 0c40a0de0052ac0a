"""`benchmark`: evaluate models by a protocol."""

from __future__ import annotations

import argparse

from dope_model.benchmark.protocols import add_protocols
from dope_model.benchmark.speed import add_speed


def add_benchmark(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser("benchmark", help=__doc__, description=__doc__)
    protocols = parser.add_subparsers(dest="protocol", required=True)
    add_protocols(protocols)
    add_speed(protocols)
