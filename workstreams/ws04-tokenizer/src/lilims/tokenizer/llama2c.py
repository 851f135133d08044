"""llama2.c's `tokenizer.bin`: a SentencePiece BPE vocabulary without its settings.

Knows the bytes, as `export` of karpathy/llama2.c's tokenizer.py writes them. Must not know how text is split.

    int32 the longest token, then until the end, for each token: float32 score, int32 length, its bytes

Spaces stand for U+2581, and the tokens 1 and 2 have line feeds around them. The settings are Llama 2's: a dummy prefix,
bytes for what is in no token, no other change to text.
"""

from __future__ import annotations

import struct
from pathlib import Path

from lilims.core.errors import TokenizerError
from lilims.core.files import read_bytes

from .config import TokenizerConfig
from .decoding import byte_of
from .parts import MARKER, Parts
from .sentencepiece import build
from .sentencepiece_model import Piece, PieceType, SentencePieceModel, check

__all__ = ["load"]

_LIMIT = 64 << 20
_HINT = "fetch the file again; it must be a tokenizer.bin of llama2.c"
_UNKNOWN, _BOS, _EOS = 0, 1, 2


def load(path: Path, config: TokenizerConfig) -> Parts:
    """Reads a `tokenizer.bin`.

    Raises:
        TokenizerError: the file is damaged.
    """
    data = read_bytes(path, limit=_LIMIT, error=TokenizerError)
    try:
        model = _model(_pieces(data))
    except (ValueError, struct.error) as exc:
        raise TokenizerError(f"not a tokenizer of llama2.c: {exc}", where=path, hint=_HINT) from exc
    return build(path, model, config)


def _pieces(data: bytes) -> list[Piece]:
    (longest,) = struct.unpack_from("<i", data)
    pieces: list[Piece] = []
    at = 4
    while at < len(data):
        score, length = struct.unpack_from("<fi", data, at)
        raw = data[at + 8 : at + 8 + length]
        if not 0 < length <= longest or len(raw) != length or not abs(score) < 1e30:
            raise ValueError(f"token {len(pieces)} is damaged")
        pieces.append(_piece(len(pieces), raw.decode(), score))
        at += 8 + length
    return pieces


def _piece(i: int, text: str, score: float) -> Piece:
    if i in (_BOS, _EOS):
        return Piece(text.strip("\n"), score, PieceType.CONTROL)
    kind = PieceType.UNKNOWN if i == _UNKNOWN else PieceType.NORMAL if byte_of(text) is None else PieceType.BYTE
    return Piece(text.replace(" ", MARKER), score, kind)


def _model(pieces: list[Piece]) -> SentencePieceModel:
    if len(pieces) <= _EOS:
        raise ValueError(f"it has {len(pieces)} tokens")
    model = SentencePieceModel(
        pieces=pieces,
        bpe=True,
        byte_fallback=True,
        bos_id=_BOS,
        eos_id=_EOS,
        unknown_surface=" ⁇ ",
        charsmap=b"",
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        escape_whitespaces=True,
        whitespace_as_suffix=False,
    )
    check(model)
    return model
