"""What is read of the machine, and the setting above it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lilims.core.errors import OutOfMemoryError
from lilims.core.settings import settings
from lilims.runtime import machine

from .fakes import manifest_of


def test_this_machine_has_memory() -> None:
    found = machine.available_memory()
    assert found is not None and found > 1 << 20


@pytest.mark.parametrize(("value", "limit"), [("250", 250_000_000), ("-1", None)])
def test_the_setting_goes_above_the_machine(value: str, limit: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LILIMS_MEMORY_MB", value)
    settings.cache_clear()
    assert machine.memory_limit() == limit


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's files")
def test_a_container_that_has_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "meminfo"
    info.write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    monkeypatch.setattr(machine, "_MEMINFO", info)
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert machine.available_memory() == 5000 * 1024
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 1000\n")
    assert machine.available_memory() == 601_000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.available_memory() == 5000 * 1024
    info.write_text("nonsense\n")
    assert machine.available_memory() is None


@pytest.mark.parametrize("limit", ["1", "0", "-1"])
def test_a_model_that_does_not_fit_is_refused(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LILIMS_MEMORY_MB", limit)
    settings.cache_clear()
    machine.check_fits(manifest_of(), executor="portable")
    big = {"m.mlpackage/Data/com.apple.CoreML/weights/weight.bin": {"bytes": 10**15, "sha256": "0" * 64}}
    if limit == "-1":
        machine.check_fits(manifest_of(big), executor="portable")
        return
    with pytest.raises(OutOfMemoryError, match="a context of 40 takes 1400.00 TB"):
        machine.check_fits(manifest_of(big), executor="portable")
