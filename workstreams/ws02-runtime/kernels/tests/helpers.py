"""Makes a session of one op, and the matrices that the tests multiply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from lilims.kernels import library

RANGES = {"int4": (-8, 8), "uint4": (0, 16), "int8": (-128, 128), "uint8": (0, 256)}
OFFSET_KINDS = {None: 0, "int4": 1, "uint4": 2, "int8": 3, "uint8": 4, "fp16": 5, "fp32": 6}


def pack(values: NDArray[Any], dtype: str) -> NDArray[np.uint8]:
    """Whole numbers as bytes; those of 4 bits two in a byte, the first in the low nibble."""
    flat = values.reshape(-1).astype(np.int16)
    if dtype.endswith("8"):
        return (flat & 255).astype(np.uint8)
    flat = np.pad(flat & 15, (0, flat.size % 2))
    return (flat[0::2] | flat[1::2] << 4).astype(np.uint8)


@dataclass
class Matrix:
    """Random codes, scales and offsets, and what they mean."""

    dtype: str
    codes: NDArray[np.int16]
    scale: NDArray[Any]
    offset: NDArray[Any] | None = None
    offset_dtype: str | None = None

    @property
    def values(self) -> NDArray[np.float32]:
        rows, columns = self.codes.shape
        times = rows // self.scale.shape[0], columns // self.scale.shape[1]

        def spread(array: NDArray[Any]) -> NDArray[np.float32]:
            return np.repeat(np.repeat(array, times[0], 0), times[1], 1).astype(np.float32)

        shift = 0 if self.offset is None else spread(self.offset)
        return spread(self.scale) * (self.codes.astype(np.float32) - shift)

    @property
    def attributes(self) -> dict[str, int]:
        (rows, columns), (groups, blocks) = self.codes.shape, self.scale.shape
        return {
            "N": rows, "K": columns, "groups": groups, "blocks": blocks, "bits": int(self.dtype[-1]),
            "signed": int(self.dtype.startswith("int")), "offset_kind": OFFSET_KINDS[self.offset_dtype],
        }  # fmt: skip

    @property
    def tensors(self) -> list[NDArray[Any] | None]:
        if self.offset is None or self.offset_dtype is None:
            offset = None
        elif self.offset_dtype.startswith("fp"):
            offset = self.offset
        else:
            offset = pack(self.offset, self.offset_dtype)
        return [pack(self.codes, self.dtype), self.scale, offset]


def random_matrix(
    dtype: str, rows: int, columns: int, groups: int, blocks: int, offset: str | None = None, seed: int = 0
) -> Matrix:
    rng = np.random.default_rng([seed, rows, columns, blocks])
    codes = rng.integers(*RANGES[dtype], (rows, columns)).astype(np.int16)
    scale = (rng.normal(size=(groups, blocks)) * 0.05).astype(np.float16)
    if offset is None:
        return Matrix(dtype, codes, scale)
    low, high = RANGES.get(offset, RANGES[dtype])
    shift = rng.integers(low, high, (groups, blocks)).astype(np.float32)
    if offset.startswith("fp"):  # not a code
        shift = (shift + 0.37).astype(np.float16 if offset == "fp16" else np.float32)
    return Matrix(dtype, codes, scale, shift, offset)


def session(op: str, matrix: Matrix, bias: NDArray[np.float32] | None = None, threads: int = 2, **changed: int) -> Any:
    """A session with one input, "x", and one output."""
    names, initializers = ["x"], []
    for i, tensor in enumerate([*matrix.tensors, bias]):
        names.append("" if tensor is None else f"t{i}")
        if tensor is not None:
            initializers.append(numpy_helper.from_array(tensor, f"t{i}"))
    while not names[-1]:
        names.pop()
    kind = onnx.TensorProto.INT32 if op == "QuantizedGather" else onnx.TensorProto.FLOAT
    node = helper.make_node(op, names, ["y"], domain="lilims", **{**matrix.attributes, **changed})
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", kind, None)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        initializers,
    )
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid("lilims", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=11)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(str(library()))
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def quantised(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Activations as the products see them: int8 in blocks of 32, the largest value 127."""
    columns = x.shape[-1]
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -columns % 32)])
    blocks = padded.reshape(*x.shape[:-1], -1, 32)
    scale = np.abs(blocks).max(-1, keepdims=True) / np.float32(127)
    codes = np.rint(blocks / np.where(scale == 0, 1, scale))
    return (codes * scale).reshape(padded.shape)[..., :columns].astype(np.float32)
