"""Settings: environment over config file over default; every wrong value is named."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from lilims.core import paths
from lilims.core.errors import UsageError
from lilims.core.settings import Settings, load, settings


def test_precedence(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[lilims]\nthreads = 3\nlog = "info"\ndebug = true\n')
    assert load({}, None) == Settings()
    assert load({}, tmp_path / "absent.toml") == Settings()
    assert load({}, config) == Settings(threads=3, log="info", debug=True)
    assert load({"LILIMS_THREADS": "5", "LILIMS_DEBUG": "0"}, config) == Settings(threads=5, log="info")


def test_settings_without_their_table(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("threads = 2\n")
    assert load({}, tmp_path / "c.toml").threads == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("threads = ", "not valid TOML"),
        ("[lilims]\nthread = 1", "unknown setting 'thread'"),
        ('[lilims]\nthreads = "many"', "threads must be a whole number, not 'many'"),
        ("[lilims]\nthreads = true", "threads must be a whole number, not True"),
        ("[lilims]\nhome = 1", "home must be text, not 1"),
        ("lilims = 5", "is not a table"),
    ],
)
def test_bad_config_files(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        load({}, tmp_path / "c.toml")
    assert words in str(caught.value)
    assert str(tmp_path / "c.toml") in str(caught.value)


@pytest.mark.parametrize("value", ["", "many", "--5", "²", "1.5", "9" * 5000])
def test_bad_numbers_in_the_environment(value: str) -> None:
    with pytest.raises(UsageError, match="LILIMS_THREADS must be a whole number"):
        load({"LILIMS_THREADS": value}, None)


@pytest.mark.parametrize(
    ("name", "least"), [("THREADS", 0), ("QUOTA_GB", 0), ("MEMORY_MB", -1), ("TELEMETRY_DAYS", 1), ("TELEMETRY_MB", 1)]
)
def test_numbers_that_mean_nothing(name: str, least: int) -> None:
    assert getattr(load({f"LILIMS_{name}": str(least)}, None), name.lower()) == least
    with pytest.raises(UsageError, match=f"LILIMS_{name} must be {least} or more, not {least - 1}"):
        load({f"LILIMS_{name}": str(least - 1)}, None)


@pytest.mark.parametrize(("value", "wanted"), [("1", True), ("ON", True), ("no", False), ("", False)])
def test_truth_values(value: str, wanted: bool) -> None:
    assert load({"LILIMS_DEBUG": value}, None).debug is wanted


def test_bad_truth_value() -> None:
    with pytest.raises(UsageError, match="LILIMS_DEBUG"):
        load({"LILIMS_DEBUG": "perhaps"}, None)


def test_home_moves_every_folder(home: Path) -> None:
    assert paths.models_dir() == home / "models"
    assert paths.cache_dir() == home / "cache"
    assert paths.log_file() == home / "logs" / "lilims.log"


def test_without_home_the_platform_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LILIMS_HOME")
    settings.cache_clear()
    assert paths.home().is_absolute()
    assert paths.home().name == "lilims"


def test_the_config_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[lilims]\nthreads = 7\n")
    assert paths.config_file() == tmp_path / "config.toml"
    assert settings().threads == 7


def test_the_readme_lists_every_setting() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `LILIMS_(\w+)` \|", readme, re.MULTILINE)
    assert rows == [(field.name, field.name.upper()) for field in dataclasses.fields(Settings)]
