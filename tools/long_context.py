"""What context policies cost and keep over ten times the context, and how prefill grows: tables in Markdown.

    python tools/long_context.py [--models stories stories260K] [--keep FOLDER] [--times 10] [--no-timing] [--print]

Perplexities are recorded in tools/results/long_context.json, but with `--print`; `python tools/generated_pages.py
long-context` then writes docs/long-context.md. Prefill is printed only.

Models and texts are the quality gate's. Knows how a stream is scored and generated. Must not know how a policy works.

A stream of `times` · C tokens is scored under each policy and, as the in-window figure, in windows of C tokens that
know nothing of each other. Then each policy generates as many tokens (temperature 1, from a fixed seed, past every
eos); they are scored in windows of C too, by the same model: text that has fallen apart is unlikely there. The row
"error" is what windows that know nothing of each other give.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ci.quality_gate import SUBJECTS, Subject
from lilims.conversion import GraphOptions, convert
from lilims.runtime import Model, Session, load
from long_context_table import HEAD, Row, record

__all__ = ["POLICIES", "generated", "main", "measure", "stream_loss", "window_loss"]

POLICIES = ("rolling", "sinks", "shift")
CHUNKS = (8, 16, 32, 64, 128, 256)


def versions() -> str:
    """What computes the perplexities."""
    names = {"ONNX Runtime": "onnxruntime", "numpy": "numpy", "coremltools": "coremltools"}
    return ", ".join(f"{label} {version(name)}" for label, name in names.items())


def losses(logits: Iterable[NDArray[np.float32]], ids: Sequence[int]) -> NDArray[np.float64]:
    """Nats of each id but the first, given the logits of those before it."""
    wide = np.concatenate(list(logits))[: len(ids) - 1].astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    chosen = wide[np.arange(len(ids) - 1), list(ids[1:])]
    return np.asarray(np.log(np.exp(wide).sum(axis=1)) - chosen)


def stream_loss(session: Session, ids: Sequence[int]) -> NDArray[np.float64]:
    """Nats of each id of a stream, piece by piece, as memory does not hold all logits."""
    found, before = [], list[int]()
    carried = np.zeros((0, 0), np.float32)
    for first in range(0, len(ids), 512):
        part = list(ids[first : first + 512])
        rows = np.concatenate(list(session.score(part)))
        known = np.concatenate([carried, rows]) if first else rows
        found.append(losses([known], before + part))
        carried, before = rows[-1:], part[-1:]
    return np.concatenate(found)


def window_loss(model: Model, ids: Sequence[int], window: int) -> NDArray[np.float64]:
    """Nats of each id but the first of each window."""
    parts = (ids[first : first + window] for first in range(0, len(ids) - 1, window))
    return np.concatenate([losses([model.logits(part)], part) for part in parts if len(part) > 1])


def generated(session: Session, first: int, count: int, *, seed: int = 0) -> list[int]:
    """`count` tokens drawn from the model's own distribution, behind one first token."""
    dice, ids = np.random.Generator(np.random.PCG64(seed)), [first]
    while len(ids) < count:
        logits = session.append(ids[-1:]).astype(np.float64)
        shares = np.exp(logits - logits.max())
        ids.append(int(dice.choice(len(shares), p=shares / shares.sum())))
    return ids


def measure(model: Model, name: str, ids: Sequence[int], policy: str, window_nats: float) -> Row:
    """One row of the table. With the policy "error" every window is scored and generated on its own."""
    size = model.context
    if policy == "error":
        nats, story = window_nats, list[int]()
        for seed in range(len(ids) // size):
            story += generated(model.session(), ids[0], size, seed=seed)
    else:
        nats = float(stream_loss(model.session(policy), ids).mean())
        story = generated(model.session(policy), ids[0], len(ids))
    again = float(window_loss(model, story, size).mean())
    text, text_in_window, generated_in_window = (float(np.exp(value)) for value in (nats, window_nats, again))
    return Row(name, policy, size, len(ids), text, text_in_window, generated_in_window, versions())


def rows_of(name: str, subject: Subject, folder: Path, times: int) -> Iterable[Row]:
    model = load(folder, executor="portable", precision="exact")
    ids = subject.ids(model)[: times * model.context]
    nats = float(window_loss(model, ids, model.context).mean())
    return (measure(model, name, ids, policy, nats) for policy in ("error", *POLICIES))


def prefill_times(model: Model, lengths: Sequence[int], *, repeats: int = 40) -> list[float]:
    """Seconds until a prompt of each length has its logits, on an empty session; the best of `repeats`, in turns."""
    best = dict.fromkeys(lengths, float("inf"))
    for length in list(lengths) * repeats:
        ids, session = [(7 * i) % model.vocab_size for i in range(length)], model.session()
        begun = time.perf_counter()
        session.append(ids)
        best[length] = min(best[length], time.perf_counter() - begun)
    return list(best.values())


def timing(name: str, subject: Subject, folder: Path) -> Iterable[str]:
    """The two tables of prefill: by length, and by chunk."""
    model = load(folder, executor="portable")
    lengths = [size for size in (32, 64, 128, 192, 256, 320, 384, 448, 512) if size <= model.context]
    prefill_times(model, [lengths[0]])
    yield f"\n| {name}: prompt | seconds | ms a token |\n|---:|---:|---:|"
    for length, seconds in zip(lengths, prefill_times(model, lengths), strict=True):
        yield f"| {length} | {seconds:.4f} | {1000 * seconds / length:.3f} |"
    yield f"\n| {name}: chunk | prompt of 20, ms | of {model.context - 12}, ms | state, rows |\n|---:|---:|---:|---:|"
    with tempfile.TemporaryDirectory() as made:
        for chunk in CHUNKS:
            out = Path(made) / str(chunk)
            convert(subject.checkpoint, out, quantize="fp16", graph=GraphOptions(prefill_chunk=chunk))
            other = load(out, executor="portable")
            prefill_times(other, [20])
            short, long = prefill_times(other, [20, model.context - 12])
            yield f"| {chunk} | {1000 * short:.2f} | {1000 * long:.1f} | {other.manifest.state.shape[2]} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables; each row of perplexities is recorded as soon as it is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--keep", type=Path, help="a folder for the converted models, which are used again")
    parser.add_argument("--times", type=int, default=10, help="how many contexts the stream is long")
    parser.add_argument("--no-timing", action="store_true", help="leave the prefill tables out")
    parser.add_argument("--print", action="store_true", help="print the tables without recording them")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as made:
        folders = {name: (options.keep or Path(made)) / f"{name}-fp16" for name in options.models}
        for name, folder in folders.items():
            if not folder.is_dir():
                convert(SUBJECTS[name].checkpoint, folder, quantize="fp16")
        print(HEAD, end="", flush=True)
        for name, folder in folders.items():
            for row in rows_of(name, SUBJECTS[name], folder, options.times):
                print(row, end="", flush=True)
                if not options.print:
                    record([row])
        if not options.no_timing:
            for name, folder in folders.items():
                for line in timing(name, SUBJECTS[name], folder):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
