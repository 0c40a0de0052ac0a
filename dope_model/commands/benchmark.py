"""`benchmark`: a model judged by a protocol."""

from __future__ import annotations

import argparse

from dope_model.benchmark.rendered import add_rendered


def add_benchmark(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser("benchmark", help=__doc__, description=__doc__)
    add_rendered(parser.add_subparsers(dest="protocol", required=True))
