"""A small decoder in numpy, twice: as a package would run it, and by its definition.

`Toy` executes calls over a state of rows, in float64, with the masks and tables that it is given. `Naive` knows no
rows, chunks or masks: it keeps every key and value as they are before they are turned, and works out for each token
which others it sees and how far they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np

from lilims.context import ContextWindow, DecoderShape, RotaryParameters, rotary_tables

VOCAB, WIDTH, HEAD, LAYERS = 23, 12, 8, 3
LOCAL = 1  # the layer that reads the local mask, where there is one

rng = np.random.default_rng(7)
EMBED = rng.standard_normal((VOCAB, WIDTH))
Q, K, V = (rng.standard_normal((LAYERS, WIDTH, HEAD)) for _ in range(3))
OUT = rng.standard_normal((LAYERS, HEAD, WIDTH))
HEADS = rng.standard_normal((WIDTH, VOCAB))


def turn(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    half = HEAD // 2
    return x * cos + np.concatenate((-x[..., half:], x[..., :half]), -1) * sin


def normal(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Toy:
    """Runs the steps of a window; counts the tokens that it computed, padding included."""

    def __init__(self, window: ContextWindow) -> None:
        self.window = window
        self.keys = np.full((LAYERS, window.shape.rows, HEAD), 1e3)  # rubbish: a row that is seen too early shows
        self.values = np.full((LAYERS, window.shape.rows, HEAD), 1e3)
        self.calls: list[str] = []
        self.fails_at = -1

    def run(self, ids: Sequence[int], need: Literal["last", "all"]) -> np.ndarray:
        """The logits of the wanted tokens, [n, VOCAB]."""
        found = []
        for step in self.window.plan(ids, need):
            inputs = self.window.inputs.build(step.call, step.ids)
            self.window.begin(step)
            logits = self.predict(step.call.function, inputs)
            self.window.finish(step)
            if step.wanted:
                found.append(
                    logits[: step.call.chunk.count] if need == "all" else logits[int(inputs.get("last", [0])[0])]
                )
        return np.concatenate(found) if need == "all" else found[-1][None]

    def predict(self, function: str, inputs: dict[str, Any]) -> np.ndarray:
        self.calls.append(function)
        slot, x = int(inputs["slot"][0]), EMBED[inputs["input_ids"][0]]
        size = len(x)
        read = self.window.shape.rows_read(function)
        for layer in range(LAYERS):
            local = "local_" if layer == LOCAL and "local_attention_mask" in inputs else ""
            mask = inputs[f"{local}attention_mask"][0, 0].astype(np.float64)
            cos, sin = (inputs[f"{local}{name}"][0, 0] for name in ("cos", "sin"))
            h = normal(x)
            self.keys[layer, slot : slot + size] = turn(h @ K[layer], cos, sin)
            self.values[layer, slot : slot + size] = h @ V[layer]
            if len(self.calls) == self.fails_at:
                raise RuntimeError("poisoned call")
            scores = turn(h @ Q[layer], cos, sin) @ self.keys[layer, :read].T / np.sqrt(HEAD)
            x = x + softmax(scores + mask) @ self.values[layer, :read] @ OUT[layer]
        return np.asarray(normal(x) @ HEADS)


@cache
def _table(rule: RotaryParameters, position: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    cos, sin = rotary_tables(rule, [position], length=length)
    return cos[0, 0, 0], sin[0, 0, 0]


class Naive:
    """The decoder by its definition, token by token.

    Args:
        places: gives, for a query's position, the positions that it sees and where each stands for the rotary turn.
    """

    def __init__(self, shape: DecoderShape, places: Callable[[int], dict[int, int]]) -> None:
        self.shape, self.places = shape, places
        self.raw: list[list[tuple[np.ndarray, np.ndarray]]] = []  # by position and layer

    def step(self, token: int) -> np.ndarray:
        position, x = len(self.raw), EMBED[token]
        self.raw.append([])
        for layer in range(LAYERS):
            h = normal(x)
            self.raw[position].append((h @ K[layer], h @ V[layer]))
            local = layer == LOCAL and self.shape.local_window is not None
            window = self.shape.local_window if local else self.shape.window
            rule = self.shape.local_rotary if local else self.shape.rotary
            assert rule is not None
            seen = {q: at for q, at in self.places(position).items() if window is None or q > position - window}
            query = self.turned(h @ Q[layer], position, rule)
            keys = np.stack([self.turned(self.raw[q][layer][0], at, rule) for q, at in seen.items()])
            values = np.stack([self.raw[q][layer][1] for q in seen])
            x = x + softmax(keys @ query / np.sqrt(HEAD)) @ values @ OUT[layer]
        return np.asarray(normal(x) @ HEADS)

    def turned(self, x: np.ndarray, position: int, rule: RotaryParameters) -> np.ndarray:
        return turn(x, *_table(rule, position, self.shape.context))

    def rewind(self, position: int) -> None:
        del self.raw[position:]


def causal(position: int) -> dict[int, int]:
    return {q: q for q in range(position + 1)}
