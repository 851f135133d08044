"""What the small packages compute: for each rule something that it objects to and something near it that is right."""

from __future__ import annotations

from typing import Any

import numpy as np


def update(mb: Any, x: Any, s: Any) -> Any:
    """Read, add, write, and use what the write gives."""
    written = mb.coreml_update_state(state=s, value=mb.add(x=mb.read_state(input=s), y=x))
    return mb.mul(x=written, y=np.float16(2))


def second_read(mb: Any, x: Any, s: Any) -> Any:
    before = mb.read_state(input=s)
    mb.coreml_update_state(state=s, value=mb.add(x=before, y=x))
    x = mb.mul(x=x, y=np.float16(2))
    return mb.add(x=mb.read_state(input=s, name="again"), y=x)


def two_states(mb: Any, x: Any, s: Any, t: Any) -> Any:
    return mb.add(x=update(mb, x, s), y=update(mb, x, t))


def output_written(mb: Any, x: Any, s: Any) -> Any:
    merged = mb.add(x=mb.read_state(input=s), y=x, name="merged")
    mb.coreml_update_state(state=s, value=mb.identity(x=merged))
    return merged


def chunk_written(mb: Any, x: Any, s: Any) -> Any:
    cache = mb.read_state(input=s)
    end = np.array([1, x.shape[1], 32], np.int32)
    value = mb.slice_update(x=cache, update=x, begin=np.zeros(3, np.int32), end=end)
    return mb.mul(x=mb.coreml_update_state(state=s, value=value), y=np.float16(2))


def _codes(mb: Any, dtype: str = "int4") -> Any:
    from coremltools.converters.mil.mil import types

    return np.ones((64, 32), types.nptype_from_builtin(types.string_to_builtin(dtype)))


def quantised(mb: Any, x: Any, groups: int = 1, scale_dtype: Any = np.float16) -> Any:
    scale = np.full((64, groups), 0.5, scale_dtype)
    weight = mb.constexpr_blockwise_shift_scale(data=_codes(mb), scale=scale, name="weight")
    if scale_dtype is np.float32:
        return mb.matmul(x=x, y=mb.cast(x=weight, dtype="fp16"), transpose_y=True)
    return mb.linear(x=x, weight=weight, bias=np.zeros(64, np.float16))


def per_block(mb: Any, x: Any) -> Any:
    return quantised(mb, x, groups=4)


def wide_scale(mb: Any, x: Any) -> Any:
    return mb.relu(x=mb.relu(x=quantised(mb, x, scale_dtype=np.float32)))


def nested(mb: Any, x: Any) -> Any:
    codes = np.ones((64, 1), np.int8)
    scale = mb.constexpr_blockwise_shift_scale(data=codes, scale=np.full((64, 1), 0.5, np.float16), name="inner")
    weight = mb.constexpr_blockwise_shift_scale(data=_codes(mb), scale=scale, name="outer")
    return mb.linear(x=x, weight=weight, bias=np.zeros(64, np.float16))


def table_and_state(mb: Any, x: Any, s: Any) -> Any:
    table = np.arange(16, dtype=np.float16).reshape(1, 1, 16, 1)
    weight = mb.constexpr_lut_to_dense(indices=_codes(mb, "uint4"), lut=table)
    return mb.linear(x=update(mb, x, s), weight=weight, bias=np.zeros(64, np.float16))


def plain(mb: Any, x: Any) -> Any:
    return mb.relu(x=mb.add(x=x, y=x))


def island(mb: Any, x: Any) -> Any:
    wide = mb.cast(x=mb.exp(x=mb.cast(x=plain(mb, x), dtype="fp32"), name="wide"), dtype="fp16")
    return mb.relu(x=mb.relu(x=wide))


def cast_at_the_end(mb: Any, x: Any) -> Any:
    return mb.cast(x=plain(mb, x), dtype="fp32")


def product(mb: Any, x: Any) -> Any:
    return mb.reduce_prod(x=x, axes=[-1])


def attention_op(mb: Any, x: Any) -> Any:
    return mb.scaled_dot_product_attention(query=x, key=x, value=x)


def attention_parts(mb: Any, x: Any) -> Any:
    scores = mb.add(x=mb.matmul(x=x, y=x, transpose_y=True), y=np.float16(1))
    return mb.matmul(x=mb.softmax(x=scores, axis=-1), y=x)
