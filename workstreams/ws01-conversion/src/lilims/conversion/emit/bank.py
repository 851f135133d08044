"""The weights of a program while it is being built: a placeholder each, used by every function.

Knows how a placed tensor becomes constexpr or const values. The bytes lie in weight.bin already: a constant here has
the right type and shape, no memory of its own, and a `weight_id` that names its place. Must not know what it is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types

from ..stored import Dense, Indexed, Palettized
from ..weights.placing import Part, Placed

__all__ = ["Bank", "offset_of"]

_TYPES = {
    "fp16": np.dtype(np.float16),
    "int4": types.np_int4_dtype,
    "int8": np.dtype(np.int8),
    "uint1": types.np_uint1_dtype,
    "uint2": types.np_uint2_dtype,
    "uint3": types.np_uint3_dtype,
    "uint4": types.np_uint4_dtype,
    "uint6": types.np_uint6_dtype,
    "uint8": np.dtype(np.uint8),
}


_PLACED = "weight.bin:"


def offset_of(weight_id: str | None) -> int | None:
    """The offset in weight.bin of a constant with this id, None where the id names no place."""
    placed = weight_id is not None and weight_id.startswith(_PLACED)
    return int(str(weight_id).removeprefix(_PLACED)) if placed else None


def _widened(place: Part, part: str, ones: tuple[int, ...]) -> Part:
    """The part with dimensions of 1: behind those of the tensor, which in a table are the first two."""
    shape = (*place.shape[:2], *ones, *place.shape[2:]) if part == "table" else (*place.shape, *ones)
    return replace(place, shape=shape, values=None if place.values is None else place.values.reshape(shape))


class Bank:
    """Placed tensors by role; `use` puts one into the function that is being built."""

    def __init__(self, placed: Mapping[str, Placed]) -> None:
        self._placed = placed
        self._used: dict[str, Any] = {}

    def new_function(self) -> None:
        """Forgets the values of the function built before: a function cannot use another's."""
        self._used.clear()

    def has(self, role: str) -> bool:
        """Whether there is such a tensor."""
        return role in self._placed

    def use(self, role: str, *, trailing: int = 0) -> Any:
        """The tensor as a MIL value of type fp16; the same value when it is used twice (a tied table).

        Args:
            trailing: dimensions of 1 behind the tensor's own, as a convolution's weight has two: the same bytes.
        """
        key = f"{role}.conv" if trailing else role
        if key not in self._used:
            self._used[key] = self._emit(key, self._placed[role], (1,) * trailing)
        return self._used[key]

    def linear(self, x: Any, weight: str, bias: str, **names: str) -> Any:
        """x [1, S, in] → [1, S, out] by a matrix [out, in], and its bias if there is one."""
        matrix = self.use(weight)
        offset = self.use(bias) if self.has(bias) else self.zeros(matrix.shape[0])
        return mb.linear(x=x, weight=matrix, bias=offset, **names)

    def zeros(self, size: int) -> Any:
        """fp16 zeros [size]: the bias of a linear without one. coremltools would write its own for every such op."""
        name = f"zeros_{size}"
        if name not in self._used:
            value = mb.const(val=np.zeros(size, np.float16), name=f"{name}_values")
            value.op.weight_id = name  # not placed: the exporter writes it, once
            self._used[name] = value
        return self._used[name]

    def _emit(self, role: str, placed: Placed, ones: tuple[int, ...]) -> Any:
        name = role.replace(".", "_")
        parts = {
            part: self._const(f"{name}_{part}", _widened(place, part, ones)) for part, place in placed.parts.items()
        }
        if isinstance(placed.form, Dense):
            return parts["values"]
        if isinstance(placed.form, Palettized):
            return mb.constexpr_lut_to_dense(indices=parts["indices"], lut=parts["table"], name=name)
        if isinstance(placed.form, Indexed):
            indices, table = parts.pop("indices"), parts.pop("table")
            parts["codes"] = mb.constexpr_lut_to_dense(indices=indices, lut=table, name=f"{name}_values")
        return mb.constexpr_blockwise_shift_scale(data=parts.pop("codes"), **parts, name=name)

    @staticmethod
    def _const(name: str, part: Part) -> Any:
        dtype = _TYPES[part.dtype]
        if part.values is None:
            assert part.offset is not None
            # Not a number, so that whatever is computed from a placeholder shows (`export` refuses it).
            nothing = np.full((), np.nan, dtype) if dtype.kind == "f" else np.zeros((), dtype)
            value = mb.const(val=np.broadcast_to(nothing, part.shape), name=name)
            value.op.weight_id = f"{_PLACED}{part.offset}"
        else:
            value = mb.const(val=part.values.view(dtype), name=name)
        return value
