"""The guides' Python examples run, in order, on the built-in model."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
GUIDES = ("generation.md", "sessions.md", "long-context.md", "running-packages.md", "quality.md", "models.md")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built-in model in `tiny`."""
    from lilims.conversion import convert
    from lilims.models.names import builtin_checkpoint

    folder = tmp_path_factory.mktemp("desk")
    convert(builtin_checkpoint(), folder / "tiny")
    return folder


def examples(guide: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (DOCS / guide).read_text("utf-8"), re.M | re.S)


@pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build: nothing to convert with")
@pytest.mark.parametrize("guide", GUIDES)
def test_examples_run(
    guide: str, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(desk)
    found = examples(guide)
    assert found
    names: dict[str, object] = {}
    for number, example in enumerate(found, 1):
        exec(compile(example, f"{guide}, example {number}", "exec"), names)
    assert "tokens were not run again" in capsys.readouterr().out or guide != "generation.md"
