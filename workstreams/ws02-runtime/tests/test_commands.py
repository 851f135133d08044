"""`lilims inspect`, `lilims doctor` and `lilims cache`."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lilims.core import cli
from lilims.core.console import console
from lilims.core.manifest import Quality, QualityAgainst, identity, read_manifest, write_manifest
from lilims.core.settings import settings
from lilims.core.testing import test_data as find_data
from lilims.runtime import contract
from lilims.runtime.commands import cache, doctor, inspect
from lilims.runtime.portable import describe
from lilims.runtime.portable.describe import FeatureInfo, FunctionInfo, PackageInfo, WeightGroup

from .fakes import interfaces_of, manifest_of, write_folder

Run = Callable[..., int]


@pytest.fixture
def lilims(monkeypatch: pytest.MonkeyPatch) -> Run:
    class Entry:
        def __init__(self, name: str, made: Any) -> None:
            self.name, self.module, self.value, self._made = name, f"lilims.runtime.commands.{name}", name, made

        def load(self) -> Any:
            return self._made

    entries = [Entry("inspect", inspect.command), Entry("doctor", doctor.command), Entry("cache", cache.command)]
    monkeypatch.setattr(cli, "entry_points", lambda group: entries)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str) -> int:
        try:
            return cli.run(list(arguments))
        finally:
            console.json = console.quiet = False

    return run


# -- inspect ---------------------------------------------------------------------------------------------------------


def feature(name: str, dtype: str, *shape: int) -> FeatureInfo:
    return FeatureInfo(name, dtype, shape)


INFO = PackageInfo(
    path="model.mlpackage",
    specification_version=9,
    description="",
    author="",
    license="",
    version="",
    metadata={},
    default_function="decode",
    functions=tuple(
        FunctionInfo(
            name, "CoreML8", (feature("input_ids", "int32", 1, tokens),), (feature("logits", "fp16", 1, 1, 320),),
            (feature("kv_cache", "fp16", 4, 1, 64, 32),), ops,
        )
        for name, tokens, ops in (("decode", 1, {"linear": 9, "mul": 4}), ("prefill", 8, {"linear": 9, "gather": 1}))
    ),
    weights=(WeightGroup("int4 block 32", 9, 2_000_000, 1_125_000), WeightGroup("fp16", 3, 500, 1000)),
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(describe, "describe_package", lambda path: replace(INFO, path=str(path)))
    monkeypatch.setattr(contract, "read_interfaces", lambda package: interfaces_of(manifest_of()))
    return write_folder(tmp_path / "fake")


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


def test_a_model_folder_is_drawn(folder: Path, lilims: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert lilims("inspect", str(folder)) == 0
    out = capsys.readouterr().out
    assert "contract lilims.decoder/1: holds" in out
    drawn = rows(out)
    for row in (
        ["in", "input_ids", "int32", "1×1", "1×8"],
        ["state", "kv_cache", "fp16", "4×1×64×32", "4×1×64×32"],
        ["linear", "9", "9"],
        ["mul", "4"],
        ["all", "13", "10"],
        ["int4", "block", "32", "9", "2.00", "M", "4.50", "1.1", "MB", "━━━━━━━━━━━━"],
        ["all", "12", "2.00", "M", "4.50", "1.1", "MB"],
    ):
        assert row in drawn
    assert "16.4 kB   fp16, 256 bytes a token; 32.8 kB in the portable executor" in out
    assert all(len(line) <= 100 for line in out.splitlines() if str(folder) not in line)


def test_what_was_measured_is_drawn(folder: Path, lilims: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures of these bytes as a table; those of others are counted, not shown."""
    manifest = read_manifest(folder)
    one = Quality(
        text="a[b]\x1b", text_sha256="0" * 64, ids="0" * 64, model=identity(manifest), windowing="strided",
        context=64, stride=32, windows=3, tokens=127, perplexity=7.25, nll=1.98, nll_error=0.1, bits_per_byte=0.875,
        tools={},
        reference=QualityAgainst(
            name="tiny-fp16", kind="package", sha256="0" * 64, perplexity=7.0, log_ratio=0.0350913,
            log_ratio_error=0.01, divergence=0.0421, divergence_error=0.001, divergence_median=0.01, divergence_p99=0.5,
            divergence_max=2.0,
            same_top=0.914, logits_rms=0.4,
        ),
    )  # fmt: skip
    other = one.model_copy(update={"model": "1" * 64, "perplexity": 99.5})
    write_manifest(folder, manifest.model_copy(update={"quality": [one, other]}))
    assert lilims("inspect", str(folder)) == 0
    out = capsys.readouterr().out
    row = "a[b]\\x1b 3×64/32 7.2500 0.8750 +3.57% ± 1.00% 0.04210 91.4% tiny-fp16"
    assert row in [" ".join(line) for line in rows(out)]
    assert "1 recorded figure is of other bytes" in out and "99.5" not in out
    assert all(len(line) <= 100 for line in out.splitlines() if str(folder) not in line)
    assert lilims("inspect", str(folder), "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert [one["model"] == value["identity"] for one in value["manifest"]["quality"]] == [True, False]


def test_a_broken_contract_is_told(
    folder: Path, lilims: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = interfaces_of(manifest_of())
    del found["score"]
    monkeypatch.setattr(contract, "read_interfaces", lambda package: found)
    assert lilims("inspect", str(folder)) == 0
    assert "broken  model.mlpackage: score: the package lacks this function" in capsys.readouterr().out
    assert lilims("inspect", "-m", str(folder), "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert value["contract"]["holds"] is False
    assert "lacks this function" in value["contract"]["problem"]


def test_json_of_a_model_folder(folder: Path, lilims: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert lilims("inspect", str(folder), "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["kind"], value["schema_version"]) == ("package", 1)
    assert value["memory"] == {
        "weights": 1_126_000, "state": 16_384, "total": 1_142_384, "state_portable": 32_768,
    }  # fmt: skip
    assert value["manifest"]["context"] == 40
    assert [function["name"] for function in value["functions"]] == ["decode", "prefill"]
    assert value["weights"][0]["bits_per_weight"] == 4.5


def test_a_package_that_others_made(lilims: Run, capsys: pytest.CaptureFixture[str]) -> None:
    package = find_data("coreml/silero-vad/silero-vad-unified-v6.0.0.mlpackage")
    assert lilims("inspect", str(package)) == 0
    drawn = rows(capsys.readouterr().out)
    assert ["in", "audio_input", "fp32", "1×576"] in drawn
    assert ["lstm", "1"] in drawn
    assert lilims("inspect", str(package), "--json") == 0
    assert "manifest" not in json.loads(capsys.readouterr().out)


def test_names_cannot_steer_the_terminal(
    folder: Path, lilims: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = FunctionInfo("f\x1b[2J", "CoreML8", (feature("[red]x\n", "fp16", 1),), (), (), {"\x07op": 1})
    monkeypatch.setattr(describe, "describe_package", lambda path: replace(INFO, functions=(hostile,)))
    assert lilims("inspect", str(folder)) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[red]x" in out


def test_an_absent_package(tmp_path: Path, lilims: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert lilims("inspect", str(tmp_path / "absent")) == 1
    assert "no such folder" in capsys.readouterr().err


# -- doctor ----------------------------------------------------------------------------------------------------------


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in missing:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.2.3" if name in ("onnxruntime", "coremltools", "numpy", "onnx", "tokenizers") else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def findings(lilims: Run, capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, dict[str, Any]]:
    assert lilims("doctor", "--json") == code
    return {f["name"]: f for f in json.loads(capsys.readouterr().out)["findings"]}


def test_all_is_well(
    lilims: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    without(monkeypatch)
    found = findings(lilims, capsys)
    assert {f["status"] for f in found.values()} <= {"ok", "note"}
    assert found["portable"]["detail"] == "ONNX Runtime 1.2.3"
    assert found["data"]["detail"] == str(home)
    if sys.platform != "darwin":
        assert found["in use"]["detail"] == "portable (setting: auto)"
        assert found["Core ML"]["status"] == "note"
    assert lilims("doctor") == 0
    out = capsys.readouterr().out
    assert "✓ numpy" in out
    assert "none yet; `lilims run` makes the built-in one" in out


@pytest.mark.parametrize(
    ("missing", "name", "status", "hint", "code"),
    [
        ("onnxruntime", "portable", "missing", "pip install onnxruntime", 1),
        ("tokenizers", "tokenizers", "missing", "pip install tokenizers", 1),
        ("coremltools", "coremltools", "note", "pip install 'coremltools>=9'", 0),
    ],
)
def test_what_is_missing_and_how_to_get_it(
    missing: str, name: str, status: str, hint: str, code: int, lilims: Run, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "platform", "linux")
    without(monkeypatch, missing)
    found = findings(lilims, capsys, code)[name]
    assert (found["status"], found["hint"]) == (status, hint)
    assert lilims("doctor") == code
    assert f"→ {hint}" in capsys.readouterr().out


def test_a_wrong_setting(lilims: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    without(monkeypatch)
    monkeypatch.setenv("LILIMS_EXECUTOR", "turbo")
    settings.cache_clear()
    found = findings(lilims, capsys, 1)["in use"]
    assert found["status"] == "missing"
    assert "LILIMS_EXECUTOR must be" in found["detail"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions as on POSIX")
def test_a_data_folder_that_cannot_be_written(
    lilims: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    without(monkeypatch)
    home.write_text("a file where the folder should be")
    assert findings(lilims, capsys, 1)["data"]["status"] == "missing"


# -- cache -----------------------------------------------------------------------------------------------------------


def kept(*labels: str) -> Path:
    """The settings' cache with an entry for each label."""
    from lilims.runtime.portable.cache import settings_store

    def write(folder: Path) -> dict[str, Any]:
        (folder / "0.weights").write_bytes(bytes(3_000_000))
        return {}

    for i, label in enumerate(labels):
        settings_store().put(f"key{i}", label, write)
    return settings_store().folder


def test_the_cache_is_listed_and_emptied(lilims: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert lilims("cache", "--json") == 0
    assert json.loads(capsys.readouterr().out)["entries"] == []
    folder = kept("models/a", "models/b")
    assert lilims("cache") == 0
    shown = capsys.readouterr().out
    assert "models/a" in shown
    assert "6.0 MB of 16.0 GB" in shown
    assert lilims("cache", "--purge", "--dry-run", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["deleted"], [entry["label"] for entry in value["entries"]]) == (False, ["models/a", "models/b"])
    assert (folder / "key0").is_dir()
    assert lilims("cache", "--purge") == 2  # nobody to ask
    assert (folder / "key0").is_dir()
    assert lilims("cache", "--purge", "--yes") == 0
    assert "deleted: 6.0 MB" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_a_damaged_entry_is_listed_too(lilims: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (kept("models/a") / "key0" / "entry.json").write_text("{")
    assert lilims("cache") == 0
    assert "(damaged)" in capsys.readouterr().out


# -- inspect --memory ------------------------------------------------------------------------------------------------


def test_memory_of_a_context(folder: Path, lilims: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert lilims("inspect", str(folder), "--memory") == 0
    out = capsys.readouterr().out
    assert "Memory at context 40" in out and "portable executor" in out
    found = {}
    for context in ("40", "400"):
        assert lilims("inspect", str(folder), "--memory", "--context", context, "--limit", "1GB", "--json") == 0
        value = json.loads(capsys.readouterr().out)
        assert value["kind"] == "memory"
        found[context] = value["memory"]
    rows = 64  # 40 and a chunk of 8, rounded up to 32
    assert found["40"]["state_bytes"] == 4 * rows * 32 * 2 == found["40"]["portable"]["state_bytes"] // 2
    assert found["400"]["state_bytes"] == 4 * 416 * 32 * 2
    assert found["40"]["weight_bytes"] == found["400"]["weight_bytes"]
    assert found["40"]["longest_context"] == found["400"]["longest_context"] > 400


def test_a_limit_that_is_too_small(folder: Path, lilims: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert lilims("inspect", str(folder), "--memory", "--context", "100000", "--limit", "20MB") == 1
    assert re.search(r"a context of \d+ fits", " ".join(capsys.readouterr().err.split()))
    assert lilims("inspect", str(folder), "--memory", "--limit", "1 kB") == 1
    assert "even one token" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--limit", "1GB"], ["--memory", "--limit", "much"], ["--memory", "--context", "0"]])
def test_memory_options_that_make_no_sense(folder: Path, lilims: Run, more: list[str]) -> None:
    assert lilims("inspect", str(folder), *more) == 2
