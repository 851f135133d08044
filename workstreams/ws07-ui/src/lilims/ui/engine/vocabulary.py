"""Single tokens as text and bytes, for logprobs.

Knows a tokenizer. Must not know a model's weights: it outlives them.
"""

from __future__ import annotations

from lilims.core.errors import TokenizerError
from lilims.runtime import Model
from lilims.tokenizer import Tokenizer

__all__ = ["Vocabulary"]


class Vocabulary:
    """The tokens of a model.

    Attributes:
        stop_ids: those that end a text.
    """

    def __init__(self, model: Model) -> None:
        self.stop_ids = model.stop_ids
        try:
            self._tokenizer: Tokenizer | None = model.tokenizer
        except TokenizerError:
            self._tokenizer = None

    def bytes_of(self, token: int) -> bytes:
        """What a token stands for: perhaps a part of a character; for a special token its name."""
        if self._tokenizer is None:
            return b""
        from lilims.tokenizer.decoding import ByteDecoding

        decoding = self._tokenizer.decoding
        if isinstance(decoding, ByteDecoding) and token not in decoding.special:
            return bytes(decoding.piece(token).data)
        return (self._tokenizer.decode([token]) or self._tokenizer.token(token) or "").encode()

    def text_of(self, token: int) -> str:
        """The same as text; bytes that are no character become U+FFFD."""
        return self.bytes_of(token).decode("utf-8", "replace")

    def text(self, ids: list[int]) -> str:
        """The text of a whole list of ids."""
        return "" if self._tokenizer is None else self._tokenizer.decode(ids)
