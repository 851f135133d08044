"""lstm, gru and rnn against loops over the time steps.

The layouts and the order of a reversed sequence's outputs are those of coremltools' own tests.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import UnsupportedOpError

from .harness import Case, Const, case, check, floats, run

pytestmark = pytest.mark.slow

S, B, WIDTH, H = 4, 2, 3, 5
X = floats(S, B, WIDTH, seed=1)
H0, C0 = floats(B, H, seed=2), floats(B, H, seed=3)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


ACTIVATIONS = {
    "tanh": np.tanh, "scaled_tanh": np.tanh, "sigmoid": sigmoid, "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x, "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
}  # fmt: skip


def weights(gates: int, seed: int, *extra: str) -> dict[str, Any]:
    sizes = {"weight_ih": (gates * H, WIDTH), "weight_hh": (gates * H, H), "bias": (gates * H,),
    "input_bias": (gates * H,),
             "peephole": (3 * H,)}  # fmt: skip
    names = ("weight_ih", "weight_hh", *extra)
    return {name: floats(*sizes[name], seed=seed + i, low=-1, high=1) for i, name in enumerate(names)}


def lstm(
    x: Any, h: Any, c: Any, w: dict[str, Any], acts: Any = ("sigmoid", "tanh", "tanh"), clip: float = np.inf
) -> tuple[Any, Any, Any]:
    inner, cell, outer = (ACTIVATIONS[name] for name in acts)
    wi, wh = np.split(w["weight_ih"], 4), np.split(w["weight_hh"], 4)
    b = np.split(w.get("bias", np.zeros(4 * H, "f")), 4)
    p = np.split(w.get("peephole", np.zeros(3 * H, "f")), 3)
    steps = []
    for xt in x:
        gate = [xt @ wi[k].T + h @ wh[k].T + b[k] for k in range(4)]
        i, f, z = inner(gate[0] + p[0] * c), inner(gate[1] + p[1] * c), cell(gate[3])
        c = np.clip(f * c + i * z, -clip, clip)
        o = inner(gate[2] + p[2] * c)
        h = o * outer(c)
        steps.append(h)
    return np.stack(steps).astype("f"), h.astype("f"), c.astype("f")


def gru(x: Any, h: Any, w: dict[str, Any], acts: Any = ("sigmoid", "tanh"), after: bool = False) -> tuple[Any, Any]:
    inner, outer = (ACTIVATIONS[name] for name in acts)
    wi, wh = np.split(w["weight_ih"], 3), np.split(w["weight_hh"], 3)
    b, bi = (np.split(w.get(key, np.zeros(3 * H, "f")), 3) for key in ("bias", "input_bias"))
    steps = []
    for xt in x:
        r, z = (inner(xt @ wi[k].T + bi[k] + h @ wh[k].T + b[k]) for k in (0, 2))
        recurrent = r * (h @ wh[1].T + b[1]) if after else (r * h) @ wh[1].T + b[1]
        o = outer(xt @ wi[1].T + bi[1] + recurrent)
        h = (1 - z) * o + z * h
        steps.append(h)
    return np.stack(steps).astype("f"), h.astype("f")


def rnn(x: Any, h: Any, w: dict[str, Any], act: str = "tanh") -> tuple[Any, Any]:
    steps = []
    for xt in x:
        h = ACTIVATIONS[act](xt @ w["weight_ih"].T + h @ w["weight_hh"].T + w.get("bias", 0))
        steps.append(h)
    return np.stack(steps).astype("f"), h.astype("f")


def const(w: dict[str, Any], suffix: str = "") -> dict[str, Const]:
    return {key + suffix: Const(value) for key, value in w.items()}


def shown(steps: Any, every: bool) -> Any:
    return steps if every else steps[-1:]


def cases() -> list[Case]:
    found = []
    for every, direction, bias in itertools.product((True, False), ("forward", "reverse"), (True, False)):
        x = X if direction == "forward" else X[::-1]
        extra = ("bias",) if bias else ()
        how = {"x": X, "initial_h": H0, "direction": Const(direction), "output_sequence": Const(every)}
        name = f"{direction}-{'all' if every else 'last'}{'-bias' if bias else ''}"
        w4, w3, w1 = weights(4, 10, *extra), weights(3, 20, *extra), weights(1, 30, *extra)
        steps, h, c = lstm(x, H0, C0, w4)
        found.append(case(f"lstm-{name}", "lstm", [shown(steps, every), h, c], **how, initial_c=C0, **const(w4)))
        steps, h = gru(x, H0, w3)
        found.append(case(f"gru-{name}", "gru", [shown(steps, every), h], **how, **const(w3)))
        steps, h = rnn(x, H0, w1)
        found.append(case(f"rnn-{name}", "rnn", [shown(steps, every), h], **how, **const(w1)))
    every = {"x": X, "output_sequence": Const(True)}
    w4, back = weights(4, 10, "bias"), weights(4, 40, "bias")
    plain = weights(4, 10), weights(4, 40)
    for name, forward, backward in (("", w4, back), ("-no-bias", *plain), ("-one-bias", w4, plain[1])):
        for whole in (True, False):
            hh, cc = floats(B, 2 * H, seed=5), floats(B, 2 * H, seed=6)
            s1, h1, c1 = lstm(X, hh[:, :H], cc[:, :H], forward)
            s2, h2, c2 = lstm(X[::-1], hh[:, H:], cc[:, H:], backward)
            h, c = np.concatenate([h1, h2], 1), np.concatenate([c1, c2], 1)
            steps = np.concatenate([s1, s2[::-1]], 2) if whole else h[None]
            found.append(case(f"lstm-bidirectional{name}-{'all' if whole else 'last'}", "lstm", [steps, h, c], x=X,
                              initial_h=hh, initial_c=cc, direction=Const("bidirectional"),
                              output_sequence=Const(whole),
                              **const(forward), **const(backward, "_back")))  # fmt: skip
            s1, h1, c1 = lstm(X, hh[:, :H], cc[:, :H], forward, clip=0.3)
            s2, h2, c2 = lstm(X[::-1], hh[:, H:], cc[:, H:], backward, clip=0.3)
            h, c = np.concatenate([h1, h2], 1), np.concatenate([c1, c2], 1)
            steps = np.concatenate([s1, s2[::-1]], 2) if whole else h[None]
            found.append(case(f"lstm-clip-bidirectional{name}-{'all' if whole else 'last'}", "lstm", [steps, h, c], x=X,
                              initial_h=hh, initial_c=cc, direction=Const("bidirectional"), clip=Const(0.3),
                              output_sequence=Const(whole), **const(forward), **const(backward, "_back")))  # fmt: skip
    peep = weights(4, 10, "bias", "peephole")
    for acts in (("sigmoid", "tanh", "tanh"), ("hard_sigmoid", "relu", "linear")):
        for direction in ("forward", "reverse"):
            x = X if direction == "forward" else X[::-1]
            names = dict(zip(("recurrent_activation", "cell_activation", "activation"), map(Const, acts), strict=True))
            expected = list(lstm(x, H0, C0, peep, acts, 0.2))
            found.append(case(f"lstm-clip-{direction}-{acts[0]}", "lstm", expected, **every, initial_h=H0,
                              initial_c=C0, clip=Const(0.2), direction=Const(direction), **names,
                              **const(peep)))  # fmt: skip
    found.append(
        case("lstm-peephole", "lstm", list(lstm(X, H0, C0, peep)), **every, initial_h=H0, initial_c=C0, **const(peep))
    )
    for acts in (("hard_sigmoid", "relu", "scaled_tanh"), ("tanh", "linear", "sigmoid"), ("sigmoid", "tanh", "linear")):
        names = dict(zip(("recurrent_activation", "cell_activation", "activation"), map(Const, acts), strict=True))
        found.append(case(f"lstm-{'-'.join(acts)}", "lstm", list(lstm(X, H0, C0, w4, acts)), **every, initial_h=H0,
                          initial_c=C0, **names, **const(w4)))  # fmt: skip
    w3, both = weights(3, 20, "bias"), weights(3, 20, "bias", "input_bias")
    swapped = {"recurrent_activation": Const("tanh"), "activation": Const("sigmoid")}
    found += [
        case("gru-activations", "gru", list(gru(X, H0, w3, ("tanh", "sigmoid"))), **every, initial_h=H0, **swapped,
             **const(w3)),
        case("gru-reset-after", "gru", list(gru(X, H0, both, after=True)), **every, initial_h=H0,
             reset_after=Const(True),
             **const(both)),
        case("gru-input-bias", "gru", list(gru(X, H0, both)), **every, initial_h=H0, **const(both)),
    ]  # fmt: skip
    w1 = weights(1, 30, "bias")
    found += [
        case(f"rnn-{act}", "rnn", list(rnn(X, H0, w1, act)), **every, initial_h=H0, activation=Const(act), **const(w1))
        for act in ("relu", "sigmoid", "linear", "scaled_tanh")
    ]
    return found


CASES = cases()


@pytest.mark.parametrize("example", CASES, ids=lambda c: c.id)
def test_fixed(example: Case) -> None:
    check(example)


@pytest.mark.parametrize("example", CASES, ids=lambda c: c.id)
def test_flexible(example: Case) -> None:
    check(example, flexible=True)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("direction", "sideways", "sideways"), ("activation", "sine", "sine")],
)
def test_refused(key: str, value: Any, message: str) -> None:
    w = weights(4, 10)
    with pytest.raises(UnsupportedOpError, match=message):
        run(case("", "lstm", [X, H0, C0], x=X, initial_h=H0, initial_c=C0, **{key: Const(value)}, **const(w)))
