"""The values that a matrix can take once its scales or tables are fixed, one input channel at a time.

Knows codes and what they mean. Must not know in which order channels are rounded, or why a code is chosen. Matrices are
transposed here, [K, N]: an input channel is a row and lies together.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..stored import Palettized, Quantized
from .kmeans import keys_of, kmeans
from .rounding import Blocks, nearest_grid, with_smallest
from .scheme import Scheme
from .search import searched_grid

__all__ = ["IntegerLevels", "Levels", "TableLevels", "levels_for"]

Floats = NDArray[np.float32]

# Of the scale that uses all codes: finer steps than quantisation alone takes, since a scale serves many roundings here.
_FACTORS = (1.0, 0.97, 0.93, 0.88, 0.82, 0.75)


class Levels(Protocol):
    """What every form can do."""

    def nearest(self, channel: int, wanted: Floats) -> Floats:
        """Codes, as float32 [N], of the values nearest to those wanted of an input channel."""

    def values(self, channel: int, codes: Floats) -> Floats:
        """What codes of an input channel mean, [N]."""

    @property
    def span(self) -> int:
        """Input channels whose values depend on the same scales, which `refit` fits together."""

    def block_values(self, first: int, codes: Floats) -> Floats:
        """What codes [n, N] of the channels from `first` mean."""

    def refit(self, first: int, codes: Floats, gradient: Floats, hessian: Floats) -> None:
        """Fits what codes mean to the codes, if it can.

        Args:
            first: the first channel, where a span begins.
            codes: of the channels from there, whole spans.
            gradient: H (w - ŵ) of these channels, [n, N]; brought up to date.
            hessian: these channels' part of H.
        """

    def stored(self, codes: Floats) -> Quantized | Palettized:
        """The matrix [N, K] in the form in which it is stored."""


class IntegerLevels:
    """(code - offset) · scale, a scale for each group of input channels.

    Args:
        scale: float32 that fp16 holds exactly, [K / group, N].
        offset: whole numbers like `scale`; None is 0.
    """

    def __init__(self, scale: Floats, offset: Floats | None, scheme: Scheme, group: int) -> None:
        self.scale, self.offset, self._group, self._bits = scale, offset, group, scheme.bits
        half = 1 << (scheme.bits - 1)
        self._low, self._high = (-half, half - 1) if offset is None else (0, 2 * half - 1)

    def nearest(self, channel: int, wanted: Floats) -> Floats:
        found: Floats = np.rint(wanted / self.scale[channel // self._group])
        if self.offset is not None:
            found += self.offset[channel // self._group]
        np.clip(found, self._low, self._high, out=found)
        return found

    def values(self, channel: int, codes: Floats) -> Floats:
        if self.offset is not None:
            codes = codes - self.offset[channel // self._group]
        found: Floats = codes * self.scale[channel // self._group]
        return found

    @property
    def span(self) -> int:
        return self._group

    def block_values(self, first: int, codes: Floats) -> Floats:
        part = slice(first // self._group, -(-(first + len(codes)) // self._group))
        steps = codes if self.offset is None else codes - self._spread(self.offset[part], len(codes))
        return steps * self._spread(self.scale[part], len(codes))

    def _spread(self, values: Floats, channels: int) -> Floats:
        """Of each group for each of its channels; of a part of one group for each of these."""
        return np.repeat(values, min(self._group, channels), axis=0)

    def refit(self, first: int, codes: Floats, gradient: Floats, hessian: Floats) -> None:
        """Group by group, the scale that is best for the codes while all other groups stay as they are.

        With q the codes of a group, H its part of the Hessian and g that of the gradient H (w - ŵ), the error falls
        most where the scale moves by (qᵀ g) / (qᵀ H q).
        """
        for place in range(0, len(codes), self._group):
            part, group = slice(place, place + self._group), (first + place) // self._group
            steps = codes[part] if self.offset is None else codes[part] - self.offset[group]
            square = np.einsum("kn,kn->n", hessian[part, part] @ steps, steps)
            slope = np.einsum("kn,kn->n", gradient[part], steps)
            old = self.scale[group]
            new = np.where(square > 0, old + slope / np.where(square > 0, square, 1), old)
            usable = (np.sign(new) == np.sign(old)) & (np.abs(new) < 65504)
            new = np.where(usable, with_smallest(np.where(usable, new, old)), old)
            gradient -= hessian[:, part] @ ((new - old) * steps)
            self.scale[group] = new

    def stored(self, codes: Floats) -> Quantized:
        offset = None if self.offset is None else np.ascontiguousarray(self.offset.T.astype(np.float16))
        scale = np.ascontiguousarray(self.scale.T.astype(np.float16))
        stored: NDArray[np.int8] | NDArray[np.uint8] = np.ascontiguousarray(codes.T, np.int8)
        if offset is not None:
            stored = np.ascontiguousarray(codes.T, np.uint8)
        return Quantized(stored, scale, self._bits, offset)


class TableLevels:
    """table[code], a table for each group of output channels; `table` is float32 that fp16 holds, [groups, 2^bits]."""

    def __init__(self, table: Floats, rows: int, bits: int) -> None:
        self._table, self._rows, self._bits = table, rows, bits
        self._edges = (table[:, 1:] + table[:, :-1]) / 2  # of what is nearest to the next value
        self._group = np.arange(len(table) * rows) // rows

    def nearest(self, channel: int, wanted: Floats) -> Floats:
        groups = wanted.reshape(len(self._table), -1)
        found = np.empty(groups.shape, np.float32)
        if len(self._table) == 1:
            found[0] = np.searchsorted(self._edges[0], groups[0], side="right")
        else:
            np.sum(groups[:, :, None] >= self._edges[:, None, :], axis=2, out=found)
        return found.reshape(-1)

    def values(self, channel: int, codes: Floats) -> Floats:
        return self._table[self._group, codes.astype(np.intp)]

    @property
    def span(self) -> int:
        return 1

    def block_values(self, first: int, codes: Floats) -> Floats:
        return self._table[self._group[None], codes.astype(np.intp)]

    def refit(self, first: int, codes: Floats, gradient: Floats, hessian: Floats) -> None:
        """Tables stay: each value stands for channels of many groups."""

    def stored(self, codes: Floats) -> Palettized:
        return Palettized(np.ascontiguousarray(codes.T.astype(np.uint8)), self._table.astype(np.float16), self._bits)


def levels_for(weights: Floats, scheme: Scheme, importance: Floats) -> Levels:
    """Scales or tables for a matrix [N, K], by search or k-means, errors weighted by input channel.

    Args:
        scheme: one that fits the shape (`Scheme.fitted`): int or lut.
        importance: [K], not negative.
    """
    height, width = weights.shape
    if scheme.kind == "lut":
        rows = scheme.rows or height
        centres = kmeans(keys_of(weights).reshape(-1, rows * width), np.tile(importance, rows), 1 << scheme.bits)
        return TableLevels(centres.astype(np.float16).astype(np.float32), rows, scheme.bits)
    group = scheme.group or width
    blocks = Blocks(np.ascontiguousarray(weights.reshape(-1, group).T), 0)
    weigh = np.ascontiguousarray(np.broadcast_to(importance, weights.shape).reshape(-1, group).T)
    grid = nearest_grid(blocks, scheme.bits, asymmetric=scheme.asymmetric)
    grid = searched_grid(blocks, grid, weigh, factors=_FACTORS)
    scale, offset = (None if x is None else np.ascontiguousarray(x.reshape(height, -1).T) for x in grid[:2])
    assert scale is not None
    return IntegerLevels(scale, offset, scheme, group)
