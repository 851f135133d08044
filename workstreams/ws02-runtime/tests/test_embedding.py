"""Rows of a mapped embedding file, against the file built value by value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lilims.core.errors import ContractError
from lilims.core.manifest import HostEmbedding
from lilims.runtime.embedding import EmbeddingFile, row_bytes

ROWS, COLUMNS, GROUP = 7, 12, 4
LOWEST = {"int8": -128, "uint8": 0, "int4": -8, "uint4": 0}


def written(path: Path, codes: np.ndarray, kind: str, *factors: np.ndarray) -> None:
    """The file as embedding.py draws it, one row after the other."""
    raw = b""
    for row in range(ROWS):
        if kind.endswith("int4"):
            pairs = codes[row].reshape(-1, 2)
            raw += bytes((int(low) & 15) | ((int(high) & 15) << 4) for low, high in pairs)
        else:
            raw += bytes(int(code) & 255 for code in codes[row])
        raw += b"".join(factor[row].astype("<f2").tobytes() for factor in factors)
    path.write_bytes(raw)


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("kind", LOWEST)
def test_rows_of_codes(tmp_path: Path, kind: str, offset: bool) -> None:
    random = np.random.default_rng(5)
    span = 16 if kind.endswith("int4") else 256
    codes = random.integers(LOWEST[kind], LOWEST[kind] + span, (ROWS, COLUMNS))
    scale, zero = (random.uniform(-2, 2, (ROWS, COLUMNS // GROUP)).astype(np.float16) for _ in range(2))
    written(tmp_path / "e", codes, kind, scale, *([zero] if offset else []))
    table = HostEmbedding(file="e", rows=ROWS, columns=COLUMNS, codes=kind, group_size=GROUP, offset=offset)  # type: ignore[arg-type]
    assert ROWS * row_bytes(table) == (tmp_path / "e").stat().st_size
    ids = np.array([[3, 0, 6, 3]])
    found = EmbeddingFile(tmp_path, table).rows(ids)
    shift = np.repeat(zero.astype(np.float32), GROUP, axis=1) if offset else np.float32(0)
    wanted = (codes - shift) * np.repeat(scale.astype(np.float32), GROUP, axis=1)
    assert (found.shape, found.dtype) == ((1, 4, COLUMNS), np.float32)
    np.testing.assert_array_equal(found, wanted.astype(np.float16).astype(np.float32)[ids])


def test_rows_of_fp16(tmp_path: Path) -> None:
    values = np.random.default_rng(6).standard_normal((ROWS, COLUMNS)).astype("<f2")
    (tmp_path / "e").write_bytes(values.tobytes())
    table = HostEmbedding(file="e", rows=ROWS, columns=COLUMNS, codes="fp16")
    found = EmbeddingFile(tmp_path, table).rows(np.array([[6], [1]]))
    np.testing.assert_array_equal(found, values[[[6], [1]]].astype(np.float32))


@pytest.mark.parametrize(("size", "words"), [(None, "is missing"), (5, "has 5 bytes; 7 rows of 24 need 168")])
def test_a_file_that_does_not_fit(tmp_path: Path, size: int | None, words: str) -> None:
    if size is not None:
        (tmp_path / "e").write_bytes(bytes(size))
    with pytest.raises(ContractError, match=words) as caught:
        EmbeddingFile(tmp_path, HostEmbedding(file="e", rows=ROWS, columns=COLUMNS, codes="fp16"))
    assert caught.value.where == str(tmp_path / "e")


def test_factors_that_are_no_numbers_give_such_rows_and_no_warning(tmp_path: Path) -> None:
    codes = np.zeros((ROWS, COLUMNS), np.int64)
    factors = np.array([0x7C00, 0xFC00, 0x7C01], np.uint16).view(np.float16)
    scale = np.broadcast_to(factors, (ROWS, 3))
    written(tmp_path / "e", codes, "int8", scale, scale)
    table = HostEmbedding(file="e", rows=ROWS, columns=COLUMNS, codes="int8", group_size=GROUP, offset=True)
    assert not np.isfinite(EmbeddingFile(tmp_path, table).rows(np.array([0, 6]))).any()
