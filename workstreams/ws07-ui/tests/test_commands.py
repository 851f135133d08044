"""`lilims serve` and `lilims ps` as a user has them."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner

from lilims.core.cli import run
from lilims.ui.commands import ps, serve

from .helpers import PATIENCE, live

LILIMS = [sys.executable, "-c", "from lilims.core.cli import main; main()"]


def test_serving_says_one_line_and_ends_with_ctrl_c(shared_home: Path) -> None:
    command = [*LILIMS, "serve", "--port", "0", "--no-web"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None and process.stdout is not None
        line = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        assert httpx2.get(f"{found[0]}/health", trust_env=False, timeout=60).json() == {"status": "ok"}
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=PATIENCE)
    assert (out, rest.strip(), process.returncode) == ("", "interrupted", 130)


def test_what_keeps_the_page_from_starting_is_one_line(
    shared_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LILIMS_HOME", str(tmp_path))
    (tmp_path / "conversations.sqlite3").write_bytes(b"no database, but somebody's notes" * 100)
    assert run(["serve", "--port", "0"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "serves" not in err, "nothing is served"
    assert "conversations.sqlite3: is not a database of conversations" in err
    assert (tmp_path / "conversations.sqlite3").read_bytes().startswith(b"no database"), "the file is as it was"


def test_ps_and_unload(shared_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with live() as server:
        httpx2.post(f"{server.url}/v1/completions", json={"prompt": "x", "max_tokens": 1}, trust_env=False, timeout=60)
        assert run(["ps", "--url", server.url, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["kind"], told["running"], told["models"][0]["name"]) == ("loaded", 0, "stories")
        assert run(["ps", "--url", server.url]) == 0
        assert "stories" in capsys.readouterr().out
        assert run(["ps", "--url", server.url, "--unload", "stories", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["unloaded"] is True
        assert server.engine.loaded() == []
        assert run(["ps", "--url", server.url, "--unload", "nothing"]) == 1
        assert "'nothing' does not exist" in capsys.readouterr().err


def test_ps_with_a_key(shared_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from lilims.core.settings import settings
    from lilims.ui import Access

    with live(access=Access(api_key="k")) as server:
        assert run(["ps", "--url", server.url]) == 1
        assert "API key" in capsys.readouterr().err
        monkeypatch.setenv("LILIMS_API_KEY", "k")
        settings.cache_clear()
        assert run(["ps", "--url", server.url]) == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://"])
def test_no_server(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ps", "--url", url]) == 1
    assert "no lilims server answers" in capsys.readouterr().err


def test_another_server(capsys: pytest.CaptureFixture[str]) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<p>Hello")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert run(["ps", "--url", f"http://127.0.0.1:{server.server_port}"]) == 1
    assert "what answers is no lilims server" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--host", "0.0.0.0"], 2, "no API key is asked for"),
        (["--host", "0.0.0.0", "--api-key", "a b"], 2, "visible ASCII"),
        (["--cors-origin", "*"], 2, "is not an origin"),
        (["--allow-host", "https://chat.example.org"], 2, "is not a host name"),
        (["--allow-host", "chat.example.org:8443"], 2, "is not a host name"),
        (["--api-key", ""], 2, "--api-key is empty"),
        (["no-such-model"], 1, "no model 'no-such-model'"),
        (["./nowhere"], 1, "no such folder"),
        (["--host", "203.0.113.7", "--api-key", "k"], 1, "cannot listen there"),
        (["--keep-alive", "soon"], 2, "a number of seconds"),
        (["--keep-alive", "nan"], 2, "a number of seconds"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_served(arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--port", "0", *arguments]) == code
    assert words in capsys.readouterr().err


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run(["serve", "--port", str(taken.getsockname()[1])]) == 1
    assert "cannot listen there" in capsys.readouterr().err


@pytest.mark.parametrize("command", [serve.command, ps.command], ids=["serve", "ps"])
def test_help(command: object) -> None:
    result = CliRunner().invoke(command, ["--help"])  # type: ignore[arg-type]
    assert result.exit_code == 0 and "Example" in result.output


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("5m", 300), ("2h", 7200), ("-1", -1), ("0", 0), ("1.5s", 1.5)]
)
def test_times(text: str, seconds: float) -> None:
    assert serve._seconds(None, None, text) == seconds  # type: ignore[arg-type]


def test_metrics_tell_what_was_done(shared_home: Path) -> None:
    with live() as server, httpx2.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        client.post("/v1/completions", json={"prompt": "Once upon a time", "max_tokens": 4})
        client.post("/v1/completions", json={"prompt": "x", "model": "nothing"})
        client.get("/nowhere/secret-path")
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        'lilims_tokens_total{kind="generated",model="stories"} 4.0',
        'lilims_generations_total{model="stories",reason="length"} 1.0',
        'lilims_http_requests_total{path="/v1/completions",status="200"} 1.0',
        'lilims_http_requests_total{path="/v1/completions",status="404"} 1.0',
        'lilims_time_to_first_token_seconds_count{model="stories"} 1.0',
        "lilims_running 0.0",
        "lilims_models_loaded 1.0",
        "# TYPE lilims_rejected_total counter",
        "lilims_rejected_total 0.0",
    ):
        assert line in answer.text, line
    assert float(re.search(r"^lilims_peak_memory_bytes (\S+)$", answer.text, re.M)[1]) > 1e7  # type: ignore[index]
    assert "secret-path" not in answer.text


def test_a_folder_is_served_under_its_name(shared_home: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "mine"
    shutil.copytree(shared_home / "models" / "stories-int4", folder)
    with live(str(folder)) as server, httpx2.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        assert server.engine.default_model == "stories-int4"
        names = [one["id"] for one in client.get("/v1/models").json()["data"]]
        assert names == ["stories-int4", "stories"]
        answer = client.post("/v1/completions", json={"prompt": "Once", "max_tokens": 2}).json()
        assert answer["model"] == "stories-int4"
