"""Which tokens go into which call, at which rows, with which masks and rotary tables.

Knows the shapes of the decoder contract. Must not know what executes a call: there is no executor in this package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .chunks import Chunk, plan_prefill, state_rows
    from .masks import DecodeMask, attention_mask
    from .memory import kv_state_bytes
    from .plan import Call, DecoderShape, StepInputs, plan_calls
    from .rotary import RotaryParameters, RotaryTables, inverse_frequencies, rotary_tables
    from .rotary_config import from_config

__all__ = [
    "Call",
    "Chunk",
    "DecodeMask",
    "DecoderShape",
    "RotaryParameters",
    "RotaryTables",
    "StepInputs",
    "attention_mask",
    "from_config",
    "inverse_frequencies",
    "kv_state_bytes",
    "plan_calls",
    "plan_prefill",
    "rotary_tables",
    "state_rows",
]

_HOMES = {
    "Call": "plan",
    "Chunk": "chunks",
    "DecodeMask": "masks",
    "DecoderShape": "plan",
    "RotaryParameters": "rotary",
    "RotaryTables": "rotary",
    "StepInputs": "plan",
    "attention_mask": "masks",
    "from_config": "rotary_config",
    "inverse_frequencies": "rotary",
    "kv_state_bytes": "memory",
    "plan_calls": "plan",
    "plan_prefill": "chunks",
    "rotary_tables": "rotary",
    "state_rows": "chunks",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
