"""What all tests of dope_model share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Graphs that engines make are kept out of the user's cache, and shared by all tests."""
    folder = tmp_path_factory.getbasetemp() / "engines"
    monkeypatch.setenv("DOPE_CACHE_DIR", str(folder))
