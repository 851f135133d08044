"""Tests share a folder of data that is not the user's; most workstreams give each test one of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lilims.core.settings import settings


@pytest.fixture(scope="session", autouse=True)
def lilims_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The executor keeps graphs there."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("LILIMS_HOME", str(folder))
        settings.cache_clear()
        yield folder
    settings.cache_clear()
