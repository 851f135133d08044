"""The ladder of probes: forms of programs, from the simplest up, and what follows where one does not hold.

Knows the questions. The answers are found in probes_state.py, probes_weights.py and probes_decoder.py, which are
imported in the process that asks.
"""

from __future__ import annotations

from .rungs import Rung

__all__ = ["LADDER"]

_STATE, _WEIGHTS, _DECODER = (f"lilims.ci.macos.probes_{part}" for part in ("state", "weights", "decoder"))

LADDER: tuple[Rung, ...] = (
    Rung(
        "load-functions",
        "each function of a package loads and computes by itself, buckets too",
        "one package a function (`convert --split-functions`), the state copied between them",
        f"{_DECODER}:load_functions",
    ),
    Rung(
        "slot-write",
        "rows written at a slot that is not 0 stand there, and another function and the host read them",
        "rows would have to be blended in with a one-hot mask instead of `slice_update`: a whole state a token",
        f"{_STATE}:write_then_read",
    ),
    Rung(
        "prefill-decode",
        "prefill and decode take turns on one state",
        "a state a function, copied at each turn, as split packages have it; or decode alone",
        f"{_DECODER}:prefill_then_decode",
    ),
    Rung(
        "last-slots",
        "the last rows of the context, and a padded chunk that reaches into the scratch rows",
        "a context shorter by one chunk: the manifest's `context` is lowered, the state stays",
        f"{_DECODER}:last_slots",
    ),
    Rung(
        "int4-group-32",
        "4-bit codes with a scale for each 32 of them, the default scheme",
        "int4 with a scale a row (`int4-channel`) or a table (`lut4`) becomes the profile's default",
        f"{_WEIGHTS}:int4_group_32",
    ),
    Rung(
        "negative-scale",
        "scales below zero",
        "the search for scales keeps to positive ones, at a little loss; GGUF blocks with such scales are requantised",
        f"{_WEIGHTS}:negative_scale",
    ),
    Rung(
        "float-offset",
        "offsets that are no whole codes",
        "asymmetric schemes and Q4_1, Q5_1, Q4_K are requantised to symmetric codes",
        f"{_WEIGHTS}:float_offset",
    ),
    Rung(
        "nested-scale",
        "scales that are quantised themselves",
        "conversions go on without them: GGUF's K types keep an fp16 scale a block, at half a bit a weight more",
        f"{_WEIGHTS}:nested_scale",
    ),
    Rung(
        "lut-then-scale",
        "a table of values, then a scale for each block (`--gguf-forms compact`)",
        "`--gguf-forms safe`, the default, stays the only form, at 8 bits a weight for IQ4_NL",
        f"{_WEIGHTS}:lut_then_scale",
    ),
    Rung(
        "vocabulary-50257",
        "a vocabulary that is no multiple of anything, padded to 64",
        "the head is split into parts of at most 16,384 rows whose logits are joined by the host",
        f"{_DECODER}:vocabulary",
    ),
    Rung(
        "300-predictions",
        "300 predictions in one process",
        "models run in a process of their own (`load(isolate=True)`), which is started anew when it dies",
        f"{_DECODER}:many_predictions",
    ),
    Rung(
        "footprint",
        "prefill and score add less than half of the weights' bytes once decode is loaded",
        "functions are loaded when they are needed and given up after: prefill behind the prompt",
        f"{_DECODER}:footprint",
    ),
)
