"""What every source format comes down to.

Knows the shape of a loaded tokenizer. Must not know any format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lilims.core.errors import UsageError

if TYPE_CHECKING:
    from .sentencepiece_model import SentencePieceModel

__all__ = ["MARKER", "Decoding", "Parts", "Stream", "alternatives", "not_ids", "scalar_values"]

MARKER = "▁"
"""U+2581, which stands for a space in the pieces of SentencePiece."""


class Stream(Protocol):
    """Text that grows with every id."""

    def push(self, token: int) -> str:
        """The text that `token` settles; empty while a character is incomplete."""

    def finish(self) -> str:
        """What is left; an incomplete character becomes U+FFFD."""


class Decoding(Protocol):
    """From ids to text; special tokens are left out where `skip_special` is set, unknown ids always."""

    def decode(self, ids: Iterable[int], skip_special: bool) -> str: ...

    def stream(self, skip_special: bool) -> Stream: ...


@dataclass(frozen=True)
class Parts:
    """A tokenizer as its source file gives it.

    Attributes:
        encode: text, add_special_tokens, parse_special -> ids.
        encode_batch: the same for several texts, on all cores.
        encode_around: text between special tokens, which stand as ids -> ids. Special tokens that are spelled out in
            the text are text; otherwise the ids are those of the whole with `parse_special`.
        special: special tokens by text.
        decoding: ids -> text.
        size: one more than the largest id.
        token_to_id, id_to_token: the vocabulary, added tokens included.
        bos, eos: ids, where the source itself names them.
        to_json: the whole as tokenizer.json has it, where the `tokenizers` library holds it; for exporters.
        sentencepiece: the model, where it is one of SentencePiece; for exporters.
    """

    encode: Callable[[str, bool, bool], list[int]]
    encode_batch: Callable[[Sequence[str], bool, bool], list[list[int]]]
    encode_around: Callable[[Sequence[str | int]], list[int]]
    special: Mapping[str, int]
    decoding: Decoding
    size: int
    token_to_id: Callable[[str], int | None]
    id_to_token: Callable[[int], str | None]
    bos: int | None = None
    eos: int | None = None
    to_json: Callable[[], str] | None = None
    sentencepiece: SentencePieceModel | None = None


def alternatives(texts: Iterable[str]) -> re.Pattern[str] | None:
    """What finds the longest of `texts` at a place; None where there are none."""
    found = sorted(filter(None, texts), key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, found))})") if found else None


def not_ids(error: TypeError) -> UsageError:
    """What to raise where something else than ids was to be decoded."""
    return UsageError(f"token ids are whole numbers: {error}")


def scalar_values(text: str) -> str:
    """`text` as UTF-8 can hold it: surrogate pairs joined, lone halves replaced by U+FFFD.

    Raises:
        UsageError: it is no string.
    """
    if not isinstance(text, str):
        raise UsageError(f"a text is a string, not {type(text).__name__}")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
