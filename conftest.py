"""Tests share a folder of data that is not the user's; most workstreams give each test one of its own.

`--one-in N` takes every Nth test, of each file at least one: where it is only asked whether an environment suffices.
"""

from __future__ import annotations

import signal
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lilims.core.settings import settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--one-in", type=int, default=1, metavar="N", help="take every Nth test, of each file at least one"
    )


def pytest_configure() -> None:
    # Where a script starts tests in the background, Ctrl-C is ignored by them and by what they start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    step = config.getoption("--one-in")
    if step <= 1:
        return
    taken, left, seen = [], [], set()
    for item in items:
        wanted = item.path not in seen or zlib.crc32(item.nodeid.encode()) % step == 0
        (taken if wanted else left).append(item)
        seen.add(item.path)
    items[:] = taken
    config.hook.pytest_deselected(items=left)


@pytest.fixture(scope="session", autouse=True)
def lilims_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The executor keeps graphs there."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("LILIMS_HOME", str(folder))
        settings.cache_clear()
        yield folder
    settings.cache_clear()
