"""The built-in model in the forms that are compared, on two executors at once.

Knows how they are converted (once for all cases of a climb) and opened. Must not know what is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .backend import open_model
from .rungs import Target

__all__ = ["CHUNK", "Pair", "open_pair"]

CHUNK = 32
_CONTEXT = 256
_GRAPHS: dict[str, dict[str, Any]] = {
    "buckets": {"buckets": (64, 128)},
    "host-embedding": {"embedding": "host"},
    "split-layers": {"max_chunk_mb": 3.0},
    "split-functions": {"split_functions": True},
}
"""Forms that are fp16 and differ in their graph. Other names are schemes."""


@dataclass(frozen=True)
class Pair:
    """One package, opened twice.

    Attributes:
        wanted: by the portable executor, in float32: what is right.
        found: by the executor that is asked.
        text: ids of stories that the model has not seen.
    """

    folder: Path
    wanted: Any
    found: Any
    text: list[int]


def open_pair(target: Target, form: str = "fp16", **options: Any) -> Pair:
    """The model in a form: a scheme, or one of `_GRAPHS`.

    Args:
        options: of `load`, for both.
    """
    from lilims.runtime import load

    checkpoint = _checkpoint()
    folder = _converted(checkpoint, target.shared, form)
    wanted = load(folder, executor="portable", precision="exact", threads=1, **options)
    found = open_model(folder, target, **options)
    text = wanted.tokenizer.encode((checkpoint / "heldout.txt").read_text("utf-8"), parse_special=True)
    return Pair(folder, wanted, found, text)


def _checkpoint() -> Path:
    from lilims.models.names import builtin_checkpoint

    return builtin_checkpoint()


def _converted(checkpoint: Path, shared: Path, form: str) -> Path:
    """The model folder, made where no other process has made it."""
    from lilims.conversion import GraphOptions, convert
    from lilims.core.locks import exclusive

    folder = shared / form
    with exclusive(shared / f"{form}.lock"):
        if not folder.is_dir():
            graph = GraphOptions(prefill_chunk=CHUNK, **_GRAPHS.get(form, {}))
            scheme = "fp16" if form in _GRAPHS else form
            convert(checkpoint, folder, quantize=scheme, context=_CONTEXT, graph=graph)
    return folder
