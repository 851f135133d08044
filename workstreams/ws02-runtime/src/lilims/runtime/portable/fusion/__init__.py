"""Rewrites of a function before it is lowered: a group of ops becomes one pseudo-op `lilims.<name>`.

One file per fusion, its pattern and replacement drawn on top. Each is optional: without any of them the function runs
op by op (`MLModel(..., fused=False)`), and each has a test that both ways agree.
"""

from __future__ import annotations

from collections.abc import Callable

from lilims.core.errors import PackageError

from ..lowering.scope import Precision
from ..program import MALFORMED, Function
from . import inplace_state, pointwise_conv, quantized_gather, quantized_linear, rms_norm
from .match import prune

__all__ = ["FUSIONS", "fuse"]

Fusion = Callable[[Function, Precision], Function]

# In this order; those that change which intermediate results exist are left out of "fp16", which rounds each of them.
FUSIONS: dict[str, Fusion] = {
    "inplace_state": inplace_state.rewrite,
    "rms_norm": rms_norm.rewrite,
    "quantized_gather": quantized_gather.rewrite,
    "pointwise_conv": pointwise_conv.rewrite,
    "quantized_linear": quantized_linear.rewrite,
}
"""Name → rewriting of a graph, in the order in which they run."""
_KEEPS_RESULTS = ("inplace_state",)


def fuse(function: Function, precision: Precision) -> Function:
    """The function with every fusion that its precision allows.

    Raises:
        PackageError: the function contradicts itself.
    """
    try:
        for name, rewrite in FUSIONS.items():
            if precision != "fp16" or name in _KEEPS_RESULTS:
                function = rewrite(function, precision)
    except MALFORMED as exc:
        message = f"the function contradicts itself ({type(exc).__name__}: {exc})"
        raise PackageError(message, where=function.name, hint="the package is damaged") from exc
    return prune(function)
