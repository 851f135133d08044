"""`lilims bench gates`: each target is met and missed for its own reason; exit codes follow."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lilims.bench import gates as module
from lilims.bench import soak as soaking
from lilims.bench.estimating import Sizes, sizes_of
from lilims.bench.gates import Gate, gates

from .conftest import Run

NAMES = ["decode on a17-pro", "first token on a17-pro", "memory", "5 minutes without throttling",
         "size of the model", "size inside an app"]  # fmt: skip


def by_name(found: list[Gate]) -> dict[str, Gate]:
    return {gate.name: gate for gate in found}


def test_a_tiny_model_meets_all(lilims: Run, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lilims("bench", "gates", tiny, "--json") == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["kind"] == "gates" and seen["passes"] is True and seen["unknown"] == [NAMES[3]]
    assert [gate["name"] for gate in seen["gates"]] == NAMES
    assert [gate["how"] for gate in seen["gates"]] == ["estimated"] * 3 + ["not measured"] + ["measured"] * 2
    assert lilims("bench", "gates", tiny, "--embedded") == 0
    shown = capsys.readouterr()
    assert "unknown" in shown.out and "MISSED" not in shown.out
    assert f"not counted: {NAMES[3]}" in " ".join(shown.err.split())


@pytest.mark.parametrize(
    ("name", "change", "embedded"),
    [
        (NAMES[0], {"read": 2_000_000_000}, False),
        (NAMES[1], {"multiplied": 30_000_000_000}, False),
        (NAMES[4], {"stored": 1_000_000_000}, False),
        (NAMES[5], {"stored": 200_000_000}, True),
    ],
    ids=["decode", "first token", "size", "embedded"],
)
def test_each_is_missed_for_its_own_reason(
    lilims: Run, tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    name: str, change: dict[str, int], embedded: bool,
) -> None:  # fmt: skip
    changed: Sizes = replace(sizes_of(str(tiny)), **change)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "sizes_of", lambda model: changed)
    missed = [gate.name for gate in gates("x", embedded=embedded) if gate.required and gate.passes is False]
    assert missed == [name]
    assert lilims("bench", "gates", tiny, *(["--embedded"] if embedded else [])) == 1
    assert f"missed: {name}" in capsys.readouterr().err


def test_memory_counts_weights_and_state(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = sizes_of(str(tiny))
    large = replace(sizes, decoder=replace(sizes.decoder, weights=1_000_000_000))
    monkeypatch.setattr(module, "sizes_of", lambda model: large)
    assert by_name(gates("x"))["memory"].passes is False


@pytest.mark.parametrize(
    ("minutes", "fall", "passes"), [(5, 0.02, True), (5, 0.3, False), (1, 0.3, False), (1, 0.02, None)]
)
def test_throttling(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, minutes: float, fall: float, passes: bool | None
) -> None:
    def stand_in(model: str | None, **_: Any) -> dict[str, Any]:
        return {"throughput_fall": fall, "minutes": minutes}

    monkeypatch.setattr(soaking, "soak", stand_in)
    found = by_name(gates(str(tiny), minutes=minutes))[NAMES[3]]
    assert (found.passes, found.how, found.value) == (passes, "measured", fall)
