"""The functions of a decoder package: decode, prefill and score over one state and one copy of the weights.

A package may have some of the model's layers only: the residual stream then comes in as `hidden`, or goes out as
`hidden_out`. Masks and rotary tables that none of its layers uses are no inputs of it.

Knows the contract's inputs and outputs. Must not know how a program is saved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import Function, Program, types

from ..shapes import STATE, FunctionPlan, PackagePlan, Shapes
from ..spec import DecoderSpec, Layer
from .bank import Bank
from .blocks import StepInputs, conv, decoder_layer, from_conv, is_conv, norm, scaled, softcap, to_conv

__all__ = ["HIDDEN", "HIDDEN_OUT", "LOGITS", "Part", "build", "logits_of", "placeholders", "step_inputs"]

HIDDEN, HIDDEN_OUT, LOGITS = "hidden", "hidden_out", "logits"


@dataclass(frozen=True)
class Part:
    """What a program has of the model: the layers of a package, and what stands before and behind them."""

    spec: DecoderSpec
    shapes: Shapes
    package: PackagePlan

    @property
    def begins(self) -> bool:
        return self.package.first == 0

    @property
    def ends(self) -> bool:
        return self.package.end == len(self.spec.layers)

    @property
    def takes_hidden(self) -> bool:
        """Whether rows [1, S, D] come in, of the host's embedding or from the package before, instead of token ids."""
        return not self.begins or self.shapes.options.embedding == "host"

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.spec.layers[self.package.first : self.package.end]

    @property
    def masks(self) -> dict[bool, str]:
        """Is a layer local? → the input that is its mask; of the kinds of layers that there are."""
        local = {layer.attention.window is not None for layer in self.layers}
        of = {False: "attention_mask", True: "local_attention_mask" if self.spec.local_window else "attention_mask"}
        return {kind: of[kind] for kind in sorted(local)}

    @property
    def tables(self) -> dict[str, tuple[str, int]]:
        """The rotary tables that the layers use: kind → prefix of the inputs' names, width."""
        used = {layer.attention.rotary for layer in self.layers}
        found = {"global": ("", self.spec.rotary), "local": ("local_", self.spec.local_rotary)}
        return {kind: (name, int(t["rotary_dim"])) for kind, (name, t) in found.items() if t and kind in used}


def build(
    spec: DecoderSpec, shapes: Shapes, bank: Bank, *, fused_attention: bool, package: PackagePlan | None = None
) -> Program:
    """The program of a package, the first one if none is named. The first function of `shapes` is its default."""
    program, part = Program(), Part(spec, shapes, package or shapes.packages[0])
    for plan in shapes.functions:
        bank.new_function()
        program.add_function(plan.name, _function(part, plan, bank, fused_attention))
    program.default_function_name = shapes.functions[0].name
    program.export_as_multifunction = True  # else the package describes the default function alone
    return program


def placeholders(part: Part, plan: FunctionPlan) -> dict[str, Any]:
    """The function's inputs, in the contract's order."""
    spec, tokens = part.spec, plan.tokens
    wanted: dict[str, tuple[tuple[int, ...], Any]] = {"slot": ((1,), types.int32)}
    if part.takes_hidden:
        wanted = {HIDDEN: ((1, tokens, spec.hidden_size), types.fp16), **wanted}
    else:
        wanted = {"input_ids": ((1, tokens), types.int32), **wanted}
    for name in dict.fromkeys(part.masks.values()):
        wanted[name] = ((1, 1, tokens, plan.rows), types.fp16)
    for prefix, width in part.tables.values():
        wanted[f"{prefix}cos"] = wanted[f"{prefix}sin"] = ((1, 1, tokens, width), types.fp16)
    if spec.learned_positions and part.begins:
        wanted["positions"] = ((tokens,), types.int32)
    if part.ends and plan.logits == "last" and tokens > 1:
        wanted["last"] = ((1,), types.int32)
    inputs: dict[str, Any] = {name: mb.placeholder(shape, dtype=dtype) for name, (shape, dtype) in wanted.items()}
    inputs[STATE] = mb.state_tensor_placeholder(part.shapes.state(spec, part.package), types.fp16)
    return inputs


def _function(part: Part, plan: FunctionPlan, bank: Bank, fused: bool) -> Any:
    spec = part.spec
    with Function(placeholders(part, plan), opset_version=ct.target.iOS18) as function:
        step = step_inputs(part, plan, function.inputs, fused)
        x = _embedded(part, function.inputs, bank)
        if part.shapes.options.layout == "conv":
            x = to_conv(x)
        for index, layer in enumerate(part.layers, part.package.first):
            x = decoder_layer(x, layer, bank, index, step)
        if not part.ends:
            function.set_outputs([mb.identity(x=from_conv(x) if is_conv(x) else x, name=HIDDEN_OUT)])
            return function
        if "last" in function.inputs:
            axis = 3 if is_conv(x) else 1
            x = mb.gather(x=x, indices=function.inputs["last"], axis=axis, batch_dims=0, validate_indices=False)
        function.set_outputs([logits_of(norm(x, spec.final_norm, bank, "final_norm"), spec, bank)])
    return function


def _embedded(part: Part, inputs: dict[str, Any], bank: Bank) -> Any:
    """What goes into the part's first layer, [1, S, D]: the scaled embedding with its positions, or what came in."""
    spec, x = part.spec, inputs.get(HIDDEN)
    if x is None:
        x = mb.gather(
            x=bank.use("embedding"), indices=inputs["input_ids"], axis=0, batch_dims=0, validate_indices=False
        )
    if part.begins:
        x = scaled(x, spec.embedding_scale)
    if spec.learned_positions and part.begins:
        rows = mb.gather(x=bank.use("positions"), indices=inputs["positions"], axis=0, validate_indices=False)
        x = mb.add(x=x, y=rows)
    return x


def logits_of(x: Any, spec: DecoderSpec, bank: Bank) -> Any:
    role = "embedding" if spec.tied else "head"
    if is_conv(x):
        logits = from_conv(conv(x, bank, role, "head.bias"))
        return mb.identity(x=softcap(scaled(logits, spec.logit_scale), spec.logit_softcap), name=LOGITS)
    plain = spec.logit_scale == 1.0 and spec.logit_softcap is None
    logits = bank.linear(x, role, "head.bias", **({"name": LOGITS} if plain else {}))
    if plain:
        return logits
    return mb.identity(x=softcap(scaled(logits, spec.logit_scale), spec.logit_softcap), name=LOGITS)


def step_inputs(part: Part, plan: FunctionPlan, inputs: dict[str, Any], fused: bool) -> StepInputs:
    attention_spec = part.spec.layers[0].attention
    groups = attention_spec.heads // attention_spec.kv_heads
    # One row a query head of the group; a single token's row is broadcast over them.
    tiled = {
        name: inputs[name] if groups == 1 or plan.tokens == 1 else mb.tile(x=inputs[name], reps=[1, 1, groups, 1])
        for name in dict.fromkeys(part.masks.values())
    }
    state = inputs[STATE]
    return StepInputs(
        tokens=plan.tokens,
        rows=plan.rows,
        first_layer=part.package.first,
        state=state,
        cache=mb.read_state(input=state),
        slot=inputs["slot"],
        slot_end=mb.add(x=inputs["slot"], y=np.int32(plan.tokens)),
        masks={local: tiled[name] for local, name in part.masks.items()},
        rotary={kind: (inputs[f"{name}cos"], inputs[f"{name}sin"]) for kind, (name, _) in part.tables.items()},
        state_dim=part.shapes.state_dim,
        fused=fused,
    )
