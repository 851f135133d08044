"""The `lilims` command: exit codes, help without heavy imports, options that every command has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import click
import pytest

from lilims.core import cli
from lilims.core.console import console
from lilims.core.errors import PackageError, UsageError

HEAVY = ("numpy", "pydantic", "onnx", "onnxruntime", "coremltools", "torch", "transformers", "tokenizers", "rich")


class Entry:
    """An entry point that needs no installed distribution."""

    def __init__(self, name: str, loaded: object, module: str = "lilims.absent.module") -> None:
        self.name, self.value, self.module = name, f"{module}:command", module
        self._loaded = loaded

    def load(self) -> object:
        return self._loaded


Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes `lilims x` run a function."""

    def add(body: Callable[..., None], *options: Callable[..., object]) -> None:
        decorated: object = body
        for option in options:
            decorated = option(decorated)
        made = cli.command("x")(decorated)  # type: ignore[type-var]
        monkeypatch.setattr(cli, "entry_points", lambda group: [Entry("x", made)])

    return add


def raises(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


OUTCOMES = {
    "done": (lambda: None, 0, ""),
    "known-failure": (raises(PackageError("is damaged", hint="copy it")), 1, "error: is damaged\nhint:  copy it\n"),
    "usage": (raises(UsageError("two of these")), 2, "error: two of these\n"),
    "os-error": (raises(PermissionError(13, "Permission denied", "/x")), 1, "Permission denied"),
    "unexpected": (raises(ZeroDivisionError("division")), 1, "unexpected ZeroDivisionError: division\nhint:"),
    "interrupt": (raises(KeyboardInterrupt()), 130, "interrupted\n"),
    "exit-code": (raises(click.exceptions.Exit(7)), 7, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", OUTCOMES)
def test_exit_codes(case: str, install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    body, code, words = OUTCOMES[case]
    install(body)
    assert cli.run(["x"]) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "-1"])
def test_a_range_has_neither_nan_nor_infinity(value: str) -> None:
    with pytest.raises(click.BadParameter, match=r"not a number that can be reached|not in the range x>=0"):
        cli.FiniteRange(min=0).convert(value, None, None)
    assert cli.FiniteRange(min=0).convert("1e3", None, None) == 1000.0


@pytest.mark.parametrize("arguments", [["nonsense"], ["x", "--nonsense"], ["x", "extra"], []])
def test_usage_errors(arguments: list[str], install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install(lambda: None)
    assert cli.run(arguments) == 2
    assert "Usage: lilims" in capsys.readouterr().err


def test_debug_shows_where(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(raises(PackageError("is damaged")))
    monkeypatch.setenv("LILIMS_DEBUG", "1")
    with pytest.raises(PackageError):
        cli.run(["x"])


def test_a_wrong_setting_is_a_usage_error(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(lambda: None)
    monkeypatch.setenv("LILIMS_DEBUG", "perhaps")
    assert cli.run(["x"]) == 2
    assert "LILIMS_DEBUG must be a truth value" in capsys.readouterr().err


def test_json_and_quiet_reach_the_console(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[bool, bool]] = []
    install(lambda: seen.append((console.json, console.quiet)))
    for arguments in (["x"], ["x", "--json"], ["x", "-q"], ["x", "-v"]):
        assert cli.run(arguments) == 0
    assert seen == [(False, False), (True, False), (False, True), (False, False)]
    install(raises(PackageError("bad")))
    assert cli.run(["x", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "bad"


def test_an_unexpected_error_is_logged(install: Install, home: Path) -> None:
    install(raises(ZeroDivisionError("division")))
    assert cli.run(["x"]) == 1
    assert "ZeroDivisionError: division" in (home / "logs" / "lilims.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["a"], "a"),
        (["-m", "a"], "a"),
        (["--model", "a"], "a"),
        (["-m", "a", "-q"], "a"),
        ([], 2),
        (["a", "-m", "b"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_model_is_positional_or_an_option(arguments: list[str], wanted: str | int, install: Install) -> None:
    seen: list[str] = []

    def body(model: str) -> None:
        seen.append(model)

    install(body, cli.model_argument)
    code = cli.run(["x", *arguments])
    assert (code, seen) == ((0, [wanted]) if isinstance(wanted, str) else (wanted, []))


# -- the list of commands --------------------------------------------------------------------------------------------


def test_help_survives_a_package_that_is_gone(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install(lambda: None)
    assert cli.run(["--help"]) == 0
    assert "Commands:\n  x" in capsys.readouterr().out


def test_version_of_an_entry_that_is_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "entry_points", lambda group: [Entry("x", ModuleType("x"))])
    assert cli.run(["x"]) == 1


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of packages: `lilims.fake` with one command, as an installed distribution has it."""
    folder = tmp_path / "site"
    (folder / "fake-1.0.dist-info").mkdir(parents=True)
    (folder / "fake-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: fake\nVersion: 1.0\n")
    (folder / "fake-1.0.dist-info" / "entry_points.txt").write_text(
        "[lilims.commands]\nfaked = lilims.fake.commands.faked:command\n"
    )
    (folder / "lilims" / "fake" / "commands").mkdir(parents=True)
    (folder / "lilims" / "fake" / "commands" / "faked.py").write_text(
        '"""`lilims faked`: prints many lines.\n\nMore.\n"""\n'
        "import pydantic\n"
        "from lilims.core import cli\nfrom lilims.core.console import console\n"
        '@cli.command("faked")\ndef command():\n    for n in range(100_000):\n        console.data(str(n))\n'
    )
    return folder


def lilims(site: Path, script: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_help_lists_commands_without_importing_them(site: Path) -> None:
    script = (
        "import sys\nfrom lilims.core import cli\ncode = cli.run(['--help'])\n"
        f"print('HEAVY', [m for m in {HEAVY} if m in sys.modules], code)\n"
        "print('RUN', [m for m in sys.modules if m.startswith('lilims.fake')])\n"
    )
    out, err = lilims(site, script).communicate()
    assert err == ""
    assert "faked" in out
    assert "prints many lines." in out
    assert "HEAVY [] 0\nRUN []\n" in out


def test_a_reader_that_leaves_is_no_failure(site: Path) -> None:
    with lilims(site, "from lilims.core import cli\ncli.main(['faked'])\n") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0


@pytest.mark.parametrize(
    "arguments", [["x", "--json", "--odd"], ["x", "--odd", "--json"], ["nothing", "--json"]], ids=" ".join
)
def test_a_wrong_command_line_is_an_object_with_json(
    install: Install, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    install(lambda: None)
    assert cli.run(arguments) == 2
    said = json.loads(capsys.readouterr().out)
    assert (said["kind"], said["error"]["type"]) == ("error", "UsageError")
    assert arguments[0] in said["error"]["message"] or "--odd" in said["error"]["message"]


def test_a_group_finds_its_commands_by_module_or_by_a_whole_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Subcommands are `name_command` of a module of the package, or whatever `a.module:attribute` names."""

    @click.command()
    def near() -> None:
        """Near."""

    @click.command()
    def far() -> None:
        """Far."""

    for name, attribute, made in (("lilims_x.near", "near_by_command", near), ("elsewhere.far", "command", far)):
        module = ModuleType(name)
        setattr(module, attribute, made)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "lilims_x", ModuleType("lilims_x"))

    @cli.group("x", "lilims_x", {"near-by": "near", "far": "elsewhere.far:command", "gone": "no.such:command"})
    def command() -> None:
        """X."""

    context = click.Context(command)
    assert command.list_commands(context) == ["far", "gone", "near-by"]
    assert command.get_command(context, "near-by") is near and command.get_command(context, "far") is far
    assert command.get_command(context, "nothing") is None
    with pytest.raises(ModuleNotFoundError):
        command.get_command(context, "gone")
