"""Tables and indices against exhaustive search and dynamic programming."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lilims.conversion.quantize import parse_scheme, quantize
from lilims.conversion.quantize.kmeans import keys_of, kmeans, thresholds, values_of
from lilims.conversion.stored import Palettized

VALUES = st.floats(-1000, 1000, width=16)


def stored(matrix: np.ndarray, text: str, importance: np.ndarray | None = None) -> Palettized:
    found = quantize(matrix, parse_scheme(text), name="t", importance=importance)
    assert isinstance(found, Palettized)
    return found


def cost(values: np.ndarray, weights: np.ndarray, centres: np.ndarray) -> float:
    return float((weights * ((values[:, None] - centres[None]) ** 2).min(axis=1)).sum())


def least_cost(values: np.ndarray, weights: np.ndarray, count: int) -> float:
    """The optimum: every way to cut the sorted values into `count` runs."""
    order = np.argsort(values)
    x, w = values[order], weights[order]
    best = np.inf
    for cuts in combinations(range(1, len(x)), count - 1):
        edges = [0, *cuts, len(x)]
        total = 0.0
        for a, b in pairwise(edges):
            mean = np.average(x[a:b], weights=w[a:b])
            total += float((w[a:b] * (x[a:b] - mean) ** 2).sum())
        best = min(best, total)
    return best


def optimum(values: np.ndarray, count: int) -> float:
    """The optimum for many values, by dynamic programming over runs of the sorted ones."""
    x = np.sort(values).astype(np.float64)
    one, two = (np.concatenate([[0.0], np.cumsum(x**power)]) for power in (1, 2))
    n = len(x)
    start, stop = np.arange(n)[:, None], np.arange(1, n + 1)[None]
    size = np.maximum(stop - start, 1)
    run = np.where(stop > start, two[stop] - two[start] - (one[stop] - one[start]) ** 2 / size, np.inf)
    best = run[0]
    for _ in range(count - 1):
        best = np.minimum(best, np.concatenate([[np.inf], (best[:-1, None] + run[1:]).min(axis=0)[1:]]))
    return float(best[-1])


def test_keys_keep_the_order_of_values() -> None:
    ordered = np.array([-65504, -2.5, -1e-7, 0, 1e-7, 1, 1.001, 65504], np.float32)
    keys = keys_of(ordered).astype(int)
    assert (np.diff(keys) > 0).all()
    np.testing.assert_array_equal(values_of()[keys], ordered.astype(np.float16).astype(np.float64))
    assert keys_of(np.array([-0.0], np.float32)) == keys_of(np.array([0.0], np.float32))
    assert (np.diff(values_of()) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.float32, 9, elements=VALUES), arrays.arrays(np.float32, 9, elements=st.floats(0.125, 8, width=32))
)
def test_every_step_is_a_gain_and_the_end_is_not_far_from_the_best(values: np.ndarray, weights: np.ndarray) -> None:
    """Lloyd's algorithm finds local optima: of nine wild values the sum may be some times the least one, never less."""
    centres = kmeans(keys_of(values)[None], weights, 3)[0]
    assert (np.diff(centres) >= 0).all()
    found, least = cost(values, weights, centres), least_cost(values.astype(np.float64), weights, 3)
    assert found >= least * (1 - 1e-9) - 1e-9
    spread = float((weights * (values - np.average(values, weights=weights)) ** 2).sum())
    assert found <= spread * (1 + 1e-6) + 1e-9


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
@pytest.mark.parametrize("shape", ["normal", "laplace", "uniform"])
def test_not_far_from_the_best_tables(bits: int, shape: str) -> None:
    """Against the exact optimum, for so few values that each centre has about ten to move between."""
    values = getattr(np.random.default_rng(bits), shape)(size=600).astype(np.float16).astype(np.float32)
    found = cost(values, np.ones(600), kmeans(keys_of(values)[None], None, 1 << bits)[0])
    assert optimum(values, 1 << bits) * 0.999 < found < optimum(values, 1 << bits) * (1.1 if bits < 6 else 1.35)


@pytest.mark.parametrize("rows", ["", "-r4", "-r8", "-r16"])
@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_forms(bits: int, rows: str) -> None:
    matrix = np.random.default_rng(0).standard_normal((32, 48), dtype=np.float32)
    found = stored(matrix, f"lut{bits}{rows}")
    tables = 32 // int(rows[2:]) if rows else 1
    assert found.table.shape == (tables, 1 << bits)
    assert found.label == f"lut{bits} " + (f"{rows[2:]} rows" if rows else "per tensor")
    assert found.bits == bits + 16 * (1 << bits) * tables / matrix.size
    groups, parts = found.dequantize().reshape(tables, -1), matrix.reshape(tables, -1)
    for group, part, table in zip(groups, parts, found.table.astype(np.float32), strict=True):
        distance = np.abs(part[:, None].astype(np.float16).astype(np.float32) - table[None])
        np.testing.assert_array_equal(np.abs(part.astype(np.float16).astype(np.float32) - group), distance.min(axis=1))


def test_many_tables_at_once_are_those_of_each_alone() -> None:
    matrix = np.random.default_rng(0).standard_normal((24, 40), dtype=np.float32)
    together = stored(matrix, "lut4-r8")
    for group in range(3):
        alone = stored(matrix[8 * group : 8 * group + 8], "lut4-r8")
        np.testing.assert_array_equal(together.table[group], alone.table[0])


@pytest.mark.parametrize("rows", ["", "-r4"])
def test_few_distinct_values_are_exact(rows: str) -> None:
    matrix = np.random.default_rng(0).choice(np.array([-3, -0.5, 0, 0.25, 1000], np.float32), (8, 64))
    np.testing.assert_array_equal(stored(matrix, f"lut3{rows}").dequantize(), matrix)


@pytest.mark.parametrize("scheme", ["lut2", "lut4-r4"])
def test_rows_of_zeros_stay_zeros(scheme: str) -> None:
    matrix = np.random.default_rng(0).standard_normal((8, 64), dtype=np.float32) + 3
    matrix[5] = 0
    found = stored(matrix, scheme).dequantize()
    assert not found[5].any()


@pytest.mark.parametrize("rows", ["", "-r4"])
def test_weights_move_the_tables_to_the_channels_that_matter(rows: str) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((8, 256), dtype=np.float32)
    matrix[:, ::4] += 4
    weights = np.ones(256, np.float32)
    weights[::4] = 50
    off = [((stored(matrix, f"lut2{rows}", w).dequantize() - matrix) ** 2)[:, ::4].mean() for w in (None, weights)]
    assert off[1] < 0.5 * off[0]
    same = stored(matrix, f"lut2{rows}", np.zeros(256, np.float32))  # nothing matters: all do
    np.testing.assert_array_equal(same.dequantize(), stored(matrix, f"lut2{rows}").dequantize())


def test_thresholds_are_midpoints() -> None:
    (bounds,) = thresholds(np.array([[-1.0, 1.0, 4.0]]))
    values = values_of()[bounds]
    assert values[0] >= 0 and values_of()[bounds[0] - 1] < 0
    assert values[1] >= 2.5 > values_of()[bounds[1] - 1]
