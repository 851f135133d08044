"""Every test has a home of its own, and nobody listens when it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lilims.core import listeners, privacy
from lilims.core.console import console
from lilims.core.settings import settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in [name for name in os.environ if name.startswith("LILIMS_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    monkeypatch.setattr(privacy, "_ours", set())
    monkeypatch.setenv("LILIMS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LILIMS_CONFIG", str(tmp_path / "config.toml"))
    settings.cache_clear()
    yield tmp_path / "home"
    listeners.stop()
    settings.cache_clear()
    console.json = console.quiet = False
