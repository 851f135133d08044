"""SentencePiece's BPE of a GGUF file as tokenizer.model.

Knows the messages of google/sentencepiece's `sentencepiece_model.proto` that a `.model` file needs, and the wire format
of protocol buffers. Must not know how text is split (lilims.tokenizer does that).
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

from lilims.core.files import write_atomic

from .vocabulary import TokenKind, Vocabulary

__all__ = ["write"]

_BPE = 2  # TrainerSpec.ModelType


def write(vocabulary: Vocabulary, folder: Path) -> dict[str, Any]:
    """Writes tokenizer.model; returns what tokenizer_config.json has to say about it.

    Tokens at the end that are marked unused only pad the embedding, and are left out. Unused ones before them, and
    those that are called unknown without standing for the unknown, become control tokens: no text is cut into either.

    Raises:
        TokenizerError: there is no token for what the vocabulary does not know.
    """
    vocabulary = _trimmed(vocabulary)
    unknown = _unknown(vocabulary)
    pieces = []
    for i, (token, score, kind) in enumerate(zip(vocabulary.tokens, vocabulary.scores, vocabulary.kinds, strict=True)):
        silent = kind in (TokenKind.UNUSED, TokenKind.UNKNOWN)
        kind = TokenKind.UNKNOWN if i == unknown else TokenKind.CONTROL if silent else kind
        pieces.append(_field(1, _field(1, token.encode()) + _float(2, score) + _whole(3, kind)))
    bytes_spelled = vocabulary.kinds.count(TokenKind.BYTE) == 256
    trainer = _whole(3, _BPE) + _whole(35, bytes_spelled) + _whole(40, unknown)
    for number, key in ((41, "bos"), (42, "eos")):
        trainer += _whole(number, vocabulary.special.get(key, -1))
    normalizer = (
        _field(1, b"identity")
        + _whole(3, vocabulary.flags.get("add_space_prefix", True))
        + _whole(4, vocabulary.flags.get("remove_extra_whitespaces", False))
        + _whole(5, True)
    )
    write_atomic(folder / "tokenizer.model", b"".join(pieces) + _field(2, trainer) + _field(3, normalizer))
    return {
        "tokenizer_class": "LlamaTokenizer",
        "legacy": True,
        "add_bos_token": vocabulary.flags.get("add_bos_token", True),
        "add_eos_token": vocabulary.flags.get("add_eos_token", False),
    }


def _unknown(vocabulary: Vocabulary) -> int:
    """The token for what the vocabulary has not; some files call it a control token."""
    unknown = vocabulary.special.get("unknown")
    if unknown is None and TokenKind.UNKNOWN in vocabulary.kinds:
        unknown = vocabulary.kinds.index(TokenKind.UNKNOWN)
    if unknown is None:
        raise vocabulary.error("has no token for unknown text")
    return unknown


def _trimmed(vocabulary: Vocabulary) -> Vocabulary:
    count = len(vocabulary.tokens)
    while count and vocabulary.kinds[count - 1] is TokenKind.UNUSED:
        count -= 1
    return replace(
        vocabulary,
        tokens=vocabulary.tokens[:count],
        kinds=vocabulary.kinds[:count],
        scores=vocabulary.scores[:count],
        special={key: i for key, i in vocabulary.special.items() if i < count},
    )


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _whole(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(int(value))


def _float(number: int, value: float) -> bytes:
    return _varint(number << 3 | 5) + struct.pack("<f", value)
