"""Quantised weight matrices as ONNX Runtime's block kernels want them.

Knows how ML Program codes, scales and offsets become the inputs of `MatMulNBits` and `GatherBlockQuantized`: unsigned
codes, rows packed low nibble first, blocks of a power of two along the last axis, zero points of the codes' type.
Must not know which op a weight belongs to.

    value = scale · (code - offset)      ML Program: int4, uint4, int8, uint8; offset absent means 0
    value = scale · (code - zero point)  ONNX Runtime: unsigned; zero point absent means 8 or 128

A signed code becomes unsigned by flipping its sign bit, which adds 8 or 128; its offset moves along. Codes that are
unsigned already, and fill whole blocks, stay where they are in the mapped file. An offset that is no code (GGUF's
minima) is taken as the nearest one; what that leaves out is the same for a whole block, scale · (zero point - offset),
and can be added to a product once for each block (`remainders`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..program import Argument, Array, Constant, Op
from .match import Index

__all__ = ["QuantizedMatrix", "given_matrix", "matrix_inputs", "matrix_of", "quantized_matrix"]

_BITS = {"int4": 4, "uint4": 4, "int8": 8, "uint8": 8}
_SMALLEST, _LARGEST = 16, 256
_SPLIT = 128  # what longer blocks, and rows without blocks, are cut into


@dataclass(frozen=True)
class QuantizedMatrix:
    """A matrix [rows, columns] of codes, in blocks of `block` columns.

    `scale` and `offset` are as the program has them: their first axis divides rows, their second says the blocks.
    """

    rows: int
    columns: int
    bits: int
    signed: bool
    block: int
    data: Constant
    scale: Constant
    offset: Constant | None

    @property
    def blocks(self) -> int:
        """Blocks in a row, the last one perhaps padded."""
        return -(-self.columns // self.block)

    def packed(self) -> NDArray[np.uint8]:
        """Unsigned codes, [rows, bytes of a row]; padding is zero codes."""
        width = self.blocks * self.block * self.bits // 8
        if self.data.raw is not None and self.columns == self.blocks * self.block:
            stored = self.data.raw().reshape(self.rows, width)
            return stored ^ np.uint8(0x88 if self.bits == 4 else 0x80) if self.signed else stored
        codes = np.zeros((self.rows, self.blocks * self.block), np.uint8)
        codes[:, : self.columns] = self._unsigned(self.data.load().reshape(self.rows, self.columns))
        return _pack(codes, self.bits)

    def scales(self) -> NDArray[np.float32]:
        """One scale per row and block, [rows, blocks]."""
        return np.ascontiguousarray(self._spread(self.scale.load().astype(np.float32)))

    def zero_points(self) -> NDArray[np.uint8] | None:
        """Packed zero points, [rows, bytes]; None where they are the kernels' default."""
        if self.offset is None and self.signed:
            return None
        offset = np.zeros(self.scale.load().shape) if self.offset is None else self._nearest(self.offset)
        return _pack(self._spread(self._unsigned(offset)), self.bits)

    def remainders(self) -> NDArray[np.float32] | None:
        """What zero points leave out of every value of a block, [rows, blocks]; None where they leave out nothing."""
        if self.offset is None or _whole(self.offset, self.bits, self.signed):
            return None
        left = self._nearest(self.offset) - self.offset.load().astype(np.float64)
        return np.ascontiguousarray(self._spread((left * self.scale.load().astype(np.float64)).astype(np.float32)))

    def _nearest(self, offset: Constant) -> NDArray[np.float64]:
        """Offsets as codes."""
        low, high = _range(self.bits, self.signed)
        return np.clip(np.rint(offset.load().astype(np.float64)), low, high)

    def _unsigned(self, codes: Array) -> NDArray[np.uint8]:
        middle = 1 << (self.bits - 1) if self.signed else 0
        return (codes.astype(np.int16) + middle).astype(np.uint8)

    def _spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values per program block as values per row and kernel block."""
        values = np.repeat(values, self.rows // values.shape[0], axis=0)
        starts = np.arange(self.blocks) * self.block
        return values[:, starts * values.shape[1] // self.columns]


def quantized_matrix(
    data: Constant, scale: Constant, offset: Constant | None, *, remainders: bool
) -> QuantizedMatrix | None:
    """The matrix that codes, scales and offsets make, or None if the kernels cannot take it.

    Offsets that are no codes are taken where the caller adds `remainders`, and rows are whole blocks.
    """
    if data.type.dtype not in _BITS or data.type.rank != 2 or scale.type.rank != 2:
        return None
    rows, columns = (d or 0 for d in data.type.shape)
    groups, blocks = (d or 0 for d in scale.type.shape)
    if not (rows and columns and groups and blocks) or rows % groups or columns % blocks:
        return None
    bits, signed = _BITS[data.type.dtype], data.type.dtype.startswith("int")
    block = _kernel_block(columns // blocks, blocks)
    if block is None or (offset is not None and offset.type.shape != scale.type.shape):
        return None
    if offset is not None and not _whole(offset, bits, signed):
        finite = np.isfinite(offset.load().astype(np.float32)).all()
        if not remainders or columns % block or not finite:
            return None
    return QuantizedMatrix(rows, columns, bits, signed, block, data, scale, offset)


def matrix_of(index: Index, argument: Argument | None, *, remainders: bool = False) -> QuantizedMatrix | None:
    """The matrix behind a value that a `constexpr_blockwise_shift_scale` of literals makes."""
    op = index.maker(argument, "constexpr_blockwise_shift_scale")
    if op is None:
        return None
    data, scale, offset = (index.literal(op, key) for key in ("data", "scale", "offset"))
    if data is None or scale is None or (op.inputs.get("offset") and offset is None):
        return None
    return quantized_matrix(data, scale, offset, remainders=remainders)


def matrix_inputs(matrix: QuantizedMatrix) -> dict[str, tuple[Argument, ...]]:
    """The matrix as inputs of a pseudo-op; `given_matrix` reads them back."""
    inputs: dict[str, tuple[Argument, ...]] = {"data": (matrix.data,), "scale": (matrix.scale,)}
    return inputs if matrix.offset is None else {**inputs, "offset": (matrix.offset,)}


def given_matrix(op: Op) -> QuantizedMatrix:
    """The matrix among a pseudo-op's inputs."""
    found = {key: op.inputs[key][0] for key in ("data", "scale", "offset") if key in op.inputs}
    constants = {key: value for key, value in found.items() if isinstance(value, Constant)}
    matrix = quantized_matrix(constants["data"], constants["scale"], constants.get("offset"), remainders=True)
    assert matrix is not None, "the rewrite checked this"
    return matrix


def _kernel_block(size: int, count: int) -> int | None:
    """The kernel's block for program blocks of `size`: as it is, or cut into powers of two; None where none fits."""
    block = size & -size  # the largest power of two that divides it
    if size == block and _SMALLEST <= size <= _LARGEST:
        return size
    if block >= 2 * _SMALLEST or (block == _SMALLEST and count > 1):
        return min(block, _SPLIT)
    if count == 1:  # one scale for the whole row: the last block may be padded
        return max(_SMALLEST, min(_SPLIT, 1 << (size - 1).bit_length()))
    return None


def _range(bits: int, signed: bool) -> tuple[int, int]:
    """The smallest and the largest code."""
    low = -(1 << (bits - 1)) if signed else 0
    return low, low + (1 << bits) - 1


def _whole(offset: Constant, bits: int, signed: bool) -> bool:
    """Whether offsets are codes: whole numbers in the codes' range."""
    values = offset.load().astype(np.float64)
    low, high = _range(bits, signed)
    with np.errstate(invalid="ignore"):  # a damaged file's NaN is no code
        return bool(np.all((values == np.floor(values)) & (values >= low) & (values <= high)))


def _pack(codes: Array, bits: int) -> NDArray[np.uint8]:
    """Codes a byte each, [rows, n], as bytes; a row of odd length ends in a zero nibble."""
    unsigned: NDArray[np.uint8] = np.ascontiguousarray(codes, np.uint8)
    if bits == 8:
        return unsigned
    if unsigned.shape[1] % 2:
        unsigned = np.pad(unsigned, ((0, 0), (0, 1)))
    return unsigned[:, 0::2] | (unsigned[:, 1::2] << np.uint8(4))
