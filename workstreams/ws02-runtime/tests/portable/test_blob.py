"""The blob reader against coremltools' own writer, hand-made bytes and hostile ones."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lilims.core.errors import PackageError
from lilims.runtime.portable.blob import BITS, BlobFile, packed_size, unpack

# element type -> (its writer in coremltools, lowest value, one above the highest)
WRITERS = {
    "fp16": ("write_fp16_data", -100, 100), "fp32": ("write_float_data", -100, 100),
    "int4": ("write_int4_data", -8, 8), "int8": ("write_int8_data", -128, 128),
    "int16": ("write_int16_data", -(1 << 15), 1 << 15), "int32": ("write_int32_data", -(1 << 31), 1 << 31),
    "uint1": ("write_uint1_data", 0, 2), "uint2": ("write_uint2_data", 0, 4), "uint3": ("write_uint3_data", 0, 8),
    "uint4": ("write_uint4_data", 0, 16), "uint6": ("write_uint6_data", 0, 64), "uint8": ("write_uint8_data", 0, 256),
    "uint16": ("write_uint16_data", 0, 1 << 16), "uint32": ("write_uint32_data", 0, 1 << 32),
}  # fmt: skip


def values_of(dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    _, low, high = WRITERS[dtype]
    rng = np.random.default_rng(sum(map(ord, dtype)))
    if dtype in ("fp16", "fp32"):
        return rng.normal(size=shape).astype({"fp16": np.float16, "fp32": np.float32}[dtype])
    target = np.int8 if dtype == "int4" else np.uint8 if BITS[dtype] < 8 else np.dtype(dtype)
    return rng.integers(low, high, shape).astype(target)


@pytest.mark.parametrize("shape", [(3, 5), (16, 32), (1,)], ids=str)
@pytest.mark.parametrize("dtype", WRITERS)
def test_what_coremltools_writes(ct: Any, tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    from coremltools.libmilstoragepython import _BlobStorageWriter

    values = values_of(dtype, shape)
    flat = values.reshape(-1)
    writer = _BlobStorageWriter(str(tmp_path / "weight.bin"))
    getattr(writer, WRITERS["uint8"][0])(np.arange(7, dtype=np.uint8))  # something before it
    offset = getattr(writer, WRITERS[dtype][0])(flat.view(np.uint16) if dtype == "fp16" else flat)
    del writer
    found = BlobFile(tmp_path / "weight.bin").array(offset, dtype, shape)
    assert found.dtype == values.dtype
    assert np.array_equal(found, values)


def blob(path: Path, dtype: int, data: bytes, *, size: int | None = None, offset: int = 128, **header: int) -> BlobFile:
    """A file of one record, by hand; keywords say what is wrong with it."""
    head = struct.pack("<II56x", 1, header.get("version", 2))
    sentinel = header.get("sentinel", 0xDEADBEEF)
    record = struct.pack("<IIQQQ32x", sentinel, dtype, len(data) if size is None else size, offset, 0)
    path.write_bytes(head + record + data)
    return BlobFile(path)


@pytest.mark.parametrize(
    ("dtype", "code", "data", "expected"),
    [
        ("uint4", 11, b"\x21\x43", [1, 2, 3, 4]),
        ("int4", 8, b"\x8f\x70", [-1, -8, 0, 7]),
        ("uint1", 9, b"\x05\x80", [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("uint2", 10, b"\xe4", [0, 1, 2, 3]),
        ("uint3", 12, b"\x88\xc6\xfa", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("uint6", 13, b"\x81\x30\x10", [1, 2, 3, 4]),
        ("fp16", 1, b"\x00\x3c\x00\xc0", [1.0, -2.0]),
        ("int16", 6, b"\xff\xff\x00\x01", [-1, 256]),
        ("bool", 3, b"\x01\x00", [True, False]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hand_made_bytes(tmp_path: Path, dtype: str, code: int, data: bytes, expected: list[float]) -> None:
    found = blob(tmp_path / "weight.bin", code, data).array(64, dtype, (len(expected),))
    assert found.tolist() == expected


def test_whole_bytes_are_mapped_and_not_copied(tmp_path: Path) -> None:
    file = blob(tmp_path / "weight.bin", 2, np.arange(4, dtype=np.float32).tobytes())
    array = file.array(64, "fp32", (2, 2))
    assert not array.flags.writeable
    assert array.base is not None
    assert np.shares_memory(array, file.raw(64, "fp32", (4,)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"version": 1}, "not a blob file of version 2"),
        ({"sentinel": 7}, "no metadata record at offset 64"),
        ({"size": 1 << 40}, "leave the file"),
        ({"size": (1 << 64) - 1}, "leave the file"),
        ({"offset": (1 << 64) - 8}, "leave the file"),
        ({"size": 4}, "holds 4 bytes, fp32 \\[4\\] needs 16"),
    ],
    ids=["version", "sentinel", "size", "size-wraps", "offset-wraps", "short"],
)
def test_a_record_that_lies(tmp_path: Path, wrong: dict[str, int], message: str) -> None:
    with pytest.raises(PackageError, match=message):
        blob(tmp_path / "weight.bin", 2, bytes(16), **wrong).array(64, "fp32", (4,))  # type: ignore[arg-type]


@pytest.mark.parametrize("offset", [-64, 1, 100, 144, 1 << 63], ids=str)
def test_an_offset_that_leads_nowhere(tmp_path: Path, offset: int) -> None:
    with pytest.raises(PackageError, match=r"weight\.bin: (offset|no metadata)"):
        blob(tmp_path / "weight.bin", 2, bytes(16)).record(offset)


@pytest.mark.parametrize(("code", "dtype"), [(99, "fp32"), (4, "fp32")], ids=["unknown", "another"])
def test_another_element_type(tmp_path: Path, code: int, dtype: str) -> None:
    with pytest.raises(PackageError, match="unknown element type 99|holds int8, not fp32"):
        blob(tmp_path / "weight.bin", code, bytes(16)).array(64, dtype, (4,))


@pytest.mark.parametrize("data", [b"", b"\x01\x00\x00\x00"], ids=["empty", "four bytes"])
def test_no_blob_file_at_all(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "weight.bin").write_bytes(data)
    with pytest.raises(PackageError, match="not a blob file"):
        BlobFile(tmp_path / "weight.bin")


def test_absurd_shapes_allocate_nothing(tmp_path: Path) -> None:
    file = blob(tmp_path / "weight.bin", 2, bytes(16))
    with pytest.raises(PackageError, match="needs"):
        file.array(64, "fp32", (1 << 40, 1 << 40))


def test_sizes_round_up_to_bytes() -> None:
    assert [packed_size(d, (3,)) for d in ("uint1", "uint3", "int4", "fp16")] == [1, 2, 2, 6]
    assert unpack(np.array([0xFF, 0x01], np.uint8), "uint3", (3,)).tolist() == [7, 7, 7]
