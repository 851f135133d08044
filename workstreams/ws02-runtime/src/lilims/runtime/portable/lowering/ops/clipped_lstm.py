"""An lstm whose cell state is clipped, as a loop over the time steps; and what it shares with the other recurrent ops.

Gates are in MIL's order: input, forget, output, cell. Source of the formula: coremltools' tests of `lstm`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx
from onnx import TensorProto, helper

from ...program import Op
from ..scope import Scope
from .common import INT_MIN, unsupported

ACTIVATIONS = {
    "tanh": "Tanh", "scaled_tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu", "linear": "Affine",
    "hard_sigmoid": "HardSigmoid", "sigmoid_hard": "HardSigmoid",
}  # fmt: skip
FACTORS = {"Affine": (1.0, 0.0), "HardSigmoid": (0.2, 0.5)}  # alpha and beta; scaled_tanh has 1 and 1


def activation(scope: Scope, op: Op, key: str, default: str) -> str:
    """The ONNX name of the activation that an input names."""
    name = str(scope.scalar(op, key, default)).lower()
    if name not in ACTIVATIONS:
        raise unsupported(scope, op, f"activation {name!r} is not known")
    return ACTIVATIONS[name]


def turned_round(scope: Scope, sequence: str) -> str:
    """The first dimension in reverse order."""
    start, end, axis, step = (scope.array([v], "int64") for v in (-1, INT_MIN, 0, -1))
    return scope.emit("Slice", sequence, start, end, axis, step)


@contextmanager
def _body(scope: Scope) -> Iterator[list[onnx.NodeProto]]:
    """Nodes emitted inside go to the list, the nodes of a nested graph; they may use every value outside."""
    outside, inside = scope.nodes, list[onnx.NodeProto]()
    scope.nodes = inside
    try:
        yield inside
    finally:
        scope.nodes = outside


def _activate(scope: Scope, name: str, value: str) -> str:
    if name == "Affine":
        return value
    alpha, beta = FACTORS.get(name, (None, None))
    return scope.emit(name, value, alpha=alpha, beta=beta)


def _loop(scope: Scope, op: Op, suffix: str, x: str, states: Sequence[str], backwards: bool) -> tuple[str, str, str]:
    """Every step's output [s, b, H] at its input's place, and the final states [b, H]."""
    weights = [scope.emit("Transpose", scope.input(op, f"weight_{part}{suffix}"), perm=[1, 0]) for part in ("ih", "hh")]
    drive = scope.emit("MatMul", turned_round(scope, x) if backwards else x, weights[0])
    if scope.has(op, f"bias{suffix}"):
        drive = scope.emit("Add", drive, scope.input(op, f"bias{suffix}"))
    peepholes: Sequence[str] = ()
    if scope.has(op, f"peephole{suffix}"):
        peepholes = scope.emit_many("Split", scope.input(op, f"peephole{suffix}"), outputs=3, num_outputs=3)
    limit = float(scope.scalar(op, "clip"))
    low, high = scope.array(-limit, "float32"), scope.array(limit, "float32")
    wanted = (("recurrent_activation", "sigmoid"), ("cell_activation", "tanh"), ("activation", "tanh"))
    gate_act, cell_act, out_act = (activation(scope, op, key, default) for key, default in wanted)
    h, c, step = (scope.fresh(name) for name in ("h", "c", "step"))
    with _body(scope) as nodes:
        mixed = scope.emit("Add", step, scope.emit("MatMul", h, weights[1]))
        gates = list(scope.emit_many("Split", mixed, outputs=4, axis=1, num_outputs=4))

        def gate(index: int, cell: str) -> str:
            if peepholes:
                gates[index] = scope.emit("Add", gates[index], scope.emit("Mul", peepholes[index], cell))
            return _activate(scope, gate_act, gates[index])

        kept = scope.emit("Mul", gate(1, c), c)
        new = scope.emit("Mul", gate(0, c), _activate(scope, cell_act, gates[3]))
        cell = scope.emit("Clip", scope.emit("Add", kept, new), low, high)
        hidden = scope.emit("Mul", gate(2, cell), _activate(scope, out_act, cell))
        shown = scope.emit("Identity", hidden)
    graph = helper.make_graph(
        nodes,
        scope.fresh("body"),
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (h, c, step)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (hidden, cell, shown)],
    )
    final_h, final_c, every = scope.emit_many("Scan", *states, drive, outputs=3, body=graph, num_scan_inputs=1)
    return turned_round(scope, every) if backwards else every, final_h, final_c


def clipped_lstm(scope: Scope, op: Op, direction: str) -> None:
    """An lstm with the input `clip`; its outputs are laid out as the unclipped one's."""
    x, states = scope.input(op, "x"), [scope.input(op, key) for key in ("initial_h", "initial_c")]
    if direction == "bidirectional":
        halves = [scope.emit_many("Split", state, outputs=2, axis=1, num_outputs=2) for state in states]
        ways = [
            _loop(scope, op, "", x, [half[0] for half in halves], False),
            _loop(scope, op, "_back", x, [half[1] for half in halves], True),
        ]
        every, final_h, final_c = (
            scope.emit("Concat", ways[0][part], ways[1][part], axis=axis) for part, axis in enumerate((2, 1, 1))
        )
    else:
        source = turned_round(scope, x) if direction == "reverse" else x
        every, final_h, final_c = _loop(scope, op, "", source, states, False)
    if not scope.scalar(op, "output_sequence", False):
        every = scope.emit("Unsqueeze", final_h, scope.array([0], "int64"))
    scope.bind(op, every, final_h, final_c)
