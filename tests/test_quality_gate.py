"""The quality gate (tools/ci/quality_gate.py): green on what lilims makes, red where a package's scales are damaged."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from ci import quality_gate
from lilims.core.manifest import describe_files, read_manifest, write_manifest
from lilims.runtime import load
from lilims.runtime.portable.blob import BlobFile
from lilims.runtime.portable.package import Package
from lilims.runtime.portable.reader import read_program

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")
TOKENS = 2048  # enough for damage, a quarter of what the gate takes


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the gate leaves its packages; the first test makes them."""
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = dataclasses.replace(quality_gate.SUBJECTS["stories"], tokens=TOKENS)
    monkeypatch.setitem(quality_gate.SUBJECTS, "stories", subject)


def gate(packages: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, quality_gate.Result]]:
    code = quality_gate.main(["--models", "stories", "--packages", str(packages), "--json"])
    rows = json.loads(capsys.readouterr().out)["results"]
    return code, {row.pop("scheme"): row for row in rows}


def damage(package: Path, tensor: str, share: float) -> None:
    """Multiplies the first scales of a tensor by 1.5 and records the new hash, so that only quality can notice."""
    weights = package / "model.mlpackage" / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    program = read_program(Package(package / "model.mlpackage"))
    places = {
        op.outputs[0].name: op.inputs["scale"][0].blob[1]
        for op in program.functions["score"].ops
        if op.type == "constexpr_blockwise_shift_scale"
    }
    record = BlobFile(weights).record(places[tensor])
    assert record.dtype == "fp16"
    raw = bytearray(weights.read_bytes())
    scales = np.frombuffer(raw, np.float16, record.size // 2, record.offset)
    scales[: round(share * len(scales))] *= np.float16(1.5)
    weights.write_bytes(raw)
    write_manifest(package, read_manifest(package).model_copy(update={"files": describe_files(package)}))


def test_what_lilims_makes_passes(packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, rows = gate(packages, capsys)
    assert code == 0, rows
    assert {scheme: row["bar"] for scheme, row in rows.items()} == {"fp16": None, "int8": 0.003, "int4": 0.03}
    assert all(row["tokens"] == TOKENS - TOKENS // 512 for row in rows.values())  # the first of a window is context
    assert len({row["perplexity"] for row in rows.values()}) == 3  # three packages, each measured
    assert rows["int4"]["change"] == pytest.approx(rows["int4"]["perplexity"] / rows["fp16"]["perplexity"] - 1)


@pytest.mark.parametrize(("tensor", "share"), [("embedding", 1.0), ("embedding", 0.125)], ids=["all", "an eighth"])
def test_damaged_scales_turn_it_red(
    packages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tensor: str, share: float
) -> None:
    damaged = Path(shutil.copytree(packages, tmp_path / "packages"))
    damage(damaged / "stories-int4", tensor, share)
    load(damaged / "stories-int4", verify="full")  # nothing but quality is wrong
    code, rows = gate(damaged, capsys)
    assert code == 1
    assert {scheme: row["passed"] for scheme, row in rows.items()} == {"fp16": True, "int8": True, "int4": False}
    assert rows["int4"]["change"] > 0.03


@pytest.mark.parametrize(
    ("change", "bar", "passed"),
    [(0.01, 0.01, True), (0.0101, 0.01, False), (-0.02, 0.01, False), (float("nan"), 0.01, False), (9.0, None, True)],
)
def test_the_bar(change: float, bar: float | None, passed: bool) -> None:
    result = quality_gate.Result("m", "int8", 8.5, 20.0, change, 0.0, bar, 100, 1.0)
    assert result.passed is passed
    assert ("OVER THE BAR" in quality_gate.table([result])) is not passed


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML may run here")
def test_core_ml_is_refused_where_it_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert quality_gate.main(["--compute-units", "CPU_ONLY"]) == 1
    seen = capsys.readouterr()
    assert seen.out == "" and seen.err == "Core ML is on macOS only: packages run through the portable executor here\n"


def test_compute_units_go_to_core_ml(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every package, and none but through Core ML; a recorder stands in for it."""
    asked: list[tuple[str, dict[str, object]]] = []

    def record(folder: Path, **options: object) -> object:
        asked.append((folder.name, options))
        return load(folder, precision="exact", threads=1)

    quality_gate.main(["--models", "stories", "--packages", str(packages)])  # they are there
    monkeypatch.setattr(quality_gate, "coreml_problem", lambda: None)
    monkeypatch.setattr("lilims.runtime.load", record)
    assert (
        quality_gate.main(["--models", "stories", "--packages", str(packages), "--compute-units", "CPU_AND_GPU"]) == 0
    )
    wanted = {"executor": "coreml", "compute_units": "CPU_AND_GPU"}
    assert asked == [(f"stories-{scheme}", wanted) for scheme in ("fp16", "int8", "int4")]


def test_what_calibration_may_lose() -> None:
    subject = quality_gate.SUBJECTS["stories260K"]
    plain = quality_gate.Result("m", "int4", 4.9, 5.0, 0.15, 0.0, None, 100, 1.0)
    assert quality_gate._bar(subject, "int4-gptq", [plain]) == pytest.approx(0.15 / 3)
    assert quality_gate._bar(subject, "int8", [plain]) == 0.003
    small = quality_gate.Result("m", "int4-gptq", 5.1, 5.0, 0.04, 0.0, 0.05, 100, 1.0, most_bits=5.0)
    assert not small.passed and dataclasses.replace(small, bits_per_weight=4.9).passed
