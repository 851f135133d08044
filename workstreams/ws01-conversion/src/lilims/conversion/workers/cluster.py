"""Work on a Dask cluster: the same calls, sent to worker processes of this machine or of others.

Knows dask.distributed (extra `cluster`), addresses, and what may happen to a cluster. Must not know what is computed.
Dask sends functions, items and results as pickles: who may use the cluster may run anything on its machines and on this
one. A worker's item is done again by another worker if it dies (`distributed.scheduler.allowed-failures`, 3 times).
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

from lilims.core.errors import ExecutionError, MissingDependencyError, UnsupportedError, UsageError

from .base import Opened, Opens, Workers, in_order

__all__ = ["Cluster", "check_address", "versions"]

State = TypeVar("State")
Item = TypeVar("Item")
Result = TypeVar("Result")

_CONNECT = 8.0  # seconds in which a scheduler has to answer
_GREETING = 1 << 20  # bytes, at most
_LOOK = 2.0  # seconds after which a result that is waited for is a reason to look whether anyone works
_AHEAD, _LEAST = 4, 64  # items under way or done out of turn: for a worker, and at least (workers may join)


class Cluster(Workers):
    """The workers of a Dask scheduler, however many there are at the time.

    Args:
        address: `tcp://host:port`, or `tls://host:port` with the certificates of Dask's own configuration.
        patience: seconds without a single worker after which it is given up.

    Raises:
        UsageError: the address is none.
        UnsupportedError: it is another machine's, and LILIMS_OFFLINE is set.
        MissingDependencyError: dask.distributed is not installed.
        ExecutionError: no scheduler answers.
    """

    def __init__(self, address: str, *, patience: float = 60.0) -> None:
        check_address(address)
        self._address, self._patience = address, patience
        self._distributed = _distributed()
        self._ending = contextlib.ExitStack()
        self._ending.enter_context(_quiet())
        try:
            _knock(address)
            self._client = _within(_CONNECT, lambda: self._distributed.Client(
                address, timeout=_CONNECT - 2, set_as_default=False, name="lilims"))  # fmt: skip
        except (OSError, ValueError, RuntimeError, ImportError, MemoryError) as exc:
            self._ending.close()
            raise ExecutionError(
                "no Dask scheduler answers there",
                where=address,
                hint="start one with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`",
            ) from exc
        self._ending.callback(self._client.close)

    @property
    def size(self) -> int:
        """Worker processes, now; each does one item at a time, whatever its threads."""
        return len(self._ask())

    def map(
        self, function: Callable[[State, Item], Result], work: Opens[State], items: Iterable[Item]
    ) -> Generator[Result, None, None]:
        described, ours = pickle.dumps(work), versions()

        def submit(item: Item) -> Any:
            task = pickle.dumps((function, item))
            try:
                return self._client.submit(step, described, task, ours, pure=False)
            except (OSError, RuntimeError) as exc:  # a client that has given up
                raise self._gone() from exc

        yield from in_order(submit, self._take, items, max(_LEAST, _AHEAD * self.size))

    def close(self) -> None:
        self._ending.close()

    def _take(self, future: Any) -> Any:
        """A future's result, as long as there is hope for one."""
        alone_since: float | None = None
        while True:
            try:
                return future.result(timeout=_LOOK)
            except TimeoutError:
                if future.status == "error" and isinstance(future.exception(), TimeoutError):
                    raise  # the function's own
            except self._distributed.CancelledError as exc:
                raise self._gone() from exc
            except self._distributed.scheduler.KilledWorker as exc:
                raise ExecutionError(
                    "each worker that tried the same item died, perhaps for want of memory",
                    where=self._address,
                    hint="give workers more memory (`dask worker --memory-limit`), or start fewer on a machine",
                ) from exc
            except ImportError as exc:
                raise ExecutionError(
                    f"a worker cannot import {exc.name or 'lilims'}: {exc}",
                    where=self._address,
                    hint="install lilims on every worker, the version that this machine has",
                ) from exc
            if self._ask():
                alone_since = None
                continue
            alone_since = alone_since or time.monotonic()
            if time.monotonic() - alone_since > self._patience:
                raise ExecutionError(
                    f"the cluster has had no worker for {self._patience:.0f} s",
                    where=self._address,
                    hint="start some: `dask worker ADDRESS --nthreads 1`",
                )

    def _ask(self) -> dict[str, int]:
        """The workers' addresses."""
        try:
            found: dict[str, int] = _within(_CONNECT, self._client.nthreads)
        except (OSError, RuntimeError) as exc:
            raise self._gone() from exc
        return found

    def _gone(self) -> ExecutionError:
        return ExecutionError("the Dask scheduler is gone", where=self._address, hint="look into its log")


def check_address(address: str) -> None:
    """Raises UsageError unless it is `tcp://host:port` or `tls://host:port`, UnsupportedError without a network."""
    from lilims.core.settings import settings

    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:  # a port that is no number below 65536
        parts, port = urlsplit(""), None
    plain = parts.hostname and port and not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in ("tcp", "tls") or not plain:
        raise UsageError(
            "not the address of a Dask scheduler", where=address, hint="write tcp://host:port or tls://host:port"
        )
    if settings().offline and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise UnsupportedError(
            "the network is switched off (LILIMS_OFFLINE)", where=address, hint="--jobs N works here"
        )


@cache
def versions() -> dict[str, str]:
    """What has to be equal here and on a worker for results to be so."""
    from importlib import metadata

    from lilims.core import version

    return {"lilims": version(), **{name: metadata.version(name) for name in ("numpy", "onnxruntime")}}


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as exc:
        raise MissingDependencyError(
            "a Dask cluster needs dask.distributed", hint="pip install 'lilims-conversion[cluster]'"
        ) from exc
    return distributed


@contextlib.contextmanager
def _quiet() -> Generator[None, None, None]:
    """Keeps the client's tracebacks off stderr: what went wrong is said by an error."""
    logger = logging.getLogger("distributed.client")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _knock(address: str) -> None:
    """Raises OSError where nobody listens, or something else than Dask.

    Dask's client asks for six seconds where a connection is refused, waits for a greeting for ever, and believes any
    length that comes. A scheduler speaks first: the length of its greeting in 8 bytes, then the greeting.
    """
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=_CONNECT) as stream:
        if parts.scheme == "tcp":  # over TLS the client would have to speak first
            length = int.from_bytes(stream.recv(8, socket.MSG_WAITALL), "little")
            if not 0 < length <= _GREETING:
                raise OSError("something else than a Dask scheduler listens there")


def _within(seconds: float, function: Callable[[], Any]) -> Any:
    """A call that may never return, such as a greeting to a port where nobody speaks.

    Raises:
        TimeoutError: it has not returned; a thread is left to it.
    """
    done: list[Any] = []
    failed: list[BaseException] = []

    def call() -> None:
        try:
            done.append(function())
        except BaseException as exc:
            failed.append(exc)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return done[0]


# -- on a worker -------------------------------------------------------------------------------------------------------

_opened = Opened()
_one = threading.Lock()  # a worker of several threads: what is opened may not bear two at once


def step(work: bytes, task: bytes, wanted: dict[str, str]) -> Any:
    """An item done on a worker: `task` is function and item, pickled, so that versions are compared before."""
    ours = versions()
    if ours != wanted:
        name = next(name for name in wanted if ours.get(name) != wanted[name])
        raise ExecutionError(
            f"this worker has {name} {ours.get(name)}, the machine that asks has {wanted[name]}",
            where=_worker(),
            hint="install the same versions on every worker",
        )
    with _one:
        function, item = pickle.loads(task)
        return function(_opened.get(work), item)


def _worker() -> str:
    from distributed import get_worker

    return str(get_worker().address)
