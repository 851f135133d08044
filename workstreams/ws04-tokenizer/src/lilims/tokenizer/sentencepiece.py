"""SentencePiece models, BPE and unigram.

Knows how to express one with the `tokenizers` library so that ids equal those of google/sentencepiece. Must not know
the file's bytes (sentencepiece_model.py) or what happens to text first (sentencepiece_text.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lilims.core.errors import TokenizerError

from .config import TokenizerConfig
from .decoding import ByteDecoding, Piece, Strip, byte_of, marker_bytes
from .library import ids_of, library_errors
from .parts import Parts, alternatives
from .sentencepiece_model import PieceType, SentencePieceModel, read
from .sentencepiece_text import Normalizer
from .unigram import Unigram

__all__ = ["build", "load", "merges_of"]


def load(path: Path, config: TokenizerConfig) -> Parts:
    """Reads a `.model` file and the tokens that the config adds to it.

    Raises:
        TokenizerError: the model is damaged or of an unsupported kind, or the config's tokens do not fit to it.
    """
    return build(path, read(path), config)


def build(path: Path, model: SentencePieceModel, config: TokenizerConfig) -> Parts:
    """A model that was read from `path`, with the tokens that the config adds to it.

    Raises:
        TokenizerError: the config's tokens do not fit to it.
    """
    added = _added(path, model, config)
    tokens = [piece.text for piece in model.pieces] + [added[i].content for i in sorted(added)]
    ids = {token: i for i, token in enumerate(tokens)}
    with library_errors("cannot be built", path, "fetch the file again"):
        encoder = _Encoder(path, model, config, {token.content: (i, token.special) for i, token in added.items()})
    special = {i for i, piece in enumerate(model.pieces) if piece.type is PieceType.CONTROL}
    special |= {i for i, token in added.items() if token.special}
    return Parts(
        encode=encoder.encode,
        encode_batch=encoder.encode_batch,
        encode_around=encoder.encode_around,
        special={tokens[i]: i for i in sorted(special)},
        decoding=_decoding(model, tokens, frozenset(special)),
        size=len(tokens),
        token_to_id=ids.get,
        id_to_token=lambda i: tokens[i] if 0 <= i < len(tokens) else None,
        bos=model.bos_id if model.bos_id >= 0 else None,
        eos=model.eos_id if model.eos_id >= 0 else None,
        sentencepiece=model,
    )


def _added(path: Path, model: SentencePieceModel, config: TokenizerConfig) -> dict[int, Any]:
    """The config's tokens behind the model's pieces; those inside must be the model's own."""
    count = len(model.pieces)
    beyond = {i: token for i, token in config.added.items() if i >= count}
    inside = [(i, token.content, model.pieces[i].text) for i, token in config.added.items() if i < count]
    wrong = next(((i, theirs, ours) for i, theirs, ours in inside if theirs != ours), None)
    if wrong is not None:
        message = f"piece {wrong[0]} is {wrong[2]!r}, tokenizer_config.json says {wrong[1]!r}"
        raise TokenizerError(message, where=path, hint="the two files must be of one tokenizer")
    if list(beyond) != list(range(count, count + len(beyond))):
        message = f"tokenizer_config.json leaves a gap between the {count} pieces and its tokens {list(beyond)[:4]}"
        raise TokenizerError(message, where=path, hint="the two files must be of one tokenizer")
    return beyond


class _Encoder:
    """Normalises, cuts at tokens that stand outside the model, and lets the library find the pieces of the rest."""

    def __init__(
        self, path: Path, model: SentencePieceModel, config: TokenizerConfig, added: dict[str, tuple[int, bool]]
    ) -> None:
        self._path = path
        self._normalize = Normalizer(model)
        self._pieces = (_BPE if model.bpe else _Unigram)(model, path)
        self._prefix_everywhere = config.flag("legacy", True)
        self._before = [model.bos_id] if config.flag("add_bos_token", True) and model.bos_id >= 0 else []
        self._after = [model.eos_id] if config.flag("add_eos_token", False) and model.eos_id >= 0 else []
        control = {p.text: i for i, p in enumerate(model.pieces) if p.type is PieceType.CONTROL}
        self._outside = {text: i for text, (i, _) in added.items()} | control
        self._always = alternatives([text for text, (_, special) in added.items() if not special])
        self._with_special = alternatives(list(self._outside))

    def encode(self, text: str, add_special_tokens: bool, parse_special: bool) -> list[int]:
        return self.encode_batch([text], add_special_tokens, parse_special)[0]

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool, parse_special: bool) -> list[list[int]]:
        pattern = self._with_special if parse_special else self._always
        found = self._around([_cut(text, pattern, self._outside) for text in texts])
        return [[*self._before, *ids, *self._after] for ids in found] if add_special_tokens else found

    def encode_around(self, pieces: Sequence[str | int]) -> list[int]:
        """As `Parts.encode_around`."""
        parts = [[one] if isinstance(one, int) else _cut(one, self._always, self._outside) for one in pieces]
        return self._around([[one for part in parts for one in part]])[0]

    def _around(self, texts: list[list[str | int]]) -> list[list[int]]:
        """Text and ids by turns: only text that begins the whole has SentencePiece's prefix, unless all of it has."""
        try:
            normalized = [
                self._normalize(part, prefix=n == 0 or self._prefix_everywhere)
                for pieces in texts
                for n, part in enumerate(pieces)
                if isinstance(part, str)
            ]
        except ValueError as exc:  # longer rules are read when they are used
            raise TokenizerError(str(exc), where=self._path, hint="fetch the file again") from exc
        found = iter(self._pieces.encode(normalized))
        cut = [[[part] if isinstance(part, int) else next(found) for part in pieces] for pieces in texts]
        return [parts[0] if len(parts) == 1 else [i for part in parts for i in part] for parts in cut]


def _cut(text: str, pattern: re.Pattern[str] | None, ids: Mapping[str, int]) -> list[str | int]:
    """Text and the ids of what `pattern` finds in it, by turns."""
    if pattern is None:
        return [text]
    return [ids[part] if n % 2 else part for n, part in enumerate(pattern.split(text))]


class _BPE:
    """The pieces of normalised texts, by the library."""

    def __init__(self, model: SentencePieceModel, path: Path) -> None:
        from tokenizers import AddedToken, Tokenizer, models

        self._path = path
        self._backend: Any = Tokenizer(
            models.BPE(
                vocab={piece.text: i for i, piece in enumerate(model.pieces)},
                merges=merges_of(model),
                unk_token=model.pieces[model.unknown].text,
                fuse_unk=True,
                byte_fallback=model.byte_fallback,
            )
        )
        symbols = [piece.text for piece in model.pieces if piece.type is PieceType.USER_DEFINED]
        self._backend.add_tokens([AddedToken(text, normalized=False, special=False) for text in symbols])

    def encode(self, texts: list[str]) -> list[list[int]]:
        with library_errors("cannot encode", self._path, "fetch the file again"):
            if len(texts) == 1:
                return [ids_of(self._backend, texts[0], False)]
            return [one.ids for one in self._backend.encode_batch_fast(texts, add_special_tokens=False)]


class _Unigram:
    """The pieces of normalised texts, by our own search."""

    def __init__(self, model: SentencePieceModel, path: Path) -> None:
        self._model = Unigram(model)

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [self._model.encode(text) for text in texts]


def merges_of(model: SentencePieceModel) -> list[tuple[str, str]]:
    """Every way to put two pieces together to a third, the third with the highest score first.

    SentencePiece merges the pair whose union scores highest, wherever it stands; the library merges the pair that comes
    first in its list. Only normal pieces take part: user-defined ones are found beforehand, the others never.
    """
    pieces = {piece.text: piece.score for piece in model.pieces if piece.type is PieceType.NORMAL}
    merges: list[tuple[str, str]] = []
    for text in sorted(pieces, key=lambda text: -pieces[text]):  # stable: equal scores keep the order of ids
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in pieces and right in pieces:
                merges.append((left, right))
    return merges


def _decoding(model: SentencePieceModel, tokens: list[str], special: frozenset[int]) -> ByteDecoding:
    """`SentencePieceProcessor::Decode`: of the dummy prefix nothing remains, an unknown piece has its own surface."""
    unknown = model.unknown
    count = len(model.pieces)

    def piece(i: int) -> Piece | None:
        if i >= len(tokens):
            return None
        if i == unknown:
            return Piece(model.unknown_surface.encode())
        if i >= count:
            return Piece(tokens[i].encode())
        if model.pieces[i].type is not PieceType.BYTE and byte_of(tokens[i]) is not None:
            return Piece(tokens[i].encode())  # spelled like a byte, but text
        return marker_bytes(tokens[i])

    strip: Strip = "all" if model.remove_extra_whitespaces else "one" if model.add_dummy_prefix else "none"
    return ByteDecoding(piece, special, strip=strip, errors="lilims.each-byte")
