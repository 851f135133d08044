"""Targets of the portable executor, which stands in for Core ML here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lilims.ci.macos.rungs import Target
from lilims.core.console import console
from lilims.core.settings import settings

CHILDREN = Path(__file__).parent / "children"
converts = pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home of its own; stand-ins are on the path of children; no workflow's summary is written to."""
    folder = tmp_path_factory.getbasetemp() / "home"
    monkeypatch.setenv("LILIMS_HOME", str(folder))
    monkeypatch.setenv("LILIMS_CONFIG", str(folder / "config.toml"))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.delenv("LILIMS_EXECUTOR", raising=False)
    paths = [str(CHILDREN), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    settings.cache_clear()
    yield
    settings.cache_clear()
    console.json = console.quiet = False


@pytest.fixture
def target(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Target:
    """The portable executor, and a shared folder for all tests of a run."""
    shared = tmp_path_factory.getbasetemp() / "shared"
    shared.mkdir(exist_ok=True)
    work = tmp_path / "work"
    work.mkdir()
    return Target("portable", "CPU_ONLY", work, shared)
