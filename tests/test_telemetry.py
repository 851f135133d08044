"""Telemetry keeps no secret: planted prompts, names, paths and texts of errors are in no byte of what it writes.

Real commands run on real models, in a home, by a user and on paths whose names are secrets. All files below telemetry's
folder are read as bytes afterwards, in UTF-8 and UTF-16, and what `show`, `export` and `crashes` print is too.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build: nothing to run")

PROMPT, SYSTEM, USER, HOST, MODEL, FOLDER, STOP, MISSING, VARIABLE = (
    f"{word}qzx" for word in ("prompt", "system", "user", "host", "model", "folder", "stop", "missing", "variable")
)
SECRETS = (PROMPT, SYSTEM, USER, HOST, MODEL, FOLDER, STOP, MISSING, VARIABLE)
LILIMS = "import sys; from lilims.core.cli import main; main(sys.argv[1:])"
# The runtime's own code fails with a prompt in its hands, in one of three ways.
FAILING = """
import faulthandler, sys
import lilims.runtime.model as runtime
def fail(self, prompt, **options):
    how = sys.argv.pop()
    if how == "signal":
        faulthandler._sigsegv()
    raise (RuntimeError if how == "error" else MemoryError)(f"{prompt} of " + __file__)
__file__ = "/home/USER/FOLDER/x.py"
kept = sys.argv[:]
runtime.Model.generate = lambda self, prompt, **options: fail(self, prompt, **options)
from lilims.core.cli import main
main(sys.argv[1:-1])
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def lilims(tmp_path: Path) -> Run:
    """Runs the command, or another program, as a user whose every name is a secret."""
    user = tmp_path / USER
    user.mkdir()
    names = {"HOME": str(user), "USER": USER, "LOGNAME": USER, "USERNAME": USER, "HOSTNAME": HOST, "SECRET": VARIABLE}
    environment = {**os.environ, **names, "LILIMS_HOME": str(user / "lilims")}
    environment.pop("DO_NOT_TRACK", None)

    def run(*arguments: str, program: str = LILIMS, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=user,
            env=environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def leaks(where: Path | str) -> list[str]:
    """The secrets that stand in a folder's files, or in a text."""
    files = [path for path in where.rglob("*") if path.is_file()] if isinstance(where, Path) else []
    found = [path.read_bytes() for path in files] if isinstance(where, Path) else [where.encode()]
    return [
        f"{word} in {file}"
        for file, content in zip(files or ["the text"], found, strict=True)
        for word in SECRETS
        if any(word.encode(code) in content for code in ("utf-8", "utf-16-le", "utf-16-be"))
    ]


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x00\x01" + PROMPT.encode("utf-16-le"))
    assert leaks(tmp_path) == [f"{PROMPT} in {tmp_path / 'a'}"]
    assert leaks(f"a {USER} b") == [f"{USER} in the text"]


def test_no_secret_is_kept(lilims: Run, tmp_path: Path) -> None:
    folder = tmp_path / USER / "lilims" / "telemetry"
    assert lilims("telemetry", "on").returncode == 0
    told = lilims("run", PROMPT, "-n", "5", "--stop", STOP)
    assert told.returncode == 0, told.stderr
    installed = tmp_path / USER / "lilims" / "models" / "stories-int4"
    shutil.copytree(installed, tmp_path / USER / FOLDER / MODEL)
    own = str(tmp_path / USER / FOLDER / MODEL)
    assert lilims("run", own, f"{PROMPT} and {PROMPT}", "-n", "5").returncode == 0
    assert lilims("run", own, "-", "-n", "5", text=PROMPT).returncode == 0
    assert lilims("run", own, PROMPT, "--system", SYSTEM).returncode == 2, "no chat template"
    assert lilims("run", MISSING, PROMPT).returncode == 1
    assert lilims("run", own, PROMPT * 5000).returncode == 1, "longer than the context"
    assert lilims("convert", str(tmp_path / USER / MISSING), "-o", FOLDER).returncode == 1
    for how, codes in (("error", (1,)), ("memory", (1,)), ("signal", (-11,))):
        assert lilims("run", own, PROMPT, how, program=FAILING).returncode in codes, how
    crashes = _crashes(lilims)
    shown = [lilims("telemetry", *words).stdout for words in (("show", "--json"), ("crashes", "--json"))]
    for signal in ("traces", "metrics"):
        target = tmp_path / f"{signal}.jsonl"
        assert lilims("telemetry", "export", str(target), "--signal", signal).returncode == 0
        shown.append(target.read_text("utf-8"))
    assert leaks(folder) == []
    assert [leaks(text) for text in shown] == [[]] * 4
    names = [(one["name"], one["attributes"].get("error.type")) for one in json.loads(shown[0])["records"]]
    assert names.count(("generate.done", None)) == 3, "what happened was recorded all the same"
    assert {error for _, error in names} >= {"ModelNotFoundError", "ContextOverflowError", "RuntimeError"}
    assert len(crashes) == 2
    assert any("fatal: Segmentation fault" in crash for crash in crashes)
    assert any(re.search(r"error: RuntimeError[^`]*```text[^`]*lilims/models/commands/run\.py:\d+ in _generate", crash)
               for crash in crashes)  # fmt: skip


def _crashes(lilims: Run) -> list[str]:
    """Both reports; the one of the signal is written by another process a moment after."""
    for _ in range(100):
        found = json.loads(lilims("telemetry", "crashes", "--json").stdout)["crashes"]
        if len(found) == 2:
            break
    return [crash["report"] for crash in found]


def test_the_guides_examples_run(lilims: Run, tmp_path: Path) -> None:
    """docs/telemetry.md: its commands in their order, then its Python."""
    text = (Path(__file__).parents[1] / "docs" / "telemetry.md").read_text("utf-8")
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()]
    assert len(lines) == 10
    for line in lines:
        name, *arguments = shlex.split(line, comments=True)
        done = lilims(*arguments)
        assert (name, done.returncode) == ("lilims", 0), f"{line}: {done.stderr}"
    assert {path.name for path in (tmp_path / USER).iterdir()} >= {"speed.png", "traces.jsonl", "metrics.jsonl"}
    shutil.copytree(tmp_path / USER / "lilims" / "models" / "stories-int4", tmp_path / USER / "tiny")
    (example,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    done = lilims(program=example)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"generate\.done \d+\.?\d*\n", done.stdout)


def test_off_means_that_nothing_is_there(lilims: Run, tmp_path: Path) -> None:
    assert lilims("run", "Once", "-n", "3").returncode == 0
    assert not (tmp_path / USER / "lilims" / "telemetry").exists()


def test_help_knows_no_telemetry(tmp_path: Path) -> None:
    """Not even where it is on: nothing of it is imported before a command runs."""
    (tmp_path / "telemetry").mkdir()
    (tmp_path / "telemetry" / "on").touch()
    program = (
        "import sys; before = set(sys.modules); from lilims.core import cli; code = cli.run(['--help']); "
        "found = set(sys.modules) - before; "  # a tool of the environment may have loaded what it likes
        "print([name for name in found if name.startswith('lilims.telemetry') or name == 'sqlite3'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "LILIMS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
