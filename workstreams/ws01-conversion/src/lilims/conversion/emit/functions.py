"""The functions of a decoder package: decode, prefill and score over one state and one copy of the weights.

Knows the contract's inputs and outputs. Must not know how a program is saved.
"""

from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import Function, Program, types

from ..shapes import STATE, FunctionPlan, Shapes
from ..spec import DecoderSpec
from .bank import Bank
from .blocks import StepInputs, decoder_layer, norm, scaled, softcap

__all__ = ["build"]


def build(spec: DecoderSpec, shapes: Shapes, bank: Bank, *, fused_attention: bool) -> Program:
    """The whole program. The first function of `shapes` is its default."""
    program = Program()
    for plan in shapes.functions:
        bank.new_function()
        program.add_function(plan.name, _function(spec, shapes, plan, bank, fused_attention))
    program.default_function_name = shapes.functions[0].name
    program.export_as_multifunction = True  # else the package describes the default function alone
    return program


def _tables(spec: DecoderSpec) -> dict[str, Any]:
    """The rotary tables that the host sends, by kind."""
    found = {"global": spec.rotary, "local": spec.local_rotary}
    return {kind: table for kind, table in found.items() if table}


def _placeholders(spec: DecoderSpec, shapes: Shapes, plan: FunctionPlan) -> dict[str, Any]:
    """The function's inputs, in the contract's order."""
    tokens, rows = plan.tokens, shapes.rows
    wanted: dict[str, tuple[tuple[int, ...], Any]] = {
        "input_ids": ((1, tokens), types.int32),
        "slot": ((1,), types.int32),
        "attention_mask": ((1, 1, tokens, rows), types.fp16),
    }
    if spec.local_window:
        wanted["local_attention_mask"] = ((1, 1, tokens, rows), types.fp16)
    for kind, prefix in (("global", ""), ("local", "local_")):
        if table := _tables(spec).get(kind):
            wanted[f"{prefix}cos"] = wanted[f"{prefix}sin"] = ((1, 1, tokens, int(table["rotary_dim"])), types.fp16)
    if spec.learned_positions:
        wanted["positions"] = ((tokens,), types.int32)
    if plan.logits == "last" and tokens > 1:
        wanted["last"] = ((1,), types.int32)
    inputs: dict[str, Any] = {name: mb.placeholder(shape, dtype=dtype) for name, (shape, dtype) in wanted.items()}
    inputs[STATE] = mb.state_tensor_placeholder(shapes.state(spec), types.fp16)
    return inputs


def _function(spec: DecoderSpec, shapes: Shapes, plan: FunctionPlan, bank: Bank, fused: bool) -> Any:
    with Function(_placeholders(spec, shapes, plan), opset_version=ct.target.iOS18) as function:
        step = _step(spec, shapes, plan, function.inputs, fused)
        x = mb.gather(
            x=bank.use("embedding"), indices=function.inputs["input_ids"], axis=0, batch_dims=0, validate_indices=False
        )
        x = scaled(x, spec.embedding_scale)
        if spec.learned_positions:
            rows = mb.gather(
                x=bank.use("positions"), indices=function.inputs["positions"], axis=0, validate_indices=False
            )
            x = mb.add(x=x, y=rows)
        for index, layer in enumerate(spec.layers):
            x = decoder_layer(x, layer, bank, index, step)
        if "last" in function.inputs:
            x = mb.gather(x=x, indices=function.inputs["last"], axis=1, batch_dims=0, validate_indices=False)
        function.set_outputs([_logits(norm(x, spec.final_norm, bank, "final_norm"), spec, bank)])
    return function


def _logits(x: Any, spec: DecoderSpec, bank: Bank) -> Any:
    head = bank.use("embedding" if spec.tied else "head")
    bias = bank.use("head.bias") if spec.head_bias else bank.zeros(head.shape[0])
    plain = spec.logit_scale == 1.0 and spec.logit_softcap is None
    logits = mb.linear(x=x, weight=head, bias=bias, **({"name": "logits"} if plain else {}))
    if plain:
        return logits
    return mb.identity(x=softcap(scaled(logits, spec.logit_scale), spec.logit_softcap), name="logits")


def _step(spec: DecoderSpec, shapes: Shapes, plan: FunctionPlan, inputs: dict[str, Any], fused: bool) -> StepInputs:
    attention_spec = spec.layers[0].attention
    groups = attention_spec.heads // attention_spec.kv_heads

    def mask(name: str) -> Any:
        # One row a query head of the group; a single token's row is broadcast over them.
        return inputs[name] if groups == 1 or plan.tokens == 1 else mb.tile(x=inputs[name], reps=[1, 1, groups, 1])

    shared = mask("attention_mask")
    masks = {False: shared, True: mask("local_attention_mask") if spec.local_window else shared}
    state = inputs[STATE]
    return StepInputs(
        tokens=plan.tokens,
        rows=shapes.rows,
        state=state,
        cache=mb.read_state(input=state),
        slot=inputs["slot"],
        slot_end=mb.add(x=inputs["slot"], y=np.int32(plan.tokens)),
        masks=masks,
        rotary={
            kind: (inputs[f"{prefix}cos"], inputs[f"{prefix}sin"])
            for kind, prefix in (("global", ""), ("local", "local_"))
            if kind in _tables(spec)
        },
        state_dim=shapes.state_dim,
        fused=fused,
    )
