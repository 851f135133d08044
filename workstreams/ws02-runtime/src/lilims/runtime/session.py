"""A state and the tokens that it holds: tokens go in, logits come out.

Knows planned steps and an executor's functions. Must not know text, sampling, when to stop, or what a context policy
does: `lilims.context` plans, this executes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lilims.context import ContextPolicy, ContextWindow, DecoderShape, Step, open_window
from lilims.core.errors import ContextOverflowError, ExecutionError, UsageError

from .embedding import EmbeddingFile
from .errors import StateLostError
from .executor import Executor

__all__ = ["Session", "SessionSnapshot"]

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class SessionSnapshot:
    """What a session holds, apart from the executor's own memory.

    Attributes:
        layout: which tokens stand where, as JSON.
        rows: rows of the state that were copied, the first ones.
        state: these rows, float16 [2 · layers, kv_heads, rows, head_dim].
    """

    layout: Mapping[str, Any]
    rows: int
    state: NDArray[np.float16]


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many of the first ids are the same."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


class Session:
    """One KV state of a model, empty at first. One thread may use it at a time.

    A call that fails (or is interrupted) between its chunks leaves `position` behind the last chunk that was done: rows
    after it are written again before any mask shows them. Where the executor loses the state (a `StateLostError`), the
    session runs its tokens again on a new one, once; if that fails too, the error is passed on and nothing has changed.

    Args:
        embedding: where the package takes rows of the embedding instead of token ids.
        policy: what to do when the context is full; None refuses more tokens.

    Attributes:
        reused: how many tokens the last `advance` did not run again.

    Raises:
        UnsupportedError: the model cannot follow the policy.
        UsageError: the policy does not fit the context.
    """

    def __init__(
        self,
        executor: Executor,
        shape: DecoderShape,
        vocab_size: int,
        embedding: EmbeddingFile | None = None,
        *,
        policy: ContextPolicy | None = None,
    ) -> None:
        self._executor = executor
        self._shape = shape
        self._vocab_size = vocab_size
        self._embedding = embedding
        self._window = open_window(shape, policy)
        self._state = executor.make_state()
        self._user: dict[str, int] = {}  # "thread": the one that uses the session now
        self._uses = 0  # of the session by its owner; a score goes on only where there was no other since
        self.reused = 0

    @property
    def policy(self) -> ContextPolicy:
        """What happens when the context is full."""
        return self._window.policy

    @property
    def tokens(self) -> list[int]:
        """All ids since the session was empty, those that a policy has dropped too. Not to be changed."""
        return self._window.tokens

    @property
    def position(self) -> int:
        """How many tokens the session has seen since it was empty."""
        return self._window.position

    @property
    def capacity(self) -> int:
        """C: the most tokens that a token sees, its own included."""
        return self._shape.context

    @property
    def room(self) -> int | None:
        """How many more tokens are taken; None is any number, as a policy makes room."""
        return self._window.room

    @property
    def padded(self) -> bool:
        """Whether a call takes as long for one token as for its function's chunk, as what is missing is padded."""
        return self._shape.padded

    @property
    def piece(self) -> int:
        """The most tokens of a prompt that one call takes now."""
        if "prefill" not in self._shape.functions:
            return 1
        return self._shape.most("prefill", self._window.rows_used, self._window.reached)

    @property
    def undoable(self) -> int:
        """How many tokens can be written and taken back again, with nothing that has to be run anew then."""
        return self._window.undoable

    def append(self, ids: Sequence[int]) -> Logits:
        """Writes tokens behind those that the session has.

        Returns:
            logits of the last token, float32 [vocab].

        Raises:
            ContextOverflowError: they do not fit, and the policy is error; nothing was written.
            UsageError: there are none, one is outside the vocabulary, or another thread uses the session.
            ExecutionError: the executor failed.
        """
        with self._alone():
            return self._append(ids)[0]

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Writes tokens behind those that the session has; yields each chunk's logits, float32 [n, vocab].

        Raises:
            ContextOverflowError, UsageError, ExecutionError: as `append`; UsageError also where the session was used
                otherwise between two chunks.
        """
        with self._alone():
            parts, mine = self._run(ids, "all"), self._uses
            step = next(parts, None)
        while step is not None:
            yield step[1]
            with self._alone():
                if self._uses != mine + 1:
                    raise UsageError("the session was used otherwise while its tokens were scored")
                self._uses = mine
                step = next(parts, None)

    def advance(self, ids: Sequence[int]) -> Logits:
        """Makes the session hold exactly `ids`: keeps the longest prefix that it has already, appends the rest.

        At least the last id is run, as its logits are wanted; `reused` says how many were not. Where a policy has
        dropped tokens that going back needs, all are run again.

        Raises:
            ContextOverflowError, UsageError, ExecutionError: as `append`; the first two leave the session as it was.
        """
        with self._alone():
            if len(ids) == 0:
                raise UsageError("there are no tokens to hold", hint="reset() empties a session")
            self._check_ids(ids)
            if self.room is not None and len(ids) > self.capacity:
                raise ContextOverflowError(
                    f"the text has {len(ids)} tokens, the context holds {self.capacity}",
                    hint=f"shorten it by {len(ids) - self.capacity} tokens, or choose a context policy that drops some",
                )
            same = self._keep(ids)
            self.reused = 0
            logits, ran = self._append(ids[same:])
            self.reused = same if ran == len(ids) - same else 0  # else a policy ran what it keeps again
            return logits

    def keep(self, ids: Sequence[int]) -> int:
        """Goes back to the longest prefix of `ids` that the session has, without the last id.

        Where a policy has dropped tokens that going back needs, nothing is kept.

        Returns:
            how many ids are kept: `append(ids[kept:])` is what remains to be done. For callers that append in pieces.
        """
        with self._alone():
            self.reused = self._keep(ids)
            return self.reused

    def rewind(self, count: int) -> None:
        """Forgets the last `count` tokens.

        Raises:
            UsageError: there are not that many.
            TokensGoneError: the policy has dropped tokens that the text before them needs. Both leave the session as
                it was.
        """
        with self._alone():
            if not 0 <= count <= self.position:
                raise UsageError(f"cannot take back {count} of {self.position} tokens")
            self._window.rewind(self.position - count)

    def reset(self) -> None:
        """Forgets all tokens."""
        with self._alone():
            self._window.reset()

    def fork(self) -> Session:
        """A session of its own that holds the same tokens, in a copy of the state.

        Raises:
            ExecutionError: the executor failed.
        """
        copy = Session(self._executor, self._shape, self._vocab_size, self._embedding, policy=self.policy)
        copy.restore(self.snapshot())
        return copy

    def snapshot(self) -> SessionSnapshot:
        """A copy of what the session holds; `restore` puts it back, here or in another session of the model.

        Raises:
            ExecutionError: the state cannot be read.
        """
        with self._alone():
            try:
                return self._snapshot()
            except StateLostError:
                self._recover()
                return self._snapshot()

    def restore(self, snapshot: SessionSnapshot) -> None:
        """Makes the session hold what the snapshot says; what it held is forgotten.

        Raises:
            UsageError: the snapshot is not one of this model and policy; the session is as it was.
            ExecutionError: the state cannot be written; the session is empty.
        """
        with self._alone():
            if snapshot.state.ndim != 4 or snapshot.state.shape[2] != snapshot.rows:
                raise UsageError(f"a state of {list(snapshot.state.shape)} has not the snapshot's {snapshot.rows} rows")
            window = open_window(self._shape, self.policy)
            window.restore(snapshot.layout, snapshot.rows)
            self._check_ids(window.tokens)
            before, self._window = self._window, open_window(self._shape, self.policy)
            try:
                self._write(snapshot.state)
            except UsageError:  # refused as a whole
                self._window = before
                raise
            self._window = window

    def _keep(self, ids: Sequence[int]) -> int:
        same = common_prefix(self.tokens, ids[:-1])
        if self._window.rewinds_to(same):
            self._window.rewind(same)
            return same
        self._window.reset()
        return 0

    def _write(self, values: NDArray[np.float16]) -> None:
        try:
            self._executor.write_state(self._state, values)
        except StateLostError:
            self._state = self._executor.make_state()
            self._executor.write_state(self._state, values)

    def _snapshot(self) -> SessionSnapshot:
        rows = self._window.rows_used
        return SessionSnapshot(self._window.layout(), rows, self._executor.read_state(self._state, rows))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Refuses a second thread. One that was interrupted before it could say that it is done is let in again."""
        me = threading.get_ident()
        if self._user.setdefault("thread", me) != me:  # one step, which no other thread comes between
            raise UsageError(
                "the session is in use by another thread", hint="take a session of its own for each thread, or wait"
            )
        try:
            self._uses += 1
            yield
        finally:
            self._user.clear()

    def _append(self, ids: Sequence[int]) -> tuple[Logits, int]:
        """The last token's logits, and how many tokens were run for them."""
        if len(ids) == 0:
            raise UsageError("there are no tokens to continue from", hint="give a prompt of at least one token")
        ran, last = 0, None
        for count, rows in self._run(ids, "last"):
            ran, last = ran + count, rows
        assert last is not None  # there is at least one id, so at least one step
        return np.asarray(last[-1]), ran

    def _run(self, ids: Sequence[int], need: Literal["last", "all"]) -> Iterator[tuple[int, Logits]]:
        """Executes the plan; yields each wanted step's count of tokens and logits."""
        self._check_ids(ids)
        start, recovered = self.position, False
        while True:
            try:
                for step in self._window.plan(ids[self.position - start :], need):
                    outputs = self._execute(self._window, step, self._state)
                    recovered = False
                    if step.wanted:
                        yield step.call.chunk.count, self._rows(step, outputs, every=need == "all")
                return
            except StateLostError:
                if recovered:
                    raise
                self._recover()
                recovered = True

    def _execute(self, window: ContextWindow, step: Step, state: Any) -> dict[str, NDArray[Any]]:
        inputs = window.inputs.build(step.call, step.ids)
        if self._embedding is not None:
            inputs["hidden"] = self._embedding.rows(inputs.pop("input_ids"))
        window.begin(step)
        outputs = self._executor.function(step.call.function).predict(inputs, state)
        window.finish(step)
        return outputs

    def _recover(self) -> None:
        """The executor has lost the state: runs the tokens again on a new one."""
        window, state = open_window(self._shape, self.policy), self._executor.make_state()
        for step in window.plan(self.tokens, "last"):
            self._execute(window, step, state)
        self._window, self._state = window, state

    def _check_ids(self, ids: Sequence[int]) -> None:
        for token in ids:
            if not 0 <= token < self._vocab_size:
                raise UsageError(f"token {token} is outside the vocabulary of {self._vocab_size}")

    def _rows(self, step: Step, outputs: dict[str, NDArray[Any]], *, every: bool) -> Logits:
        """The logits of the call's tokens (all, or the last one), cut to the vocabulary."""
        call, logits = step.call, np.asarray(outputs["logits"], np.float32)
        if logits.ndim != 3 or logits.shape[-1] < self._vocab_size:
            raise ExecutionError(f"the executor returned logits of shape {list(logits.shape)}", where=call.function)
        return logits[0, : call.chunk.count if every else 1, : self._vocab_size]
