"""tokenizer.json, the one-file format of Hugging Face `tokenizers`.

Knows the library. Must not know other formats; gpt2.py hands it a tokenizer that it has put together.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lilims.core.errors import TokenizerError
from lilims.core.files import read_bytes

from .decoding import ByteDecoding, Piece, Strip, WindowDecoding, byte_level_bytes, marker_bytes
from .library import ids_of, library_errors
from .parts import MARKER, Decoding, Parts

__all__ = ["load", "parts_of"]

_LIMIT = 256 << 20
_HINT = "fetch the file again; if it is intact, upgrade the package `tokenizers`"


def load(path: Path) -> Parts:
    """Reads tokenizer.json. Its truncation and padding are switched off: they are settings of a training run.

    Raises:
        TokenizerError: too large, not JSON, or not a tokenizer that the library knows.
    """
    from tokenizers import Tokenizer

    raw = read_bytes(path, limit=_LIMIT, error=TokenizerError)
    with library_errors("not a tokenizer", path, _HINT):
        backend = Tokenizer.from_str(raw.decode("utf-8"))
    backend.no_truncation()
    backend.no_padding()
    return parts_of(backend, path)


def parts_of(backend: Any, path: Path) -> Parts:
    """The parts of a `tokenizers.Tokenizer` that was read from `path`."""
    added = backend.get_added_tokens_decoder()
    size: int = max(backend.get_vocab_size(with_added_tokens=True), *(i + 1 for i in added), 0)
    encoder = _Encoder(backend, path)
    special: dict[str, int] = {token.content: i for i, token in added.items() if token.special}
    return Parts(
        encode=encoder.encode,
        encode_batch=encoder.encode_batch,
        encode_around=_Around(backend, {i: token for i, token in added.items() if token.special}, path),
        special=special,
        decoding=_decoding(backend, frozenset(special.values())),
        size=size,
        token_to_id=backend.token_to_id,
        id_to_token=backend.id_to_token,
        to_json=backend.to_str,
    )


class _Encoder:
    """Texts to ids. Whether special tokens are read is a switch of the library's tokenizer, not of its calls."""

    def __init__(self, backend: Any, path: Path) -> None:
        self._backend = backend
        self._path = path
        self._lock = threading.Lock()
        self._reads: bool | None = None

    def encode(self, text: str, add_special_tokens: bool, parse_special: bool) -> list[int]:
        try:
            with self._lock:
                if self._reads is not parse_special:
                    self._switch(parse_special)
                ids = ids_of(self._backend, text, add_special_tokens)
        except BaseException as exc:
            with library_errors("cannot encode", self._path, _HINT):
                raise exc
        return ids

    def _switch(self, parse_special: bool) -> None:
        self._backend.encode_special_tokens = not parse_special
        self._reads = parse_special

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool, parse_special: bool) -> list[list[int]]:
        with self._lock, library_errors("cannot encode", self._path, _HINT):
            self._switch(parse_special)
            found = self._backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
        return [one.ids for one in found]


class _Around:
    """Encodes text around special tokens, whatever special tokens the text spells out.

    The library reads special tokens everywhere or nowhere. So a copy of the tokenizer, made when it is first needed,
    gets a twin of each: not special, of the same flags, spelled as nobody can guess. The twins stand where the
    special tokens are meant.
    """

    def __init__(self, backend: Any, special: dict[int, Any], path: Path) -> None:
        self._backend = backend
        self._special = special
        self._path = path
        self._lock = threading.Lock()
        self._copy: Any = None
        self._twins: dict[int, str] = {}
        self._meant: dict[int, int] = {}

    def __call__(self, pieces: Sequence[str | int]) -> list[int]:
        with self._lock, library_errors("cannot encode", self._path, _HINT):
            if self._copy is None:
                self._make()
            text = "".join(self._twins[piece] if isinstance(piece, int) else piece for piece in pieces)
            found: list[int] = self._copy.encode(text, add_special_tokens=False).ids
        return [self._meant.get(i, i) for i in found]

    def _make(self) -> None:
        from tokenizers import AddedToken, Tokenizer

        copy: Any = Tokenizer.from_str(self._backend.to_str())
        secret = secrets.token_hex(8)
        twins = {i: f"\U0010fff0{secret}{i:x}\U0010fff1" for i in self._special}
        names = ("normalized", "lstrip", "rstrip", "single_word")
        copy.add_tokens(
            [
                AddedToken(twins[i], special=False, **{name: getattr(token, name) for name in names})
                for i, token in self._special.items()
            ]
        )
        copy.encode_special_tokens = True
        self._meant = {copy.token_to_id(twin): i for i, twin in twins.items()}
        self._copy, self._twins = copy, twins


def _decoding(backend: Any, special: frozenset[int]) -> Decoding:
    """A table of bytes where the decoder is one of the two common kinds, else the library itself."""
    decoder = json.loads(backend.decoder.__getstate__()) if backend.decoder is not None else {}
    steps = decoder.get("decoders", []) if decoder.get("type") == "Sequence" else [decoder]
    if [step.get("type") for step in steps] == ["ByteLevel"]:

        def byte_level(token: int) -> Piece | None:
            text = backend.id_to_token(token)
            return None if text is None else byte_level_bytes(text)

        return ByteDecoding(byte_level, special)
    strip = _llama_strip(steps)
    if strip is None:
        return WindowDecoding(backend, special)

    def marked(token: int) -> Piece | None:
        text = backend.id_to_token(token)
        return None if text is None else marker_bytes(text)

    return ByteDecoding(marked, special, strip=strip, errors="lilims.each-byte")


def _llama_strip(steps: list[dict[str, Any]]) -> Strip | None:
    """How a decoder of the Llama family treats leading spaces; None where it is not one.

    [Replace ▁ by a space, ByteFallback, Fuse] and perhaps [Strip one space on the left], as
    transformers' `convert_slow_tokenizer` writes it. Invalid UTF-8 is replaced by SentencePiece's rule, byte by byte;
    the library would replace the valid characters beside it too, which no stream could do.
    """
    replace = {"type": "Replace", "pattern": {"String": MARKER}, "content": " "}
    family = [replace, {"type": "ByteFallback"}, {"type": "Fuse"}]
    if steps[:3] != family:
        return None
    rest = steps[3:]
    if not rest:
        return "none"
    return "one" if rest == [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] else None
