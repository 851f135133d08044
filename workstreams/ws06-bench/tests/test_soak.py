"""`lilims bench soak`: falls and drifts of series that are known, and of a real model for a moment."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.bench.plots import Panel, png, text
from lilims.bench.soak import fall, slope
from lilims.core.errors import MissingDependencyError

from .conftest import Run

WORK = ("--minutes", "0.001", "-n", "4", "-d", "8", "--threads", "1")


def test_a_soak_of_a_moment(lilims: Run, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert lilims("bench", "soak", tiny, *WORK, "--png", tmp_path / "soak.png", "--json") == 0
    seen = json.loads(capsys.readouterr().out)
    samples = seen["samples"]
    assert len(samples["seconds"]) == len(samples["tokens_per_second"]) == len(samples["private"]) >= 5
    assert samples["seconds"] == sorted(samples["seconds"]) and min(samples["tokens_per_second"]) > 0
    assert seen["throughput_fall"] == fall(samples["tokens_per_second"])
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert lilims("bench", "soak", "-m", tiny, *WORK, "--plot") == 0
    shown = capsys.readouterr().out
    assert "last fifth against the first" in shown and "private memory, MB" in shown and "⠀" in shown


def test_refusals(lilims: Run, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lilims("bench", "soak", tiny, "-d", "63", "-n", "2") == 1
    assert "the context holds 64" in capsys.readouterr().err
    assert lilims("bench", "soak", tiny, "-m", tiny) == 2
    assert lilims("bench", "soak", tiny, "--minutes", "0") == 2


def test_a_fall_is_that_of_the_ends() -> None:
    assert fall([10.0] * 50 + [8.0] * 50) == pytest.approx(0.2)
    assert fall([10.0] * 100) == 0
    assert fall([10.0, 10, 10, 1, 10, 10, 10, 10, 10, 10]) == 0, "one slow sample is no fall"


@given(st.floats(-50, 50), st.floats(-1e3, 1e3), st.integers(3, 900))
def test_the_slope_of_a_line_is_found_among_outliers(grade: float, start: float, count: int) -> None:
    times = [0.5 * number for number in range(count)]
    values = [start + grade * at for at in times]
    values[count // 2] += 1e4 if count > 6 else 0
    assert slope(times, values) == pytest.approx(grade, abs=1e-6)


def test_slopes_of_next_to_nothing() -> None:
    assert slope([1.0], [5.0]) == 0
    assert slope([1.0, 1.0], [5.0, 6.0]) == 0


def test_plots_of_flat_and_short_series() -> None:
    panels = [Panel("a", "s", [0.0], [0.0]), Panel("b", "s", [0.0, 1.0], [3.0, 3.0])]
    assert "a" in text(panels) and "b" in text(panels, width=30)


def test_no_picture_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match="matplotlib"):
        png([Panel("a", "s", [0.0, 1.0], [1.0, 2.0])])
