"""Nothing leaves the machine: commands open no socket, start no program, and touch only what they are told to.

Each command runs in an environment without a single hint to libraries, with an empty home, under a Python audit hook
and, where there is strace, under the kernel's eyes too. What may be touched is listed in privacy/places.py,
with reasons.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lilims.core.privacy import HUB_OFF, TELEMETRY_OFF

from .privacy import trace
from .privacy.places import Access, Place, interpreter, offences, system

HOOK = Path(__file__).parent / "privacy" / "hook.py"
KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "NUMBER_OF_PROCESSORS")
no_conversion = pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")


@dataclass
class Watched:
    """A program that ran: what it said and what it did that it may not."""

    done: subprocess.CompletedProcess[str]
    offences: list[str]


@dataclass
class Desk:
    """A place to run programs: an empty home, a temporary folder and a folder of work, each on its own."""

    root: Path

    def __post_init__(self) -> None:
        self.user, self.work, self.temporary = (self.root / name for name in ("user", "work", "temporary"))
        for folder in (self.user, self.work, self.temporary):
            folder.mkdir()

    def environment(self, **more: str) -> dict[str, str]:
        """What every process needs, and nothing that could quieten a library (such as CI)."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        folders = {"HOME": self.user, "USERPROFILE": self.user} | dict.fromkeys(
            ("TMPDIR", "TEMP", "TMP"), self.temporary
        )
        return {**kept, **{name: str(path) for name, path in folders.items()}, "LANG": "C.UTF-8", **more}

    def watch(
        self,
        program: str | Path,
        *arguments: object,
        named: dict[Path, str] | None = None,
        home: Path | None = None,
    ) -> Watched:
        """Runs a program.

        Args:
            program: "lilims" or a script.
            arguments: its arguments.
            named: the paths that they name, each "r" or "rw".
            home: the folder that lilims takes by itself; None sets LILIMS_HOME.
        """
        report, log = self.root / "report.jsonl", self.root / "strace.log"
        report.unlink(missing_ok=True)
        traced = trace.command(log) if trace.available() else []
        done = subprocess.run(
            [*traced, sys.executable, "-P", str(HOOK), str(report), str(program), *map(str, arguments)],
            cwd=self.work,
            env=self.environment(**({} if home else {"LILIMS_HOME": str(self.root / "lilims")})),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
        )
        accesses = [Access(*json.loads(line)) for line in report.read_text().splitlines()]
        assert accesses, f"the hook saw nothing: {done.stderr}"
        if traced:
            calls = list(trace.read(log, self.work))
            started = [access for access in calls if access.kind == "process"]
            # PATH is searched for the interpreter that strace starts; it is the first process, and alone of its name.
            assert [os.path.realpath(access.what) for access in started[:1]] == [os.path.realpath(sys.executable)]
            calls.remove(started[0])
            accesses += calls
        places = [
            Place(str(home or self.root / "lilims"), "lilims' home", writable=True),
            Place(str(self.temporary), "the temporary folder", writable=True),
            Place(str(HOOK), "the hook that watches"),
            Place(str(report), "the hook's report", writable=True),
            *(Place(str(path), "named on the command line", "w" in how) for path, how in (named or {}).items()),
        ]
        return Watched(done, offences(accesses, [*places, *interpreter(), *system()]))


def python(desk: Desk, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=desk.environment(**environment),
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture(scope="module")
def stories() -> Path:
    """The built-in checkpoint."""
    from lilims.models.names import builtin_checkpoint

    return builtin_checkpoint()


@pytest.fixture(scope="module")
def conversion(tmp_path_factory: pytest.TempPathFactory, stories: Path) -> tuple[Desk, Watched]:
    """`lilims convert`, watched; the other commands take what it makes."""
    desk = Desk(tmp_path_factory.mktemp("conversion"))
    out = desk.work / "stories"
    # A new folder is written under a temporary name beside it, so its parent counts as named.
    return desk, desk.watch("lilims", "convert", stories, "-o", out, named={stories: "r", desk.work: "rw"})


@no_conversion
def test_convert(conversion: tuple[Desk, Watched]) -> None:
    desk, watched = conversion
    assert watched.done.returncode == 0, watched.done.stderr
    assert not watched.offences, "\n".join(watched.offences)
    assert sorted(path.name for path in desk.work.iterdir()) == ["stories"]
    assert list(desk.user.iterdir()) == []


COMMANDS: dict[str, Callable[[Path, Path], tuple[object, ...]]] = {
    "run": lambda model, _: ("run", model, "Once upon a time", "-n", 8, "--temp", 0.8, "--stats"),
    "eval": lambda model, text: ("eval", model, "--text", text, "--context", 64, "--jobs", 1, "--no-record"),
    "data": lambda *_: ("data",),
    "inspect": lambda model, _: ("inspect", model),
    "doctor": lambda *_: ("doctor",),
}


@no_conversion
@pytest.mark.parametrize("name", COMMANDS)
def test_command(desk: Desk, conversion: tuple[Desk, Watched], name: str) -> None:
    model, text = conversion[0].work / "stories", desk.work / "text.txt"
    text.write_text("Once upon a time there was a little fox. " * 20)
    watched = desk.watch("lilims", *COMMANDS[name](model, text), named={model: "r", text: "r"})
    assert watched.done.returncode == 0, watched.done.stderr
    assert not watched.offences, "\n".join(watched.offences)
    assert list(desk.user.iterdir()) == []


@no_conversion
def test_run_with_the_builtin_model(desk: Desk) -> None:
    """It converts the model on its first run, into the platform's folder for data, and makes nothing else."""
    home = Path(python(desk, "from lilims.core.paths import home; print(home())").stdout.strip())
    assert home.is_relative_to(desk.user)
    watched = desk.watch("lilims", "run", "Once", "-n", 2, home=home)
    assert watched.done.returncode == 0, watched.done.stderr
    assert not watched.offences, "\n".join(watched.offences)
    files = [path for path in desk.user.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if not path.is_relative_to(home)] == []


def test_the_kernel_watches_too() -> None:
    """Says so where the audit hook, which does not see native code, had to do alone."""
    if not trace.available():
        pytest.skip("no strace here, or it may not trace: commands were watched by Python's audit hook alone")


# -- the watch itself: each of these programs does what no command may, and is found out ------------------------------

CRIMES = {
    "an internet socket": (
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "network: socket.__new__",
    ),
    "a local socket": ("import socket; socket.socketpair()", "network: socket.__new__"),
    "a look-up of a name": ("import socket; socket.getaddrinfo('127.0.0.1', 80)", "network: socket.getaddrinfo"),
    "a file of the user read": ("open({user!r} + '/secret').read()", "read: {user}/secret (open)"),
    "a folder of the user listed": ("import os; os.listdir({user!r})", "read: {user} (os.listdir)"),
    "a file written into the home": ("open({user!r} + '/new', 'w')", "write: {user}/new (open)"),
    "a file moved into the home": (
        "import os; open({temporary!r} + '/a', 'w'); os.rename({temporary!r} + '/a', {user!r} + '/b')",
        "write: {user}/b (os.rename)",
    ),
    "a link out of the temporary folder": (
        "import os; os.symlink({user!r} + '/secret', {temporary!r} + '/l'); open({temporary!r} + '/l').read()",
        "read: {temporary}/l (open)",
    ),
    "a named file changed": ("open({work!r} + '/text', 'a')", "write: {work}/text (open)"),
    "a program started": ("import subprocess, sys; subprocess.run([sys.executable, '-c', ''])", "process: "),
}
NATIVE = {  # past Python: only the kernel sees these
    "a socket": ("libc.socket(1, 1, 0)", "network: socket(AF_UNIX, SOCK_STREAM, 0)"),
    "a file read": ("libc.open(b'{user}/secret', 0)", "read: {user}/secret (open"),
    "a file written": ("libc.open(b'{user}/new', 0o101, 0o600)", "write: {user}/new (open"),
    "a folder made": ("libc.mkdir(b'{user}/cache', 0o700)", "write: {user}/cache (mkdir)"),
}


def commit(desk: Desk, code: str) -> list[str]:
    """Runs a script that the watch should report, or should not."""
    (desk.user / "secret").write_text("mine")
    text, script = desk.work / "text", desk.work / "script.py"
    text.write_text("words")
    script.write_text(code)
    watched = desk.watch(script, named={script: "r", text: "r"})
    assert watched.done.returncode == 0, watched.done.stderr
    return watched.offences


def fill(text: str, desk: Desk) -> str:
    folders = {"user": desk.user, "work": desk.work, "temporary": desk.temporary}
    for name, folder in folders.items():
        text = text.replace(f"{{{name}!r}}", repr(str(folder))).replace(f"{{{name}}}", str(folder))
    return text


@pytest.mark.parametrize("name", CRIMES)
def test_is_reported(desk: Desk, name: str) -> None:
    if sys.platform == "win32" and "link" in name:
        pytest.skip("links take a privilege on Windows")
    code, report = (fill(part, desk) for part in CRIMES[name])
    found = commit(desk, code)
    assert any(line.startswith(report.replace("/", os.sep)) for line in found), found


@pytest.mark.parametrize("name", NATIVE)
def test_is_reported_from_native_code(desk: Desk, name: str) -> None:
    if not trace.available():
        pytest.skip("no strace here, or it may not trace")
    code, report = (fill(part, desk) for part in NATIVE[name])
    found = commit(desk, f"import ctypes\nlibc = ctypes.CDLL(None)\nassert {code} >= 0")
    assert any(line.startswith(report) for line in found), found


def test_what_is_allowed_is_not_reported(desk: Desk) -> None:
    code = "import tempfile; open({work!r} + '/text').read(); tempfile.TemporaryFile().write(b'x'); import decimal"
    assert commit(desk, fill(code, desk)) == []


STRACE = r"""
7 execve("/usr/bin/python", ["python", "-P"], 0x7ffc /* 20 vars */) = 0
7 openat(AT_FDCWD</desk>, "names.txt", O_RDONLY|O_CLOEXEC) = 3</desk/names.txt>
7 openat(AT_FDCWD</desk>, "/absent", O_RDONLY) = -1 ENOENT (No such file or directory)
7 openat(5</out>, "caf\303\251", O_WRONLY|O_CREAT, 0600) = 6</out/caf\303\251>
7 openat(AT_FDCWD</desk>, "/slow", O_RDWR <unfinished ...>
8 connect(4<socket:[12]>, {sa_family=AF_INET, sin_port=htons(443)}, 16 <unfinished ...>
7 <... openat resumed>) = 3</slow>
8 <... connect resumed>) = -1 ENETUNREACH (Network is unreachable)
7 symlinkat("/target", AT_FDCWD</desk>, "link") = 0
7 rename("a", "/b") = 0
7 mkdir("/made", 0700) = -1 EEXIST (File exists)
7 +++ exited with 0 +++
"""


@pytest.mark.skipif(sys.platform == "win32", reason="paths of Linux")
def test_lines_of_strace(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(STRACE.lstrip(), "utf-8")
    found = [(access.kind, access.what) for access in trace.read(log, Path("/desk"))]
    assert found == [
        ("process", "/usr/bin/python"),
        ("read", "/desk/names.txt"),
        ("write", "/out/café"),
        ("write", "/slow"),
        ("network", "connect(4<socket:[12]>, {sa_family=AF_INET, sin_port=htons(443)}, 16 ) = -1 ENETUNREACH"
         " (Network is unreachable)"),
        ("write", "/desk/link"),
        ("write", "/desk/a"),
        ("write", "/b"),
        ("write", "/made"),
    ]  # fmt: skip


# -- switches and folders ---------------------------------------------------------------------------------------------


def test_commands_switch_telemetry_and_hubs_off_whatever_the_user_set(desk: Desk) -> None:
    wanted = TELEMETRY_OFF | HUB_OFF
    code = (
        "import json, os, sys; from lilims.core.cli import run; run(['--version']);"
        "heavy = [m for m in ('onnxruntime', 'tokenizers', 'huggingface_hub') if m in sys.modules];"
        f"print(json.dumps([heavy, {{name: os.environ.get(name) for name in {list(wanted)}}}]))"
    )
    done = python(desk, code, **dict.fromkeys(wanted, "0"))
    assert json.loads(done.stdout.splitlines()[-1]) == [[], wanted]


@no_conversion
def test_the_library_leaves_the_home_alone_too(desk: Desk, conversion: tuple[Desk, Watched]) -> None:
    """ONNX Runtime would keep a device id and a store of events there; lilims keeps graphs below its own folder."""
    code = f"from lilims.runtime import load; print(load({str(conversion[0].work / 'stories')!r}).logits([1, 2]).shape)"
    own = Path(python(desk, "from lilims.core.paths import cache_dir; print(cache_dir())").stdout.strip())
    assert python(desk, code).stdout.startswith("(2, ")
    assert [path for path in desk.user.rglob("*") if path.is_file() and not path.is_relative_to(own)] == []
    assert python(desk, code, LILIMS_HOME=str(desk.work), LILIMS_CACHE_GB="0").stdout.startswith("(2, ")
    assert list(desk.work.iterdir()) == []
