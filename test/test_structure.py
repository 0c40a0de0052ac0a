"""The structure of the code: layers, no circles, short files, who may import what.

The layers are those of docs/architecture.md. Imports inside functions count like others.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from repository import ROOT

FOLDERS = ("dope_model", "dope_ros", "launch", "tools")
CODE = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
LONGEST = 450

LAYERS = (
    ("dope_model", "errors", "hints", "processes", "cache", "skeleton", "boxes", "weights"),
    ("poses", "pictures", "sample"),
    ("camera", "drawing", "postprocess", "recording", "rotations", "tracking"),
    ("network",),
    ("checkpoint",),
    ("runtime", "experts"),
    ("detector",),
    ("datasets",),
    ("benchmark", "rendering"),
    ("training",),
    ("commands", "__main__"),
    ("dope_ros", "launch", "tools"),
)
"""Files and folders of dope_model, and what stands on it, lowest first. A module imports from its
own layer, if without a circle, and from lower ones."""
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

USERS_OF_RENDERING = {"dope_model.commands.render"}
"""All that imports `rendering` from outside: its command."""


def name_of(path: Path) -> str:
    """The module's name with dots."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in CODE}


def unit_of(module: str) -> str:
    """The name in LAYERS that a module belongs to."""
    top, _, rest = module.partition(".")
    return rest.partition(".")[0] if top == "dope_model" and rest else top


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports, by full names; names that only type checkers import do not count."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in _run(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, *filter(None, [node.module])]) if node.level else node.module
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.add(full if full in MODULES else base)
    return frozenset(found)


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING`."""
    yield node
    if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
        return
    for child in ast.iter_child_nodes(node):
        yield from _run(child)


def own_imports(module: str) -> set[str]:
    return {name for name in imports(module) if name in MODULES and name != module}


def test_every_module_has_a_layer():
    assert {unit_of(module) for module in MODULES} == set(RANK)


def test_no_import_circle():
    try:
        TopologicalSorter({module: own_imports(module) for module in MODULES}).prepare()
    except CycleError as error:
        pytest.fail("these import each other: " + " -> ".join(error.args[1]))


def test_no_arrow_from_a_lower_layer_to_a_higher_one():
    upward = {
        (module, name)
        for module in MODULES
        for name in own_imports(module)
        if RANK[unit_of(name)] > RANK[unit_of(module)]
    }
    assert upward == set()


def test_who_imports_rendering():
    users = {
        module
        for module in MODULES
        if unit_of(module) not in ("rendering", "tools")
        and any(unit_of(name) == "rendering" for name in own_imports(module))
    }
    assert users == USERS_OF_RENDERING


def test_only_dope_ros_knows_ros():
    ros = {"rclpy", "dope_msgs", "dope_ros", "launch", "launch_ros", "ament_index_python"}
    knowing = {m for m in MODULES if any(name.partition(".")[0] in ros for name in imports(m))}
    assert {module for module in knowing if module.startswith("dope_model")} == set()
    assert "dope_ros.node.dope_node" in knowing  # the search finds what there is


def test_no_file_is_long():
    lengths = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    long = {module: length for module, length in lengths.items() if length > LONGEST}
    assert long == {}


def test_the_search_sees_circles_and_lazy_imports(tmp_path, monkeypatch):
    """Two files that import each other, one of them in a function."""
    (tmp_path / "a.py").write_text("def f():\n    from dope_model import b\n")
    (tmp_path / "b.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import rclpy\n"
        "from dope_model.a import f\n"
    )
    for name in "ab":
        monkeypatch.setitem(MODULES, f"dope_model.{name}", tmp_path / f"{name}.py")
    assert own_imports("dope_model.a") == {"dope_model.b"}
    assert own_imports("dope_model.b") == {"dope_model.a"}
    with pytest.raises(pytest.fail.Exception, match="dope_model.a"):
        test_no_import_circle()
