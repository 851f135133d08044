"""From token ids to text.

Knows how tokens spell bytes. Must not know files.

`ByteDecoding` looks each id's bytes up and joins them; that covers byte-level BPE and SentencePiece. `WindowDecoding`
asks the `tokenizers` library and is for the rest, whose decoders look at neighbouring tokens.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from operator import index
from typing import Any, Literal, NamedTuple

from .library import library_errors
from .parts import MARKER, Stream

__all__ = [
    "ByteDecoding",
    "Piece",
    "Strip",
    "WindowDecoding",
    "byte_level_bytes",
    "byte_level_token",
    "byte_of",
    "marker_bytes",
]

Strip = Literal["none", "one", "all"]
"""How many of the spaces that stand for the dummy prefix are left out at the start of a text."""


class Piece(NamedTuple):
    """The bytes of one token, and whether they start with the marker that stands for a space."""

    data: bytes
    marked: bool = False


NOTHING = Piece(b"")
_IDS = 1 << 32  # what the library takes for an id; larger ones are outside every vocabulary


def _replace_each_byte(error: UnicodeError) -> tuple[str, int]:
    """SentencePiece's rule: every byte that is not part of a character becomes one U+FFFD."""
    assert isinstance(error, UnicodeDecodeError)
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error("lilims.each-byte", _replace_each_byte)


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins: visible Latin-1 stands for itself, the other bytes for U+0100 and up."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = sorted(set(range(256)) - set(visible))
    return {chr(b): b for b in visible} | {chr(0x100 + i): b for i, b in enumerate(hidden)}


_ALPHABET = _byte_level_alphabet()


def byte_level_bytes(token: str) -> Piece:
    """A token of byte-level BPE. One with a character outside the alphabet (an added token) stands for itself."""
    try:
        return Piece(bytes([_ALPHABET[c] for c in token]))
    except KeyError:
        return Piece(token.encode())


_SPELLED = str.maketrans({chr(byte): character for character, byte in _ALPHABET.items()})


def byte_level_token(data: bytes) -> str:
    """Bytes as byte-level BPE spells them."""
    return data.decode("latin-1").translate(_SPELLED)


def byte_of(token: str) -> int | None:
    """The byte that a byte-fallback token `<0xNN>` stands for."""
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return int(token[3:5], 16)
        except ValueError:
            return None
    return None


def marker_bytes(token: str) -> Piece:
    """A token of SentencePiece, byte fallback included."""
    byte = byte_of(token)
    if byte is not None:
        return Piece(bytes([byte]))
    return Piece(token.replace(MARKER, " ").encode(), token.startswith(MARKER))


class ByteDecoding:
    """Joins the bytes of tokens; each is looked up once.

    Args:
        piece: an id's bytes; None for an id that does not exist.
        special: ids left out where special tokens are.
        strip: how many leading spaces are dropped.
        errors: what becomes of invalid UTF-8, as `bytes.decode` takes it.
    """

    def __init__(
        self,
        piece: Callable[[int], Piece | None],
        special: frozenset[int],
        *,
        strip: Strip = "none",
        errors: Literal["replace", "lilims.each-byte"] = "replace",
    ) -> None:
        self._piece = piece
        self._known: dict[int, Piece] = {}
        self._data = _Data(self)
        self.special = special
        self.strip = strip
        self.errors = errors

    def piece(self, token: int) -> Piece:
        """The bytes of `token`; none for an id that does not exist."""
        known = self._known.get(token)
        if known is None:
            known = self._known[token] = (self._piece(token) if 0 <= token < _IDS else None) or NOTHING
        return known

    def decode(self, ids: Iterable[int], skip_special: bool) -> str:
        """What a stream of `ids` gives, without its step for each token: the bytes of all are joined at once."""
        ids = list(ids)
        skipped = self.special if skip_special else frozenset()
        begun, opening = self._opening(ids, skipped) if self.strip != "none" else (0, b"")
        rest = ids[begun:]
        if skipped.isdisjoint(rest):
            return self._text(rest, opening)
        if self.errors == "replace":
            return self._text([i for i in rest if i not in skipped], opening)
        parts, start = [], 0
        for stop in [n for n, i in enumerate(rest) if i in skipped]:
            parts.append(self._text(rest[start:stop], opening))
            start, opening = stop + 1, b""
        return "".join(parts) + self._text(rest[start:], opening)

    def _text(self, ids: list[int], opening: bytes) -> str:
        return (opening + b"".join(map(self._data.__getitem__, ids))).decode("utf-8", self.errors)

    def _opening(self, ids: list[int], skipped: frozenset[int]) -> tuple[int, bytes]:
        """How many ids the dummy prefix concerns, and what remains of the bytes of the last of them."""
        for n, i in enumerate(ids):
            data, marked = (b"", False) if i in skipped else self.piece(i)
            if marked:
                data = data[1:]
            if data or (marked and self.strip == "one"):
                return n + 1, data
        return len(ids), b""

    def stream(self, skip_special: bool) -> Stream:
        return _ByteStream(self, skip_special)


class _Data(dict[int, bytes]):
    """The bytes of tokens by id, looked up when first asked for."""

    def __init__(self, decoding: ByteDecoding) -> None:
        self._decoding = decoding

    def __missing__(self, token: int) -> bytes:
        data = self[token] = self._decoding.piece(token).data
        return data


class _ByteStream:
    def __init__(self, decoding: ByteDecoding, skip_special: bool) -> None:
        self._decoding = decoding
        self._skip = decoding.special if skip_special else frozenset()
        self._stripping = decoding.strip != "none"
        self._utf8 = codecs.getincrementaldecoder("utf-8")(decoding.errors)

    def push(self, token: int) -> str:
        if token in self._skip:  # in SentencePiece no character goes on behind it
            return "" if self._decoding.errors == "replace" else self.finish()
        data, marked = self._decoding.piece(token)
        if self._stripping and data:
            if marked:
                data = data[1:]
            self._stripping = self._decoding.strip == "all" and not data
        return self._utf8.decode(data)

    def finish(self) -> str:
        return self._utf8.decode(b"", final=True)


class WindowDecoding:
    """Decodes through the library; a stream compares the text of a few tokens with and without the newest ones.

    Args:
        backend: the library's tokenizer.
        special: ids left out where special tokens are.
    """

    def __init__(self, backend: Any, special: frozenset[int]) -> None:
        self._backend = backend
        self.special = special

    def decode(self, ids: Iterable[int], skip_special: bool) -> str:
        known = [index(i) for i in ids if 0 <= i < _IDS]
        with library_errors("cannot decode", None, "the tokenizer is damaged: fetch it again"):
            text = self._backend.decode(known, skip_special_tokens=skip_special)
        assert isinstance(text, str)
        return text

    def stream(self, skip_special: bool) -> Stream:
        return _WindowStream(self, skip_special)


class _WindowStream:
    """Keeps the ids since the last token that gave text: `_ids[:_told]` are told, the rest may be half a character.

    So that a token costs the same however many came before it, tokens that leave no text are not kept.
    """

    _PATIENCE = 8  # tokens; a character has at most four bytes, so U+FFFD after that is there to stay

    def __init__(self, decoding: WindowDecoding, skip_special: bool) -> None:
        self._decoding = decoding
        self._skipped = decoding.special if skip_special else frozenset()
        self._skip = skip_special
        self._ids: list[int] = []
        self._told = 0
        self._before = ""  # the text of `_ids[:_told]`

    def push(self, token: int) -> str:
        if not 0 <= token < _IDS or token in self._skipped:
            return ""
        self._ids.append(token)
        fresh = self._fresh()
        waiting = len(self._ids) - self._told
        if not fresh and waiting >= self._PATIENCE:
            del self._ids[-1]
        if not fresh or (fresh.endswith("\ufffd") and waiting < self._PATIENCE):
            return ""
        self._ids, self._told = self._ids[self._told :], waiting
        self._before = self._decoding.decode(self._ids, self._skip)
        return fresh

    def finish(self) -> str:
        fresh = self._fresh()
        self._ids, self._told, self._before = [], 0, ""
        return fresh

    def _fresh(self) -> str:
        return self._decoding.decode(self._ids, self._skip)[len(self._before) :]
