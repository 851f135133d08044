"""Models whose probabilities are known."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lilims.conversion.evaluation.windows import Window


@dataclass(frozen=True)
class Bigram:
    """A source and its own spec: the next token's logits are a row of a random table, in blocks of `chunk`."""

    seed: int
    chunk: int = 5
    vocab_size: int = 40
    broken: int = -1  # the token behind which logits are NaN
    opened: str = ""  # a file that is written to when the model is opened
    slow: float = 0.0  # seconds for a window
    name: str = "bigram"
    kind: str = "package"
    sha256: str = "0" * 64
    stamp: str = "bigram"
    place: str = "nowhere"

    @property
    def versions(self) -> dict[str, str]:
        return {"seed": str(self.seed)}

    @property
    def table(self) -> np.ndarray:
        table = np.random.default_rng(self.seed).normal(0, 2, (self.vocab_size, self.vocab_size)).astype(np.float32)
        if self.broken >= 0:
            table[self.broken] = np.nan
        return table

    def tokenizer(self) -> Any:
        return None

    def open(self) -> Bigram:
        if self.opened:
            with Path(self.opened).open("a") as file:
                file.write(f"{os.getpid()}\n")
        return self

    def rows(self, window: Window) -> Iterator[np.ndarray]:
        time.sleep(self.slow)
        found = self.table[list(window.inputs)][window.first :]
        yield from (found[i : i + self.chunk] for i in range(0, len(found), self.chunk))


def random_ids(count: int, seed: int = 3, vocab: int = 40) -> list[int]:
    ids: list[int] = np.random.default_rng(seed).integers(0, vocab, count).tolist()
    return ids
