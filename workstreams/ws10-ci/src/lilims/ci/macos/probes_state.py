"""Probes of a state: rows are written where they should be, by one function, and read by another.

Knows the contract's way to write rows (docs/contract.md). Must not know a decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .backend import open_package
from .comparing import differences
from .packages import write_package
from .rungs import Finding, Target

__all__ = ["write_then_read"]

_SHAPE = (4, 2, 64, 32)  # 2 · layers, heads, rows, head dimension
_TOKENS = 8
_WRITES = ((1, 5), (2, 56), (1, 0))  # (pair, slot): in the middle, up to the last row, at the start


def _write(mb: Any, given: Mapping[str, Any], pair: int) -> Any:
    """Rows [1, heads, S, E] go to `slot` of one pair; the output does not depend on the written value."""
    start = np.array([pair, 0], np.int32)
    end = np.array([pair + 1, _SHAPE[1]], np.int32)
    slot, tokens = given["slot"], np.array([_TOKENS], np.int32)
    begin = mb.concat(values=[start, slot, np.zeros(1, np.int32)], axis=0)
    stop = mb.concat(values=[end, mb.add(x=slot, y=tokens), np.array([_SHAPE[3]], np.int32)], axis=0)
    cache = mb.read_state(input=given["kv_cache"])
    written = mb.slice_update(x=cache, update=given["rows"], begin=begin, end=stop)
    mb.coreml_update_state(state=given["kv_cache"], value=written)
    return mb.mul(x=given["rows"], y=np.float16(2))


def _read(mb: Any, given: Mapping[str, Any]) -> Any:
    return mb.mul(x=mb.read_state(input=given["kv_cache"]), y=given["one"])


def write_then_read(target: Target) -> Finding:
    """Writes at several slots, reads the whole state by another function and by the host."""
    rows = {"rows": ("fp16", (1, _SHAPE[1], _TOKENS, _SHAPE[3])), "slot": ("int32", (1,))}
    functions: dict[str, Any] = {
        f"write_{pair}": (rows, lambda mb, given, pair=pair: _write(mb, given, pair))
        for pair in sorted({pair for pair, _ in _WRITES})
    }
    functions["read"] = ({"one": ("fp16", (1,))}, _read)
    opened = open_package(write_package(target.work / "state.mlpackage", functions, state=_SHAPE), target)
    state = opened.make_state("read")
    wanted = np.zeros(_SHAPE, np.float32)
    random = np.random.default_rng(0)
    for pair, slot in _WRITES:
        values = random.standard_normal((1, _SHAPE[1], _TOKENS, _SHAPE[3])).astype(np.float16).astype(np.float32)
        wanted[pair : pair + 1, :, slot : slot + _TOKENS] = values
        opened.predict(f"write_{pair}", {"rows": values, "slot": np.array([slot], np.int32)}, state)
    read = opened.predict("read", {"one": np.ones(1, np.float32)}, state)
    host = np.asarray(state.read_state("kv_cache"), np.float32)
    figures = differences(read, wanted)
    figures["host_max"] = float(np.abs(host - wanted).max())
    exact = figures["max"] == 0 and figures["host_max"] == 0
    places = ", ".join(f"{slot}–{slot + _TOKENS - 1}" for _, slot in _WRITES)
    return Finding(exact, f"rows {places}: largest difference {max(figures['max'], figures['host_max']):g}", figures)
