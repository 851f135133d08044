"""The log file: level, rotation target, and that it never gets in the way."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from lilims.core import logs
from lilims.core.errors import UsageError
from lilims.core.settings import settings


@pytest.mark.parametrize(
    ("level", "verbosity", "wanted"), [("warning", 0, "warning"), ("warning", 1, "info"), ("info", -1, "warning")]
)
def test_levels(level: str, verbosity: int, wanted: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LILIMS_LOG", level)
    settings.cache_clear()
    logs.setup(verbosity)
    for name in ("debug", "info", "warning"):
        logging.getLogger("lilims.test").log(getattr(logging, name.upper()), "a %s line", name)
    text = (home / "logs" / "lilims.log").read_text()
    assert (f"WARNING lilims.test: a {'warning'} line" in text, "a info line" in text, "a debug line" in text) == (
        True, wanted == "info", False,
    )  # fmt: skip


def test_off_and_unknown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LILIMS_LOG", "off")
    settings.cache_clear()
    logs.setup()
    logging.getLogger("lilims.test").error("unheard")
    assert not (home / "logs").exists()
    monkeypatch.setenv("LILIMS_LOG", "loud")
    settings.cache_clear()
    with pytest.raises(UsageError, match="LILIMS_LOG must be one of debug"):
        logs.setup()


def test_a_log_that_cannot_be_written_is_left_out(home: Path) -> None:
    home.write_text("a file where the folder should be")
    logs.setup()
    logging.getLogger("lilims.test").error("unheard")
    assert home.is_file()
