"""DOPE: whole-body 2D and 3D poses (bodies, hands and faces) in plain Python.

    from dope_model import WholeBodyDetector, draw_people

    detector = WholeBodyDetector.load()
    people = detector(rgb)              # (H, W, 3) uint8
    picture = draw_people(rgb, people)

Both names are imported when they are first used: `import dope_model` loads no other package.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"
__all__ = ["WholeBodyDetector", "draw_people"]

_MODULES = {"WholeBodyDetector": "detector", "draw_people": "drawing"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
