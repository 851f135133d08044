"""Energy: a powercap tree as Linux shows it, with a counter that begins anew; the text of powermetrics."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path

import pytest

from lilims.bench.energy import PowermetricsMeter, RaplMeter, open_meter, powermetrics_joules

TREE = {
    "intel-rapl:0": ("package-0", 262_143_328_850, 12_000_000),
    "intel-rapl:0:0": ("core", 262_143_328_850, 5_000_000),
    "intel-rapl:0:1": ("dram", 65_712_999_613, 900_000),
    "intel-rapl:1": ("package-1", 262_143_328_850, 262_143_000_000),
    "intel-rapl:2": ("psys", 262_143_328_850, 77_000_000),
}
"""Folder → name, max_energy_range_uj, energy_uj of a machine with two processors."""

POWERMETRICS = Path(__file__).parent / "data" / "powermetrics.txt"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for folder, values in TREE.items():
        (tmp_path / folder).mkdir()
        for name, value in zip(("name", "max_energy_range_uj", "energy_uj"), values, strict=True):
            (tmp_path / folder / name).write_text(f"{value}\n")
    (tmp_path / "intel-rapl").mkdir()  # the control type itself
    return tmp_path


def test_packages_are_added_and_a_counter_may_begin_anew(tree: Path) -> None:
    meter = open_meter(tree) if sys.platform != "darwin" else RaplMeter(tree)
    assert isinstance(meter, RaplMeter)
    meter.start()
    assert meter.stop() == 0
    (tree / "intel-rapl:0/energy_uj").write_text("14500000\n")  # 2.5 J
    (tree / "intel-rapl:1/energy_uj").write_text("671149\n")  # behind its range: 1 J
    (tree / "intel-rapl:0:0/energy_uj").write_text("9000000\n")  # a part of the package
    (tree / "intel-rapl:2/energy_uj").write_text("99000000\n")  # the board
    assert meter.stop() == pytest.approx(3.5)


@pytest.mark.skipif(sys.platform == "darwin", reason="powermetrics is asked there")
def test_why_there_is_none(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert "shows no energy counters" in str(open_meter(tmp_path_factory.mktemp("empty")))
    (tree / "intel-rapl:0/energy_uj").write_text("not a number")
    assert "shows no energy counters" in str(open_meter(tree))
    if hasattr(os, "geteuid") and os.geteuid():
        (tree / "intel-rapl:0/energy_uj").chmod(0)
        assert "root only" in str(open_meter(tree))


def test_powermetrics_text() -> None:
    text = POWERMETRICS.read_text("utf-8")
    assert powermetrics_joules(text) == pytest.approx(1.0029 * 1.172 + 1.01009 * 0.445)
    whole, _, rest = text.partition("*** Sampled system activity")
    cut = rest[: rest.index("Combined Power")]
    assert powermetrics_joules(whole + "*** Sampled system activity" + cut) is None, "a sample that was cut off"
    assert powermetrics_joules("") is None


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in")
def test_powermetrics_runs_beside_the_work(tmp_path: Path) -> None:
    """A stand-in that writes its samples and sleeps, as powermetrics does until it is told to end."""
    stand_in = tmp_path / "powermetrics"
    stand_in.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat {POWERMETRICS}\nexec sleep 60\n')
    stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    meter = PowermetricsMeter((str(stand_in),))
    assert meter.stop() is None, "it was not started"
    meter.start()
    for _ in range(500):
        if (tmp_path / "arguments").exists():
            break
        time.sleep(0.01)
    time.sleep(0.2)
    assert meter.stop() == pytest.approx(1.0029 * 1.172 + 1.01009 * 0.445)
    assert "cpu_power" in (tmp_path / "arguments").read_text()
