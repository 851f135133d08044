"""A tokenizer as llguidance sees it: the bytes of every token, and which are special.

Knows byte spellings and llguidance's idea of a vocabulary. Must not know grammars.

One is made per tokenizer and set of end ids, and kept as long as the tokenizer lives: 150,000 tokens take a second.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from lilims.core.errors import MissingDependencyError, UnsupportedError
from lilims.tokenizer import Tokenizer
from lilims.tokenizer.decoding import ByteDecoding

__all__ = ["vocabulary_of"]

_known: WeakKeyDictionary[Tokenizer, dict[tuple[int, ...], Any]] = WeakKeyDictionary()
_lock = threading.Lock()


def vocabulary_of(tokenizer: Tokenizer, end_ids: Sequence[int] | None = None) -> Any:
    """The `llguidance.LLTokenizer` of a tokenizer.

    Args:
        end_ids: which tokens may end a text; None is `tokenizer.eos_ids`.

    Raises:
        MissingDependencyError: llguidance is not installed.
        UnsupportedError: the tokenizer's tokens do not stand for bytes.
    """
    ends = tuple(sorted(set(tokenizer.eos_ids if end_ids is None else end_ids)))
    with _lock:
        made = _known.setdefault(tokenizer, {})
        if ends not in made:
            made[ends] = _make(tokenizer, ends)
        return made[ends]


def _make(tokenizer: Tokenizer, ends: tuple[int, ...]) -> Any:
    try:
        from llguidance import LLTokenizer
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(
            "constrained output needs llguidance", hint="pip install 'lilims-runtime[constrained]'"
        ) from exc
    words = _Words(tokenizer, ends)
    return LLTokenizer(words, eos_token=list(words.ends))  # type: ignore[arg-type]  # it asks for these attributes alone


class _Words:
    """What llguidance reads off a tokenizer: attributes of these names, and a call from text to ids."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, ends: tuple[int, ...]) -> None:
        decoding = tokenizer.decoding
        if not isinstance(decoding, ByteDecoding):
            raise UnsupportedError(
                "constrained output needs a tokenizer whose tokens stand for bytes: byte-level BPE or SentencePiece",
                hint="generate without a constraint",
            )
        self.tokens = [decoding.piece(token).data for token in range(tokenizer.vocab_size)]
        special = sorted(decoding.special | set(ends))
        for token in special:
            if token < len(self.tokens):
                self.tokens[token] = b"\xff" + (tokenizer.token(token) or f"<{token}>").encode()
        # A model without an end gets one that it cannot say: texts then end where nothing else may follow.
        self.ends = ends or (len(self.tokens),)
        self.tokens += [] if ends else [b"\xff<end>"]
        self.special_token_ids = [*special, *([] if ends else self.ends)]
        self.eos_token_id = self.ends[0]
        self._tokenizer = tokenizer
        # Of several tokens for the same bytes the last one: byte tokens stand before pieces.
        self._by_bytes = {data: i for i, data in enumerate(self.tokens) if data}
        self._longest = max(map(len, self._by_bytes), default=1)

    def __call__(self, text: str) -> list[int]:
        """Ids for a text that a grammar forces, in the middle of a text, as the tokenizer cuts it.

        Some tokenizers put a space before a text: then it is encoded behind something, and that is taken off.
        """
        for before in ("", "\x02", "\n", "."):
            ids = self._tokenizer.encode(before + text, add_special_tokens=False)
            cut = len(self._tokenizer.encode(before, add_special_tokens=False)) if before else 0
            if b"".join(self.tokens[i] for i in ids[cut:]) == text.encode():
                return ids[cut:]
        return self._greedy(text.encode())

    def _greedy(self, data: bytes) -> list[int]:
        """The longest token at each place, as far as there is one."""
        ids: list[int] = []
        place = 0
        while place < len(data):
            sizes = range(min(self._longest, len(data) - place), 0, -1)
            size = next((n for n in sizes if data[place : place + n] in self._by_bytes), 0)
            if not size:
                break
            ids.append(self._by_bytes[data[place : place + size]])
            place += size
        return ids
