"""weight.bin as it is written here: byte for byte what coremltools writes, and readable by the executor."""

from __future__ import annotations

import warnings
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.conversion.weights.weight_file import BITS, Mark, WeightFile, pack
from lilims.runtime.portable.blob import BlobFile

DTYPES = {
    "fp16": np.float16, "fp32": np.float32, "uint8": np.uint8, "int8": np.int8, "int16": np.int16,
    "uint16": np.uint16, "int32": np.int32, "uint32": np.uint32, "int4": np.int8, "uint1": np.uint8,
    "uint2": np.uint8, "uint3": np.uint8, "uint4": np.uint8, "uint6": np.uint8,
}  # fmt: skip


def values(dtype: str, shape: tuple[int, ...], seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    if dtype.startswith("fp"):
        return rng.standard_normal(shape).astype(DTYPES[dtype])
    low = -(1 << (BITS[dtype] - 1)) if dtype.startswith("int") else 0
    return rng.integers(low, low + (1 << BITS[dtype]), shape).astype(DTYPES[dtype])


def blobs() -> list[tuple[str, Any]]:
    return [(dtype, values(dtype, shape)) for dtype in DTYPES for shape in ((3, 32), (1, 13))]


@pytest.mark.skipif("sys.platform == 'win32'", reason="coremltools 9 has no Windows build")
def test_the_bytes_are_those_that_coremltools_writes(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from coremltools.libmilstoragepython import _BlobStorageWriter
    theirs = _BlobStorageWriter(str(tmp_path / "theirs"))
    kinds = {"fp32": "float"}
    expected = []
    for dtype, array in blobs():
        flat = np.ascontiguousarray(array.reshape(-1))
        write = getattr(theirs, f"write_{kinds.get(dtype, dtype)}_data")
        expected.append(write(flat.view(np.uint16) if dtype == "fp16" else flat))
    del theirs, write  # it writes the count of blobs when it goes
    with WeightFile(tmp_path / "ours") as file:
        assert [file.add(dtype, array) for dtype, array in blobs()] == expected
        file.finish()
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_executor_reads_what_was_written(tmp_path: Path, dtype: str) -> None:
    array = values(dtype, (5, 7))
    with WeightFile(tmp_path / "w") as file:
        offset = file.add(dtype, array)
        assert file.finish() == (tmp_path / "w").stat().st_size
    np.testing.assert_array_equal(BlobFile(tmp_path / "w").array(offset, dtype, (5, 7)), array)


@pytest.mark.parametrize("dtype", ["int4", "uint3", "fp16"])
def test_pieces_make_the_same_blob(tmp_path: Path, dtype: str) -> None:
    array = values(dtype, (24, 5))
    for name, step in (("whole", 24), ("pieces", 8)):
        with WeightFile(tmp_path / name) as file:
            with file.blob(dtype, array.shape) as blob:
                for first in range(0, 24, step):
                    blob.write(array[first : first + step])
            file.finish()
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "pieces").read_bytes()


def test_equal_blobs_are_stored_once(tmp_path: Path) -> None:
    array = values("fp16", (100, 64))
    other = array.copy()
    other[-1, -1] += 1  # unlike only behind what is compared first
    with WeightFile(tmp_path / "w") as file:
        first = file.add("fp16", array)
        size = file.size
        assert file.add("fp16", array) == first
        assert file.size == size
        second = file.add("fp16", other)
        assert second > first
        third = file.add("uint16", array.view(np.uint16))  # the same bytes mean something else
        assert third > second
        file.finish()
    read = BlobFile(tmp_path / "w")
    np.testing.assert_array_equal(read.array(second, "fp16", (100, 64)), other)
    np.testing.assert_array_equal(read.array(third, "uint16", (100, 64)), array.view(np.uint16))


def test_counting_needs_no_values(tmp_path: Path) -> None:
    with WeightFile(tmp_path / "w") as file, WeightFile(None) as counted:
        for dtype, array in blobs():
            outline = np.broadcast_to(np.zeros((), array.dtype), array.shape)
            assert file.add(dtype, array) == counted.add(dtype, outline)
        assert file.finish() == counted.finish()


@pytest.mark.parametrize("tail", [b"", b"half a blob"], ids=["clean", "half-written tail"])
def test_going_on_behind_a_mark(tmp_path: Path, tail: bytes) -> None:
    arrays = [values("int4", (64, 32), seed) for seed in range(3)]
    with WeightFile(tmp_path / "whole") as file:
        for array in [*arrays, arrays[0]]:
            file.add("int4", array)
        file.finish()
    with WeightFile(tmp_path / "w", checked=True) as file:
        offset = file.add("int4", arrays[0])
        mark = file.mark
    with (tmp_path / "w").open("ab") as raw:
        raw.write(tail)
    with WeightFile(tmp_path / "w", mark=mark, checked=True) as file:
        file.recall("int4", offset, (64, 32))
        for array in [*arrays[1:], arrays[0]]:
            file.add("int4", array)
        assert file.mark.blobs == 3
        file.finish()
    assert (tmp_path / "w").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_blob_that_lacks_elements_is_an_error(tmp_path: Path) -> None:
    with (
        WeightFile(tmp_path / "w") as file,
        pytest.raises(AssertionError, match="3 elements"),
        file.blob("int8", (2, 4)) as blob,
    ):
        blob.write(np.zeros(5, np.int8))


def test_an_empty_mark_is_the_header() -> None:
    assert Mark().end == 64 == len(pack(np.zeros(64, np.uint8), "uint8")) * prod((1,))
