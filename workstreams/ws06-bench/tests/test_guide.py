"""The examples of docs/bench.md run, in their order, on tiny models of the names that they use."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from .conftest import Run

GUIDE = Path(__file__).parents[3] / "docs" / "bench.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text("utf-8"), re.M | re.S)


def test_examples_run(
    lilims: Run, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("coremltools", reason="nothing to convert with")
    pytest.importorskip("matplotlib")
    from lilims.conversion import convert

    for scheme in ("fp16", "int8", "int4"):
        convert(checkpoint, tmp_path / f"tiny-{scheme}", quantize=scheme)
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) == 8
    for line in lines:
        name, *arguments = shlex.split(line, comments=True)
        assert name == "lilims"
        code = lilims(*arguments)
        assert code == 0, f"{line}: {capsys.readouterr().err}"
    assert all((tmp_path / name).exists() for name in ("soak.png", "speed.png", "speed.jsonl"))
    (example,) = blocks("python")
    capsys.readouterr()
    exec(compile(example, str(GUIDE), "exec"), {})
    assert re.fullmatch(r"\d+\.\d+ \d+\n", capsys.readouterr().out)


def test_every_subcommand_is_in_the_guide() -> None:
    from lilims.bench.commands.bench import _NAMES

    text = GUIDE.read_text("utf-8")
    assert [name for name in _NAMES if name != "models" and f"lilims bench {name} " not in text] == []
