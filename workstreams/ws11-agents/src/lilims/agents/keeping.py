"""Keeps a claim alive while work goes on: renews it whenever a third of its lease has passed.

Knows time and threads. Must not know what the work is.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from .board import Workplace
from .claim_record import Claim
from .claiming import own, renew
from .errors import RemoteError, TaskError
from .journal import Journal

__all__ = ["keep", "keeping"]

_RETRY_S = 15.0  # after a renewal that the remote did not answer


def keep(
    place: Workplace,
    journal: Journal,
    task: str,
    wait: Callable[[float], bool],
    renewed: Callable[[Claim], None] = lambda _claim: None,
) -> None:
    """Renews until `wait(seconds)` returns true.

    Raises:
        ClaimLostError, OverlapError: the claim cannot be kept.
    """
    claim = own(place.board(), journal, task)
    pause = claim.renew_at - place.now()
    while not wait(max(pause, 0.0)):
        try:
            claim = renew(place, journal, task)
        except RemoteError:
            pause = min(_RETRY_S, claim.lease_s / 10)
            continue
        renewed(claim)
        pause = claim.renew_at - place.now()


@contextlib.contextmanager
def keeping(place: Workplace, journal: Journal, task: str) -> Iterator[None]:
    """Keeps the claim alive for the block; at its end, raises what lost the claim meanwhile.

    Raises:
        TaskError: as `keep`; at the start, too, if the claim is not one's own.
    """
    own(place.board(), journal, task)
    over = threading.Event()
    problems: list[TaskError] = []

    def work() -> None:
        try:
            keep(place, journal, task, over.wait)
        except TaskError as exc:
            problems.append(exc)

    thread = threading.Thread(target=work, name=f"renew {task}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if problems:
        raise problems[0]
