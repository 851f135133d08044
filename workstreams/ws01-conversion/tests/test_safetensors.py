"""The safetensors reader against bytes written by hand, and against files that lie."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lilims.conversion.sources.safetensors import SafetensorsFile, widened
from lilims.core.errors import CheckpointError


def write(path: Path, header: Any, data: bytes = b"", *, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def entry(dtype: str = "F32", shape: tuple[int, ...] = (2,), offsets: tuple[int, int] = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("F32", np.array([[1.5, -2.0], [3.0, 1e-20]], "<f4")),
        ("F16", np.array([1.0, 65504.0, 6e-8], "<f2")),
        ("F64", np.array([np.pi], "<f8")),
        ("I64", np.array([-(2**60)], "<i8")),
        ("BOOL", np.array([True, False])),
    ],
)
def test_values_arrive_unchanged(tmp_path: Path, dtype: str, values: np.ndarray) -> None:
    raw = values.tobytes()
    path = write(tmp_path / "a", {"t": entry(dtype, values.shape, (0, len(raw)))}, raw)
    np.testing.assert_array_equal(SafetensorsFile(path).tensor("t"), values)


def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path) -> None:
    values = np.array([1.0, -0.5, 3.140625, 2.0**100], np.float32)  # exact in bfloat16
    raw = (values.view("<u4") >> 16).astype("<u2").tobytes()
    path = write(tmp_path / "a", {"t": entry("BF16", (4,), (0, 8))}, raw)
    np.testing.assert_array_equal(widened(SafetensorsFile(path).tensor("t"), "BF16"), values)


@pytest.mark.parametrize("kind", ["finite", "all"])
def test_every_float16_widens_to_itself(kind: str) -> None:
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    if kind == "finite":  # with infinities it takes another path
        values = values[np.isfinite(values)]
    wide = widened(values, "F16")
    assert wide.dtype == np.float32
    np.testing.assert_array_equal(wide, values.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(wide), np.signbit(values))


@pytest.mark.parametrize("rows", [slice(0, 2), slice(1, 3), slice(2, 9), slice(3, 3), None], ids=str)
def test_some_rows_of_a_tensor(tmp_path: Path, rows: slice | None) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    path = write(
        tmp_path / "a",
        {"s": entry("F16", (2,), (0, 4)), "t": entry("F32", (3, 2, 2), (4, 52))},
        bytes(4) + values.tobytes(),
    )
    np.testing.assert_array_equal(SafetensorsFile(path).tensor("t", rows), values[rows or slice(None)])


def test_tensors_are_mapped_and_read_only(tmp_path: Path) -> None:
    tensor = SafetensorsFile(write(tmp_path / "a", {"t": entry()}, bytes(8))).tensor("t")
    assert isinstance(tensor, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        tensor[0] = 1


def test_metadata_is_no_tensor(tmp_path: Path) -> None:
    file = SafetensorsFile(write(tmp_path / "a", {"__metadata__": {"format": "pt"}, "t": entry()}, bytes(8)))
    assert file.metadata == {"format": "pt"}
    assert list(file.entries) == ["t"]


HOSTILE = {
    "empty file": (b"", "truncated"),
    "header longer than the file": (struct.pack("<Q", 1 << 40) + b"{}", "past the end"),
    "not JSON": (struct.pack("<Q", 3) + b"{a}", "not valid JSON"),
    "not UTF-8": (struct.pack("<Q", 2) + b"\xff\xfe", "not valid JSON"),
    "a list": (struct.pack("<Q", 2) + b"[]", "not an object"),
    "deep nesting": (struct.pack("<Q", 200_000) + b"[" * 200_000, "not valid JSON"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(tmp_path: Path, name: str) -> None:
    raw, message = HOSTILE[name]
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw)
    with pytest.raises(CheckpointError, match=message) as caught:
        SafetensorsFile(path)
    assert caught.value.where == str(path)


HOSTILE_ENTRIES = {
    "unknown dtype": ({"t": entry("F8_XX")}, "unknown dtype"),
    "dtype that is a list": ({"t": {**entry(), "dtype": ["F32"]}}, "unknown dtype"),
    "end behind the file": ({"t": entry(offsets=(0, 80), shape=(20,))}, "outside the file"),
    "begin behind end": ({"t": entry(offsets=(8, 0))}, "outside the file"),
    "negative dimension": ({"t": entry(shape=(-2,))}, "outside the file"),
    "shape that does not fill": ({"t": entry(shape=(3,))}, "does not fill"),
    "product that overflows": ({"t": entry(shape=(1 << 40, 1 << 40))}, "does not fill"),
    "no offsets": ({"t": {"dtype": "F32", "shape": [2]}}, "lacks"),
    "not an object": ({"t": 3}, "lacks"),
    "overlap": ({"a": entry(), "t": entry(offsets=(4, 12))}, "overlaps"),
}


@pytest.mark.parametrize("name", HOSTILE_ENTRIES)
def test_hostile_entries(tmp_path: Path, name: str) -> None:
    header, message = HOSTILE_ENTRIES[name]
    with pytest.raises(CheckpointError, match=message) as caught:
        SafetensorsFile(write(tmp_path / "a", header, bytes(16)))
    assert "'t'" in caught.value.message


def test_a_key_that_stands_twice(tmp_path: Path) -> None:
    text = json.dumps(entry())
    with pytest.raises(CheckpointError, match="'t' stands twice"):
        SafetensorsFile(write(tmp_path / "a", f'{{"t":{text},"t":{text}}}'.encode(), bytes(8)))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 220))
def test_any_bytes_end_in_a_file_or_a_typed_error(tmp_path_factory: pytest.TempPathFactory, raw: bytes, n: int) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a"
    path.write_bytes(struct.pack("<Q", n) + raw)
    try:
        file = SafetensorsFile(path)
    except CheckpointError:
        return
    for name in file.entries:
        file.tensor(name)
