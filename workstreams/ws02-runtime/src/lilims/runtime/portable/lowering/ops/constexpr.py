"""`const` and the `constexpr_*` ops: weights as literals, decompressed when an op asks for them and not before.

Knows the ops' parameters. Must not know the arithmetic (decompress.py) or which weights a fusion takes compressed.

Nothing is emitted here: a decompressed weight is a `Constant` whose `load` computes it, so a weight that every user
takes in its compressed form is never unpacked. With precision "fp16" the result is rounded as a device would.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from lilims.core.errors import PackageError

from ... import decompress
from ...program import Array, Constant, Op, TensorType
from ..scope import Scope, lowers
from ..unpacking import unpack_blocks, unpack_channels


@lowers("const")
def const(scope: Scope, op: Op) -> None:
    literal = op.inputs.get("val", ())
    if len(literal) != 1 or not isinstance(literal[0], Constant) or len(op.outputs) != 1:
        raise PackageError("a const op holds one literal", where=op.name)
    scope.constants[op.outputs[0].name] = literal[0]


@lowers("constexpr_affine_dequantize")
def constexpr_affine_dequantize(scope: Scope, op: Op) -> None:
    data, scale, zero_point = (_load(scope, op, key) for key in ("quantized_data", "scale", "zero_point"))
    axis = scope.scalar(op, "axis")
    _define(scope, op, lambda: decompress.affine_dequantize(data(), scale(), zero_point(), axis))
    if scope.standard:
        codes, factor, zero = (scope.literal_of(op, key) for key in ("quantized_data", "scale", "zero_point"))
        _unpacked(scope, op, unpack_channels(codes, factor, zero, axis))


@lowers("constexpr_blockwise_shift_scale")
def constexpr_blockwise_shift_scale(scope: Scope, op: Op) -> None:
    data, scale, offset = (_load(scope, op, key) for key in ("data", "scale", "offset"))
    _define(scope, op, lambda: decompress.blockwise_shift_scale(data(), scale(), offset()))
    if scope.standard:
        given = scope.literal_of(op, "offset") if scope.has(op, "offset") else None
        _unpacked(scope, op, unpack_blocks(scope.literal_of(op, "data"), scope.literal_of(op, "scale"), given))


@lowers("constexpr_lut_to_dense")
def constexpr_lut_to_dense(scope: Scope, op: Op) -> None:
    indices, lut = (_load(scope, op, key) for key in ("indices", "lut"))
    if scope.has(op, "shape"):  # iOS 16
        shape = tuple(scope.ints(op, "shape"))
        _define(scope, op, lambda: decompress.lut_to_dense_packed(indices(), lut(), shape))
    else:
        axis = scope.scalar(op, "vector_axis", None)
        _define(scope, op, lambda: decompress.lut_to_dense(indices(), lut(), axis))


@lowers("constexpr_sparse_to_dense")
def constexpr_sparse_to_dense(scope: Scope, op: Op) -> None:
    nonzero, mask = (_load(scope, op, key) for key in ("nonzero_data", "mask"))
    if scope.has(op, "shape"):  # iOS 16
        shape = tuple(scope.ints(op, "shape"))
        _define(scope, op, lambda: decompress.sparse_to_dense_packed(nonzero(), mask(), shape))
    else:
        _define(scope, op, lambda: decompress.sparse_to_dense(nonzero(), mask()))


@lowers("constexpr_lut_to_sparse")
def constexpr_lut_to_sparse(scope: Scope, op: Op) -> None:
    mask, nonzero, lut = (_load(scope, op, key) for key in ("indices_mask", "indices_nonzero_data", "lut"))
    axis = scope.scalar(op, "vector_axis", None)
    _define(scope, op, lambda: decompress.lut_to_sparse(mask(), nonzero(), lut(), axis))


@lowers("constexpr_sparse_blockwise_shift_scale")
def constexpr_sparse_blockwise_shift_scale(scope: Scope, op: Op) -> None:
    keys = ("data_mask", "nonzero_data", "scale", "offset")
    mask, nonzero, scale, offset = (_load(scope, op, key) for key in keys)
    _define(scope, op, lambda: decompress.sparse_blockwise_shift_scale(mask(), nonzero(), scale(), offset()))


@lowers("constexpr_cast")
def constexpr_cast(scope: Scope, op: Op) -> None:
    source = _load(scope, op, "source_val")
    if scope.scalar(op, "output_dtype") != "fp32":
        raise PackageError("constexpr_cast goes to fp32 only", where=op.name)
    _define(scope, op, lambda: source().astype(np.float32))


def _load(scope: Scope, op: Op, key: str) -> Callable[[], Any]:
    """How to load an input that is a literal or another constexpr op's result; an absent one loads as None."""
    if not scope.has(op, key):
        return lambda: None
    return scope.literal_of(op, key).load


def _define(scope: Scope, op: Op, compute: Callable[[], Array | tuple[Array, ...]]) -> None:
    """Makes the op's outputs constants that are computed when first loaded."""

    def results() -> tuple[Array, ...]:
        try:
            found = compute()
        except PackageError as exc:
            raise PackageError(exc.message, where=f"{scope.function.name}/{op.name}", hint=exc.hint) from exc
        arrays = found if isinstance(found, tuple) else (found,)
        for array, output in zip(arrays, op.outputs, strict=True):
            if not isinstance(output.type, TensorType) or array.shape != output.type.shape:
                raise PackageError(f"its result is {list(array.shape)}, not {output.type}", where=op.name)
        return arrays

    shared = functools.cache(results) if len(op.outputs) > 1 else results
    for index, output in enumerate(op.outputs):
        if not isinstance(output.type, TensorType):
            raise PackageError("the result of a constexpr op is a tensor", where=op.name)
        rounds = scope.precision == "fp16" and output.type.dtype == "fp16"
        scope.constants[output.name] = Constant(output.type, functools.partial(_pick, shared, index, rounds))


def _unpacked(scope: Scope, op: Op, unpack: Callable[[Scope], str] | None) -> None:
    if unpack is not None and scope.precision != "fp16":
        scope.unpacked[id(scope.constants[op.outputs[0].name])] = unpack


def _pick(results: Callable[[], tuple[Array, ...]], index: int, rounds: bool) -> Array:
    array = results()[index]
    with np.errstate(over="ignore"):  # beyond fp16 is infinite, as it is on a device
        return array.astype(np.float16) if rounds else array
