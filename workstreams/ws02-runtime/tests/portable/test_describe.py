"""What `describe_package` says about packages whose making is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.testing import test_data
from lilims.runtime.portable import describe_package
from lilims.runtime.portable.describe import describe_program
from lilims.runtime.portable.program import Program

from .build import Fn, literal


def test_a_package_with_two_functions_over_shared_weights(ct: Any, mb: Any, save: Callable[..., Path]) -> None:
    from coremltools.converters.mil.mil import types

    codes = np.random.default_rng(0).integers(-8, 8, (32, 64)).astype(types.np_int4_dtype)

    def make(size: int) -> Any:
        @mb.program(
            input_specs=[mb.TensorSpec((size, 64), types.fp16), mb.StateTensorSpec((4, 8), types.fp16)],
            opset_version=ct.target.iOS18,
        )
        def program(x: Any, cache: Any) -> Any:
            data, scale = mb.const(val=codes), mb.const(val=np.ones((32, 2), np.float16))
            data.op.weight_id, scale.op.weight_id = "codes", "scale"
            weight = mb.constexpr_blockwise_shift_scale(data=data, scale=scale)
            mb.coreml_update_state(state=cache, value=mb.add(x=mb.read_state(input=cache), y=np.float16(1)))
            return mb.linear(x=x, weight=weight, name="y")

        return program

    info = describe_package(save(decode=make(1), prefill=make(16)))
    assert (info.default_function, [f.name for f in info.functions]) == ("decode", ["decode", "prefill"])
    prefill = info.functions[1]
    assert [(f.name, f.dtype, f.shape) for f in prefill.inputs] == [("x", "fp16", (16, 64))]
    assert [(f.name, f.dtype, f.shape) for f in prefill.outputs] == [("y", "fp16", (16, 32))]
    assert [(f.name, f.dtype, f.shape) for f in prefill.states] == [("cache", "fp16", (4, 8))]
    assert prefill.ops["linear"] == 1
    assert prefill.ops["constexpr_blockwise_shift_scale"] == 1
    assert "const" not in prefill.ops
    quantized = next(group for group in info.weights if group.scheme == "int4 block 32")
    assert (quantized.tensors, quantized.parameters, quantized.bytes) == (1, 2048, 2048 // 2 + 2 * 64)
    assert quantized.bits_per_weight == 4.5
    assert info.state_bytes == 64
    as_json = json.loads(json.dumps(info.as_dict()))
    assert as_json["weight_bytes"] == sum(group["bytes"] for group in as_json["weights"])


SCHEMES: dict[str, tuple[str, dict[str, Any]]] = {
    "int8 per-channel": ("blockwise_shift_scale", {"data": np.zeros((4, 8), np.int8), "scale": np.ones((4, 1))}),
    "int8 per-tensor, offset": (
        "blockwise_shift_scale",
        {"data": np.zeros((4, 8), np.int8), "scale": np.ones((1, 1)), "offset": np.zeros((1, 1), np.int8)},
    ),
    "uint8 blocks 2x4": ("blockwise_shift_scale", {"data": np.zeros((4, 8), np.uint8), "scale": np.ones((2, 2))}),
    "uint4 block 2": ("blockwise_shift_scale", {"data": literal(np.zeros((4, 8)), "uint4"), "scale": np.ones((4, 4))}),
    "lut-4 per-tensor": (
        "lut_to_dense",
        {"indices": literal(np.zeros((4, 8)), "uint4"), "lut": np.ones((1, 1, 16, 1))},
    ),
    "lut-2 group 2": ("lut_to_dense", {"indices": np.zeros((4, 8), np.uint8), "lut": np.ones((2, 1, 4, 1))}),
    "uint8 per-tensor": (
        "affine_dequantize",
        {"quantized_data": np.zeros((4, 8), np.uint8), "scale": np.ones(()), "zero_point": np.uint8(0), "axis": 0},
    ),
    "sparse fp32": ("sparse_to_dense", {"nonzero_data": np.ones(32, np.float32), "mask": np.ones((4, 8), np.uint8)}),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_by_their_names(scheme: str) -> None:
    op, inputs = SCHEMES[scheme]
    fn = Fn()
    given = {k: v.astype(np.float32) if getattr(v, "dtype", None) == np.float64 else v for k, v in inputs.items()}
    weight = fn.op(f"constexpr_{op}", ("fp32", (4, 8)), **given)
    groups = describe_program(Program({"main": fn.function(weight)}, "main"))
    assert [(group.scheme, group.tensors, group.parameters) for group in groups] == [(scheme, 1, 32)]


def test_nested_schemes_are_one_weight() -> None:
    fn = Fn()
    lut = np.zeros((1, 1, 16, 1), np.int8)
    codes = fn.op("constexpr_lut_to_dense", ("int8", (4, 8)), indices=literal(np.zeros((4, 8)), "uint4"), lut=lut)
    scale = np.ones((4, 1), np.float16)
    weight = fn.op("constexpr_blockwise_shift_scale", ("fp16", (4, 8)), data=codes, scale=scale)
    groups = describe_program(Program({"main": fn.function(weight)}, "main"))
    assert [(g.scheme, g.bytes) for g in groups] == [("lut-4 per-tensor scaled per-channel", 16 + 16 + 8)]


def test_packages_that_others_made() -> None:
    folder = test_data("coreml/silero-vad")
    info = describe_package(folder / "unified_int8.mlpackage")
    assert {group.scheme: group.tensors for group in info.weights}["int8 per-channel"] == 7
    assert info.parameters == 309_120
    assert info.functions[0].ops["conv"] == 6
    flexible = describe_package(folder / "silero-vad-encoder-v6.0.0.mlpackage").functions[0].inputs[0]
    assert flexible.shape == (1, 129, None)


def test_ops_of_bodies_are_counted(ct: Any, mb: Any, save: Callable[..., Path]) -> None:
    @mb.program(input_specs=[mb.TensorSpec((1,))], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        less = lambda v: mb.less(x=v, y=np.float32(9))  # noqa: E731
        return mb.while_loop(_cond=less, _body=lambda v: mb.square(x=v), loop_vars=(x,), name="y")

    ops = describe_package(save(main=program)).functions[0].ops
    assert ops.items() >= {"while_loop": 1, "less": 1, "square": 1}.items()
