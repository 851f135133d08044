"""The examples of docs/server.md run, in order, against a server."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import httpx2
import pytest

from .helpers import Live

GUIDE = Path(__file__).parents[3] / "docs" / "server.md"


@pytest.fixture(scope="module")
def guide() -> str:
    return GUIDE.read_text("utf-8")


def test_python_examples(guide: str, server: Live, capsys: pytest.CaptureFixture[str]) -> None:
    found = re.findall(r"^```python\n(.*?)^```", guide, re.M | re.S)
    assert len(found) == 4
    names: dict[str, object] = {}
    for number, example in enumerate(found, 1):
        code = example.replace("http://127.0.0.1:8080", server.url)
        exec(compile(code, f"server.md, example {number}", "exec", dont_inherit=True), names)
    assert "get_weather" in capsys.readouterr().out
    names["client"].close()  # type: ignore[attr-defined]


def test_curl_examples(guide: str, server: Live) -> None:
    (line,) = re.findall(r"^curl (.*)$", guide, re.M)
    url, _, header, _, body = shlex.split(line)
    answer = httpx2.post(
        url.replace("http://127.0.0.1:8080", server.url),
        content=body,
        headers=[tuple(header.split(": "))],
        trust_env=False,
        timeout=60,
    )
    assert answer.json()["choices"][0]["text"] and json.loads(body)["seed"] == 1


def test_every_route_and_default_is_told(guide: str) -> None:
    from lilims.ui.api.document import openapi
    from lilims.ui.commands.serve import command

    for path in openapi()["paths"]:
        assert path.replace("{model}", "{id}") in guide, path
    defaults = {option.name: option.default for option in command.params}
    for name, words in {"parallel": "`--parallel` (16)", "queue": "`--queue` (128)", "models_loaded": "(3)"}.items():
        assert words in guide and str(defaults[name]) in words
