"""Rotary position tables, computed on the host in float64.

Knows the formulas of the scaling rules. Must not know how a config spells them (that is rotary_config.py) or who is
fed with the tables.

Frequencies, with d = rotary_dim, b = theta, i = 0 … d/2 - 1 and f_i = b^(-2i/d) (RoFormer, arXiv:2104.09864, 3.2.2):

    default    f_i
    linear     f_i / factor                                     positional interpolation, arXiv:2306.15595
    dynamic    f_i with b' = b · (factor · n/m - (factor - 1))^(d/(d-2)), n = max(length, m) and m the model's own
               context: "dynamic NTK" in transformers, `_compute_dynamic_ntk_parameters`
    llama3     f_i for wavelengths (2π/f_i) below m/high_freq_factor, f_i/factor above m/low_freq_factor, in between the
               mix (1 - s) · f_i/factor + s · f_i with s = (m/wavelength - low) / (high - low): meta-llama/llama-models,
               `apply_scaling`
    yarn       mix of f_i/factor and f_i along a ramp over i between the dimensions that turn beta_fast and beta_slow
               times in the original context: arXiv:2309.00071, 3.2
    longrope   f_i / long_factor_i for a length above the original context, else f_i / short_factor_i: arXiv:2402.13753

cos and sin are multiplied by `attention_factor` (yarn and longrope; 1 elsewhere). Two rules depend on the sequence's
length. A KV cache holds keys that are already rotated, so a length that grows would leave old keys turned by other
angles than new ones. A package has a fixed context: give it as `length`, and every key is turned by the same rule.
(For a longrope package with a context above the original one this means the long factors from the first token on.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import UnsupportedModelError

__all__ = ["Kind", "RotaryParameters", "RotaryTables", "inverse_frequencies", "rotary_tables"]

Kind = Literal["default", "linear", "dynamic", "llama3", "yarn", "longrope"]

_LARGEST = 1e30
_NEEDS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": (),
    "dynamic": ("original_context",),
    "llama3": ("original_context", "low_freq_factor", "high_freq_factor"),
    "yarn": ("original_context",),
    "longrope": ("original_context", "short_factor", "long_factor"),
}


@dataclass(frozen=True, slots=True)
class RotaryParameters:
    """Everything that the tables of one kind of layer depend on, but the positions.

    Halves are not interleaved: dimension i turns together with i + rotary_dim/2, as in transformers' `rotate_half`.

    Attributes:
        rotary_dim: width of the tables; even, and at most the head dimension.
        theta: base of the frequencies.
        kind: the scaling rule.
        factor: how far the rule stretches the context.
        attention_factor: what cos and sin are multiplied by.
        original_context: the context that the model was trained on before it was stretched, in tokens.
        low_freq_factor, high_freq_factor: llama3's bounds.
        beta_fast, beta_slow, truncate: yarn's ramp; `truncate` rounds its ends to whole dimensions.
        short_factor, long_factor: longrope's divisors, one per frequency.
    """

    rotary_dim: int
    theta: float = 10000.0
    kind: Kind = "default"
    factor: float = 1.0
    attention_factor: float = 1.0
    original_context: int | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    short_factor: tuple[float, ...] | None = None
    long_factor: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise _bad("kind", f"{self.kind!r} is not one of {', '.join(get_args(Kind))}")
        smallest = 4 if self.kind == "dynamic" else 2
        if not isinstance(self.rotary_dim, int) or self.rotary_dim < smallest or self.rotary_dim % 2:
            raise _bad("rotary_dim", f"{self.rotary_dim} is not an even number of at least {smallest}")
        for name in _NEEDS[self.kind]:
            if getattr(self, name) is None:
                raise _bad(name, f"needed by kind {self.kind!r}")
        for name in ("theta", "factor", "attention_factor", "beta_fast", "beta_slow"):
            _check_positive(name, getattr(self, name))
        for name in ("original_context", "low_freq_factor", "high_freq_factor"):
            if getattr(self, name) is not None:
                _check_positive(name, getattr(self, name))
        for name in ("short_factor", "long_factor"):
            if (factors := getattr(self, name)) is not None:
                self._check_factors(name, factors)
        if self.kind == "llama3" and self.low_freq_factor == self.high_freq_factor:
            raise _bad("high_freq_factor", "equals low_freq_factor, which leaves no band between them")
        if self.kind == "yarn" and self.theta == 1:
            raise _bad("theta", "1 gives every dimension the same frequency")

    def _check_factors(self, name: str, factors: Sequence[float]) -> None:
        if not isinstance(factors, (list, tuple)):
            raise _bad(name, f"{factors!r} is not a list")
        if len(factors) != self.rotary_dim // 2:
            raise _bad(name, f"has {len(factors)} values for {self.rotary_dim // 2} frequencies")
        for value in factors:
            _check_positive(name, value)

    def to_dict(self) -> dict[str, Any]:
        """The parameters as JSON, without those that stand at their defaults."""
        values: dict[str, Any] = {"rotary_dim": self.rotary_dim, "theta": self.theta, "kind": self.kind}
        for field in fields(self)[3:]:
            if (value := getattr(self, field.name)) != field.default:
                values[field.name] = list(value) if isinstance(value, tuple) else value
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RotaryParameters:
        """The inverse of `to_dict`.

        Raises:
            UnsupportedModelError: a key is unknown, missing or has a value that gives no tables.
        """
        for name in values.keys() - {field.name for field in fields(cls)}:
            raise _bad(name, "unknown to this version of lilims")
        if "rotary_dim" not in values:
            raise _bad("rotary_dim", "missing")
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, (list, tuple))}
        return cls(**{**values, **lists})


def _bad(name: str, message: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        message, where=f"rotary parameter {name}", hint="check the rotary parameters in config.json or manifest.json"
    )


def _check_positive(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < _LARGEST:
        raise _bad(name, f"{value!r} is not a number above 0")


def inverse_frequencies(parameters: RotaryParameters, *, length: int | None = None) -> NDArray[np.float64]:
    """Radians per position, float64 [rotary_dim / 2].

    Args:
        parameters: see `RotaryParameters`; the formulas stand at the top of this file.
        length: the sequence length that kinds `dynamic` and `longrope` are to serve; other kinds do not depend on it.
            None means the original context.
    """
    base: NDArray[np.float64] = parameters.theta ** -(np.arange(0, parameters.rotary_dim, 2) / parameters.rotary_dim)
    match parameters.kind:
        case "default":
            return base
        case "linear":
            return base / parameters.factor
        case "dynamic":
            return _dynamic(parameters, length)
        case "llama3":
            return _llama3(parameters, base)
        case "yarn":
            return _yarn(parameters, base)
        case "longrope":
            original = cast(int, parameters.original_context)
            divisors = parameters.long_factor if (length or 0) > original else parameters.short_factor
            return base / np.array(divisors, np.float64)


def _dynamic(p: RotaryParameters, length: int | None) -> NDArray[np.float64]:
    original = cast(int, p.original_context)
    stretch = p.factor * max(length or 0, original) / original - (p.factor - 1)
    theta = p.theta * stretch ** (p.rotary_dim / (p.rotary_dim - 2))
    return np.asarray(theta ** -(np.arange(0, p.rotary_dim, 2) / p.rotary_dim))


def _llama3(p: RotaryParameters, base: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = cast(float, p.low_freq_factor), cast(float, p.high_freq_factor)
    turns = cast(int, p.original_context) * base / (2 * math.pi)  # within the original context
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return np.asarray((1 - smooth) * base / p.factor + smooth * base)


def _yarn(p: RotaryParameters, base: NDArray[np.float64]) -> NDArray[np.float64]:
    def dimension(turns: float) -> float:
        original = cast(int, p.original_context)
        return p.rotary_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(p.theta))

    low, high = dimension(p.beta_fast), dimension(p.beta_slow)
    if p.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, p.rotary_dim - 1)
    ramp = np.clip((np.arange(p.rotary_dim // 2) - low) / (high - low if high != low else 0.001), 0, 1)
    return np.asarray(base / p.factor * ramp + base * (1 - ramp))


class RotaryTables:
    """cos and sin for one set of parameters; single positions, as decoding asks for them, come from a block of rows."""

    _BLOCK = 64

    def __init__(self, parameters: RotaryParameters, *, length: int | None = None) -> None:
        self._frequencies = inverse_frequencies(parameters, length=length)
        self._factor = parameters.attention_factor
        self._block: tuple[int, NDArray[np.float32], NDArray[np.float32]] | None = None  # its first position, and rows

    def at(self, positions: Sequence[int] | NDArray[np.integer]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """cos and sin, float32 [1, 1, S, rotary_dim] each; both halves of the last axis hold the same values."""
        angles = np.asarray(positions, np.float64)[:, None] * self._frequencies
        angles = np.concatenate((angles, angles), axis=-1)[None, None]
        return (np.cos(angles) * self._factor).astype(np.float32), (np.sin(angles) * self._factor).astype(np.float32)

    def at_one(self, position: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same for one position, [1, 1, 1, rotary_dim]: read-only views."""
        block = self._block
        if block is None or not 0 <= position - block[0] < self._BLOCK:
            cos, sin = self.at(np.arange(position, position + self._BLOCK))
            cos.flags.writeable = sin.flags.writeable = False
            self._block = block = (position, cos, sin)  # at once: whoever interrupts this finds rows of one block
        first, cos, sin = block
        row = position - first
        return cos[:, :, row : row + 1], sin[:, :, row : row + 1]


def rotary_tables(
    parameters: RotaryParameters, positions: Sequence[int] | NDArray[np.integer], *, length: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """cos and sin for `positions`, computed in float64.

    Args:
        parameters: the model's rotary parameters.
        positions: S positions, integers.
        length: see `inverse_frequencies`.

    Returns:
        cos and sin, float32 [1, 1, S, rotary_dim] each, laid out as transformers' `cat((freqs, freqs), -1)`.
    """
    return RotaryTables(parameters, length=length).at(positions)
