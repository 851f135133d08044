"""`lstm`, `gru`, `rnn`.

Gate orders: MIL's lstm has input, forget, output, cell (ONNX: input, output, forget, cell), its gru reset, output,
update (ONNX: update, reset, output). The `reverse` direction reads the sequence backwards and leaves its outputs in
the order of reading, whereas a bidirectional lstm's outputs stand at their inputs' places; both as in coremltools'
tests.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...program import Op
from ..scope import Scope, lowers
from .clipped_lstm import FACTORS, activation, clipped_lstm, turned_round
from .common import Attributes, bounded, unsupported

DIRECTIONS = {"forward": "forward", "reverse": "forward", "bidirectional": "bidirectional"}
LSTM_GATES, PEEPHOLES, GRU_GATES = (0, 2, 1, 3), (0, 2, 1), (2, 0, 1)


def _reordered(scope: Scope, value: str, order: Sequence[int]) -> str:
    """The gates of a weight or bias in ONNX's order."""
    if list(order) == list(range(len(order))):
        return value
    gates = scope.emit_many("Split", value, outputs=len(order), axis=0, num_outputs=len(order))
    return scope.emit("Concat", *(gates[gate] for gate in order), axis=0)


def _per_direction(scope: Scope, op: Op, keys: Sequence[str], order: Sequence[int]) -> str:
    """[directions, ...] of the inputs `keys`, one for each direction."""
    axis = scope.array([0], "int64")
    parts = [scope.emit("Unsqueeze", _reordered(scope, scope.input(op, key), order), axis) for key in keys]
    return parts[0] if len(parts) == 1 else scope.emit("Concat", *parts, axis=0)


def _biases(scope: Scope, op: Op, sets: Sequence[tuple[str, str]], order: Sequence[int], hidden: int) -> str:
    """[directions, 2 · gates · hidden]: the input's biases, then the recurrent ones; absent ones are zero."""
    if not any(scope.has(op, key) for keys in sets for key in keys if key):
        return ""
    bounded(op, len(order), hidden)
    zeros = scope.array([0] * len(order) * hidden, "float32")
    rows = []
    for keys in sets:
        halves = [_reordered(scope, scope.input(op, k), order) if k and scope.has(op, k) else zeros for k in keys]
        rows.append(scope.emit("Unsqueeze", scope.emit("Concat", *halves, axis=0), scope.array([0], "int64")))
    return rows[0] if len(rows) == 1 else scope.emit("Concat", *rows, axis=0)


def _activations(scope: Scope, op: Op, wanted: Sequence[tuple[str, str]], times: int) -> Attributes:
    """The ONNX attributes for activations, given as (input, default)."""
    names = [activation(scope, op, key, default) for key, default in wanted] * times
    attributes: Attributes = {"activations": names}
    factors = [FACTORS[name] for name in names if name in FACTORS]  # a list for those alone that take factors
    if factors:
        attributes["activation_alpha"], attributes["activation_beta"] = zip(*factors, strict=True)
    return attributes


def _hidden_size(scope: Scope, op: Op) -> int:
    size = scope.type(op, "weight_hh").shape[-1]
    if size is None:
        raise unsupported(scope, op, "a weight of flexible shape")
    return size


def _direction(scope: Scope, op: Op, known: Sequence[str]) -> str:
    direction = str(scope.scalar(op, "direction", "forward"))
    if direction not in known:
        raise unsupported(scope, op, f"direction {direction!r} is not known")
    return direction


def _sequence(scope: Scope, op: Op, direction: str) -> str:
    """x [s, b, I], turned round where it is read backwards."""
    x = scope.input(op, "x")
    return turned_round(scope, x) if direction == "reverse" else x


def _initial(scope: Scope, op: Op, key: str, directions: int, hidden: int) -> str:
    """[b, directions · hidden] as ONNX's [directions, b, hidden]."""
    value = scope.input(op, key)
    if directions == 1:
        return scope.emit("Unsqueeze", value, scope.array([0], "int64"))
    parts = scope.emit("Reshape", value, scope.array([0, directions, hidden], "int64"))
    return scope.emit("Transpose", parts, perm=[1, 0, 2])


def _final(scope: Scope, value: str, directions: int, hidden: int) -> str:
    """ONNX's [directions, b, hidden] as [b, directions · hidden]."""
    if directions == 1:
        return scope.emit("Squeeze", value, scope.array([0], "int64"))
    swapped = scope.emit("Transpose", value, perm=[1, 0, 2])
    return scope.emit("Reshape", swapped, scope.array([0, directions * hidden], "int64"))


def _outputs(scope: Scope, op: Op, results: Sequence[str], directions: int, hidden: int) -> list[str]:
    """MIL's outputs from ONNX's Y [s, directions, b, hidden] and final states."""
    every, *states = results
    finals = [_final(scope, state, directions, hidden) for state in states]
    if not scope.scalar(op, "output_sequence", False):
        return [scope.emit("Unsqueeze", finals[0], scope.array([0], "int64")), *finals]
    if directions == 1:
        return [scope.emit("Squeeze", every, scope.array([1], "int64")), *finals]
    swapped = scope.emit("Transpose", every, perm=[0, 2, 1, 3])
    return [scope.emit("Reshape", swapped, scope.array([0, 0, directions * hidden], "int64")), *finals]


@lowers("lstm")
def lstm(scope: Scope, op: Op) -> None:
    direction, hidden = _direction(scope, op, list(DIRECTIONS)), _hidden_size(scope, op)
    if scope.has(op, "clip"):  # on the cell state; ONNX's LSTM clips what goes into the activations
        return clipped_lstm(scope, op, direction)
    suffixes = ("", "_back") if direction == "bidirectional" else ("",)
    n = len(suffixes)
    weight, recurrent = (
        _per_direction(scope, op, [f"weight_{part}{s}" for s in suffixes], LSTM_GATES) for part in ("ih", "hh")
    )
    bias = _biases(scope, op, [(f"bias{s}", "") for s in suffixes], LSTM_GATES, hidden)
    states = [_initial(scope, op, key, n, hidden) for key in ("initial_h", "initial_c")]
    peepholes = [f"peephole{s}" for s in suffixes]
    inputs = [_sequence(scope, op, direction), weight, recurrent, bias, "", *states]
    if any(scope.has(op, key) for key in peepholes):
        if not all(scope.has(op, key) for key in peepholes):
            raise unsupported(scope, op, "peepholes in one direction only")
        inputs.append(_per_direction(scope, op, peepholes, PEEPHOLES))
    wanted = (("recurrent_activation", "sigmoid"), ("cell_activation", "tanh"), ("activation", "tanh"))
    how = _activations(scope, op, wanted, n)
    results = scope.emit_many("LSTM", *inputs, outputs=3, hidden_size=hidden, direction=DIRECTIONS[direction], **how)
    return scope.bind(op, *_outputs(scope, op, results, n, hidden))


@lowers("gru")
def gru(scope: Scope, op: Op) -> None:
    """With reset_after (iOS 18) the reset gate acts on the recurrent product and its bias, else on the state."""
    direction, hidden = _direction(scope, op, ("forward", "reverse")), _hidden_size(scope, op)
    after = bool(scope.scalar(op, "reset_after", False))
    inputs = [
        _sequence(scope, op, direction),
        _per_direction(scope, op, ["weight_ih"], GRU_GATES),
        _per_direction(scope, op, ["weight_hh"], GRU_GATES),
        _biases(scope, op, [("input_bias", "bias")], GRU_GATES, hidden),
        "",
        _initial(scope, op, "initial_h", 1, hidden),
    ]
    how = _activations(scope, op, (("recurrent_activation", "sigmoid"), ("activation", "tanh")), 1)
    results = scope.emit_many("GRU", *inputs, outputs=2, hidden_size=hidden, linear_before_reset=int(after), **how)
    scope.bind(op, *_outputs(scope, op, results, 1, hidden))


@lowers("rnn")
def rnn(scope: Scope, op: Op) -> None:
    direction, hidden = _direction(scope, op, ("forward", "reverse")), _hidden_size(scope, op)
    inputs = [
        _sequence(scope, op, direction),
        _per_direction(scope, op, ["weight_ih"], (0,)),
        _per_direction(scope, op, ["weight_hh"], (0,)),
        _biases(scope, op, [("bias", "")], (0,), hidden),
        "",
        _initial(scope, op, "initial_h", 1, hidden),
    ]
    how = _activations(scope, op, (("activation", "tanh"),), 1)
    results = scope.emit_many("RNN", *inputs, outputs=2, hidden_size=hidden, **how)
    scope.bind(op, *_outputs(scope, op, results, 1, hidden))
