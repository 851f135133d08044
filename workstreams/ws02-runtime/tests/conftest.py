"""Every test runs with settings and data folders of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lilims.core.privacy import telemetry_off
from lilims.core.settings import settings

telemetry_off()  # some tests import ONNX Runtime themselves


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("LILIMS_EXECUTOR", "LILIMS_THREADS", "LILIMS_LOG", "LILIMS_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LILIMS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LILIMS_CONFIG", str(tmp_path / "config.toml"))
    settings.cache_clear()
    yield tmp_path / "home"
    settings.cache_clear()
