"""The fields of a SentencePiece `.model` file that tokenising needs.

Knows the wire format of protocol buffers and google/sentencepiece's `sentencepiece_model.proto`, of which it reads a
dozen fields. Must not know what they do to text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from lilims.core.errors import TokenizerError
from lilims.core.files import read_bytes

__all__ = ["Piece", "PieceType", "SentencePieceModel", "check", "parse", "read"]

_FILE_LIMIT = 64 << 20
_PIECES_LIMIT = 4 << 20
_PIECE_BYTES = 8000  # google/sentencepiece refuses longer ones too


class PieceType(IntEnum):
    """`ModelProto.SentencePiece.Type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


_TYPES = {int(kind): kind for kind in PieceType}


class Piece(NamedTuple):
    """One entry of the vocabulary."""

    text: str
    score: float
    type: PieceType


@dataclass(frozen=True)
class SentencePieceModel:
    """A `ModelProto`, with the proto's defaults for what the file leaves out."""

    pieces: list[Piece]
    bpe: bool
    byte_fallback: bool
    bos_id: int
    eos_id: int
    unknown_surface: str
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    escape_whitespaces: bool
    whitespace_as_suffix: bool

    @cached_property
    def unknown(self) -> int:
        """The id of the piece for what is in no other."""
        return next(i for i, piece in enumerate(self.pieces) if piece.type is PieceType.UNKNOWN)


def read(path: Path) -> SentencePieceModel:
    """Reads a `.model` file.

    Raises:
        TokenizerError: it is no such file, or a kind of model that lilims cannot build.
    """
    data = read_bytes(path, limit=_FILE_LIMIT, error=TokenizerError)
    try:
        return parse(data)
    except ValueError as exc:
        hint = "fetch the file again; it must be a SentencePiece model of kind BPE or unigram"
        raise TokenizerError(f"not a SentencePiece model that can be used: {exc}", where=path, hint=hint) from exc


def parse(data: bytes) -> SentencePieceModel:
    """Parses a `ModelProto`.

    Raises:
        ValueError: what is wrong with it.
    """
    pieces: list[Piece] = []
    trainer, normalizer, denormalizer = b"", b"", b""
    for number, value in _fields(data):
        if number == 1:
            pieces.append(_piece(_bytes(value, "piece"), len(pieces)))
            if len(pieces) > _PIECES_LIMIT:
                raise ValueError(f"more than {_PIECES_LIMIT} pieces")
        elif number == 2:
            trainer += _bytes(value, "trainer_spec")  # parts of a message that stands twice are merged
        elif number == 3:
            normalizer += _bytes(value, "normalizer_spec")
        elif number == 5:
            denormalizer += _bytes(value, "denormalizer_spec")
    if not pieces:
        raise ValueError("it has no pieces")
    if dict(_fields(denormalizer)).get(2):
        raise ValueError("it rewrites decoded text (denormalizer_spec), which lilims does not support")
    return _model(pieces, dict(_fields(trainer)), dict(_fields(normalizer)))


Value = int | bytes


def _model(pieces: list[Piece], trainer: dict[int, Value], normalizer: dict[int, Value]) -> SentencePieceModel:
    kind = _int(trainer.get(3, 1))
    if kind not in (1, 2):
        raise ValueError(f"model_type {kind} is neither unigram (1) nor BPE (2)")
    if not _int(normalizer.get(5, 1)):
        raise ValueError("it does not escape whitespace, which lilims does not support")
    model = SentencePieceModel(
        pieces=pieces,
        bpe=kind == 2,
        byte_fallback=bool(_int(trainer.get(35, 0))),
        bos_id=_id(trainer.get(41, 1), pieces),
        eos_id=_id(trainer.get(42, 2), pieces),
        unknown_surface=_bytes(trainer.get(44, " ⁇ ".encode()), "unk_surface").decode("utf-8", "replace"),
        charsmap=_bytes(normalizer.get(2, b""), "precompiled_charsmap"),
        add_dummy_prefix=bool(_int(normalizer.get(3, 1))),
        remove_extra_whitespaces=bool(_int(normalizer.get(4, 1))),
        escape_whitespaces=True,
        whitespace_as_suffix=bool(_int(trainer.get(24, 0))),
    )
    check(model)
    return model


def check(model: SentencePieceModel) -> None:
    """The rules of google/sentencepiece's `ModelInterface::InitializePieces`.

    Raises:
        ValueError: which one is broken.
    """
    seen: set[str] = set()
    for i, piece in enumerate(model.pieces):
        if piece.text in seen:
            raise ValueError(f"piece {i}, {piece.text!r}, stands twice")
        if piece.type is PieceType.UNUSED and model.bpe:
            raise ValueError(f"piece {i}, {piece.text!r}, is marked unused, which lilims does not support in BPE")
        seen.add(piece.text)
    unknown = [i for i, piece in enumerate(model.pieces) if piece.type is PieceType.UNKNOWN]
    if len(unknown) != 1:
        raise ValueError(f"it has {len(unknown)} pieces for unknown text, not one")
    byte_pieces = {piece.text for piece in model.pieces if piece.type is PieceType.BYTE}
    wanted = {f"<0x{i:02X}>" for i in range(256)} if model.byte_fallback else set()
    if byte_pieces != wanted:
        raise ValueError(f"it has {len(byte_pieces)} pieces for bytes, where {len(wanted)} are expected")


def _piece(data: bytes, index: int) -> Piece:
    raw, score, kind = _common(data) or _general(data)
    if not 0 < len(raw) < _PIECE_BYTES or b"\0" in raw or len(score) != 4:
        raise ValueError(f"piece {index} is damaged")
    value = struct.unpack("<f", score)[0]
    if not abs(value) < 1e30:
        raise ValueError(f"the score of piece {index} is {value}")
    try:
        return Piece(raw.decode(), value, _TYPES.get(kind) or PieceType(kind))
    except ValueError as exc:
        raise ValueError(f"piece {index} is damaged: {exc}") from exc


def _general(data: bytes) -> tuple[bytes, bytes, int]:
    fields = dict(_fields(data))
    return _bytes(fields.get(1, b""), "piece"), _bytes(fields.get(2, b"\0\0\0\0"), "score"), _int(fields.get(3, 1))


def _common(data: bytes) -> tuple[bytes, bytes, int] | None:
    """What `_general` gives, faster, for a message laid out as every writer does: text, score, type unless it is 1."""
    end = 2 + data[1] if len(data) > 6 and data[0] == 0x0A and data[1] < 0x80 else len(data)
    if data[end : end + 1] != b"\x15":
        return None
    rest = len(data) - end
    if rest == 5:
        return data[2:end], data[end + 1 :], 1
    if rest == 7 and data[end + 5] == 0x18 and data[end + 6] < 0x80:
        return data[2:end], data[end + 1 : end + 5], data[end + 6]
    return None


def _id(value: Value, pieces: list[Piece]) -> int:
    """An id of the trainer's: −1, or one past the end, means that there is none."""
    i = _int(value) & 0xFFFFFFFF
    return i if i < len(pieces) and pieces[i].type is PieceType.CONTROL else -1


def _int(value: Value) -> int:
    if not isinstance(value, int):
        raise ValueError("a number has the wrong wire type")
    return value


def _bytes(value: Value, name: str) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(f"{name} has the wrong wire type")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """The fields of one message: varints as int, everything else as bytes (fixed-width ones in their 4 or 8 bytes)."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if length > end - at:
            raise ValueError(f"a field of {length} bytes at byte {at} runs past the end")
        yield number, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    if at < len(data) and data[at] < 0x80:
        return data[at], at + 1
    value = 0
    for i, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError(f"a number at byte {at} does not end")
