"""Every test runs with settings, data folder and log of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from lilims.core.console import console
from lilims.core.settings import settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    import os

    for name in [name for name in os.environ if name.startswith("LILIMS_")]:
        if name not in ("LILIMS_TEST_DATA", "LILIMS_REQUIRE_TEST_DATA"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LILIMS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LILIMS_CONFIG", str(tmp_path / "config.toml"))
    settings.cache_clear()
    yield tmp_path / "home"
    settings.cache_clear()
    console.json = console.quiet = False
    logger = logging.getLogger("lilims")
    for handler in tuple(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
