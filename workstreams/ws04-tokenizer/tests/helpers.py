"""Loading the shared test data once, and writing SentencePiece models by hand."""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence

from hypothesis import strategies as st

from lilims.core.testing import test_data
from lilims.tokenizer import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
BPE, UNIGRAM = 2, 1

SCRIPTS = st.sampled_from("aeèßЖ漢あカ한ع🙂👩\u200d\u0301\ufe0f▁ \t\n\r<>[]0129½ﬁ①\x00\x7f\xad\ufffd")
LOOKALIKES = st.sampled_from(["<s>", "</s>", "<unk>", "<0x41>", "[INST]", "[REFERENCE_DOC_1]", "<|endoftext|>", "  "])
TEXTS = (
    st.lists(st.text(SCRIPTS, max_size=12) | LOOKALIKES, max_size=6).map("".join)
    | st.text(st.characters(codec="utf-8"), max_size=30)
    | st.builds(lambda c, n: c * n, st.sampled_from(" a=\n漢🙂"), st.integers(1, 80))
)
"""Mixed scripts, emoji sequences, control characters, runs, and text that looks like special tokens."""


@functools.cache
def loaded(relative: str) -> Tokenizer:
    """A tokenizer of the test data."""
    return Tokenizer.load(test_data(relative))


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | float | str | bytes) -> bytes:
    """One field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def piece(text: str | bytes, score: float = 0.0, kind: int = NORMAL) -> bytes:
    return field(1, field(1, text) + field(2, score) + field(3, kind))


BASE = [piece("<unk>", kind=UNKNOWN), piece("<s>", kind=CONTROL), piece("</s>", kind=CONTROL)]
BYTES = [piece(f"<0x{i:02X}>", kind=BYTE) for i in range(256)]


def model(
    pieces: Sequence[bytes],
    *,
    kind: int = BPE,
    byte_fallback: bool = False,
    dummy_prefix: bool = True,
    collapse: bool = False,
    charsmap: bytes = b"",
    extra: bytes = b"",
) -> bytes:
    """A SentencePiece model."""
    trainer = field(3, kind) + field(35, int(byte_fallback))
    normalizer = field(2, charsmap) + field(3, int(dummy_prefix)) + field(4, int(collapse))
    return b"".join(pieces) + field(2, trainer) + field(3, normalizer) + extra
