"""One layer, or the head, as a program of its own whose matrices are inputs, and what enters them outputs.

    layer   hidden, slot, masks, tables, matrices, state (of this layer)  →  hidden_out, what enters its matrices
    head    hidden, the head's matrix  →  logits, what enters the matrix

So a matrix can be another one at each call, and it is seen what it is multiplied with. For each such value there is a
function that computes no more than it, too. Vectors are constants.
Knows how a program is opened up. Must not know what that is good for: such a program is never shipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import coremltools as ct
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import Function, Program, types

from ..shapes import FunctionPlan, GraphOptions, PackagePlan, Shapes, round_up
from ..spec import DecoderSpec
from ..weights.placing import Placed
from .bank import Bank
from .blocks import decoder_layer, norm
from .functions import HIDDEN, HIDDEN_OUT, LOGITS, Part, logits_of, placeholders, step_inputs

__all__ = [
    "HIDDEN",
    "HIDDEN_OUT",
    "LOGITS",
    "WHOLE",
    "OpenBank",
    "add_stages",
    "build_head",
    "build_layer",
    "input_name",
]

WHOLE = "whole"


def input_name(role: str) -> str:
    """The name of the input that is the matrix of a role."""
    return role.replace(".", "_")


def seen_name(role: str) -> str:
    """The name of the output that is what enters the matrix of a role."""
    return f"into_{input_name(role)}"


class OpenBank(Bank):
    """Vectors as constants, matrices as inputs of the function that is being built."""

    def __init__(self, vectors: Mapping[str, Placed], matrices: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__(vectors)
        self._matrices = matrices
        self._inputs: Mapping[str, Any] = {}
        self.seen: dict[str, Any] = {}

    def placeholders(self) -> dict[str, Any]:
        """The matrices, [out, in], as inputs."""
        return {input_name(r): mb.placeholder(shape, dtype=types.fp16) for r, shape in self._matrices.items()}

    def take(self, inputs: Mapping[str, Any]) -> None:
        """The inputs of the function that is being built."""
        self._inputs, self.seen = inputs, {}

    def linear(self, x: Any, weight: str, bias: str, **names: str) -> Any:
        self.seen[weight] = x
        if bias not in self._placed:
            return mb.matmul(x=x, y=self._inputs[input_name(weight)], transpose_y=True, **names)
        product = mb.matmul(x=x, y=self._inputs[input_name(weight)], transpose_y=True)
        return mb.add(x=product, y=self.use(bias), **names)

    def outputs(self) -> dict[str, list[str]]:
        """Output for each value that enters matrices → the matrices, in the order in which they are reached."""
        found: dict[int, list[str]] = {}
        for role, x in self.seen.items():
            found.setdefault(id(x), []).append(role)
        return {seen_name(roles[0]): roles for roles in found.values()}


def build_layer(spec: DecoderSpec, index: int, bank: OpenBank, tokens: int) -> tuple[Program, dict[str, list[str]]]:
    """A layer over `tokens` tokens that begin a text, and `OpenBank.outputs`."""
    rows = round_up(tokens, 32)
    plan = FunctionPlan(WHOLE, tokens, rows, "all")
    package = PackagePlan("model", index, index + 1)
    options = GraphOptions(embedding="host")  # rows come in, not ids
    part = Part(spec, Shapes(tokens, rows, round_up(spec.head_dim, 32), (plan,), (package,), options), package)

    inputs = placeholders(part, plan)
    inputs.pop("positions", None)  # they were added to what comes in
    with Function({**inputs, **bank.placeholders()}, opset_version=ct.target.iOS18) as function:
        bank.take(function.inputs)
        step = step_inputs(part, plan, function.inputs, fused=True)
        x = decoder_layer(function.inputs[HIDDEN], spec.layers[index], bank, index, step)
        return _program(function, mb.identity(x=x, name=HIDDEN_OUT), bank)


def build_head(spec: DecoderSpec, bank: OpenBank, tokens: int) -> tuple[Program, dict[str, list[str]]]:
    """The last norm and the head over `tokens` tokens, logits of all; and `OpenBank.outputs`."""

    inputs = {HIDDEN: mb.placeholder((1, tokens, spec.hidden_size), dtype=types.fp16), **bank.placeholders()}
    with Function(inputs, opset_version=ct.target.iOS18) as function:
        bank.take(function.inputs)
        x = norm(function.inputs[HIDDEN], spec.final_norm, bank, "final_norm")
        return _program(function, logits_of(x, spec, bank), bank)


def _program(function: Any, result: Any, bank: OpenBank) -> tuple[Program, dict[str, list[str]]]:
    outputs = bank.outputs()
    seen = [mb.identity(x=bank.seen[roles[0]], name=name) for name, roles in outputs.items()]
    function.set_outputs([result, *seen])
    program = Program()
    program.add_function(WHOLE, function)
    program.default_function_name = WHOLE
    program.export_as_multifunction = True
    return program, outputs


def add_stages(package: Path, stages: Iterable[str]) -> None:
    """Adds a function for each of these outputs, which gives it alone; whoever runs it may leave out what is behind."""
    from coremltools import proto

    path = package / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = proto.Model_pb2.Model()
    spec.ParseFromString(path.read_bytes())
    whole, (described,) = spec.mlProgram.functions[WHOLE], spec.description.functions
    for name in stages:
        function = spec.mlProgram.functions[name]
        function.CopyFrom(whole)
        for block in function.block_specializations.values():
            block.outputs[:] = [name]
        about = spec.description.functions.add()
        about.CopyFrom(described)
        about.name = name
        kept = [output for output in described.output if output.name == name]
        del about.output[:]
        about.output.extend(kept)
    path.write_bytes(spec.SerializeToString(deterministic=True))
