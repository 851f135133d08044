"""Uses lilims as someone does who installed it: `python tools/ci/smoke.py --dist DIST`, or `--python VENV/bin/python`.

Converts the built-in model, packs it, installs the archive under another name and tells the same story from both; asks
every command for help; writes the Swift starter; fetches the chat page from the server. With --archive FILE nothing is
converted: the archive is installed and run, as on Windows. All of it happens in an empty folder with an empty home, by
the commands of the environment of --python; any of its Python processes that opens a file below --forbid fails.
Knows the command line alone. Must not import lilims.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

PROMPT = "Once upon a time"
GUARD = '''\
"""Every Python process that finds this refuses to open a file of the checkout."""
import os, sys
FORBIDDEN = os.path.join(os.path.realpath(os.environ["SMOKE_FORBID"]), "")
def guard(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and arguments and isinstance(arguments[0], (str, bytes)):
        if os.path.realpath(os.fsdecode(arguments[0])).startswith(FORBIDDEN):
            os.write(2, f"opened {os.fsdecode(arguments[0])}, which lies in the checkout\\n".encode())
            os._exit(99)
sys.addaudithook(guard)
'''


class Smoke:
    """Commands of one environment, run in a folder of their own."""

    def __init__(self, python: Path, folder: Path, forbid: Path | None) -> None:
        self.folder, self.lilims = folder, python.parent / ("lilims.exe" if sys.platform == "win32" else "lilims")
        kept = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "LANG", "PATHEXT", "COMSPEC")
        self.environment = {key: os.environ[key] for key in kept if key in os.environ}
        self.environment |= {"LILIMS_HOME": str(folder / "lilims"), "HOME": str(folder), "USERPROFILE": str(folder)}
        if forbid:
            guards = folder / "guard"
            guards.mkdir()
            (guards / "sitecustomize.py").write_text(GUARD, "utf-8")
            self.environment |= {"PYTHONPATH": str(guards), "SMOKE_FORBID": str(forbid.resolve())}
        self.work = folder / "work"
        self.work.mkdir()

    def run(self, *words: object) -> str:
        """What `lilims WORDS` prints; ends this program if it fails."""
        command = [str(self.lilims), *map(str, words)]
        started = time.monotonic()
        done = subprocess.run(
            command, cwd=self.work, env=self.environment, capture_output=True, encoding="utf-8", timeout=600
        )
        print(f"  {time.monotonic() - started:6.1f} s  lilims {' '.join(map(str, words))}", flush=True)
        if done.returncode:
            raise SystemExit(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def json(self, *words: object) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(*words, "--json"))
        return found

    def story(self, *model: object) -> str:
        """Forty greedy tokens."""
        told = self.json("run", *model, PROMPT, "--temp", "0", "-n", "40", "--ignore-eos")
        text: str = told["text"]
        if told["statistics"]["generated_tokens"] != 40 or len(re.findall(r"[A-Za-z]+", text)) < 15:
            raise SystemExit(f"that is no story: {told}")
        return text


def page(smoke: Smoke) -> None:
    """The chat page and its scripts come from the installed package."""
    command = [str(smoke.lilims), "serve", "--port", "0"]
    with subprocess.Popen(
        command,
        cwd=smoke.work,
        env=smoke.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as server:
        try:
            assert server.stdout is not None
            found = None
            while not found and (line := server.stdout.readline()):
                found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if not found:
                raise SystemExit("lilims serve named no address")
            html = urlopen(found[0], timeout=30).read().decode()
            scripts = re.findall(r'(?:src|href)="([^":]+\.(?:js|css))"', html)
            for script in scripts:
                if not urlopen(f"{found[0]}/{script.lstrip('./')}", timeout=30).read():
                    raise SystemExit(f"the page's {script} is empty")
            print(f"          lilims serve: the page and {len(scripts)} of its files")
            if not scripts:
                raise SystemExit("the chat page names no script")
        finally:
            server.kill()


def installed(dist: Path, folder: Path) -> Path:
    """Python of a new environment with the wheels of a folder; other packages come from the index."""
    wheels = sorted(map(str, dist.glob("*.whl")))
    if not wheels:
        raise SystemExit(f"{dist}: has no wheels")
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wheels], check=True)
    return python


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--python", type=Path, help="Python of the environment that has lilims")
    which.add_argument("--dist", type=Path, help="install the wheels of this folder into a new environment")
    parser.add_argument("--forbid", type=Path, help="a checkout of which nothing may be opened")
    parser.add_argument("--archive", type=Path, help="an archive of `lilims export --to archive`: convert nothing")
    parser.add_argument("--version", help="what `lilims --version` has to say")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="lilims-smoke-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch).resolve()
        python = options.python.absolute() if options.python else installed(options.dist, folder / "venv")
        smoke = Smoke(python, folder, options.forbid)
        version = smoke.run("--version").split()[-1]
        if options.version and version != options.version:
            raise SystemExit(f"lilims --version says {version}, not {options.version}")
        commands = re.findall(r"^  ([a-z]+)  ", smoke.run("--help"), re.MULTILINE)
        if not commands:
            raise SystemExit("lilims --help lists no command")
        for name in commands:
            smoke.run(name, "--help")
        if options.archive:
            shutil.copy(options.archive, smoke.work / "stories.tar")
            smoke.run("pull", smoke.work / "stories.tar", "--as", "told")
            print(f"  {smoke.story('told')!r}")
        else:
            smoke.run("demo", "--windows", "1", "-q")
            smoke.run("export", "--to", "archive", "stories-int4", "-o", "stories.tar")
            smoke.run("export", "--to", "swift", "stories-int4", "-o", "swift")
            smoke.run("pull", smoke.work / "stories.tar", "--as", "told")
            first, second = smoke.story(), smoke.story("told")
            print(f"  {first!r}")
            if first != second:
                raise SystemExit(f"the archive tells another story: {second!r}")
        page(smoke)
        print(f"lilims {version} works from {python}: {len(commands)} commands")
    return 0


if __name__ == "__main__":
    sys.exit(main())
