"""Second moments of what enters a matrix, summed over a text.

Knows one formula. Must not know layers or schemes.

    hessian   Σ x xᵀ     of what enters the matrix in the model as it is shipped so far
    crossed   Σ x yᵀ     with y what enters it at the same token in the model as the checkpoint has it

The matrix Ŵ is to give on x what W gives on y. Σ |W y - V x|² over all real V is least at V = W C Σ⁻¹ with C = Σ y xᵀ
and Σ = Σ x xᵀ, and for any Ŵ its error is that of V plus tr((V - Ŵ) Σ (V - Ŵ)ᵀ): so Ŵ is V, rounded. Both moments are
made larger by `_TRUST` times the mean of the diagonal, which draws V towards W: a short text does not say all.
(The idea is that of GPTAQ, Li et al. 2025, arXiv:2504.02692, and of Qronos, Zhang et al. 2025, arXiv:2505.11695.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Moments"]

Floats = NDArray[np.float32]

_TRUST = 0.1


class Moments:
    """Of one value that enters matrices, K wide."""

    def __init__(self, width: int) -> None:
        self.hessian: Floats = np.zeros((width, width), np.float32)
        self._crossed: Floats = np.zeros((width, width), np.float32)

    def add(self, shipped: Floats, exact: Floats) -> None:
        """Rows [n, K] that enter in either model."""
        self.hessian += shipped.T @ shipped
        self._crossed += shipped.T @ exact

    def regard_lookups(self, share: float) -> None:
        """Adds `share` of the mean to the diagonal: a table's rows are also looked up, where all errors count alike."""
        self.hessian[np.diag_indices_from(self.hessian)] += share * float(self.hessian.diagonal().mean())
        self._crossed[np.diag_indices_from(self._crossed)] += share * float(self._crossed.diagonal().mean())

    def scaled(self, scales: Floats) -> Moments:
        """Those of the value divided by `scales` [K]."""
        found, by = Moments(len(scales)), np.outer(scales, scales)
        found.hessian, found._crossed = self.hessian / by, self._crossed / by
        return found

    def target(self, weights: Floats) -> Floats:
        """V for a matrix W, [N, K]: what is to be rounded in its place."""
        left, right = self.hessian.astype(np.float64), self._crossed.astype(np.float64)
        diagonal = left.diagonal()
        if not diagonal.any():
            return weights
        more = _TRUST * float(diagonal[diagonal > 0].mean())
        left[np.diag_indices_from(left)] += more
        right[np.diag_indices_from(right)] += more
        if len(weights) < len(left):  # the cheaper way round
            return np.ascontiguousarray(np.linalg.solve(left, right @ weights.T).T, np.float32)
        return weights @ np.linalg.solve(left, right).T.astype(np.float32)
