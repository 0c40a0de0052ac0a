"""What the rendering tests share: why they may be skipped, and things that take long to load."""

from __future__ import annotations

import functools
import os

import pytest

from dope_model.rendering.assets import MissingAssetError, Wardrobe


@functools.lru_cache(maxsize=1)
def body_model():
    from dope_model.rendering.body import BodyModel

    return BodyModel()


@functools.lru_cache(maxsize=1)
def studio():
    """A studio for small pictures of up to three people; skips with the reason where it cannot."""
    from dope_model.rendering.generate import RenderSettings, Studio

    pytest.importorskip("anny")
    pytest.importorskip("moderngl")
    try:
        return Studio(RenderSettings(seed=3, people=(1, 3), size=(320, 240), supersampling=1))
    except MissingAssetError as error:
        pytest.skip(str(error))


def require_studio() -> None:
    """Skip where pictures cannot be rendered."""
    pytest.importorskip("anny")
    pytest.importorskip("moderngl")
    try:
        Wardrobe()
    except MissingAssetError as error:
        pytest.skip(str(error))


def die(*_: object) -> None:
    """What a process does that crashes."""
    os._exit(3)
