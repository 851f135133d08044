"""Quantised matrices as the ops of lilims-kernels want them: as a package has them.

Knows those ops' inputs and attributes, and which forms they take. Must not know whether the library is there.

    QuantizedLinear (lilims)   x, codes, scale, offset?, bias?  →  x · Wᵀ + bias
    QuantizedGather (lilims)   indices, codes, scale, offset?   →  rows of W

Codes, scales and offsets are the package's own bytes, mapped, never changed and shared between processes.
"""

from __future__ import annotations

from ..lowering.scope import Scope
from .weights import QuantizedMatrix

__all__ = ["native_inputs"]

_OFFSET_KINDS = {"int4": 1, "uint4": 2, "int8": 3, "uint8": 4, "fp16": 5, "fp32": 6}
_BLOCK = 16  # blocks are multiples of this, or whole rows
_FLOATS = ("fp16", "fp32")


def native_inputs(scope: Scope, matrix: QuantizedMatrix) -> tuple[list[str], dict[str, int]] | None:
    """Codes, scale and offset (or "") as ONNX values, and attributes; None for a form that the ops do not take."""
    data, scale, offset = matrix.data, matrix.scale, matrix.offset
    groups, blocks = (size or 0 for size in scale.type.shape)
    whole = matrix.bits == 8 or matrix.columns % 2 == 0
    fits = blocks == 1 or (matrix.columns // blocks) % _BLOCK == 0
    known = scale.type.dtype in _FLOATS and (offset is None or offset.type.dtype in _OFFSET_KINDS)
    if not scope.kernels or not whole or not fits or not known or data.raw is None:
        return None
    inputs = [scope.stored(data), scope.stored(scale), ""]
    kind = 0
    if offset is not None:
        if offset.raw is None and offset.type.dtype not in _FLOATS:
            return None
        inputs[2], kind = scope.stored(offset), _OFFSET_KINDS[offset.type.dtype]
    attributes = {"N": matrix.rows, "K": matrix.columns, "groups": groups, "blocks": blocks, "bits": matrix.bits}
    return inputs, {**attributes, "signed": int(matrix.signed), "offset_kind": kind}
