"""Crash reports that say where a program broke and nothing of what it was told.

Knows tracebacks, of Python and of faulthandler. Must not know where reports are kept.

A report is built from what may be in it, not by striking out what may not: places in the code of lilims, of installed
packages and of Python itself, without the folders that these lie in; classes of errors; of an error's message the words
that stand in the code that raised it, so that "the cache holds 5 rows" becomes "the cache holds … rows".
"""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Iterator
from types import CodeType, TracebackType

from .kept import Value

__all__ = ["of_dump", "of_error"]

_FRAMES = 60  # of one error, innermost last
_CHAIN = 8  # errors that led to an error
_OTHER = "(other code)"
_PACKAGES = re.compile(r".*[\\/](?:site|dist)-packages[\\/](.*)", re.S)
_NAME = re.compile(r"[\w.<>]{1,100}", re.A)
_WORD = re.compile(r"\w+")
_DUMP_FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)')
_DUMP_THREAD = re.compile(r"(Current thread|Thread) 0x[0-9a-fA-F]+.*")
_DUMP_TITLE = re.compile(r"(?:Fatal Python error|Windows fatal exception): ([A-Za-z0-9 ,:-]{1,80})")
_TITLE = "lilims crash report"


def of_error(error: BaseException, command: str, device: dict[str, Value]) -> str:
    """The report of an error that nobody expected."""
    lines: list[str] = []
    for one in _chain(error):
        words = _words(one.__traceback__)
        lines += [f"{type(one).__module__}.{type(one).__qualname__}: {_masked(str(one), words)}".rstrip(": ")]
        lines += [f"  {place(code.co_filename, line, code.co_name)}" for code, line in _frames(one.__traceback__)]
    return _report(f"error: {type(error).__name__}", command, device, lines)


def of_dump(dump: str, command: str, device: dict[str, Value]) -> str | None:
    """The report of what faulthandler wrote when a signal ended the process; None if that is not what `dump` is."""
    title = _DUMP_TITLE.search(dump)
    if title is None:
        return None
    lines = []
    for line in dump.splitlines():
        if thread := _DUMP_THREAD.match(line):
            lines.append(f"{thread[1]}, innermost call first:")
        elif frame := _DUMP_FRAME.fullmatch(line):
            lines.append(f"  {place(frame[1], int(frame[2]), frame[3])}")
    return _report(f"fatal: {title[1].strip()}", command, device, lines)


def place(file: str, line: int, name: str) -> str:
    """A place in code, without the folders above a package; of code that is no package's, only that it is such."""
    short = _shortened(file)
    return _OTHER if short is None or not _NAME.fullmatch(name) else f"{short}:{line} in {name}"


def _shortened(file: str) -> str | None:
    import lilims

    for root in lilims.__path__:
        if file.startswith(root) and file[len(root) : len(root) + 1] in ("/", "\\"):
            return "lilims" + file[len(root) :].replace("\\", "/")
    if installed := _PACKAGES.fullmatch(file):
        return installed[1].replace("\\", "/")
    standard = sysconfig.get_path("stdlib")
    if file.startswith(standard):
        return "python" + file[len(standard) :].replace("\\", "/")
    return file if re.fullmatch(r"<frozen [\w.]+>", file, re.A) else None


def _report(what: str, command: str, device: dict[str, Value], lines: list[str]) -> str:
    machine = "\n".join(f"- {name}: {value}" for name, value in device.items())
    found = "\n".join(lines)
    return f"### {_TITLE}\n\n- {what}\n- command: lilims {command}\n{machine}\n\n```text\n{found}\n```\n"


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what led to it, first cause first."""
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found and len(found) < _CHAIN:
        found.append(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return found[::-1]


def _frames(found: TracebackType | None) -> Iterator[tuple[CodeType, int]]:
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(found)]
    yield from frames[-_FRAMES:]


def _words(found: TracebackType | None) -> set[str]:
    """The words in the texts of the code that an error went through, where that code is a package's."""
    codes = [code for code, _ in _frames(found) if _shortened(code.co_filename) is not None]
    return {word for code in codes for text in code.co_consts if isinstance(text, str) for word in _WORD.findall(text)}


def _masked(message: str, words: set[str]) -> str:
    """A message's known words; what stands between them becomes an ellipsis."""
    kept = [word if word in words else "…" for word in _WORD.findall(message[:4000])]
    return " ".join(word for n, word in enumerate(kept) if word != "…" or n == 0 or kept[n - 1] != "…")
