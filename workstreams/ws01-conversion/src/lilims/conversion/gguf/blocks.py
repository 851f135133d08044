"""ggml's quantised blocks: bytes to codes, scales and minima.

Knows the layout of each type. Must not know files, or how lilims stores what comes out.
Source: `ggml-common.h` (block structures) and `ggml-quants.c` (`dequantize_row_*`) of ggml. Every value is

    w = code · scale + bias        in float32, bias only where the type has a minimum

with one scale (and bias) for a group of 16 or 32 values. Blocks of 256 values ("K") multiply a small integer for each
group by an fp16 number for the block: such a product has at most 17 significant bits, so float32 holds it exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCKS", "BlockType"]

Bytes = NDArray[np.uint8]
Codes = NDArray[np.int8] | NDArray[np.uint8]
Floats = NDArray[np.float32]
Scales = tuple[Floats, Floats | None]


@dataclass(frozen=True)
class BlockType:
    """A type of blocks.

    Attributes:
        size: values of a block.
        group: values that share a scale.
        bits: 4 or 8, what codes fit into; signed codes are int8, unsigned ones uint8.
        low, high: the range of codes.
        codes: bytes [n, block] → codes [n, size].
        scales: bytes [n, block] → scales and biases, float32 [n, size / group].
        table: the codes of a type that stores places in a table, in the table's order; None where it stores codes.
    """

    size: int
    group: int
    bits: int
    low: int
    high: int
    codes: Callable[[Bytes], Codes]
    scales: Callable[[Bytes], Scales]
    table: NDArray[np.int8] | None = None

    @property
    def levels(self) -> NDArray[np.int16]:
        """Every code there can be, [levels]: those of the table as it has them, else from `low` to `high`."""
        if self.table is not None:
            return self.table.astype(np.int16)
        return np.arange(self.low, self.high + 1, dtype=np.int16)

    @property
    def minimum(self) -> bool:
        """Whether the type has biases; its codes are unsigned then, and only then."""
        return self.low == 0

    def dequantize(self, blocks: Bytes) -> Floats:
        """The values of blocks [n, bytes], float32 [n, size], to the last bit those of ggml."""
        scale, bias = self.scales(blocks)
        values = self.codes(blocks).astype(np.float32).reshape(*scale.shape, self.group)
        values *= scale[..., None]
        if bias is not None:
            values += bias[..., None]
        return values.reshape(len(blocks), self.size)


# -- the small types: 32 values, an fp16 scale, perhaps an fp16 minimum ------------------------------------------------


def _half(blocks: Bytes, at: int) -> Floats:
    """The fp16 number at a byte of each block, [n, 1]."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _nibbles(packed: Bytes, run: int) -> Bytes:
    """Low halves of `run` bytes, then their high halves, then the next run: uint8 [n, 2 · bytes]."""
    runs = packed.reshape(len(packed), -1, run)
    out = np.empty((len(packed), runs.shape[1], 2, run), np.uint8)
    np.bitwise_and(runs, 15, out=out[:, :, 0])
    np.right_shift(runs, 4, out=out[:, :, 1])
    return out.reshape(len(packed), -1)


def _fifth_bits(packed: Bytes) -> Bytes:
    """Bits of four bytes as 16, uint8 [n, 32]."""
    return np.unpackbits(packed, axis=1, bitorder="little") << np.uint8(4)


def _signed(codes: Bytes, zero: int) -> NDArray[np.int8]:
    """Codes less the one that stands for 0."""
    return (codes - np.uint8(zero)).view(np.int8)


def _scale(blocks: Bytes) -> Scales:
    return _half(blocks, 0), None


def _scale_and_minimum(blocks: Bytes) -> Scales:
    return _half(blocks, 0), _half(blocks, 2)


# -- codes that are places in a table ----------------------------------------------------------------------------------

_IQ4 = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int8)
_E2M1 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.int8)  # doubled


def _e8m0(blocks: Bytes) -> Scales:
    """2^(e - 128), half of MXFP4's shared scale, since its values are doubled."""
    return np.ldexp(np.float32(1), blocks[:, :1].astype(np.int32) - 128), None


# -- K: 256 values, small integers as scales ---------------------------------------------------------------------------


def _shifted(packed: Bytes, run: int, bits: int) -> Bytes:
    """For each run of bytes its lowest `bits` bits, then the next ones and so on: uint8 [n, runs, 8 / bits, run]."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    return (packed.reshape(len(packed), -1, 1, run) >> shifts) & np.uint8((1 << bits) - 1)


def _q2_scales(blocks: Bytes) -> Scales:
    return _half(blocks, 80) * (blocks[:, :16] & 15), -_half(blocks, 82) * (blocks[:, :16] >> 4)


def _q2_codes(blocks: Bytes) -> Bytes:
    return _shifted(blocks[:, 16:80], 32, 2).reshape(len(blocks), 256)


def _q3_scales(blocks: Bytes) -> Scales:
    """Sixteen scales of 6 bits less 32: low halves in eight bytes, the upper two bits in four."""
    low = _nibbles(blocks[:, 96:104], 8)
    high = _shifted(blocks[:, 104:108], 4, 2).reshape(len(blocks), 16)
    return _half(blocks, 108) * _signed(low | (high << np.uint8(4)), 32), None


def _q3_codes(blocks: Bytes) -> Codes:
    low = _shifted(blocks[:, 32:96], 32, 2).reshape(len(blocks), 256)
    high = _shifted(blocks[:, :32], 32, 1).reshape(len(blocks), 256)
    return _signed(low | (high << np.uint8(2)), 4)


def _k_scales(blocks: Bytes) -> Scales:
    """Eight scales and eight minima of 6 bits in twelve bytes, as Q4_K and Q5_K have them."""
    d, m, both = (blocks[:, at : at + 4] for at in (4, 8, 12))
    scale = np.concatenate([d & 63, (both & 15) | ((d >> 2) & 48)], axis=1)
    minimum = np.concatenate([m & 63, (both >> 4) | ((m >> 2) & 48)], axis=1)
    return _half(blocks, 0) * scale, -_half(blocks, 2) * minimum


def _q5_codes(blocks: Bytes) -> Bytes:
    high = _shifted(blocks[:, 16:48], 32, 1).reshape(len(blocks), 256)
    return _nibbles(blocks[:, 48:176], 32) | (high << np.uint8(4))


def _q6_scales(blocks: Bytes) -> Scales:
    return _half(blocks, 208) * np.ascontiguousarray(blocks[:, 192:208]).view(np.int8), None


def _q6_codes(blocks: Bytes) -> Codes:
    low = _nibbles(blocks[:, :128], 64)
    high = _shifted(blocks[:, 128:192], 32, 2).reshape(len(blocks), 256)
    return _signed(low | (high << np.uint8(4)), 32)


def _xs_scales(blocks: Bytes) -> Scales:
    """Eight scales of 6 bits less 32: two to a byte in four bytes, the upper two bits in a uint16."""
    low = np.stack([blocks[:, 4:8] & 15, blocks[:, 4:8] >> 4], axis=2).reshape(len(blocks), 8)
    high = _shifted(blocks[:, 2:4], 1, 2).reshape(len(blocks), 8)
    return _half(blocks, 0) * _signed(low | (high << np.uint8(4)), 32), None


BLOCKS: Mapping[str, BlockType] = {
    "Q4_0": BlockType(32, 32, 4, -8, 7, lambda b: _signed(_nibbles(b[:, 2:], 16), 8), _scale),
    "Q4_1": BlockType(32, 32, 4, 0, 15, lambda b: _nibbles(b[:, 4:], 16), _scale_and_minimum),
    "Q5_0": BlockType(
        32, 32, 8, -16, 15, lambda b: _signed(_nibbles(b[:, 6:], 16) | _fifth_bits(b[:, 2:6]), 16), _scale
    ),
    "Q5_1": BlockType(32, 32, 8, 0, 31, lambda b: _nibbles(b[:, 8:], 16) | _fifth_bits(b[:, 4:8]), _scale_and_minimum),
    "Q8_0": BlockType(32, 32, 8, -128, 127, lambda b: np.ascontiguousarray(b[:, 2:]).view(np.int8), _scale),
    "IQ4_NL": BlockType(32, 32, 8, -127, 113, lambda b: _IQ4[_nibbles(b[:, 2:], 16)], _scale, _IQ4),
    "MXFP4": BlockType(32, 32, 8, -12, 12, lambda b: _E2M1[_nibbles(b[:, 1:], 16)], _e8m0, _E2M1),
    "Q2_K": BlockType(256, 16, 4, 0, 3, _q2_codes, _q2_scales),
    "Q3_K": BlockType(256, 16, 4, -4, 3, _q3_codes, _q3_scales),
    "Q4_K": BlockType(256, 32, 4, 0, 15, lambda b: _nibbles(b[:, 16:], 32), _k_scales),
    "Q5_K": BlockType(256, 32, 8, 0, 31, _q5_codes, _k_scales),
    "Q6_K": BlockType(256, 16, 8, -32, 31, _q6_codes, _q6_scales),
    "IQ4_XS": BlockType(256, 32, 8, -127, 113, lambda b: _IQ4[_nibbles(b[:, 8:], 16)], _xs_scales, _IQ4),
}
