"""The embedding of a model that keeps it beside its package: rows of a mapped file.

Knows the file's layout. Must not know what the rows are for, or who made them.

    row i, at byte i · row_bytes:   values [columns]   scales fp16 [groups]   offsets fp16 [groups], where there are any

Little-endian throughout. Codes of 4 bits stand two to a byte, the first in the low nibble; signed ones in two's
complement. value = (code - offset) · scale, with one scale for `group_size` codes; fp16 values have neither. All of a
token's row lies together, so that a lookup touches a page or two of the file, and nothing is read ahead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import ContractError
from lilims.core.manifest import HostEmbedding

__all__ = ["EmbeddingFile", "row_bytes"]


def row_bytes(table: HostEmbedding) -> int:
    """Bytes of one row of the file."""
    if table.group_size is None:
        return 2 * table.columns
    bits = 4 if table.codes.endswith("int4") else 8
    return table.columns * bits // 8 + table.columns // table.group_size * (4 if table.offset else 2)


class EmbeddingFile:
    """A mapped file of embedding rows.

    Raises:
        ContractError: the file is missing, or has another size than its table needs.
    """

    def __init__(self, folder: Path, table: HostEmbedding) -> None:
        path, self._table, self._width = folder / table.file, table, row_bytes(table)
        wanted = table.rows * self._width
        size = path.stat().st_size if path.is_file() else None
        if size != wanted:
            raise ContractError(
                f"has {size} bytes; {table.rows} rows of {self._width} need {wanted}"
                if size is not None
                else "the embedding of this model is missing",
                where=path,
                hint="convert or pull the model again",
            )
        self._rows = np.memmap(path, np.uint8, "r", shape=(table.rows, self._width))

    def rows(self, ids: NDArray[Any]) -> NDArray[np.float32]:
        """The rows of token ids [...], each rounded to fp16: float32 [..., columns]."""
        table = self._table
        raw = np.asarray(self._rows[ids])
        if table.group_size is None:
            return raw.view("<f2").astype(np.float32)
        groups, split = table.columns // table.group_size, self._width - self._factor_bytes()
        codes = _codes(raw[..., :split], table.codes).reshape(*ids.shape, groups, table.group_size)
        factors = np.ascontiguousarray(raw[..., split:]).view("<f2").astype(np.float32).reshape(*ids.shape, -1, groups)
        with np.errstate(over="ignore", invalid="ignore"):  # a damaged factor makes the logits say it
            if table.offset:
                codes -= factors[..., 1, :, None]
            codes *= factors[..., 0, :, None]
            found: NDArray[np.float32] = codes.reshape(*ids.shape, table.columns).astype(np.float16).astype(np.float32)
        return found

    def _factor_bytes(self) -> int:
        """Bytes of a row's scales and offsets."""
        groups = self._table.columns // (self._table.group_size or self._table.columns)
        return groups * (4 if self._table.offset else 2)


def _codes(raw: NDArray[np.uint8], kind: str) -> NDArray[np.float32]:
    """Codes of `kind` as they stand in rows of bytes."""
    if kind.endswith("int8"):
        return (raw.view(np.int8) if kind == "int8" else raw).astype(np.float32)
    codes = np.stack([raw & 15, raw >> 4], -1).reshape(*raw.shape[:-1], -1).astype(np.int16)
    return (codes if kind == "uint4" else (codes ^ 8) - 8).astype(np.float32)
