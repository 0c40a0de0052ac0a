"""Messages without ROS: their definitions, substitute classes, and serialisation.

`conversions` and `markers` fill messages and import their classes as usual (`from sensor_msgs.msg
import Image`). After `install_stand_ins()` that works without ROS or a built workspace.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

OUR_PACKAGE = "dope_msgs"


def definitions_folder() -> Path:
    """The folder of dope_msgs' definitions: beside this package, or where colcon installed them.

    Raises:
        FileNotFoundError: they are in neither place.
    """
    beside = Path(__file__).resolve().parents[2] / OUR_PACKAGE / "msg"
    # Beside an installed package it is the generated Python, without definitions.
    if any(beside.glob("*.msg")):
        return beside
    try:
        from ament_index_python.packages import get_package_share_directory

        installed = Path(get_package_share_directory(OUR_PACKAGE)) / "msg"
    except (ImportError, LookupError) as error:
        raise FileNotFoundError(
            f"no message definitions of {OUR_PACKAGE}: neither in {beside} nor in a sourced "
            f"workspace ({error})"
        ) from error
    return installed


@lru_cache(maxsize=1)
def types():
    """rosbags' store of ROS 2's message types, with dope_msgs'."""
    store = get_typestore(Stores.ROS2_JAZZY)
    ours: dict = {}
    for path in sorted(definitions_folder().glob("*.msg")):
        ours |= get_types_from_msg(path.read_text(), f"{OUR_PACKAGE}/msg/{path.stem}")
    store.register(ours)
    return store


def install_stand_ins() -> list[str]:
    """Make `from PACKAGE.msg import NAME` work for all packages of messages that are not installed.

    Returns:
        The packages that have substitute classes now.
    """
    packages = {name.partition("/")[0] for name in types().fielddefs}
    missing = sorted(package for package in packages if not _is_installed(package))
    for package in missing:
        messages = _Messages(f"{package}.msg")
        parent = ModuleType(package)
        parent.msg = messages
        # Without it `find_spec` would fail for the package.
        for module in (parent, messages):
            module.__spec__ = ModuleSpec(module.__name__, None)
        sys.modules[package], sys.modules[messages.__name__] = parent, messages
    return missing


def _is_installed(package: str) -> bool:
    if package in sys.modules:
        return True
    spec = importlib.util.find_spec(package)
    # Without __init__.py it is a folder of that name, as the definitions are in.
    return spec is not None and spec.origin is not None


class _Messages(ModuleType):
    """The module PACKAGE.msg."""

    def __getattr__(self, name: str) -> type:
        kind = f"{self.__name__.removesuffix('.msg')}/msg/{name}"
        if kind not in types().fielddefs:
            raise AttributeError(f"there is no message {kind}")
        return stand_in(kind)


@cache
def stand_in(kind: str) -> type:
    """A class with the fields and constants of message `kind` ("std_msgs/msg/Header").

    All fields begin as zero, false or empty: the store does not keep the defaults that a few
    definitions give, such as 1 for a quaternion's w.
    """
    constants, fields = types().fielddefs[kind]
    names = {name for name, _ in fields}

    def __init__(self, **values: Any) -> None:
        unknown = set(values) - names
        if unknown:
            raise TypeError(f"{kind} has no field {', '.join(sorted(unknown))}")
        for name, definition in fields:
            setattr(self, name, values[name] if name in values else _default(definition))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    methods = {"__init__": __init__, "__eq__": __eq__, "__hash__": None, "__msgtype__": kind}
    return type(
        kind.rpartition("/")[2], (), methods | {name: value for name, _, value in constants}
    )


def _default(definition: tuple) -> Any:
    node, details = definition
    if node == Nodetype.NAME:
        return stand_in(details)()
    if node == Nodetype.BASE:
        return {"string": "", "wstring": "", "bool": False}.get(details[0], 0)
    if node == Nodetype.ARRAY:
        element, count = details
        return [_default(element) for _ in range(count)]
    return []


def serialize(message: Any, kind: str) -> bytes:
    """The serialised message, of ROS's own class or of a substitute."""
    return bytes(types().serialize_cdr(_as_rosbags(message, kind), kind))


def _as_rosbags(message: Any, kind: str) -> Any:
    _, fields = types().fielddefs[kind]
    values = {
        name: _value_as_rosbags(getattr(message, name), definition) for name, definition in fields
    }
    return types().types[kind](**values)


def _value_as_rosbags(value: Any, definition: tuple) -> Any:
    node, details = definition
    if node == Nodetype.BASE:
        return value
    if node == Nodetype.NAME:
        return _as_rosbags(value, details)
    (element_node, element), _ = details
    if element_node == Nodetype.NAME:
        return [_as_rosbags(one, element) for one in value]
    if element[0] in ("string", "wstring"):
        return list(value)
    names = {"byte": "uint8", "char": "uint8", "octet": "uint8"}
    return np.asarray(value, names.get(element[0], element[0]))
