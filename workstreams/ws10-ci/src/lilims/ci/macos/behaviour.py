"""The behaviour suite: what users do, on the executor that is asked and on the exact portable one.

Knows the cases. They are run by cases_text.py and cases_cache.py, which are imported in the process that asks.
"""

from __future__ import annotations

from .rungs import Rung

__all__ = ["BEHAVIOUR"]

_NUMBERS = (
    "the arithmetic of a form differs there: compare the probes of its weights, then the first layer that differs"
)
_CACHE = "sessions on that executor must not go back or be shared: `chat` and `serve` would run every text anew"
_TEXT = "the executor hands logits on in another order or shape than the contract says"

_CASES: tuple[tuple[str, str, str, str], ...] = (
    ("generate-fp16", "greedy text of the fp16 package, converted here", _NUMBERS, "text:generate_fp16"),
    ("generate-int8", "the same of int8", _NUMBERS, "text:generate_int8"),
    ("generate-int4", "the same of int4 in blocks of 32", _NUMBERS, "text:generate_int4"),
    ("perplexity", "perplexity of unseen text, int4, through `score`", _NUMBERS, "text:perplexity"),
    ("long-prompt", "a prompt of several chunks: score, prefill and single tokens agree", _CACHE, "cache:long_prompt"),
    ("rewind", "a session goes back into a chunk, and keeps a common beginning", _CACHE, "cache:rewind"),
    ("fork", "two sessions go on from one beginning", _CACHE, "cache:fork"),
    ("interleaved", "three sessions take turns", _CACHE, "cache:interleaved"),
    ("moved-state", "a cache made by one executor goes on in the other", _CACHE, "cache:moved_state"),
    ("saved", "a session goes through a file", _CACHE, "cache:saved"),
    ("policies", "texts longer than the context: rolling, sinks, shift", _CACHE, "cache:policies"),
    ("overflow", "what does not fit is refused, and the session goes on", _CACHE, "cache:overflow"),
    ("stop-strings", "a text ends before a stop string", _TEXT, "text:stop_strings"),
    ("end-of-text", "a text ends at its end", _TEXT, "text:end_of_text"),
    ("sampling", "a seed repeats, another differs, a forbidden token does not come", _TEXT, "text:sampling"),
    ("isolated", "the model in a process of its own says the same", _TEXT, "text:isolated"),
    ("buckets", "functions that read a part of the rows", "no buckets on that device", "cache:buckets"),
    ("host-embedding", "the embedding beside the package", "`--embedding package`", "cache:host_embedding"),
    ("split-layers", "several packages of some layers each", "one package, within its size", "cache:split_layers"),
    ("split-functions", "a package a function", "one package of all functions", "cache:split_functions"),
)

BEHAVIOUR: tuple[Rung, ...] = tuple(
    Rung(name, shows, otherwise, f"lilims.ci.macos.cases_{home}") for name, shows, otherwise, home in _CASES
)
