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
from .library import library_errors
from .parts import Parts, alternatives
from .sentencepiece_model import PieceType, SentencePieceModel, read
from .sentencepiece_text import Normalizer

__all__ = ["load", "merges_of"]


def load(path: Path, config: TokenizerConfig) -> Parts:
    """Reads a `.model` file and the tokens that the config adds to it.

    Raises:
        TokenizerError: the model is damaged or of an unsupported kind, or the config's tokens do not fit to it.
    """
    model = read(path)
    added = _added(path, model, config)
    tokens = [piece.text for piece in model.pieces] + [added[i].content for i in sorted(added)]
    ids = {token: i for i, token in enumerate(tokens)}
    with library_errors("cannot be built", path, "fetch the file again"):
        encoder = _Encoder(path, model, config, {token.content: (i, token.special) for i, token in added.items()})
    special = {i for i, piece in enumerate(model.pieces) if piece.type is PieceType.CONTROL}
    special |= {i for i, token in added.items() if token.special}
    return Parts(
        encode=encoder.encode,
        encode_around=encoder.encode_around,
        special={tokens[i]: i for i in sorted(special)},
        decoding=_decoding(model, tokens, frozenset(special)),
        size=len(tokens),
        token_to_id=ids.get,
        id_to_token=lambda i: tokens[i] if 0 <= i < len(tokens) else None,
        bos=model.bos_id if model.bos_id >= 0 else None,
        eos=model.eos_id if model.eos_id >= 0 else None,
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
        self._backend = _bpe(model) if model.bpe else _unigram(model)
        self._unknown = next(i for i, piece in enumerate(model.pieces) if piece.type is PieceType.UNKNOWN)
        self._byte_ids = {
            byte_of(piece.text): i for i, piece in enumerate(model.pieces) if piece.type is PieceType.BYTE
        }
        self._prefix_everywhere = config.flag("legacy", True)
        self._before = [model.bos_id] if config.flag("add_bos_token", True) and model.bos_id >= 0 else []
        self._after = [model.eos_id] if config.flag("add_eos_token", False) and model.eos_id >= 0 else []
        control = {p.text: i for i, p in enumerate(model.pieces) if p.type is PieceType.CONTROL}
        self._outside = {text: i for text, (i, _) in added.items()} | control
        self._always = alternatives([text for text, (_, special) in added.items() if not special])
        self._with_special = alternatives(list(self._outside))

    def encode(self, text: str, add_special_tokens: bool, parse_special: bool) -> list[int]:
        ids = self._around(_cut(text, self._with_special if parse_special else self._always, self._outside))
        return [*self._before, *ids, *self._after] if add_special_tokens else ids

    def encode_around(self, pieces: Sequence[str | int]) -> list[int]:
        """As `Parts.encode_around`."""
        parts = [[one] if isinstance(one, int) else _cut(one, self._always, self._outside) for one in pieces]
        return self._around([one for part in parts for one in part])

    def _around(self, pieces: list[str | int]) -> list[int]:
        """Text and ids by turns: only text that begins the whole has SentencePiece's prefix, unless all of it has."""
        ids: list[int] = []
        for n, part in enumerate(pieces):
            if isinstance(part, int):
                ids.append(part)
            elif part:
                ids += self._pieces(part, prefix=n == 0 or self._prefix_everywhere)
        return ids

    def _pieces(self, text: str, *, prefix: bool) -> list[int]:
        try:
            normalized = self._normalize(text, prefix=prefix)
        except ValueError as exc:  # longer rules are read when they are used
            raise TokenizerError(str(exc), where=self._path, hint="fetch the file again") from exc
        with library_errors("cannot encode", self._path, "fetch the file again"):
            encoding = self._backend.encode(normalized, add_special_tokens=False)
        ids: list[int] = encoding.ids
        if not self._byte_ids or self._unknown not in ids:
            return ids
        spelled: list[int] = []
        for i, token in zip(ids, encoding.tokens, strict=True):
            spelled += [self._byte_ids[byte] for byte in token.encode()] if i == self._unknown else [i]
        return spelled


def _cut(text: str, pattern: re.Pattern[str] | None, ids: Mapping[str, int]) -> list[str | int]:
    """Text and the ids of what `pattern` finds in it, by turns."""
    if pattern is None:
        return [text]
    return [ids[part] if n % 2 else part for n, part in enumerate(pattern.split(text))]


def _bpe(model: SentencePieceModel) -> Any:
    from tokenizers import Tokenizer, models

    unknown = next(piece.text for piece in model.pieces if piece.type is PieceType.UNKNOWN)
    vocab = {piece.text: i for i, piece in enumerate(model.pieces)}
    backend = Tokenizer(
        models.BPE(
            vocab=vocab,
            merges=merges_of(model),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=model.byte_fallback,
        )
    )
    return _with_user_defined(backend, model)


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


def _unigram(model: SentencePieceModel) -> Any:
    """The library would find every entry of its vocabulary in text: those that text must not match get a space.

    A normalised text has no spaces, they are U+2581 there. Bytes are spelled by `_Encoder`, for the same reason.
    """
    from tokenizers import Tokenizer, models

    findable = (PieceType.NORMAL, PieceType.USER_DEFINED)
    lowest = min((piece.score for piece in model.pieces if piece.type is PieceType.NORMAL), default=0.0)
    vocab = [
        (piece.text, piece.score if piece.type is PieceType.NORMAL else lowest)
        if piece.type in findable
        else (f" {piece.text}", lowest)
        for piece in model.pieces
    ]
    unknown = next(i for i, piece in enumerate(model.pieces) if piece.type is PieceType.UNKNOWN)
    return _with_user_defined(Tokenizer(models.Unigram(vocab, unknown, byte_fallback=False)), model)


def _with_user_defined(backend: Any, model: SentencePieceModel) -> Any:
    from tokenizers import AddedToken

    symbols = [piece.text for piece in model.pieces if piece.type is PieceType.USER_DEFINED]
    backend.add_tokens([AddedToken(text, normalized=False, special=False) for text in symbols])
    return backend


def _decoding(model: SentencePieceModel, tokens: list[str], special: frozenset[int]) -> ByteDecoding:
    """`SentencePieceProcessor::Decode`: of the dummy prefix nothing remains, an unknown piece has its own surface."""
    unknown = next(i for i, piece in enumerate(model.pieces) if piece.type is PieceType.UNKNOWN)
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
