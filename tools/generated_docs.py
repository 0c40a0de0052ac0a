"""Writes the generated tables of docs/ and config/dope.yaml anew: `make docs`.

A table stands between the lines `<!-- python -m MODULE -->` and `<!-- end -->`, and is what that
command prints.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_TABLE = re.compile(r"(<!-- python -m ([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """The pages with generated tables."""
    return [page for page in sorted(DOCS.glob("*.md")) if _TABLE.search(page.read_text())]


def printed(*command: str) -> str:
    """What `python -m COMMAND` prints, run from the sources."""
    command = (sys.executable, "-m", *command)
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, cwd=ROOT).stdout


def filled(text: str) -> str:
    """A page's text with its tables as the code has them now."""

    def table(match: re.Match) -> str:
        begin, module, end = match.groups()
        return f"{begin}\n{printed(module).strip()}\n\n{end}"

    return _TABLE.sub(table, text)


def main() -> None:
    """Fill every page."""
    for page in pages():
        page.write_text(filled(page.read_text()))
        print(page)
    config = ROOT / "config" / "dope.yaml"
    config.write_text(printed("dope_ros.settings", "yaml"))
    print(config)


if __name__ == "__main__":
    main()
