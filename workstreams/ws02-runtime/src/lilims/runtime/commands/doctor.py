"""Say which executor runs here, what is missing and how to get it.

Knows what lilims uses of a machine. Must not import what it looks for: a broken package must not break the doctor.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console
from lilims.core.errors import LilimsError

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

__all__ = ["Finding", "command", "examine"]

Status = Literal["ok", "note", "missing"]
_MARKS = {"ok": "[green]✓[/]", "note": "[yellow]•[/]", "missing": "[red]✗[/]"}
_LEAST_SPACE = 1 << 30  # bytes free below which a note is due


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `missing` means that something lilims does cannot work here."""

    group: str
    name: str
    status: Status
    detail: str
    hint: str | None = None


@cli.command("doctor", epilog="Exit code 1: something is missing without which no model runs here.")
def command() -> None:
    """What lilims finds on this machine: platform, executors, packages, folders, models."""
    findings = list(examine())
    console.result("doctor", {"findings": [asdict(f) for f in findings]}, lambda out: _draw(out, findings))
    if any(finding.status == "missing" for finding in findings):
        click.get_current_context().exit(1)


def examine() -> Iterator[Finding]:
    """Looks at everything, in the order in which it is shown."""
    yield from _machine()
    yield from _executors()
    yield from _packages()
    yield from _folders()


def _machine() -> Iterator[Finding]:
    version = sys.version_info
    supported = (3, 11) <= version[:2] <= (3, 13)
    yield Finding("machine", "system", "ok", f"{_system()}, {platform.machine()}, {os.cpu_count()} CPUs")
    yield Finding(
        "machine", "Python", "ok" if supported else "note", platform.python_version(),
        None if supported else "lilims is tested with Python 3.11 to 3.13",
    )  # fmt: skip


def _system() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    return f"{platform.system()} {platform.release()}"


def _executors() -> Iterator[Finding]:
    from lilims.core.settings import settings

    from ..executor import choose, coreml_problem, settings_choice

    problem = coreml_problem()
    runtime = _version("onnxruntime")
    if problem is None:
        yield Finding("executors", "Core ML", "ok", f"through coremltools {_version('coremltools')}")
    else:
        yield Finding("executors", "Core ML", "note", problem.message, problem.hint)
    if runtime:
        yield Finding("executors", "portable", "ok", f"ONNX Runtime {runtime}")
    else:
        status: Status = "missing" if problem else "note"
        yield Finding("executors", "portable", status, "ONNX Runtime is not installed", "pip install onnxruntime")
    yield _kernels(settings().kernels)
    try:
        setting = settings().executor
        yield Finding("executors", "in use", "ok", f"{choose(settings_choice(setting))} (setting: {setting})")
    except LilimsError as error:
        yield Finding("executors", "in use", "missing", str(error), error.hint or "unset LILIMS_EXECUTOR")


def _kernels(wanted: bool) -> Finding:
    from ..portable.kernels import kernels_state

    usable, state = kernels_state()
    detail = f"lilims-kernels: {state}" if wanted or not usable else "lilims-kernels: switched off (LILIMS_KERNELS)"
    return Finding("executors", "kernels", "ok" if usable and wanted else "note", detail)


def _packages() -> Iterator[Finding]:
    from lilims.core import version

    yield Finding("packages", "lilims", "ok", version())
    for name in ("numpy", "onnx", "tokenizers"):
        found = _version(name)
        yield Finding(
            "packages", name, "ok" if found else "missing", found or "not installed",
            None if found else f"pip install {name}",
        )  # fmt: skip
    coremltools = _version("coremltools")
    windows = sys.platform == "win32"
    hint = "there is none for Windows: convert on Linux, WSL or macOS" if windows else "pip install 'coremltools>=9'"
    yield Finding(
        "packages", "coremltools", "ok" if coremltools else "note",
        coremltools or "not installed: packages run, conversion does not", None if coremltools else hint,
    )  # fmt: skip


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _folders() -> Iterator[Finding]:
    from lilims.core.locate import installed
    from lilims.core.paths import home, log_file

    folder = home()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    writable = existing.is_dir() and os.access(existing, os.W_OK)
    yield Finding(
        "folders", "data", "ok" if writable else "missing", str(folder),
        None if writable else f"{existing} cannot be written: mend its permissions, or set LILIMS_HOME",
    )  # fmt: skip
    free = shutil.disk_usage(existing if existing.is_dir() else Path(existing.anchor)).free
    yield Finding(
        "folders", "free space", "ok" if free >= _LEAST_SPACE else "note", bytes_text(free),
        None if free >= _LEAST_SPACE else "models take space: free some, or set LILIMS_HOME",
    )  # fmt: skip
    names = installed()
    yield Finding("folders", "models", "ok", ", ".join(names) or "none yet; `lilims run` makes the built-in one")
    yield Finding("folders", "log", "ok", str(log_file()))


def _draw(out: RichConsole, findings: list[Finding]) -> None:
    from rich.markup import escape

    width = max(len(finding.name) for finding in findings)
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            out.print(f"[bold]{group}[/]")
        out.print(f"  {_MARKS[finding.status]} {finding.name:<{width}}  {escape(finding.detail)}")
        if finding.hint:
            out.print(f"    {'':<{width}}  [dim]→ {escape(finding.hint)}[/]")
