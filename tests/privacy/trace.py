"""Reads what strace wrote: every file, socket and process that the kernel was asked for, by native code too.

Knows strace's lines and Linux system calls. Must not judge what it reads: places.py does.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .places import Access

__all__ = ["available", "command", "read"]

STRACE = ["strace", "-f", "-qq", "--seccomp-bpf"]  # with it, calls that are not traced cost nothing
OPENS = {"creat", "open", "openat", "openat2"}
CHANGES = {
    "chmod", "chown", "fchmodat", "fchmodat2", "fchownat", "futimesat", "lchown", "link", "linkat", "mkdir", "mkdirat",
    "mknod", "mknodat", "mount", "rename", "renameat", "renameat2", "rmdir", "setxattr", "symlink", "symlinkat",
    "truncate", "unlink", "unlinkat", "utime", "utimensat", "utimes",
}  # fmt: skip
ONLY_LAST = {"link", "linkat", "symlink", "symlinkat"}  # the first path is not changed
PROCESSES = {"execve", "execveat"}
NETWORK = {  # io_uring could open sockets unseen
    "accept", "accept4", "bind", "connect", "io_uring_setup", "listen", "recvfrom", "recvmmsg", "recvmsg", "sendmmsg",
    "sendmsg", "sendto", "setsockopt", "socket", "socketpair",
}  # fmt: skip
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)$")
_RESUMED = re.compile(r"^(?:\d+ +)?<\.\.\. (\w+) resumed>(.*)$")
_PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)(?:<([^>]*)>)?, )?"((?:[^"\\]|\\.)*)"')


@functools.cache
def available() -> bool:
    """Whether strace is here and may trace (containers can forbid it)."""
    if sys.platform != "linux" or shutil.which("strace") is None:
        return False
    trial = [*STRACE, "-e", "trace=execve", "-o", os.devnull, "true"]
    return subprocess.run(trial, capture_output=True).returncode == 0


def command(log: Path) -> list[str]:
    """What to put before a program to have its calls, and its children's, written to `log`."""
    calls = ",".join(f"?{call}" for call in sorted(OPENS | CHANGES | PROCESSES | NETWORK))  # ?: not on each machine
    return [*STRACE, "-y", "-o", str(log), "-e", f"trace={calls}", "-e", "signal=none"]


def read(log: Path, folder: Path) -> Iterator[Access]:
    """The accesses in a log of `command`; `folder` is where the program was started.

    A failed open opened nothing and is left out; a failed attempt at anything else counts.
    """
    pending: dict[str, str] = {}  # process → a call that another one interrupted on the page
    for line in log.read_text("utf-8", "surrogateescape").splitlines():
        process = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            pending[process] = line.removesuffix("<unfinished ...>")
            continue
        if resumed := _RESUMED.match(line):
            line = pending.pop(process, f"{process} {resumed[1]}(") + resumed[2]
        yield from _accesses(line, folder)
    for line in pending.values():  # killed within the call
        yield from _accesses(line, folder)


def _accesses(line: str, folder: Path) -> Iterator[Access]:
    call = _CALL.match(line)
    if call is None:
        return
    name, rest = call.groups()
    paths = [str(folder / (base or ".") / _unescaped(path)) for base, path in _PATH.findall(rest)]
    if name in OPENS:
        if " = -1 " not in rest:
            writes = name == "creat" or re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", rest)
            yield Access("write" if writes else "read", paths[0], name)
    elif name in CHANGES:
        for path in paths[-1:] if name in ONLY_LAST else paths:
            yield Access("write", path, name)
    elif name in PROCESSES:
        yield Access("process", paths[0], name)
    elif name in NETWORK:
        yield Access("network", f"{name}({rest}"[:200], name)


def _unescaped(text: str) -> str:
    """strace writes bytes outside ASCII as octal."""
    return os.fsdecode(text.encode("ascii", "surrogateescape").decode("unicode_escape").encode("latin-1"))
