"""Every test runs with settings of its own; the built-in model is converted once for all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lilims.core.console import console
from lilims.core.settings import settings

from .helpers import Live, live


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the built-in model is installed."""
    from lilims.models import resolve

    home = tmp_path_factory.mktemp("home")
    before = os.environ.get("LILIMS_HOME")
    os.environ["LILIMS_HOME"] = str(home)
    settings.cache_clear()
    try:
        resolve("stories")
    finally:
        if before is None:
            del os.environ["LILIMS_HOME"]
        else:
            os.environ["LILIMS_HOME"] = before
        settings.cache_clear()
    return home


@pytest.fixture(autouse=True)
def home(shared_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home of a test: with the built-in model, and no settings but the tests' own."""
    for name in [name for name in os.environ if name.startswith("LILIMS_")]:
        if name not in ("LILIMS_TEST_DATA", "LILIMS_REQUIRE_TEST_DATA"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LILIMS_HOME", str(shared_home))
    monkeypatch.setenv("LILIMS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("LILIMS_THREADS", "1")
    settings.cache_clear()
    yield shared_home
    settings.cache_clear()
    console.json = console.quiet = False


@pytest.fixture(scope="module")
def server(shared_home: Path) -> Iterator[Live]:
    """A server for tests that leave it as it was."""
    with live() as running:
        yield running
