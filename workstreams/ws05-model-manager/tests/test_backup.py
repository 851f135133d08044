"""What was brought is excluded from backups on macOS, and nothing is tried elsewhere."""

from __future__ import annotations

import ctypes
import plistlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lilims.models import backup, store

from .test_store import install


class Library:
    """Stands in for macOS's."""

    calls: list[tuple[Any, ...]]

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def setxattr(self, *arguments: Any) -> int:
        Library.calls.append(arguments)
        return 0 if b"models" in arguments[0] else -1


def test_on_macos_each_installed_model_is_excluded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Library.calls = []
    monkeypatch.setattr(backup.sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", Library)
    assert backup.exclude(home / "models" / "tiny") and not backup.exclude(home)
    path, name, value, size, position, options = Library.calls[0]
    assert Path(path.decode()) == home / "models" / "tiny"
    assert name == b"com.apple.metadata:com_apple_backup_excludeItem"
    assert plistlib.loads(value) == "com.apple.backupd"
    assert (size.value, position.value, options.value) == (len(value), 0, 0)


def test_installing_excludes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(store, "exclude", seen.append)
    install("1.0.0")
    assert [path.name for path in seen] == ["tiny@1.0.0"]


@pytest.mark.skipif(sys.platform == "darwin", reason="it does something there")
def test_elsewhere_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: pytest.fail("nothing is to be called"))
    assert not backup.exclude(tmp_path)


@pytest.mark.skipif(sys.platform != "darwin", reason="tmutil is macOS's")
def test_macos_agrees(tmp_path: Path) -> None:
    assert backup.exclude(tmp_path)
    said = subprocess.run(["tmutil", "isexcluded", str(tmp_path)], capture_output=True, text=True, check=True)
    assert "[Excluded]" in said.stdout
