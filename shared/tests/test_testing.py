"""Test data: found, absent, required."""

from __future__ import annotations

from pathlib import Path

import pytest

from lilims.core.testing import test_data as find


def test_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LILIMS_TEST_DATA", str(tmp_path))
    (tmp_path / "x").write_text("")
    assert find("x") == tmp_path / "x"


def test_absent_skips_and_required_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LILIMS_TEST_DATA", str(tmp_path))
    monkeypatch.delenv("LILIMS_REQUIRE_TEST_DATA", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no test data"):
        find("x")
    monkeypatch.setenv("LILIMS_REQUIRE_TEST_DATA", "1")
    with pytest.raises(pytest.fail.Exception, match="required but absent"):
        find("x")
