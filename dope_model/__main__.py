"""Command line: python -m dope_model detect IMAGE... --out DIR"""

from __future__ import annotations

import argparse
import sys

from dope_model import commands
from dope_model.errors import Failure


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dope_model", description=__doc__)
    subparsers = parser.add_subparsers(dest="command", required=True)
    for add in commands.ALL:
        add(subparsers)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError, ImportError, Failure) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
