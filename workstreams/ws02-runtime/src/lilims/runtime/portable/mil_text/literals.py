"""Literals of MIL's text, as Value messages.

Knows how values are written, and which field of MIL.proto holds the values of which type (as coremltools'
`converters/mil/backend/mil/helper.py` fills them). Must not know what they are for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..blob import BITS, NUMPY_DTYPES
from ..spec import MIL_DTYPES
from .scanner import NAME, NUMBER, Scanner
from .value_types import TypeReader

__all__ = ["LiteralReader"]

_FIELDS = {"fp32": "floats", "fp64": "doubles", "bool": "bools", "string": "strings", "int64": "longInts",
           "uint64": "longInts", "int16": "ints", "uint16": "ints", "int32": "ints"}  # fmt: skip
_FLOATS = ("fp16", "fp32", "fp64")
_BOOLS = {"true": True, "false": False}
_MAX_OFFSET = (1 << 63) - 1

Scalar = float | str


class LiteralReader:
    """Reads literals into messages."""

    def __init__(self, scanner: Scanner, types: TypeReader) -> None:
        self.scanner, self.types = scanner, types

    def read(self, into: Any, word: str | None = None) -> None:
        """Reads `type(content)` into a Value message; the first word is given where it is taken already."""
        into.type.CopyFrom(self.types.read(word))
        self.scanner.take("(")
        self._content(into)
        self.scanner.take(")")

    def _content(self, into: Any) -> None:
        """What stands within the parentheses; `into.type` says what it is."""
        kind = into.type.WhichOneof("type")
        if kind == "tensorType":
            self._tensor(into)
        elif kind == "stateType":
            raise self.scanner.error("a state has no literals")
        elif self.scanner.text == ")":
            getattr(into.immediateValue, _KINDS[kind]).SetInParent()
        else:
            getattr(self, f"_{_KINDS[kind]}")(into)

    def _inner(self, into: Any, type_: Any) -> None:
        into.type.CopyFrom(type_)
        self._content(into)

    # -- tensors -----------------------------------------------------------------------------------------------------

    def _tensor(self, into: Any) -> None:
        scanner = self.scanner
        if scanner.text == "BLOBFILE" and scanner.kind == NAME:
            self._blob(into.blobFileValue)
            return
        at, tensor = scanner.at, into.type.tensorType
        dtype = MIL_DTYPES[tensor.dataType]
        if not tensor.dimensions:
            self._store(into.immediateValue.tensor, dtype, [self._scalar(dtype)], at)
            return
        values: list[Scalar] = []
        sizes = [-1] * len(tensor.dimensions)
        self._nested(dtype, 0, sizes, values)
        for axis, (dimension, size) in enumerate(zip(tensor.dimensions, sizes, strict=True)):
            size = 0 if size < 0 else size
            if dimension.WhichOneof("dimension") == "unknown":
                dimension.constant.size = size
            elif dimension.constant.size != size and 0 not in sizes[:axis]:
                raise scanner.error(
                    f"a literal has {size} elements along axis {axis}, its type says {dimension.constant.size}", at
                )
        self._store(into.immediateValue.tensor, dtype, values, at)

    def _nested(self, dtype: str, axis: int, sizes: list[int], values: list[Scalar]) -> None:
        """Lists within lists, as deep as the type has dimensions; `sizes` fills with their lengths."""
        scanner, at = self.scanner, self.scanner.at
        if axis == len(sizes) - 1 and dtype != "string":
            found = self._numbers(dtype)
            values += found
            size = len(found)
        else:
            size = 0
            scanner.take("[")
            while scanner.text != "]":
                if axis == len(sizes) - 1:
                    values.append(scanner.string())
                else:
                    self._nested(dtype, axis + 1, sizes, values)
                size += 1
                if not scanner.found(","):
                    break
            scanner.take("]")
        if sizes[axis] not in (-1, size):
            raise scanner.error(f"a literal has rows of {sizes[axis]} and of {size} elements", at)
        sizes[axis] = size

    def _numbers(self, dtype: str) -> list[float]:
        at = self.scanner.at
        words = self.scanner.row()
        try:
            return _converted(words, dtype)
        except (ValueError, OverflowError, KeyError) as exc:
            raise self.scanner.error(f"a list holds something that is no {dtype}: {_short(exc)}", at) from exc

    def _scalar(self, dtype: str) -> Scalar:
        scanner, at, word = self.scanner, self.scanner.at, self.scanner.text
        if dtype == "string":
            return scanner.string()
        if scanner.kind not in (NUMBER, NAME):
            raise scanner.expected(f"a value of type {dtype}")
        scanner.advance()
        try:
            (value,) = _converted([word], dtype)
        except (ValueError, OverflowError, KeyError) as exc:
            raise scanner.error(f"{word[:40]!r} is no {dtype}", at) from exc
        return value  # type: ignore[no-any-return]

    def _store(self, into: Any, dtype: str, values: list[Any], at: int) -> None:
        if dtype in _BOUNDS and values:
            low, high = _BOUNDS[dtype]
            if min(values) < low or max(values) > high:
                raise self.scanner.error(f"a literal does not fit its type {dtype}", at)
        if dtype in _FIELDS:
            field = getattr(into, _FIELDS[dtype])
            field.SetInParent()
            field.values.extend(values)
        elif dtype in BITS:
            into.bytes.values = _packed(dtype, values)
        else:
            raise self.scanner.error(f"literals of type {dtype} are not known here", at)

    def _blob(self, into: Any) -> None:
        """`BLOBFILE(path = string("…"), offset = uint64(64))`."""
        scanner, at = self.scanner, self.scanner.at
        scanner.advance()
        scanner.take("(")
        seen = set()
        while scanner.text != ")":
            key = scanner.name()
            scanner.take("=")
            type_ = self.types.read()
            dtype = MIL_DTYPES.get(type_.tensorType.dataType, "")
            scanner.take("(")
            value = self._scalar(dtype)
            scanner.take(")")
            if key == "path" and isinstance(value, str):
                into.fileName = value
            elif key == "offset" and isinstance(value, int) and 0 <= value <= _MAX_OFFSET:
                into.offset = value
            else:
                raise scanner.error(f"BLOBFILE's {key[:40]!r} is none that is known here", at)
            seen.add(key)
            if not scanner.found(","):
                break
        scanner.take(")")
        if seen != {"path", "offset"}:
            raise scanner.error("BLOBFILE needs a path and an offset", at)

    # -- what holds other values -------------------------------------------------------------------------------------

    def _list(self, into: Any) -> None:
        scanner, at = self.scanner, self.scanner.at
        into.immediateValue.list.SetInParent()
        scanner.take("[")
        while scanner.text != "]":
            self._inner(into.immediateValue.list.values.add(), into.type.listType.type)
            if not scanner.found(","):
                break
        scanner.take("]")
        length, count = into.type.listType.length, len(into.immediateValue.list.values)
        if length.WhichOneof("dimension") == "constant" and length.constant.size != count:
            raise scanner.error(f"a list of {length.constant.size} has {count} elements", at)

    def _tuple(self, into: Any) -> None:
        scanner = self.scanner
        scanner.take("(")
        for i, type_ in enumerate(into.type.tupleType.types):
            if i:
                scanner.take(",")
            self._inner(into.immediateValue.tuple.values.add(), type_)
        scanner.take(")")

    def _dictionary(self, into: Any) -> None:
        scanner, types = self.scanner, into.type.dictionaryType
        into.immediateValue.dictionary.SetInParent()
        scanner.take("{")
        while scanner.found("{"):
            pair = into.immediateValue.dictionary.values.add()
            self._inner(pair.key, types.keyType)
            scanner.take(",")
            self._inner(pair.value, types.valueType)
            scanner.take("}")
            if not scanner.found(","):
                break
        scanner.take("}")


_KINDS = {"listType": "list", "tupleType": "tuple", "dictionaryType": "dictionary"}


def _short(exc: BaseException) -> str:
    return str(exc)[:80]


def _converted(words: list[str], dtype: str) -> list[Any]:
    """Words as numbers of a type.

    Raises:
        ValueError, OverflowError, KeyError: a word is no such number.
    """
    if dtype in _FLOATS:
        return [float.fromhex(word) if "x" in word or "X" in word else float(word) for word in words]
    if dtype == "bool":
        return [_BOOLS[word.strip()] for word in words]
    return [int(word, 16) if "x" in word else int(word) for word in words]


def _bounds(dtype: str) -> tuple[int, int]:
    bits = BITS[dtype] - (dtype == "uint64")  # kept in a field of int64
    return (0, (1 << bits) - 1) if dtype.startswith("u") else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


_BOUNDS = {dtype: _bounds(dtype) for dtype in BITS if dtype not in (*_FLOATS, "bool")}


def _packed(dtype: str, values: list[Any]) -> bytes:
    """The bytes of values, little-endian; elements smaller than a byte from the least significant bit on (blob.py)."""
    if BITS[dtype] >= 8:
        with np.errstate(over="ignore"):
            whole = np.array(values, np.float64 if dtype in _FLOATS else np.int64)
            return whole.astype(np.dtype(NUMPY_DTYPES[dtype]).newbyteorder("<")).tobytes()
    codes = np.array(values, np.int64).astype(np.uint8)
    bits: NDArray[Any] = codes[:, None] >> np.arange(BITS[dtype], dtype=np.uint8) & np.uint8(1)
    return np.packbits(bits.reshape(-1), bitorder="little").tobytes()
