"""Runs a program under a Python audit hook that writes down every file, socket and process it asks for.

    python -P hook.py REPORT lilims ARGUMENTS…      the lilims command
    python -P hook.py REPORT script.py ARGUMENTS…   a script

Knows Python's audit events. Must not judge them: places.py does.

REPORT gets one JSON array a line: kind, path or words, event. A hook cannot be taken off again, so this is a process of
its own. It sees what Python code asks for, and nothing that native code does by itself (trace.py does).
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from typing import Any

WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Event → arguments that are paths, each with the argument that holds its folder's descriptor (None: there is none).
# https://docs.python.org/3/library/audit_events.html
CHANGES: dict[str, tuple[tuple[int, int | None], ...]] = {
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.link": ((1, 3),),
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.rmdir": ((0, 1),),
    "os.setxattr": ((0, None),),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "os.utime": ((0, 3),),
    "sqlite3.connect": ((0, None),),
}
LISTS = {"os.listdir", "os.scandir"}
NETWORK = ("socket.", "urllib.", "http.", "ftplib.", "imaplib.", "poplib.", "smtplib.", "webbrowser.")
PROCESSES = {
    "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "pty.spawn",
    "subprocess.Popen",
}  # fmt: skip


def watch(report: str) -> None:
    """Installs the hook."""
    sink = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    seen: set[tuple[str, str, str]] = set()

    def note(kind: str, what: str, event: str) -> None:
        if (kind, what, event) not in seen:
            seen.add((kind, what, event))
            os.write(sink, json.dumps([kind, what, event]).encode() + b"\n")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, int):  # a descriptor that is open already
                return
            writes = bool((flags or 0) & WRITE_FLAGS)
            place = absolute(path)
            if writes or os.path.lexists(place):  # to look for a file that is not there opens nothing
                note("write" if writes else "read", place, event)
        elif event in CHANGES:
            for path, folder in CHANGES[event]:
                if not isinstance(arguments[path], int):
                    note("write", absolute(arguments[path], -1 if folder is None else arguments[folder]), event)
        elif event in LISTS:
            if not isinstance(arguments[0], int):
                note("read", absolute(arguments[0] or "."), event)
        elif event.startswith(NETWORK):
            note("network", f"{event}{arguments[1:]!r}"[:200], event)
        elif event in PROCESSES:
            note("process", repr(arguments)[:200], event)

    sys.addaudithook(hook)


def absolute(path: Any, folder: int = -1) -> str:
    """The path from the root; `folder` is an open folder that it starts from."""
    name = os.fsdecode(path)
    if folder >= 0 and not os.path.isabs(name):
        for descriptors in ("/proc/self/fd", "/dev/fd"):
            if os.path.islink(f"{descriptors}/{folder}"):
                return os.path.join(os.readlink(f"{descriptors}/{folder}"), name)
    return os.path.abspath(name)


def main() -> None:
    """Watches the program that the command line names, to its end."""
    report, program, *arguments = sys.argv[1:]
    sys.argv = [program, *arguments]
    watch(report)
    if program == "lilims":
        from lilims.core.cli import main as command

        command(arguments)
    else:
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
