"""The child process: takes requests from its standard input, runs executors, answers on what was its standard output.

Knows executors and the requests below. Must not know sessions, tokens or the parent. Run by process.py:
`python -m lilims.runtime.isolation.child`.

    hello                                        the protocol's version, and how many states there are
    open     package, arguments                  opens a package; answers with warms_up
    pads     package                             answers with pads
    load     package, function
    make     package, state                      a new state under that number
    adopt    package, state, own                 `own` becomes a state of this package that holds what `state` holds
    predict  package, function, state, [inputs]  the outputs
    read     package, state, rows                [rows]
    write    package, state, [rows]

Any request may carry `drop`, states that are not needed any more, and `limit`, seconds after which the process ends
itself, which works even where a native library holds the interpreter's lock.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from lilims.core.errors import LilimsError

from ..executor import PackageExecutor, open_executor
from .wire import Arrays, Header, WireError, read_message, write_message

__all__ = ["Server", "main"]

PROTOCOL = 1
_GRACE = 5.0  # seconds that the parent has to stop this process before it does so itself
_Answer = tuple[Header, Arrays]


class Server:
    """The packages that are open and their states, by the parent's numbers."""

    def __init__(self) -> None:
        self._packages: dict[int, PackageExecutor] = {}
        self._states: dict[int, Any] = {}
        self._requests: dict[str, Callable[[Header, Arrays], _Answer]] = {
            "hello": self._hello,
            "open": self._open,
            "pads": self._pads,
            "load": self._load,
            "make": self._make,
            "adopt": self._adopt,
            "predict": self._predict,
            "read": self._read,
            "write": self._write,
        }

    def answer(self, header: Header, arrays: Arrays) -> _Answer:
        """Does what is asked; a failure is an answer with `error`."""
        try:
            for number in header.get("drop", ()):
                self._states.pop(number, None)
            return self._requests[header["op"]](header, arrays)
        except LilimsError as exc:
            return {"error": exc.as_dict()}, {}
        except Exception as exc:
            return {"error": {"type": "ExecutionError", "message": f"{type(exc).__name__}: {exc}"}}, {}

    def _hello(self, header: Header, arrays: Arrays) -> _Answer:
        return {"protocol": PROTOCOL, "states": len(self._states)}, {}

    def _open(self, header: Header, arrays: Arrays) -> _Answer:
        given = dict(header["arguments"])
        package, identity = Path(given.pop("package")), given.pop("identity")
        executor = open_executor(package, identity=lambda: str(identity), **given)
        self._packages[header["package"]] = executor
        return {"warms_up": executor.warms_up}, {}

    def _pads(self, header: Header, arrays: Arrays) -> _Answer:
        return {"pads": self._packages[header["package"]].pads}, {}

    def _load(self, header: Header, arrays: Arrays) -> _Answer:
        self._packages[header["package"]].function(header["function"])
        return {}, {}

    def _make(self, header: Header, arrays: Arrays) -> _Answer:
        self._states[header["state"]] = self._packages[header["package"]].make_state()
        return {}, {}

    def _adopt(self, header: Header, arrays: Arrays) -> _Answer:
        executor, own = self._packages[header["package"]], header["own"]
        self._states[own] = executor.adopt(self._states[header["state"]], self._states.get(own))
        return {}, {}

    def _predict(self, header: Header, arrays: Arrays) -> _Answer:
        function = self._packages[header["package"]].function(header["function"])
        return {}, function.predict(arrays, self._states[header["state"]])

    def _read(self, header: Header, arrays: Arrays) -> _Answer:
        found = self._packages[header["package"]].read_state(self._states[header["state"]], int(header["rows"]))
        return {}, {"rows": found}

    def _write(self, header: Header, arrays: Arrays) -> _Answer:
        self._packages[header["package"]].write_state(self._states[header["state"]], arrays["rows"])
        return {}, {}


def main() -> None:
    """Answers requests until the parent closes the pipe, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = _pipes()
    inbox: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, inbox), daemon=True).start()
    server = Server()
    while True:
        header, arrays = inbox.get()
        limit = header.get("limit")
        if limit is not None:
            faulthandler.dump_traceback_later(limit + _GRACE, exit=True, file=2)
        answer = server.answer(header, arrays)
        faulthandler.cancel_dump_traceback_later()
        try:
            write_message(answers, *answer)
        except WireError as exc:  # outputs that cannot be sent
            write_message(answers, {"error": {"type": "ExecutionError", "message": str(exc)}})
        del header, arrays, answer  # nothing is held while waiting


def _listen(requests: IO[bytes], inbox: queue.SimpleQueue[_Answer]) -> None:
    """Hands requests on. Ends the process when there can be no more, whatever it is doing: nobody waits for it."""
    code = 0
    try:
        while (message := read_message(requests)) is not None:
            inbox.put(message)
    except Exception as exc:
        print(f"lilims: the executor's process got a request that it cannot read: {exc}", file=sys.stderr, flush=True)
        code = 1
    os._exit(code)


def _pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The two pipes, out of reach of what libraries print: standard output is standard error from here on."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        for handle in (requests, answers):
            msvcrt.setmode(handle, os.O_BINARY)
    return os.fdopen(requests, "rb"), os.fdopen(answers, "wb")


if __name__ == "__main__":
    main()
