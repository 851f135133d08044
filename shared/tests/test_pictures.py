"""matplotlib, before it is imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lilims.core import pictures
from lilims.core.errors import MissingDependencyError
from lilims.core.paths import cache_dir


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", "gone")  # so that it is taken back afterwards
    monkeypatch.delenv("MPLCONFIGDIR")


def test_its_files_lie_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "find_spec", lambda _name: object())
    pictures.require_matplotlib("a picture", hint="install it")
    assert Path(os.environ["MPLCONFIGDIR"]) == cache_dir() / "matplotlib"
    assert (cache_dir() / "matplotlib").is_dir()


def test_what_the_user_has_chosen_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pictures, "find_spec", lambda _name: object())
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    pictures.require_matplotlib("a picture", hint="install it")
    assert os.environ["MPLCONFIGDIR"] == str(tmp_path)


def test_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match="a picture") as error:
        pictures.require_matplotlib("a picture", hint="install it")
    assert error.value.hint == "install it"
    assert "MPLCONFIGDIR" not in os.environ
