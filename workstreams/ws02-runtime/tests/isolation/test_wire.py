"""Messages between the processes: what is written is read, and nothing else is believed."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.runtime.isolation.wire import WireError, read_message, write_message


def message(header: Any, content: bytes = b"", *, magic: bytes = b"LiMs", size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<4sIQ", magic, len(text), len(content) if size is None else size) + text + content


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int32", "int64", "uint16", "bool"])
@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (2, 3, 4)], ids=str)
def test_arrays_arrive_as_they_are(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.random.Generator(np.random.PCG64(1)).integers(0, 2, shape).astype(dtype)
    file = io.BytesIO()
    write_message(file, {"op": "é"}, {"a": array, "b": np.arange(3.0)})
    write_message(file, {"op": "next"})
    file.seek(0)
    header, arrays = read_message(file) or ({}, {})
    assert header == {"op": "é"}
    assert (arrays["a"].dtype, arrays["a"].shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(arrays["a"], array)
    np.testing.assert_array_equal(arrays["b"], [0, 1, 2])
    assert read_message(file) == ({"op": "next"}, {})
    assert read_message(file) is None


def test_strided_arrays() -> None:
    array = np.arange(24).reshape(4, 6)[::2, ::-3].T
    file = io.BytesIO()
    write_message(file, {}, {"a": array})
    file.seek(0)
    np.testing.assert_array_equal((read_message(file) or ({}, {}))[1]["a"], array)


def test_arrays_that_are_not_sent() -> None:
    file = io.BytesIO()
    with pytest.raises(WireError, match="a: arrays of object are not sent"):
        write_message(file, {}, {"a": np.array([object()])})
    with pytest.raises(WireError, match="too large"):
        write_message(file, {"text": "x" * (1 << 20)})
    assert file.getvalue() == b""


A = ["a", "float32", [2]]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"LiM", "breaks off"),
        (message({"arrays": []})[:-1], "breaks off"),
        (message({"arrays": [A]}, b"1234567", size=8), "breaks off"),
        (message({"arrays": []}, magic=b"HTTP"), "no message"),
        (message({"arrays": []}, size=1 << 40), "no message"),
        (struct.pack("<4sIQ", b"LiMs", 1 << 30, 0), "no message"),
        (message(b"{"), "header is wrong"),
        (message(b"[" * 100_000), "header is wrong"),
        (message([]), "header is wrong"),
        (message({}), "header is wrong"),
        (message({"arrays": [["a", "object", [2]]]}), "header is wrong"),
        (message({"arrays": [["a", ["f4"], [2]]]}), "header is wrong"),
        (message({"arrays": [["a", "float32"]]}), "header is wrong"),
        (message({"arrays": [["a", "float32", ["x"]]]}), "header is wrong"),
        (message({"arrays": [A]}, b"1234"), "disagree"),
        (message({"arrays": [["a", "float32", [1 << 60]]]}, b"1234"), "disagree"),
        (message({"arrays": [["a", "float32", [-2, -1]]]}, b"12345678"), "disagree"),
    ],
    ids=[
        "prefix", "header", "arrays", "foreign", "large-arrays", "large-header", "json", "deep", "list", "no-table",
        "dtype", "dtype-list", "no-shape", "shape", "fewer-bytes", "more-values", "negative",
    ],
)  # fmt: skip
def test_what_is_no_message(raw: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words):
        read_message(io.BytesIO(raw))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(raw: bytes, prefixed: bool) -> None:
    file = io.BytesIO(message(raw[:50], raw[50:]) if prefixed else raw)
    try:
        found = read_message(file)
    except WireError:
        return
    assert found is None if not raw and not prefixed else found is not None
