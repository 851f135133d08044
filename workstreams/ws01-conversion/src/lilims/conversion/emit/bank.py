"""The weights of a program while it is being built: one array each, used by every function.

Knows how a stored tensor becomes constexpr or const values, each const with a `weight_id` by which coremltools' backend
writes its bytes once for all functions. Must not know what a tensor is for.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types

from ..stored import Dense, Palettized, Stored

__all__ = ["Bank"]

_CODE_TYPES = {
    ("i", 4): types.np_int4_dtype,
    ("i", 8): np.dtype(np.int8),
    ("u", 4): types.np_uint4_dtype,
    ("u", 8): np.dtype(np.uint8),
}
_INDEX_TYPES = {
    1: types.np_uint1_dtype,
    2: types.np_uint2_dtype,
    3: types.np_uint3_dtype,
    4: types.np_uint4_dtype,
    6: types.np_uint6_dtype,
    8: np.dtype(np.uint8),
}


class Bank:
    """Stored tensors by role; `use` puts one into the function that is being built."""

    def __init__(self) -> None:
        self._stored: dict[str, Stored] = {}
        self._ids: dict[tuple[str, str], str] = {}
        self._used: dict[str, Any] = {}

    def add(self, role: str, stored: Stored) -> None:
        """Takes a tensor."""
        self._stored[role] = stored

    def new_function(self) -> None:
        """Forgets the values of the function built before: a function cannot use another's."""
        self._used.clear()

    def has(self, role: str) -> bool:
        """Whether there is such a tensor."""
        return role in self._stored

    def use(self, role: str) -> Any:
        """The tensor as a MIL value of type fp16; the same value when it is used twice (a tied table)."""
        if role not in self._used:
            self._used[role] = self._emit(role, self._stored[role])
        return self._used[role]

    def zeros(self, size: int) -> Any:
        """fp16 zeros [size]: the bias of a linear without one. coremltools would write its own for every such op."""
        name = f"zeros_{size}"
        if name not in self._used:
            self._used[name] = self._const(name, "values", np.zeros(size, np.float16))
        return self._used[name]

    def _emit(self, role: str, stored: Stored) -> Any:
        name = role.replace(".", "_")
        if isinstance(stored, Dense):
            return self._const(name, "values", stored.values)
        if isinstance(stored, Palettized):
            indices = stored.indices.view(_INDEX_TYPES[stored.index_bits])
            table = stored.table[:, None, :, None]  # [groups of N, groups of K, 2^bits, values per index]
            return mb.constexpr_lut_to_dense(
                indices=self._const(name, "indices", indices), lut=self._const(name, "table", table), name=name
            )
        codes = stored.codes.view(_CODE_TYPES[stored.codes.dtype.kind, stored.code_bits])
        parts = {"data": self._const(name, "codes", codes), "scale": self._const(name, "scale", stored.scale)}
        if stored.offset is not None:
            parts["offset"] = self._const(name, "offset", stored.offset)
        return mb.constexpr_blockwise_shift_scale(**parts, name=name)

    def _const(self, name: str, part: str, array: Any) -> Any:
        value = mb.const(val=array, name=f"{name}_{part}")
        if (name, part) not in self._ids:
            header = f"{array.dtype.str} {array.dtype.metadata} {array.shape} ".encode()
            self._ids[name, part] = hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()
        value.op.weight_id = self._ids[name, part]
        return value
