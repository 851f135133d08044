"""Runs a decoder as a device computes, every result rounded to fp16, and notes what leaves the range.

Knows the runtime. Must not know rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lilims.core.manifest import Manifest

__all__ = ["Measured", "measure", "random_ids"]

_RANDOM = 24  # tokens
_STEPS = 4  # of them one by one
_MOST = 512  # tokens of a text


@dataclass(frozen=True)
class Measured:
    """What a run of one package showed.

    Attributes:
        what: on what it ran, for messages.
        overflows: function → the op whose result was the first that is not finite.
        underflows: function → op → the largest share of its nonzero elements that became 0 in a call.
    """

    what: str
    overflows: dict[str, str] = field(default_factory=dict)
    underflows: dict[str, dict[str, float]] = field(default_factory=dict)


def random_ids(vocabulary: int, count: int) -> list[int]:
    """Token ids drawn evenly, the same for a vocabulary each time."""
    import numpy as np

    return [int(token) for token in np.random.default_rng(0).integers(0, vocabulary, count)]


def measure(
    folder: Path, manifest: Manifest, text: str | None = None, *, decode_only: bool = False
) -> dict[str, Measured]:
    """Runs a text, or a few random tokens, through every package of a model; returns what each showed, by its name.

    Args:
        decode_only: opens one function instead of three. They compute the same of a token.

    Raises:
        ContractError, PackageError, UnsupportedError, ExecutionError: the model cannot run here.
        TokenizerError: there is a text and the model has no tokenizer.
    """
    from lilims.runtime import contract
    from lilims.runtime.executor import PackageExecutor
    from lilims.runtime.model import Model
    from lilims.runtime.ported import PortableExecutor
    from lilims.runtime.split import SplitExecutor

    ids, what = _tokens(folder, manifest, text)
    found = {part.package: Measured(what) for part in manifest.packages()}

    def open_package(package: str) -> PackageExecutor:
        inner = PortableExecutor(folder / package, precision="fp16", threads=None)
        return _Watching(inner, found[package])

    interfaces = contract.check_model(folder, manifest)
    whole = not manifest.parts
    executor = open_package(manifest.package) if whole else SplitExecutor(manifest.parts, interfaces, open_package)
    model = Model(folder, manifest, executor)
    if decode_only:
        model.step_logits(ids)
        return found
    steps = min(_STEPS, len(ids) - 1)
    model.step_logits(ids, prefill=len(ids) - steps)
    if "score" in manifest.functions:
        model.logits(ids)
    return found


def _tokens(folder: Path, manifest: Manifest, text: str | None) -> tuple[list[int], str]:
    if text is None:
        ids = random_ids(manifest.architecture.vocab_size, min(_RANDOM, manifest.context))
        return ids, f"on {len(ids)} random tokens"
    from lilims.core.errors import UsageError
    from lilims.tokenizer import Tokenizer

    ids = Tokenizer.load(folder).encode(text)[: min(_MOST, manifest.context)]
    if not ids:
        raise UsageError("the text has no token", hint="give a longer one")
    return ids, f"on {len(ids)} tokens of the text"


class _Watching:
    """An executor that looks at each prediction's overflows and underflows."""

    def __init__(self, inner: Any, found: Measured) -> None:
        self._inner = inner
        self._found = found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def function(self, name: str) -> _Watched:
        return _Watched(self._inner.function(name), name, self._found)


class _Watched:
    def __init__(self, inner: Any, name: str, found: Measured) -> None:
        self._inner = inner
        self._name = name
        self._found = found

    def predict(self, data: Any, state: Any) -> Any:
        result = self._inner.predict(data, state)
        self._note(self._inner.overflows, self._inner.underflows)
        return result

    def _note(self, overflows: Sequence[str], underflows: dict[str, float]) -> None:
        if overflows:
            self._found.overflows.setdefault(self._name, overflows[0])
        largest = self._found.underflows.setdefault(self._name, {})
        for op, share in underflows.items():
            largest[op] = max(share, largest.get(op, 0.0))
