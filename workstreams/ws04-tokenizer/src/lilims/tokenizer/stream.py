"""Text from tokens as they come.

Knows that a character may be spread over tokens. Must not know how tokens spell bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .parts import not_ids

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

__all__ = ["StreamDecoder"]


class StreamDecoder:
    """Turns ids into text one at a time and never gives half a character.

    The pieces, joined, are `tokenizer.decode(ids)`. A token costs the same however many came before it. Bytes that can
    no longer become a character are replaced by U+FFFD when that is certain; an incomplete one waits for `finish`.

        decoder = StreamDecoder(tokenizer)
        for token in tokens:
            print(decoder.push(token), end="", flush=True)
        print(decoder.finish())
    """

    def __init__(self, tokenizer: Tokenizer, *, skip_special_tokens: bool = True) -> None:
        self._decoding = tokenizer.decoding
        self._skip = skip_special_tokens
        self._stream = self._decoding.stream(self._skip)

    def push(self, token: int) -> str:
        """The text that `token` completes, perhaps none.

        Raises:
            UsageError: `token` is no whole number.
        """
        try:
            return self._stream.push(token)
        except TypeError as exc:
            raise not_ids(exc) from exc

    def finish(self) -> str:
        """What is left of an incomplete character. The decoder is then as new."""
        rest = self._stream.finish()
        self._stream = self._decoding.stream(self._skip)
        return rest
