"""Names of packages that are loaded when they are first used."""

from __future__ import annotations

import sys

import pytest

from lilims.core.lazy import lazy


def test_a_name_is_loaded_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "json.tool", raising=False)
    load, names = lazy("json", ["main", "dumps"], {"main": "tool"})
    assert "json.tool" not in sys.modules
    assert load("main") is sys.modules["json.tool"].main
    assert names() == ["dumps", "main"]


def test_other_names_are_not_there() -> None:
    load, _ = lazy("json", [], {})
    with pytest.raises(AttributeError, match="module 'json' has no attribute 'gone'"):
        load("gone")
