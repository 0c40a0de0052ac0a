"""The documentation: sizes, links, and command lines that the real parsers take."""

import argparse
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from repository import ROOT

PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    ROOT / "dope_model" / "weights" / "README.md",
    ROOT / "dope_model" / "rendering" / "README.md",
]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize(
    ("page", "most"), [("README.md", 12 * 1024), ("dope_model/weights/README.md", 8 * 1024)]
)
def test_a_page_that_everybody_reads_is_short(page, most):
    assert (ROOT / page).stat().st_size <= most


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def blocks(page: Path) -> list[str]:
    """The commands of fenced and indented blocks, without comments, continued lines joined."""
    text = page.read_text()
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    indented = re.findall(r"(?:^    .+\n)+", text, re.M)
    lines = "\n".join([*fenced, *indented]).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s#.*", "", line).strip() for line in lines]


def mentions(page: Path) -> list[str]:
    """The commands within sentences; they may leave out what they are called with."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    return [
        re.sub(r"\s+", " ", found)
        for found in re.findall(r"`(python -m (?:dope|tools)[^`]*)`", text)
    ]


class Parsed(BaseException):
    """The arguments were taken."""


class Refused(BaseException):
    """They were not."""


def parse(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs `python -m MODULE ...` up to where its arguments are parsed.

    Raises:
        Refused: the module does not take them.
    """
    _, _, module, *arguments = shlex.split(command)
    if module.startswith("dope_ros"):
        pytest.importorskip("rclpy")
    real = argparse.ArgumentParser.parse_args

    def parse_args(parser, arguments=None, namespace=None):
        real(parser, arguments, namespace)
        raise Parsed

    def error(parser, message):
        raise Refused(f"{command}: {message}")

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    monkeypatch.setattr(argparse.ArgumentParser, "error", error)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(Parsed):
        runpy.run_module(module, run_name="__main__")


COMMANDS = sorted(
    {line for page in PAGES for line in blocks(page) if re.match("python -m (dope|tools)", line)}
)
MENTIONED = sorted({text for page in PAGES for text in mentions(page)} - set(COMMANDS))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_line_is_taken(command, monkeypatch):
    parse(command, monkeypatch)


@pytest.mark.parametrize("command", MENTIONED)
def test_a_mentioned_command_exists(command, monkeypatch):
    try:
        parse(command.removesuffix(" ..."), monkeypatch)
    except Refused as refused:
        if "the following arguments are required" not in str(refused):
            raise


def test_make_targets_test_files_and_extras_exist():
    makefile, project = (ROOT / "Makefile").read_text(), (ROOT / "pyproject.toml").read_text()
    for page in PAGES:
        text = page.read_text()
        for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.M):
            assert re.search(rf"^{target}:", makefile, re.M), f"{page}: make {target}"
        for path in re.findall(r"python -m pytest (test/\S+)", text):
            assert (ROOT / path).exists(), f"{page}: {path}"
        for extras in re.findall(r"pip install \.\[([\w,]+)\]", text):
            for extra in extras.split(","):
                assert re.search(rf"^{extra} = \[", project, re.M), f"{page}: .[{extra}]"
