"""Which tokens go into which call, at which rows, with which masks and rotary tables.

Knows the shapes of the decoder contract. Must not know what executes a call: there is no executor in this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lilims.core.lazy import lazy

if TYPE_CHECKING:
    from .chunks import Chunk, ring_row, state_rows
    from .masks import DecodeMask, Visibility, attention_mask
    from .memory import (
        DEVICE,
        PORTABLE,
        DecoderSizes,
        ExecutorMemory,
        MemoryPlan,
        check_memory,
        kv_state_bytes,
        longest_context,
        plan_memory,
    )
    from .plan import Call, DecoderShape, StepInputs, plan_calls
    from .policy import ContextPolicy
    from .rotary import RotaryParameters, RotaryTables, inverse_frequencies, rotary_tables
    from .rotary_config import from_config
    from .rows import StateRows
    from .window import ContextWindow, Step, open_window

__all__ = [
    "DEVICE",
    "PORTABLE",
    "Call",
    "Chunk",
    "ContextPolicy",
    "ContextWindow",
    "DecodeMask",
    "DecoderShape",
    "DecoderSizes",
    "ExecutorMemory",
    "MemoryPlan",
    "RotaryParameters",
    "RotaryTables",
    "StateRows",
    "Step",
    "StepInputs",
    "Visibility",
    "attention_mask",
    "check_memory",
    "from_config",
    "inverse_frequencies",
    "kv_state_bytes",
    "longest_context",
    "open_window",
    "plan_calls",
    "plan_memory",
    "ring_row",
    "rotary_tables",
    "state_rows",
]

_HOMES = {
    "ExecutorMemory": "memory",
    "PORTABLE": "memory",
    "DEVICE": "memory",
    "plan_memory": "memory",
    "longest_context": "memory",
    "check_memory": "memory",
    "MemoryPlan": "memory",
    "DecoderSizes": "memory",
    "Call": "plan",
    "Chunk": "chunks",
    "ContextPolicy": "policy",
    "ContextWindow": "window",
    "DecodeMask": "masks",
    "DecoderShape": "plan",
    "RotaryParameters": "rotary",
    "RotaryTables": "rotary",
    "StateRows": "rows",
    "Step": "window",
    "StepInputs": "plan",
    "Visibility": "masks",
    "attention_mask": "masks",
    "from_config": "rotary_config",
    "inverse_frequencies": "rotary",
    "kv_state_bytes": "memory",
    "open_window": "window",
    "plan_calls": "plan",
    "ring_row": "chunks",
    "rotary_tables": "rotary",
    "state_rows": "chunks",
}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
