"""How a text is cut into windows, and which of their tokens count.

Knows token ids. Must not know models. Three ways are known:

    llama.cpp   windows of `size` tokens that do not overlap; the tokens behind the first half count, so that each has a
                context of at least size / 2; where the model begins texts with a BOS, it stands in the place of each
                window's first token; what does not fill a window is left out
                (perplexity.cpp of llama.cpp: `first = n_ctx/2`, `count += n_ctx - first - 1`)
    strided     a window begins every `stride` tokens, up to the end of the text; of each the tokens count that none
                before it had, so that every token but the first counts once (without overlap, but the first of each)
                (https://huggingface.co/docs/transformers/perplexity, where the mean over windows weighs a window by one
                token too few; here every token weighs the same)
    all         windows that do not overlap, of which every token but the first counts
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lilims.core.errors import UsageError

__all__ = ["Kind", "Window", "Windowing", "plan"]

Kind = Literal["llama.cpp", "strided", "all"]
USUAL = 512  # llama-perplexity's n_ctx where none is given


@dataclass(frozen=True)
class Window:
    """Tokens that are run on an empty state.

    Attributes:
        index: which window it is.
        start: where its first token stands in the text.
        ids: what the model sees.
        first: the logits behind ids[first], ids[first + 1] … count, but not those behind the last id.
    """

    index: int
    start: int
    ids: tuple[int, ...]
    first: int

    @property
    def inputs(self) -> tuple[int, ...]:
        """What has to be run: nothing is asked of the last token's logits."""
        return self.ids[:-1]

    @property
    def targets(self) -> tuple[int, ...]:
        """The tokens that count, each predicted by the logits before it."""
        return self.ids[self.first + 1 :]

    @property
    def places(self) -> range:
        """Where the tokens that count stand in the text."""
        return range(self.start + self.first + 1, self.start + len(self.ids))


@dataclass(frozen=True)
class Windowing:
    """A way to cut a text.

    Attributes:
        size: tokens of a window.
        kind: which tokens count.
        stride: tokens from one window's beginning to the next, if `kind` is strided.
        bos: the id in the place of each window's first token (llama.cpp), None leaves it.
    """

    size: int
    kind: Kind = "llama.cpp"
    stride: int | None = None
    bos: int | None = None

    def __post_init__(self) -> None:
        least = 3 if self.kind == "llama.cpp" else 2  # of two tokens none lies behind the first half
        if self.size < least:
            raise UsageError(
                f"a window of {self.size} tokens is too small: it takes {least}", hint="a larger --context"
            )
        if (self.stride is not None) != (self.kind == "strided"):
            raise UsageError("windows have a stride if they are strided, and else none")
        if self.stride is not None and not 1 <= self.stride <= self.size:
            raise UsageError(f"a stride of {self.stride} tokens leaves gaps between windows of {self.size}, or is none")

    def as_dict(self) -> dict[str, int | str | None]:
        """The same for JSON."""
        return {"windowing": self.kind, "context": self.size, "stride": self.stride, "bos": self.bos}


def plan(ids: Sequence[int], windowing: Windowing, *, limit: int | None = None) -> list[Window]:
    """The windows of a text, at most `limit` of them.

    Raises:
        UsageError: the text is shorter than a window.
    """
    if len(ids) < windowing.size:
        raise UsageError(
            f"the text has {len(ids)} tokens, a window {windowing.size}",
            hint="use a longer text or a smaller --context",
        )
    found = _strided(ids, windowing) if windowing.stride else _apart(ids, windowing)
    return found if limit is None else found[:limit]


def _apart(ids: Sequence[int], windowing: Windowing) -> list[Window]:
    size, halves = windowing.size, windowing.kind == "llama.cpp"
    windows = []
    for index in range(len(ids) // size):
        part = list(ids[index * size : (index + 1) * size])
        if halves and windowing.bos is not None:
            part[0] = windowing.bos
        windows.append(Window(index, index * size, tuple(part), size // 2 if halves else 0))
    return windows


def _strided(ids: Sequence[int], windowing: Windowing) -> list[Window]:
    assert windowing.stride is not None
    windows, done = [], 1  # the text's first token is predicted by nothing
    for index, start in enumerate(range(0, len(ids), windowing.stride)):
        end = min(start + windowing.size, len(ids))
        if end > max(done, start + 1):
            windows.append(Window(index, start, tuple(ids[start:end]), max(done - start - 1, 0)))
        done = end
        if end == len(ids):
            break
    return windows
