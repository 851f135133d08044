"""Rounding for the sake of outputs: against its textbook form, against plain rounding, against exhaustive search."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from lilims.conversion.calibration.moments import Moments
from lilims.conversion.quantize import parse_scheme, quantize
from lilims.conversion.quantize.compensated import DAMPING, output_error, quantize_compensated
from lilims.conversion.quantize.levels import levels_for
from lilims.conversion.stored import Palettized, Quantized

SCHEMES = (
    "int4-g32",
    "int4-g16",
    "int4-asym-g32",
    "int4-channel",
    "int8-g64",
    "lut4-r8",
    "lut4",
    "lut6-r16",
    "lut2-r32",
)
Floats = NDArray[np.float32]


def problem(rows: int = 64, width: int = 128, seed: int = 0) -> tuple[Floats, Floats]:
    """A matrix, and second moments of inputs some of which matter more and depend on each other."""
    random = np.random.default_rng(seed)
    weights = random.standard_normal((rows, width), dtype=np.float32)
    inputs = random.standard_normal((4 * width, width), dtype=np.float32)
    inputs += inputs[:, ::-1] * random.uniform(0, 1, width).astype(np.float32)
    inputs *= np.exp(random.standard_normal(width)).astype(np.float32)
    return weights, inputs.T @ inputs / np.float32(len(inputs))


@pytest.mark.parametrize("name", SCHEMES)
def test_outputs_are_nearer_than_by_rounding_to_nearest(name: str) -> None:
    weights, moments = problem()
    scheme = parse_scheme(name)
    plain = output_error(weights, quantize(weights, scheme, name="w").dequantize(), moments)
    found = [
        output_error(weights, quantize_compensated(weights, scheme, moments, sweeps=n).dequantize(), moments)
        for n in (0, 1, 3)
    ]
    assert found[0] < 0.75 * plain
    assert found[2] <= found[1] * (1 + 1e-5) and found[1] <= found[0] * (1 + 1e-5)


def textbook(weights: Floats, moments: Floats, scale: Floats, group: int) -> NDArray[np.float64]:
    """GPTQ as its paper has it: by the Cholesky factor of the inverse, channels in order of their moments."""
    hessian = moments.astype(np.float64) / moments.diagonal().mean()
    hessian[np.diag_indices_from(hessian)] += DAMPING
    order = np.argsort(-moments.diagonal(), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(hessian[np.ix_(order, order)])).T
    left, codes = weights[:, order].astype(np.float64), np.empty(weights.shape)
    for place, channel in enumerate(order):
        step = scale[:, channel // group]
        codes[:, channel] = np.clip(np.rint(left[:, place] / step), -8, 7)
        off = (left[:, place] - codes[:, channel] * step) / upper[place, place]
        left[:, place:] -= np.outer(off, upper[place, place:])
    return codes


def test_codes_are_those_of_the_textbook() -> None:
    weights, moments = problem(rows=40, width=320)  # more channels than a block
    scheme = parse_scheme("int4-g32")
    found = quantize_compensated(weights, scheme, moments, sweeps=0)
    assert isinstance(found, Quantized)
    wanted = textbook(weights, moments, found.scale.astype(np.float32), 32)
    assert np.mean(found.codes != wanted) < 2e-4  # float32 against float64: ties


def test_sweeps_end_near_the_best_there_is() -> None:
    """Of four values in two bits all 256 codes can be tried."""
    for seed in range(20):
        weights, moments = problem(1, 4, seed)
        scheme = parse_scheme("lut2")
        found = quantize_compensated(weights, scheme, moments, damping=1e-6, sweeps=8)
        assert isinstance(found, Palettized)
        table = found.table[0].astype(np.float32)
        every = [output_error(weights, table[list(codes)][None], moments) for codes in product(range(4), repeat=4)]
        assert output_error(weights, found.dequantize(), moments) <= min(every) * 1.5 + 1e-6, seed


def test_a_channel_that_is_never_used_is_rounded_to_the_nearest() -> None:
    weights, moments = problem()
    moments[:, 5] = moments[5] = 0
    found = quantize_compensated(weights, parse_scheme("int8-g32"), moments)
    assert isinstance(found, Quantized)
    step = np.abs(found.scale.astype(np.float32)[:, 0])
    assert (np.abs(found.dequantize()[:, 5] - weights[:, 5]) <= step * 0.51 + 1e-4).all()


def test_a_text_of_nothing_rounds_to_the_nearest() -> None:
    weights, moments = problem()
    found = quantize_compensated(weights, parse_scheme("int8-g32"), np.zeros_like(moments))
    assert np.abs(found.dequantize() - weights).max() < 0.05


def test_rows_of_zeros_stay_zero() -> None:
    weights, moments = problem()
    weights[60:] = 0
    for name in SCHEMES:
        found = quantize_compensated(weights, parse_scheme(name), moments).dequantize()
        if name.startswith("int"):
            assert not found[60:].any(), name


def test_many_rows_are_those_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.conversion.quantize import compensated

    weights, moments = problem()
    for name in ("int4-g32", "lut4-r8"):
        whole = quantize_compensated(weights, parse_scheme(name), moments).dequantize()
        monkeypatch.setattr(compensated, "_ROWS", 16)
        parts = quantize_compensated(weights, parse_scheme(name), moments).dequantize()
        monkeypatch.undo()
        assert np.mean(whole != parts) < 2e-3, name  # products of other shapes round otherwise


@pytest.mark.parametrize("name", SCHEMES)
def test_levels_mean_what_is_stored(name: str) -> None:
    weights, _ = problem()
    levels = levels_for(weights, parse_scheme(name), np.ones(weights.shape[1], np.float32))
    codes = np.stack([levels.nearest(k, weights[:, k]) for k in range(weights.shape[1])])
    stored = levels.stored(codes)
    np.testing.assert_array_equal(levels.block_values(0, codes).T, stored.dequantize())
    np.testing.assert_array_equal(levels.values(3, codes[3]), stored.dequantize()[:, 3])
    for up in (-1, 1):  # no neighbouring code is nearer
        other = codes + up
        low, high = (0, 2**stored.index_bits - 1) if isinstance(stored, Palettized) else (codes.min(), codes.max())
        other = np.clip(other, low, high)
        assert (
            np.abs(levels.block_values(0, other) - weights.T)
            >= np.abs(levels.block_values(0, codes) - weights.T) - 1e-6
        ).all()


def test_the_target_is_the_least_squares_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.conversion.calibration import moments as module

    monkeypatch.setattr(module, "_TRUST", 1e-9)
    random = np.random.default_rng(3)
    exact = random.standard_normal((400, 24), dtype=np.float32)
    shipped = exact + 0.3 * random.standard_normal((400, 24), dtype=np.float32)
    for rows in (5, 40):  # both ways round
        weights = random.standard_normal((rows, 24), dtype=np.float32)
        found = Moments(24)
        for part in range(0, 400, 100):
            found.add(shipped[part : part + 100], exact[part : part + 100])
        wanted = np.linalg.lstsq(shipped.astype(np.float64), exact @ weights.T, rcond=None)[0].T
        np.testing.assert_allclose(found.target(weights), wanted, atol=2e-4)


def test_where_nothing_is_off_the_target_is_the_matrix() -> None:
    random = np.random.default_rng(3)
    inputs, weights = (
        random.standard_normal((50, 24), dtype=np.float32),
        random.standard_normal((8, 24), dtype=np.float32),
    )
    found = Moments(24)
    found.add(inputs, inputs)
    np.testing.assert_allclose(found.target(weights), weights, atol=1e-5)
