"""Settings changed by text: "name=value", where dots lead into nested ones."""

from __future__ import annotations

from dataclasses import replace


def with_changes(settings, changes: list[str]):
    """A settings dataclass with "name=value" texts applied; dots lead into nested ones.

    Raises:
        ValueError: an unknown name, or a value of another type.
    """
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"--set takes NAME=VALUE, not {change!r}")
        settings = _with_change(settings, name, name.split("."), text)
    return settings


def _with_change(settings, full_name: str, path: list[str], text: str):
    if path[0] not in vars(settings):
        raise ValueError(f"unknown setting {full_name!r}; known: {', '.join(vars(settings))}")
    old = getattr(settings, path[0])
    if len(path) > 1:
        new = _with_change(old, full_name, path[1:], text)
    elif isinstance(old, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{full_name} is true or false, not {text!r}")
        new = text.lower() == "true"
    elif old is None or isinstance(old, (int, float)):
        try:
            new = (float if old is None else type(old))(text)
        except ValueError as error:
            raise ValueError(f"{full_name} is a number, not {text!r}") from error
    elif isinstance(old, str):
        new = text
    elif isinstance(old, tuple) and all(isinstance(x, float) for x in old):
        try:
            new = tuple(float(x) for x in text.split(","))
        except ValueError as error:
            raise ValueError(f"{full_name} are numbers with commas, not {text!r}") from error
    elif isinstance(old, tuple) and old and all(isinstance(x, str) for x in old):
        new = tuple(text.split(","))
    else:
        raise ValueError(f"{full_name} cannot be set here")
    return replace(settings, **{path[0]: new})
