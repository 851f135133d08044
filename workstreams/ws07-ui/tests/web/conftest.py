"""A store of conversations for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lilims.ui.web.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """New, in the test's own folder as chats.sqlite3."""
    store = Store(tmp_path / "chats.sqlite3")
    yield store
    store.close()
