"""Shapes of a package: context, rows of the state, functions.

Knows the arithmetic of the contract. Must not import coremltools: a plan is made before anything is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .spec import DecoderSpec

__all__ = ["STATE", "FunctionPlan", "Shapes", "plan_shapes"]

STATE = "kv_cache"
_CHUNK = 128  # tokens of a prefill or score call; smaller where the context is
_MULTIPLE = 32  # rows and head dimension of the state


@dataclass(frozen=True)
class FunctionPlan:
    """One function: S tokens at a time, logits of the row that the input `last` names or of all rows."""

    name: str
    tokens: int
    logits: Literal["last", "all"]


@dataclass(frozen=True)
class Shapes:
    """Shapes of a package: context C, rows R of the state, its padded head dimension, and the functions."""

    context: int
    rows: int
    state_dim: int
    functions: tuple[FunctionPlan, ...]

    def state(self, spec: DecoderSpec) -> tuple[int, int, int, int]:
        """[2 · layers, kv_heads, R, head_dim]."""
        return (2 * len(spec.layers), spec.kv_heads, self.rows, self.state_dim)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def plan_shapes(spec: DecoderSpec, context: int) -> Shapes:
    """C rows of context and one chunk of scratch, so that a padded chunk fits wherever it starts."""
    chunk = min(_CHUNK, _round_up(context, _MULTIPLE))
    functions = (
        FunctionPlan("decode", 1, "last"),
        FunctionPlan("prefill", chunk, "last"),
        FunctionPlan("score", chunk, "all"),
    )
    return Shapes(context, _round_up(context + chunk, _MULTIPLE), _round_up(spec.head_dim, _MULTIPLE), functions)
