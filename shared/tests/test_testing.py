"""Test data: found, absent, required. Interrupts: at each line, and at none."""

from __future__ import annotations

from pathlib import Path

import pytest

from lilims.core.testing import interrupted
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


def test_interrupts_come_at_their_line() -> None:
    done: list[int] = []

    def work() -> None:
        done.append(1)
        done.append(2)
        done.append(3)

    def held(line: int, *places: str) -> tuple[bool, list[int]]:
        done.clear()
        return interrupted(line, work, *places), list(done)

    here = Path(__file__).name
    assert [held(line, here) for line in (1, 2, 3, 4)] == [(True, []), (True, [1]), (True, [1, 2]), (False, [1, 2, 3])]
    assert held(2, "elsewhere") == (False, [1, 2, 3])
