"""Ctrl-C at every line of a call: the session goes on from the tokens that it says it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lilims.core.testing import interrupted
from lilims.runtime import contract
from lilims.runtime.session import Session

from .fakes import CONTEXT, VOCAB, FakeExecutor, logits_of, manifest_of, mixed

IDS = [(7 * i + 3) % 256 for i in range(CONTEXT)]
PLACES = ("runtime", "context", "fakes.py")  # parts of the files' names in which interrupts come


CALLS: dict[str, Callable[[Session], Any]] = {
    "append": lambda session: session.append(IDS[5:25]),
    "append-one": lambda session: session.append(IDS[5:6]),
    "score": lambda session: list(session.score(IDS[5:25])),
    "advance": lambda session: session.advance([*IDS[:3], 9, *IDS[3:20]]),
    "rewind": lambda session: session.rewind(2),
    "reset": lambda session: session.reset(),
    "snapshot": lambda session: session.snapshot(),
    "restore": lambda session: session.restore(session.snapshot()),
    "fork": lambda session: session.fork(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_every_line(name: str) -> None:
    line = 0
    while True:
        line += 1
        session = Session(FakeExecutor(), contract.decoder_shape(manifest_of(), package="p"), VOCAB)
        session.append(IDS[:5])
        if not interrupted(line, lambda session=session: CALLS[name](session), *PLACES):  # type: ignore[misc]
            break
        held = list(session.tokens)
        assert session.position == len(held)
        np.testing.assert_array_equal(
            session.append([77]), logits_of(mixed([*held, 77])), err_msg=f"line {line} holds {held}"
        )
    assert line > 3
