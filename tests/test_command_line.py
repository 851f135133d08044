"""The `lilims` command as a user runs it: exit codes, one clear line, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lilims.core.testing import test_data

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def lilims(tmp_path: Path) -> Run:
    """Runs the command with a home of its own, in an empty folder."""
    work = tmp_path / "work"
    work.mkdir()

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        code = "import sys; from lilims.core.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=work,
            env={**os.environ, "LILIMS_HOME": str(tmp_path / "home"), "NO_COLOR": "1", "COLUMNS": "120", **environment},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
        )

    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """stories260K in int8, converted through the command."""
    out = tmp_path_factory.mktemp("model") / "tiny"
    code = "import sys; from lilims.core.cli import main; main()"
    source = test_data("models/stories260K")
    subprocess.run([sys.executable, "-c", code, "convert", source, "-o", out, "--quantize", "int8", "-q"], check=True)
    return out


def test_convert_inspect_eval_run(lilims: Run, tmp_path: Path) -> None:
    """The whole path, by commands alone."""
    source = test_data("models/stories260K")
    made = lilims("convert", source, "-o", "tiny", "--quantize", "int8", "--json")
    assert made.returncode == 0, made.stderr
    summary = json.loads(made.stdout)
    assert (summary["kind"], summary["schema_version"]) == ("conversion", 1)
    assert summary["quantization"]["scheme"] == "int8"
    seen = lilims("inspect", "tiny", "--json")
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)["kind"] == "package"
    text = tmp_path / "text.txt"
    text.write_text(json.loads((source / "greedy_200.json").read_text())["text"] * 3)
    measured = lilims("eval", "-m", "tiny", "--text", text, "--context", 128, "--json")
    assert measured.returncode == 0, measured.stderr
    assert 1 < json.loads(measured.stdout)["perplexity"] < 4
    told = lilims("run", "tiny", "Once upon a time", "-n", 12, "--stats")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(", there was a little girl named Lily.")
    assert "tokens/s" in told.stderr


def test_the_same_seed_gives_the_same_text(lilims: Run, model: Path) -> None:
    first, second, other = (
        lilims("run", model, "Once", "-n", 24, "--temp", 1, "--seed", seed).stdout for seed in (7, 7, 8)
    )
    assert first == second
    assert first != other


def damaged(model: Path, tmp_path: Path, change: Callable[[Path], object]) -> Path:
    copy = Path(shutil.copytree(model, tmp_path / "damaged"))
    change(copy)
    return copy


def flip(relative: str) -> Callable[[Path], object]:
    """Flips one bit in the middle of a file."""

    def change(folder: Path) -> None:
        path = folder / relative
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 0x10
        path.write_bytes(raw)

    return change


def edit(key: str, value: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest[key] = value
        del manifest["digest"]  # an edit on purpose, not damage
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return change


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json"),
    "manifest cut off": (lambda f: (f / "manifest.json").write_text("{"), "not valid JSON"),
    "manifest of the future": (edit("schema_version", 2), "schema version 2"),
    "other contract": (edit("contract", "lilims.decoder/9"), "lilims.decoder/9"),
    "runtime out of range": (edit("compatible_runtime", ">=7"), ">=7"),
    "context beyond the state": (edit("context", 100_000), "context"),
    "no package": (lambda f: shutil.rmtree(f / "model.mlpackage"), "missing"),
    "no tokenizer": (lambda f: (f / "tokenizer.model").unlink(), "missing"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_models_are_one_line_and_exit_1(lilims: Run, model: Path, tmp_path: Path, name: str) -> None:
    change, message = DAMAGE[name]
    done = lilims("run", damaged(model, tmp_path, change), "Once", "-n", 2)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


USAGE: dict[str, tuple[list[str], int, str]] = {
    "unknown command": (["fly"], 2, "No such command"),
    "convert without output": (["convert", "x"], 2, "--output"),
    "convert with an unknown scheme": (["convert", "x", "-o", "y", "--quantize", "int3"], 2, "int3"),
    "convert from nowhere": (["convert", "nowhere", "-o", "y"], 1, "nowhere: no such folder"),
    "convert with a group of 33": (["convert", "nowhere", "-o", "y", "--group-size", "33"], 2, "33"),
    "run an unknown model": (["run", "nowhere", "Once"], 1, "nowhere"),
    "eval without a model": (["eval", "--text", "x"], 2, "no model"),
    "eval with two models": (["eval", "a", "-m", "b", "--text", "x"], 2, "named twice"),
    "a setting that is no number": (["run", "nowhere", "Once"], 2, "LILIMS_THREADS"),
}


@pytest.mark.parametrize("name", USAGE)
def test_mistakes_on_the_command_line(lilims: Run, name: str) -> None:
    arguments, code, message = USAGE[name]
    environment = {"LILIMS_THREADS": "many"} if "setting" in name else {}
    done = lilims(*arguments, **environment)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_existing_output_is_kept_without_force(lilims: Run, model: Path) -> None:
    before = (model / "manifest.json").read_bytes()
    done = lilims("convert", test_data("models/stories260K"), "-o", model)
    assert done.returncode == 1
    assert "--force" in done.stderr
    assert (model / "manifest.json").read_bytes() == before


def test_errors_as_json(lilims: Run) -> None:
    done = lilims("convert", "nowhere", "-o", "y", "--json")
    assert done.returncode == 1
    error = json.loads(done.stdout)
    assert error["kind"] == "error"
    assert error["error"]["type"] == "CheckpointError"


def test_debug_shows_the_traceback(lilims: Run) -> None:
    assert "Traceback" in lilims("convert", "nowhere", "-o", "y", LILIMS_DEBUG="1").stderr
