"""A state and how many tokens it holds: tokens go in, logits come out.

Knows planned calls and an executor's functions. Must not know text, sampling or when to stop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lilims.context import Call, DecoderShape, StepInputs, plan_calls
from lilims.core.errors import ExecutionError, UsageError

from .embedding import EmbeddingFile
from .executor import Executor

__all__ = ["Session"]

Logits = NDArray[np.float32]


class Session:
    """One KV state of a model, empty at first.

    A call that fails (or is interrupted) between its chunks leaves `position` behind the last chunk that was done: rows
    after it are written again before any mask shows them.

    Args:
        embedding: where the package takes rows of the embedding instead of token ids.

    Attributes:
        position: tokens that the state holds, at most `capacity`.
    """

    def __init__(
        self, executor: Executor, shape: DecoderShape, vocab_size: int, embedding: EmbeddingFile | None = None
    ) -> None:
        self._executor = executor
        self._shape = shape
        self._vocab_size = vocab_size
        self._embedding = embedding
        self._inputs = StepInputs(shape)
        self._state = executor.make_state()
        self.position = 0

    @property
    def capacity(self) -> int:
        """The most tokens that the state holds."""
        return self._shape.context

    def append(self, ids: Sequence[int]) -> Logits:
        """Writes tokens behind those that the state holds.

        Returns:
            logits of the last token, float32 [vocab].

        Raises:
            ContextOverflowError: they do not fit; nothing was written.
            UsageError: there are none, or one is outside the vocabulary.
            ExecutionError: the executor failed.
        """
        if len(ids) == 0:
            raise UsageError("there are no tokens to continue from", hint="give a prompt of at least one token")
        *_, last = self._run(ids, "last")
        return np.asarray(last[-1])

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Writes tokens behind those that the state holds; yields each chunk's logits, float32 [n, vocab].

        Raises:
            ContextOverflowError, UsageError, ExecutionError: as `append`.
        """
        return self._run(ids, "all")

    def _run(self, ids: Sequence[int], need: Literal["last", "all"]) -> Iterator[Logits]:
        for token in ids:
            if not 0 <= token < self._vocab_size:
                raise UsageError(f"token {token} is outside the vocabulary of {self._vocab_size}")
        calls = plan_calls(len(ids), position=self.position, shape=self._shape, need_logits_of=need)
        start = self.position
        for call in calls:
            slot, end = call.chunk.slot, call.chunk.end
            inputs = self._inputs.build(call, ids[slot - start : end - start])
            if self._embedding is not None:
                inputs["hidden"] = self._embedding.rows(inputs.pop("input_ids"))
            outputs = self._executor.function(call.function).predict(inputs, self._state)
            self.position = end
            yield self._rows(call, outputs, every=need == "all")

    def _rows(self, call: Call, outputs: dict[str, NDArray[Any]], *, every: bool) -> Logits:
        """The logits of the call's tokens (all, or the last one), cut to the vocabulary."""
        logits = np.asarray(outputs["logits"], np.float32)
        if logits.ndim != 3 or logits.shape[-1] < self._vocab_size:
            raise ExecutionError(f"the executor returned logits of shape {list(logits.shape)}", where=call.function)
        return logits[0, : call.chunk.count if every else 1, : self._vocab_size]
