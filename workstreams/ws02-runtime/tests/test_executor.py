"""Which executor is taken, and what is said where one cannot run."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import pytest

from lilims.core.errors import MissingDependencyError, UnsupportedError, UsageError
from lilims.runtime import choose, executor


def on(monkeypatch: pytest.MonkeyPatch, system: str, version: str = "", coremltools: bool = True) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "mac_ver", lambda: (version, ("", "", ""), "arm64"))
    monkeypatch.setattr(executor.importlib.util, "find_spec", lambda name: object() if coremltools else None)


@pytest.mark.parametrize(
    ("system", "version", "coremltools", "wanted"),
    [
        ("linux", "", True, "portable"),
        ("win32", "", False, "portable"),
        ("darwin", "15.1", True, "coreml"),
        ("darwin", "26.0", True, "coreml"),
        ("darwin", "14.7", True, "portable"),
        ("darwin", "15.1", False, "portable"),
    ],
)
def test_auto(system: str, version: str, coremltools: bool, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, system, version, coremltools)
    assert choose("auto") == wanted
    assert choose("portable") == "portable"
    assert choose("auto", "exact") == "portable"


@pytest.mark.parametrize(
    ("system", "version", "coremltools", "error", "words"),
    [
        ("linux", "", True, UnsupportedError, "macOS only"),
        ("darwin", "14.7", True, UnsupportedError, "need macOS 15"),
        ("darwin", "15.0", False, MissingDependencyError, "coremltools is not installed"),
    ],
)
def test_core_ml_where_it_cannot_run(
    system: str, version: str, coremltools: bool, error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, system, version, coremltools)
    with pytest.raises(error, match=words):
        choose("coreml")


@pytest.mark.parametrize("arguments", [("gpu", "fast"), ("auto", "double")])
def test_unknown_names(arguments: Any) -> None:
    with pytest.raises(UsageError, match="is not one of"):
        choose(*arguments)


def test_core_ml_has_no_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "darwin", "15.1")
    with pytest.raises(UsageError, match="no precision 'exact'"):
        choose("coreml", "exact")


def test_the_portable_executor_keeps_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.runtime.portable import model
    from lilims.runtime.ported import PortableExecutor

    made: list[dict[str, Any]] = []

    class Fake:
        def __init__(self, package: Path, function_name: str | None, **options: Any) -> None:
            made.append({"function_name": function_name, **options})

        def make_state(self) -> str:
            return "state"

    monkeypatch.setattr(model, "MLModel", Fake)
    opened = PortableExecutor(Path("p"), precision="exact", threads=3)
    assert opened.make_state() == "state"
    options = {"precision": "exact", "threads": 3, "cache": None, "trace": None}
    assert made == [{"function_name": None, "skip_model_load": True, "any_count": False, **options}]
    assert opened.function("decode") is opened.function("decode")
    assert made[1:] == [{"function_name": "decode", "skip_model_load": False, "any_count": True, **options}]
    assert opened.make_state() == "state"
    assert len(made) == 2
