"""The forms in which a tensor is stored in a package: fp16, codes with scales, indices into a table.

Knows what each form means. Must not know how its values were chosen, or how they are written.
The forms are Core ML's iOS 18 ops `constexpr_blockwise_shift_scale` and `constexpr_lut_to_dense`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Dense", "Indexed", "Palettized", "Quantized", "Stored"]


@dataclass(frozen=True)
class Dense:
    """A tensor kept as fp16."""

    values: NDArray[np.float16]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def bits(self) -> float:
        """Stored bits per element."""
        return 16.0

    @property
    def label(self) -> str:
        """The scheme in words, as the manifest has it."""
        return "fp16"

    def dequantize(self) -> NDArray[np.float32]:
        """The values in float32."""
        return self.values.astype(np.float32)


@dataclass(frozen=True)
class Quantized:
    """A matrix [N, K] as w = (code - offset) · scale, one scale (and offset) for a block of each row.

    Attributes:
        codes: [N, K], int8 or (unsigned forms) uint8, within the range of `code_bits`.
        scale: fp16 [N, K / group_size].
        code_bits: 4 or 8.
        offset: fp16 like `scale`; None is 0.
    """

    codes: NDArray[np.int8] | NDArray[np.uint8]
    scale: NDArray[np.float16]
    code_bits: int
    offset: NDArray[np.float16] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    @property
    def group_size(self) -> int:
        """Values that share a scale; K when there is one scale per output channel."""
        return int(self.codes.shape[1] // self.scale.shape[1])

    @property
    def bits(self) -> float:
        """Stored bits per element, scales and offsets included."""
        return self.code_bits + (16 if self.offset is None else 32) / self.group_size

    @property
    def label(self) -> str:
        """The scheme in words, as the manifest has it."""
        block = "per channel" if self.scale.shape[1] == 1 else f"block {self.group_size}"
        kind = "int" if self.codes.dtype == np.int8 else "uint"
        return f"{kind}{self.code_bits} {block}" + ("" if self.offset is None else " with offset")

    def dequantize(self) -> NDArray[np.float32]:
        """(codes - offset) · scale in float32, [N, K]."""
        blocks = self.codes.astype(np.float32).reshape(*self.scale.shape, self.group_size)
        if self.offset is not None:
            blocks -= self.offset.astype(np.float32)[..., None]
        blocks *= self.scale.astype(np.float32)[..., None]
        return blocks.reshape(self.codes.shape)


@dataclass(frozen=True)
class Palettized:
    """A matrix [N, K] as w = table[index], one table of 2^bits values for each group of rows.

    Attributes:
        indices: uint8 [N, K], below 2 ** index_bits.
        table: fp16 [groups of rows, 2 ** index_bits].
        index_bits: 1, 2, 3, 4, 6 or 8.
    """

    indices: NDArray[np.uint8]
    table: NDArray[np.float16]
    index_bits: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.indices.shape

    @property
    def bits(self) -> float:
        """Stored bits per element, tables included."""
        return self.index_bits + 16 * self.table.size / self.indices.size

    @property
    def label(self) -> str:
        """The scheme in words, as the manifest has it."""
        groups = len(self.table)
        return f"lut{self.index_bits} " + ("per tensor" if groups == 1 else f"{self.shape[0] // groups} rows")

    def dequantize(self) -> NDArray[np.float32]:
        """table[indices] in float32, [N, K]."""
        groups = len(self.table)
        rows = self.indices.reshape(groups, -1)
        found = self.table[np.arange(groups)[:, None], rows]
        return found.reshape(self.indices.shape).astype(np.float32)


@dataclass(frozen=True)
class Indexed:
    """A matrix [N, K] as w = (table[index] - offset) · scale.

    It takes a constexpr op behind another, which no device has been seen to run.

    Attributes:
        indices: uint8 [N, K], below 2 ** index_bits.
        table: fp16 [1, 2 ** index_bits].
        scale: fp16 [N, K / group_size].
        offset: fp16 like `scale`; None is 0.
    """

    indices: NDArray[np.uint8]
    table: NDArray[np.float16]
    scale: NDArray[np.float16]
    offset: NDArray[np.float16] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.indices.shape

    @property
    def index_bits(self) -> int:
        """1, 2, 3, 4, 6 or 8: what the table's size asks for."""
        return int(self.table.shape[1] - 1).bit_length()

    @property
    def group_size(self) -> int:
        """Values that share a scale."""
        return int(self.indices.shape[1] // self.scale.shape[1])

    @property
    def bits(self) -> float:
        """Stored bits per element, scales, offsets and the table included."""
        around = self.table.size + self.scale.size * (1 if self.offset is None else 2)
        return self.index_bits + 16 * around / self.indices.size

    @property
    def label(self) -> str:
        """The scheme in words, as the manifest has it."""
        block = f"block {self.group_size}" + ("" if self.offset is None else " with offset")
        return f"lut{self.index_bits} scaled {block}, unverified"

    def dequantize(self) -> NDArray[np.float32]:
        """(table[indices] - offset) · scale in float32, [N, K]."""
        found = self.table[0].astype(np.float32)[self.indices].reshape(*self.scale.shape, self.group_size)
        if self.offset is not None:
            found -= self.offset.astype(np.float32)[..., None]
        found *= self.scale.astype(np.float32)[..., None]
        values: NDArray[np.float32] = found.reshape(self.indices.shape)
        return values


Stored = Dense | Quantized | Palettized | Indexed
