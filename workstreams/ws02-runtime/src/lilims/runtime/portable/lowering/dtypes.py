"""The precisions that a graph can have, and what holds its values.

Must not import onnx: who runs a graph needs these too.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

__all__ = ["ONNX_DTYPES", "Precision"]

Precision = Literal["fast", "exact", "fp16"]

# MIL element type -> numpy type of the ONNX tensor that holds it.
ONNX_DTYPES: dict[str, type[np.generic]] = {
    "fp16": np.float32, "fp32": np.float32, "fp64": np.float64, "bool": np.bool_, "string": np.object_,
    "int4": np.int8, "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
    "uint1": np.uint8, "uint2": np.uint8, "uint3": np.uint8, "uint4": np.uint8, "uint6": np.uint8,
    "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64,
}  # fmt: skip
