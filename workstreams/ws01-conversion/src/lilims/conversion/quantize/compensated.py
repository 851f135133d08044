"""Rounding in which later channels make up for the errors of earlier ones, for the outputs' sake and not the weights'.

Knows one matrix and the second moments of what enters it. Must not know layers, texts or how these were captured.

For a matrix W [N, K] that is multiplied with x the squared error of the outputs, summed over all x, is tr(D H Dᵀ) with
D = W - Ŵ and H = Σ x xᵀ. Each row of Ŵ is a point of a lattice near w, in the metric H. Two steps look for one:

    rounding    channel after channel, those with the largest x² first; each is rounded after what all before it are off
                by was carried over. With H = R Rᵀ, R upper triangular, the error is |Rᵀ d|², whose i-th number depends
                on d₀ … dᵢ alone: it is 0 at dᵢ = -Σ_{j<i} R_ji d_j / R_ii. That is GPTQ (Frantar et al. 2022,
                arXiv:2210.17323), which writes it by the inverse of H; in this form it is Babai's nearest plane.
    sweeps      one code after the other goes where the error is least while all others stay (coordinate descent), and
                scales are fitted anew. The error falls with each step, or stays.

H is made a little larger on its diagonal (`damping`, a share of its mean), so that it can be factored whatever the text
was, and codes are not bent to a text that is short.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..stored import Palettized, Quantized
from .levels import Levels, levels_for
from .scheme import Scheme

__all__ = ["DAMPING", "SWEEPS", "output_error", "quantize_compensated"]

DAMPING = 0.01
SWEEPS = 2
_BLOCK = 128  # channels between two products of whole matrices
_ROWS = 4096  # output channels at once: they do not depend on each other

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def quantize_compensated(
    weights: Floats, scheme: Scheme, moments: Floats, *, damping: float = DAMPING, sweeps: int = SWEEPS
) -> Quantized | Palettized:
    """Quantises a matrix for the sake of its outputs.

    Args:
        weights: [N, K], within the range that `quantize` checks.
        scheme: one that fits the shape: int or lut.
        moments: H [K, K] or any multiple of it; channels that are always 0 have zeros.
        damping: added to H's diagonal, times its mean.
        sweeps: of coordinate descent.
    """
    hessian, importance = _damped(moments, damping)
    rows = _ROWS if scheme.kind == "int" else scheme.rows and max(_ROWS // scheme.rows, 1) * scheme.rows
    parts = [
        _quantized(weights[first : first + (rows or len(weights))], scheme, hessian, importance, sweeps)
        for first in range(0, len(weights), rows or len(weights))
    ]
    return _joined(parts)


def output_error(weights: Floats, stored: Floats, moments: Floats) -> float:
    """tr((W - Ŵ) H (W - Ŵ)ᵀ): the squared error of the outputs."""
    off = (weights - stored).astype(np.float64)
    return float(np.einsum("nk,nk->", off @ moments.astype(np.float64), off))


def _damped(moments: Floats, damping: float) -> tuple[Doubles, Floats]:
    """H that can be factored, with mean 1 on its diagonal, and the weight of each channel's errors."""
    hessian = moments.astype(np.float64)
    diagonal = hessian.diagonal().copy()
    used = diagonal > 0
    mean = float(diagonal[used].mean()) if used.any() else 1.0
    hessian /= mean
    diagonal = np.where(used, diagonal / mean, 1.0)  # what is always 0 is rounded to the nearest
    np.fill_diagonal(hessian, diagonal + damping)
    return hessian, (np.where(used, diagonal, 0.0) if used.any() else diagonal).astype(np.float32)


def _quantized(
    weights: Floats, scheme: Scheme, hessian: Doubles, importance: Floats, sweeps: int
) -> Quantized | Palettized:
    levels = levels_for(weights, scheme, importance)
    wanted = np.ascontiguousarray(weights.T)
    codes = _round(wanted, hessian, levels)
    metric = hessian.astype(np.float32)
    for _ in range(sweeps):
        _sweep(wanted, metric, levels, codes)
    return levels.stored(codes)


def _round(wanted: Floats, hessian: Doubles, levels: Levels) -> Floats:
    """Codes [K, N] of weights [K, N]."""
    order = np.argsort(-hessian.diagonal(), kind="stable")
    upper = np.linalg.cholesky(hessian[np.ix_(order[::-1], order[::-1])])[::-1, ::-1]
    share = (upper / upper.diagonal()).astype(np.float32)  # column i: how d₀ … dᵢ₋₁ count for the i-th number
    codes, off = np.empty_like(wanted), np.empty_like(wanted)  # `off` in the order of rounding
    for first in range(0, len(order), _BLOCK):
        block = order[first : first + _BLOCK]
        carried = wanted[block] + share[:first, first : first + _BLOCK].T @ off[:first]
        for index, channel in enumerate(block, first):
            target = carried[index - first] + share[first:index, index] @ off[first:index]
            codes[channel] = levels.nearest(channel, target)
            off[index] = wanted[channel] - levels.values(channel, codes[channel])
    return codes


def _sweep(wanted: Floats, hessian: Floats, levels: Levels, codes: Floats) -> None:
    """Fits scales to codes, and brings each code where the error is least while all others stay; once, in order."""
    gradient = hessian @ (wanted - levels.block_values(0, codes))
    if levels.span > _BLOCK:
        levels.refit(0, codes, gradient, hessian)
    for first in range(0, len(codes), _BLOCK):
        block, rest = slice(first, first + _BLOCK), slice(first + _BLOCK, None)
        here, local, near = codes[block], gradient[block], hessian[block, block]
        before = levels.block_values(first, here)
        if levels.span <= _BLOCK:
            levels.refit(first, here, local, near)
        for index in range(len(here)):
            value = levels.values(first + index, here[index])
            new = levels.nearest(first + index, value + local[index] / near[index, index])
            step = levels.values(first + index, new) - value
            if step.any():
                here[index] = new
                local[index + 1 :] -= near[index + 1 :, index, None] * step
        gradient[rest] -= hessian[rest, block] @ (levels.block_values(first, here) - before)


def _joined(parts: list[Quantized | Palettized]) -> Quantized | Palettized:
    """Rows one below the other."""
    first = parts[0]
    if isinstance(first, Palettized):
        tables = [part for part in parts if isinstance(part, Palettized)]
        indices, table = (np.concatenate([getattr(p, name) for p in tables]) for name in ("indices", "table"))
        return Palettized(indices, table, first.index_bits)
    whole = [part for part in parts if isinstance(part, Quantized)]
    codes, scale = np.concatenate([p.codes for p in whole]), np.concatenate([p.scale for p in whole])
    offset = None if first.offset is None else np.concatenate([p.offset for p in whole if p.offset is not None])
    return Quantized(codes, scale, first.code_bits, offset)
