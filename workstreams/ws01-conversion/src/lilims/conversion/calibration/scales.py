"""Scales of input channels under which a matrix loses less by being rounded; what comes before it takes them back.

Knows which tensors meet at a channel, and one search. Must not know how matrices are rounded for good, or files.

    (W · diag(s)) (x / s)  =  W x

Channels with large x are made larger before rounding: their errors count most. The division by s is folded into what
makes x: the norm before it, the rows of `up` before `down`, those of `v` before `o`. s = a^α, with a the root mean
square of each channel and α tried from 0 to 0.95; taken is what loses least by rounding to nearest, measured as
tr(D H Dᵀ). That is AWQ (Lin et al. 2023, arXiv:2306.00978), which takes mean magnitudes for a.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..quantize.compensated import output_error
from ..spec import Layer, Mlp
from ..stored import Dense, Quantized, Stored

__all__ = ["Fold", "best_scales", "fold_of", "rows_divided"]

_STEPS = 20  # values of α
_ROWS = 256  # of a matrix that are looked at
_LEAST = 1e-4  # of the largest magnitude: a channel that is always near 0 is not blown up

_ATTENTION = re.compile(r"attention\.[qkv]\.weight")
_MLP = re.compile(r"mlp\.(?:router|(?:experts\.\d+\.)?(?:gate|up))\.weight")
_DOWN = re.compile(r"(mlp\.(?:experts\.\d+\.)?)down\.weight")

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Fold:
    """Who takes the scales of a value back: a norm, or the matrix whose rows make the value.

    Attributes:
        norm: its role, without the last part; "" is none.
        matrix: its role; "" is none.
        groups: value heads of the matrix are repeated so often, each `dim` rows.
    """

    norm: str = ""
    matrix: str = ""
    groups: int = 1
    dim: int = 1

    def shared(self, values: Floats) -> Floats:
        """Values [K] of the channels: channels that are the same row have their mean."""
        if self.groups == 1:
            return values
        heads = values.reshape(-1, self.groups, self.dim)
        return np.broadcast_to(heads.mean(axis=1, keepdims=True), heads.shape).reshape(-1)

    def of_rows(self, scales: Floats) -> Floats:
        """Scales [K] of the channels as those of the matrix' rows."""
        return scales.reshape(-1, self.groups, self.dim)[:, 0].reshape(-1)


def fold_of(layer: Layer, start: str, role: str) -> Fold | None:
    """Where the scales of what enters a matrix can go; None is nowhere. All matrices that a value enters have one.

    Args:
        start: of the layer's roles, such as `layers.3.`.
        role: the matrix'.
    """
    name, attention, mlp = role.removeprefix(start), layer.attention, layer.mlp
    if _ATTENTION.fullmatch(name):
        return Fold(norm=f"{start}attention_norm") if layer.attention_norm else None
    if _MLP.fullmatch(name):
        shares = layer.parallel and not layer.mlp_norm and layer.attention_norm
        return Fold(norm=f"{start}{'attention' if shares else 'mlp'}_norm") if shares or layer.mlp_norm else None
    if name == "attention.o.weight" and "v" not in attention.biases:
        groups = attention.heads // attention.kv_heads
        return Fold(matrix=f"{start}attention.v.weight", groups=groups, dim=attention.head_dim)
    found = _DOWN.fullmatch(name)
    linear = not isinstance(mlp, Mlp) or (mlp.kind == "gated" and "up" not in mlp.biases)  # from up to down
    return Fold(matrix=f"{start}{found[1]}up.weight") if found and linear else None


def best_scales(
    fold: Fold, matrices: Mapping[str, Floats], rounded: Callable[[str, Floats], Floats], moments: Floats
) -> Floats | None:
    """The scales [K] under which these matrices lose least, None where 1 does.

    Args:
        matrices: by role, [N, K] each: all that a value enters.
        rounded: what rounding makes of some rows of one.
        moments: H [K, K] of the value.
    """
    magnitude = fold.shared(np.sqrt(np.maximum(moments.diagonal(), 0)))
    if not magnitude.any():
        return None
    magnitude = np.maximum(magnitude, _LEAST * magnitude.max())
    some = {role: np.ascontiguousarray(matrix[:: -(-len(matrix) // _ROWS)]) for role, matrix in matrices.items()}

    def loss(scales: Floats) -> float:
        return sum(output_error(m, rounded(role, m * scales) / scales, moments) for role, m in some.items())

    tried = [_centred(magnitude ** np.float32(step / _STEPS)) for step in range(_STEPS)]
    losses = [loss(scales) for scales in tried]
    best = int(np.argmin(losses))
    return tried[best] if best else None


def _centred(scales: Floats) -> Floats:
    """So that the largest and the smallest are as far from 1."""
    found: Floats = (scales / np.sqrt(scales.max() * scales.min())).astype(np.float32)
    return found


def rows_divided(stored: Stored, by: Floats) -> Stored | None:
    """A matrix whose rows are divided by `by` [N], in its form; None where it has no scale for each row."""
    if isinstance(stored, Dense):
        return Dense((stored.dequantize() / by[:, None]).astype(np.float16))
    if isinstance(stored, Quantized):
        return replace(stored, scale=(stored.scale / by[:, None]).astype(np.float16))
    return None
