"""Random ops: the distribution, what a seed repeats, parameters that must not end the process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .build import Fn, Runner

COUNT = 20000


def drawn(op: str, **parameters: Any) -> Runner:
    fn = Fn()
    shape = fn.input("shape", "int32", (2,))
    return Runner(fn.function(fn.op(op, ("fp32", (None, None)), shape=shape, **parameters)))


def draw(run: Runner, count: int = COUNT) -> Any:
    result = run(shape=np.array([2, count], np.int32))[0]
    assert result.shape == (2, count)
    assert result.dtype == np.float32
    return result.astype(np.float64)


def test_uniform() -> None:
    found = draw(drawn("random_uniform", low=np.float32(-1), high=np.float32(3), seed=np.int32(7)))
    assert -1 <= found.min() < -0.99 and 2.99 < found.max() <= 3
    counts = np.histogram(found, 8, (-1, 3))[0] / found.size
    np.testing.assert_allclose(counts, 1 / 8, atol=0.01)


def test_normal() -> None:
    found = draw(drawn("random_normal", mean=np.float32(2), stddev=np.float32(3), seed=np.int32(7)))
    assert found.mean() == pytest.approx(2, abs=0.1)
    assert found.std() == pytest.approx(3, abs=0.1)
    assert (np.abs(found - 2) < 3).mean() == pytest.approx(0.6827, abs=0.02)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_bernoulli(probability: float) -> None:
    found = draw(drawn("random_bernoulli", prob=np.float32(probability), seed=np.int32(7)))
    assert set(np.unique(found)) <= {0.0, 1.0}
    assert found.mean() == pytest.approx(probability, abs=0.02 if 0 < probability < 1 else 0)


@pytest.mark.parametrize("mode", ["logits", "probs"])
def test_categorical(mode: str) -> None:
    probabilities = np.float32([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])
    fn = Fn()
    x = fn.input("x", "fp32", (1, 2, 3))
    result = fn.op(
        "random_categorical", ("fp32", (1, 2, COUNT)), x=x, size=np.int32(COUNT), mode=mode, seed=np.int32(7)
    )
    given = probabilities if mode == "probs" else np.log(np.maximum(probabilities, 1e-30)) + 3
    found = Runner(fn.function(result))(x=given[None].astype(np.float32))[0]
    assert found.shape == (1, 2, COUNT)
    shares = [[(row == c).mean() for c in range(3)] for row in found[0]]
    np.testing.assert_allclose(shares, probabilities, atol=0.02)


def test_a_seed_repeats_the_sequence_over_calls() -> None:
    first, again, other = (drawn("random_uniform", seed=np.int32(seed)) for seed in (3, 3, 4))
    sequence = [draw(first, 5) for _ in range(3)]
    assert not np.array_equal(sequence[0], sequence[1])
    assert np.array_equal(sequence, [draw(again, 5) for _ in range(3)])
    assert not np.array_equal(sequence[0], draw(other, 5))


@pytest.mark.parametrize("seed", [None, np.int32(-1)], ids=["none", "-1"])
def test_calls_differ_without_a_seed(seed: Any) -> None:
    run = drawn("random_normal", seed=seed)
    assert not np.array_equal(draw(run, 8), draw(run, 8))


ODD = {
    "no deviation": ("random_normal", {"mean": np.float32(2), "stddev": np.float32(0)}, 2.0),
    "no width": ("random_uniform", {"low": np.float32(2), "high": np.float32(2)}, 2.0),
    "infinite": ("random_normal", {"mean": np.float32(np.inf)}, np.inf),
}


@pytest.mark.parametrize(("op", "parameters", "value"), ODD.values(), ids=ODD)
def test_degenerate(op: str, parameters: dict[str, Any], value: float) -> None:
    assert (draw(drawn(op, **parameters), 4) == value).all()


@pytest.mark.parametrize("parameters", [{"stddev": np.float32(-1)}, {"stddev": np.float32(np.nan)}], ids=["-1", "nan"])
def test_undefined_parameters_end_nothing(parameters: dict[str, Any]) -> None:
    assert draw(drawn("random_normal", **parameters), 4).shape == (2, 4)


def test_beside_a_normalisation_of_a_newer_opset() -> None:
    """A graph with random ops is of an older ONNX opset than others."""
    fn = Fn()
    x = fn.input("x", "fp32", (2, 4))
    noise = fn.op("random_normal", ("fp32", (2, 4)), shape=np.array([2, 4], np.int32), stddev=np.float32(0))
    normal = fn.op("softmax", ("fp32", (2, 4)), x=fn.op("add", ("fp32", (2, 4)), x=x, y=noise), axis=np.int32(-1))
    found = Runner(fn.function(normal))(x=np.zeros((2, 4), np.float32))[0]
    assert found.tolist() == [[0.25] * 4] * 2
