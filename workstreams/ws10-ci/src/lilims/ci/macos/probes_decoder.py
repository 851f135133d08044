"""Probes of a decoder that lilims converted: a tiny random Llama against the same Llama in NumPy.

Knows what a decoder package is asked to do. Must not know how it is made or run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from . import llama
from .backend import open_model
from .comparing import DECODER, judge, logit_differences
from .rungs import Finding, Target

__all__ = ["footprint", "last_slots", "load_functions", "many_predictions", "prefill_then_decode", "vocabulary"]

_CHUNK, _BUCKET, _CONTEXT = 32, 128, 384
_MANY = 300
_CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 259,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
}
_LARGER: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
}


def _model(
    target: Target,
    *,
    context: int = _CONTEXT,
    buckets: Sequence[int] = (),
    precision: Literal["fast", "fp16"] = "fp16",
    **config: Any,
) -> tuple[Any, Path]:
    """A random Llama as a package, opened, and the checkpoint that it was made of."""
    from lilims.conversion import GraphOptions, convert
    from lilims.conversion.random_checkpoint import write_random_checkpoint

    checkpoint = target.work / "checkpoint"
    write_random_checkpoint({**_CONFIG, **config}, checkpoint)
    graph = GraphOptions(prefill_chunk=_CHUNK, buckets=tuple(buckets))
    made = convert(checkpoint, target.work / "model", quantize="fp16", context=context, graph=graph)
    return open_model(made.folder, target, precision=precision), checkpoint


def _ids(count: int, vocabulary: int = _CONFIG["vocab_size"]) -> list[int]:
    return [int(token) for token in np.random.default_rng(2).integers(0, vocabulary, count)]


def _compared(found: Any, checkpoint: Path, ids: Sequence[int], rows: slice, what: str) -> Finding:
    return judge(logit_differences(found, llama.logits(checkpoint, ids)[rows]), DECODER, what)


def load_functions(target: Target) -> Finding:
    """Every function of a package with a bucket: the calls are such that each is the last of one."""
    model, checkpoint = _model(target, buckets=(_BUCKET,))
    ids = _ids(_BUCKET + _CHUNK + 1)  # the last chunk and the last token are beyond the bucket
    wanted = llama.logits(checkpoint, ids)
    cases: dict[str, Callable[[], tuple[Any, Any]]] = {
        "score": lambda: (model.logits(ids[:_CHUNK]), wanted[:_CHUNK]),
        "decode_128": lambda: (model.session().append(ids[:1])[None], wanted[:1]),
        "prefill_128": lambda: (model.session().append(ids[:_CHUNK])[None], wanted[_CHUNK - 1 : _CHUNK]),
        "prefill": lambda: (model.session().append(ids[:-1])[None], wanted[-2:-1]),
        "decode": lambda: (model.step_logits(ids, prefill=len(ids) - 1), wanted[-2:]),
    }
    names = sorted(model.manifest.functions)
    if names != sorted(cases):
        return Finding(False, f"the package has the functions {', '.join(names)}")
    found: list[Finding] = []
    for name, run in cases.items():
        print(name, flush=True)  # the last one stands in the report of a process that died
        found.append(judge(logit_differences(*run()), DECODER, name))
    worst = max(found, key=lambda one: (not one.passed, one.figures["rms_share"]))
    return Finding(worst.passed, f"{len(cases)} functions; the worst is {worst.what}", worst.figures)


def prefill_then_decode(target: Target) -> Finding:
    """A prompt of two chunks and a part of one, then tokens one by one: two functions write one state in turn."""
    model, checkpoint = _model(target)
    prompt, ids = 2 * _CHUNK + 11, _ids(2 * _CHUNK + 31)
    found = model.step_logits(ids, prefill=prompt)
    return _compared(found, checkpoint, ids, slice(prompt - 1, None), f"{prompt} tokens and {len(ids) - prompt} more")


def last_slots(target: Target) -> Finding:
    """Every row of a small context, the last chunk padded into the rows behind it."""
    context = 96
    model, checkpoint = _model(target, context=context)
    ids = _ids(context)
    session = model.session()
    session.append(ids[: context - 3])
    rows = [session.append([token]) for token in ids[context - 3 :]]
    session.rewind(1)
    again = session.append(ids[-1:])
    session.reset()
    session.append(ids[: context - 1])  # ends one row before the last
    rows += [session.append(ids[-1:]), again]
    wanted = llama.logits(checkpoint, ids)
    found = np.stack(rows)
    last = np.concatenate([wanted[-3:], wanted[-1:], wanted[-1:]])
    return judge(logit_differences(found, last), DECODER, f"row {context - 1} of {model.shape.rows}")


def vocabulary(target: Target) -> Finding:
    """GPT-2's 50,257 tokens: a head whose last rows are padding, and an embedding's last row."""
    size = 50257
    model, checkpoint = _model(target, context=64, vocab_size=size)
    ids = [*_ids(20, size), size - 1, size - 2]
    return _compared(model.logits(ids), checkpoint, ids, slice(None), f"logits of {size} tokens")


def many_predictions(target: Target) -> Finding:
    """As many predictions as have been reported to kill a process, in one process over one state."""
    model, checkpoint = _model(target)
    ids = _ids(_MANY)
    found = model.step_logits(ids)
    return _compared(found, checkpoint, ids, slice(None), f"{len(ids)} predictions")


def footprint(target: Target) -> Finding:
    """What each function adds to the process's own memory: the weights should be there once, not once a function."""
    from lilims.bench.memory import memory

    model, _ = _model(target, precision="fast", **_LARGER)
    weights = sum(entry.bytes for name, entry in model.manifest.files.items() if name.endswith("weight.bin"))
    figures: dict[str, float | int] = {"weights": weights}
    before = memory()["private"]
    if before is None:
        return Finding(False, "this system does not tell a process's own memory", figures)
    calls: dict[str, Callable[[], object]] = {  # the functions are loaded when they are first called
        "decode": lambda: model.session().append([1]),
        "prefill": lambda: model.session().append([1, 2]),
        "score": lambda: model.logits([1, 2]),
    }
    for name, call in calls.items():
        call()
        after = memory()["private"] or 0
        figures[name], before = after - before, after
    later = max(figures["prefill"], figures["score"])
    megabytes = ", ".join(f"{name} {figures[name] / 1e6:+.1f} MB" for name in calls)
    return Finding(later < weights / 2, f"{weights / 1e6:.1f} MB of weights: {megabytes}", figures)
