"""Trains the built-in story model: ``python tools/stories/train.py --out FOLDER`` does everything from the grammar on.

Warm-up, a stable phase, then a decay to zero (WSD). The second half of the decay is quantisation-aware: every second
step runs on int4-rounded weights with straight-through gradients. The stable phase is kept in ``--work`` and goes on
after a restart; ``--decay-from latest`` branches a decay from it without changing it.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grammar
import numpy as np
import torch
import torch.nn.functional as F
from copying import build_in
from corpus import CONTEXT, VALIDATION_SEED, VALIDATION_STORIES, Ids, encode, held_out_text, prepare
from export import HELD_OUT_TOKENS, export
from model import Config, Llama, Rounding, int4, int8
from optimiser import Muon
from torch import Tensor

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WARMUP = 60
SAVE_EVERY = 180.0  # seconds


class Run:
    """Model, optimisers, position in the data and the log of one training run."""

    def __init__(self, options: argparse.Namespace, ids: Ids, flags: Ids, valid: Ids) -> None:
        torch.manual_seed(options.seed)
        self.options, self.ids, self.flags, self.valid = options, ids, flags, valid
        self.model = Llama(Config())
        build_in(self.model)
        self.parameters = list(self.model.parameters())
        matrices = [p for n, p in self.model.named_parameters() if p.ndim == 2 and "embed" not in n]
        others = [p for n, p in self.model.named_parameters() if p.ndim != 2 or "embed" in n]
        self.optimisers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=options.lr, weight_decay=0.05),
            torch.optim.AdamW(others, lr=options.lr_embedding, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self.rates = [options.lr, options.lr_embedding]
        self.pool = ThreadPoolExecutor(options.threads, initializer=torch.set_num_threads, initargs=(1,))
        self.step = 0
        self.seconds = 0.0
        self.log: list[dict[str, float]] = []
        self.history: list[str] = []  # the options of the commands that ended in these weights

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimisers": [o.state_dict() for o in self.optimisers],
            "step": self.step,
            "seconds": self.seconds,
            "log": self.log,
            "history": self.history,
        }

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.step, self.seconds, self.log = state["step"], state["seconds"], state["log"]
        self.history = state["history"]

    def save(self, path: Path) -> None:
        temporary = path.with_suffix(".tmp")
        torch.save(self.state(), temporary)
        os.replace(temporary, path)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Ids and flags of a step, [batch, 513]: seeded, each window once per pass; every pass cuts them elsewhere."""
        count = (len(self.ids) - 1 - CONTEXT) // CONTEXT
        epoch, place = divmod(self.step * self.options.batch, count - self.options.batch)
        rng = np.random.default_rng((self.options.seed, epoch))
        shift, order = rng.integers(CONTEXT), rng.permutation(count)
        starts = order[place : place + self.options.batch] * CONTEXT + shift
        ids, flags = (
            np.stack([array[s : s + CONTEXT + 1].astype(np.int64) for s in starts]) for array in (self.ids, self.flags)
        )
        return torch.from_numpy(ids), torch.from_numpy(flags)

    def train_step(self, factor: float, rounding: Rounding | None) -> float:
        """One step at ``factor`` times the full learning rates; returns the stories' loss in nats per token."""
        for optimiser, rate in zip(self.optimisers, self.rates, strict=True):
            optimiser.param_groups[0]["lr"] = rate * factor
        self.model.round_weights(rounding)
        windows = list(zip(*(torch.split(part, 1) for part in self.batch()), strict=True))
        losses = []
        for parameter in self.parameters:
            parameter.grad = None
        for loss, gradients in self.pool.map(self.gradients, windows):  # in the order of the windows: reproducible sums
            losses.append(loss)
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                part = gradient / len(windows)
                parameter.grad = part if parameter.grad is None else parameter.grad.add_(part)
        torch.nn.utils.clip_grad_norm_(self.optimisers[1].param_groups[0]["params"], 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        return sum(losses) / len(losses)

    def gradients(self, window: tuple[Tensor, Tensor]) -> tuple[float, tuple[Tensor, ...]]:
        """Loss and gradients of one window, [1, 513]; in the pool, so a busy core holds up one window at most.

        What a story has to remember counts ``--remember`` times: most of the other loss is chance in the grammar,
        which no model can learn, or wording, which it learns early. The loss returned is the plain one.
        """
        ids, flags = window
        losses = F.cross_entropy(self.model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        weights = 1.0 + (self.options.remember - 1) * flags[0, 1:]
        weighted = (losses * weights).sum() / weights.sum()
        return float(losses.detach().mean()), torch.autograd.grad(weighted, self.parameters)

    def evaluate(self, rounding: Rounding | None, windows: int | None = None) -> float:
        """Mean validation loss in nats per token over windows of 512, or over the first few of them."""
        return evaluate(self.model, self.valid, rounding, windows)


def evaluate(model: Llama, ids: Ids, rounding: Rounding | None = None, windows: int | None = None) -> float:
    """Mean loss of every next token in nats, over disjoint windows of 512 (the last one may be shorter)."""
    model.round_weights(rounding)
    total, count = 0.0, 0
    with torch.inference_mode():
        for start in list(range(0, len(ids) - 1, CONTEXT))[:windows]:
            window = torch.from_numpy(ids[start : start + CONTEXT + 1].astype(np.int64))[None]
            total += float(F.cross_entropy(model(window[:, :-1])[0], window[0, 1:], reduction="sum"))
            count += window.shape[1] - 1
    model.round_weights(None)
    return total / count


def note(run: Run, phase: str, losses: list[float], started: float, path: Path) -> None:
    """Adds a line to the log, on the screen and in the JSON file."""
    entry = {
        "step": run.step,
        "tokens": run.step * run.options.batch * CONTEXT,
        "decay": float(phase == "decay"),
        "loss": round(sum(losses) / len(losses), 4),
        "valid": round(run.evaluate(None, 12), 4),
        "seconds": round(run.seconds + time.monotonic() - started, 1),
    }
    run.log.append(entry)
    path.write_text(json.dumps(run.log, indent=0) + "\n", encoding="utf-8")
    print(phase, entry, flush=True)


def stable(run: Run, checkpoint: Path) -> None:
    """Warm-up and stable phase, up to ``--steps`` or ``--minutes`` of this run's own time, saved every few minutes."""
    options, started, saved, losses = run.options, time.monotonic(), time.monotonic(), list[float]()
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    while run.step < options.steps and not stop:
        if options.minutes and run.seconds + time.monotonic() - started > options.minutes * 60:
            break
        losses.append(run.train_step(min(1.0, (run.step + 1) / WARMUP), None))
        if run.step % 50 == 0:
            note(run, "stable", losses, started, options.work / "log.json")
            losses.clear()
        if time.monotonic() - saved > SAVE_EVERY:
            saved = now = time.monotonic()
            run.seconds, started = run.seconds + now - started, now
            run.save(checkpoint)
    run.seconds += time.monotonic() - started
    run.save(checkpoint)
    if stop:
        raise SystemExit(f"stopped at step {run.step}, saved")


def decay(run: Run) -> int:
    """The rates fall linearly to zero over ``--decay-steps`` (or ``--decay-minutes``); returns the steps taken.

    In the second half every second step runs on int4-rounded weights.
    """
    options, started, losses, taken = run.options, time.monotonic(), list[float](), 0
    limit = options.decay_minutes * 60 or math.inf
    while (done := max(taken / options.decay_steps, (time.monotonic() - started) / limit)) < 1:
        losses.append(run.train_step(1 - done, int4 if done > 0.5 and taken % 2 else None))
        taken += 1
        if run.step % 50 == 0:
            note(run, "decay", losses, started, options.work / "log-decay.json")
            losses.clear()
    run.seconds += time.monotonic() - started
    return taken


def report(run: Run, tokenizer: Tokenizer) -> dict[str, dict[str, float]]:
    """Loss of the weights as saved (fp16) and of their int8 and int4 roundings, on each held-out text."""
    saved = copy.deepcopy(run.model).half().float()
    known = {plot.name for plot in grammar.plots("train")}
    stories = list(grammar.stories(VALIDATION_STORIES, "heldout", first=VALIDATION_SEED))
    texts = {
        "validation": run.valid,
        "validation: known plots, new names": encode(tokenizer, (s for s in stories if s.plot in known))[0],
        "validation: new plots, new names": encode(tokenizer, (s for s in stories if s.plot not in known))[0],
        "heldout.txt": np.array(tokenizer.encode(held_out_text(tokenizer, HELD_OUT_TOKENS)).ids, np.uint16),
    }
    losses = {}
    for text, ids in texts.items():
        by = {name: evaluate(saved, ids, r) for name, r in (("fp16", None), ("int8", int8), ("int4", int4))}
        losses[text] = by
        for name, loss in by.items():
            change = math.exp(loss - by["fp16"]) - 1
            print(f"{text}: {name}: loss {loss:.4f}, perplexity {math.exp(loss):.4f} ({change:+.2%})", flush=True)
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="folder that receives the checkpoint")
    parser.add_argument("--work", type=Path, default=Path("build/stories"), help="data, checkpoints, logs")
    parser.add_argument("--stories", type=int, default=80_000, help="training stories")
    parser.add_argument("--first-story", type=int, default=0, help="seed of the first of them")
    parser.add_argument("--steps", type=int, default=250, help="stable steps, warm-up included")
    parser.add_argument("--minutes", type=float, default=0.0, help="end the stable phase after this time")
    parser.add_argument("--decay-steps", type=int, default=1000)
    parser.add_argument("--decay-minutes", type=float, default=0.0, help="shorten the decay to this time")
    parser.add_argument("--decay-from", metavar="latest|FILE", help="only decay, from a checkpoint")
    parser.add_argument("--batch", type=int, default=4, help="windows of 512 tokens per step")
    parser.add_argument("--lr", type=float, default=0.015, help="Muon's rate, for the matrices")
    parser.add_argument("--lr-embedding", type=float, default=3e-3, help="AdamW's rate, for embeddings and norms")
    parser.add_argument("--remember", type=float, default=4.0, help="weight of what a story has to remember")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokenizer, ids, flags, valid = prepare(options.work, options.stories, Config().vocab_size, options.first_story)
    print(f"{len(ids):,} training tokens, {len(valid):,} validation tokens", flush=True)
    run, checkpoint = Run(options, ids, flags, valid), options.work / "stable.pt"
    source = checkpoint if options.decay_from in (None, "latest") else Path(options.decay_from)
    if source.exists():
        run.load(source)
    elif options.decay_from:
        raise SystemExit(f"no checkpoint {source} to decay from")
    if not options.decay_from:
        stable(run, checkpoint)
    if options.out:
        stable_steps = run.step
        options.decay_steps = decay(run)
        start = f"--decay-from {source.name}" if options.decay_from else f"--steps {stable_steps}"
        run.history.append(
            f"{start} --decay-steps {options.decay_steps} --stories {options.stories} "
            f"--first-story {options.first_story} --batch {options.batch} "
            f"--lr {options.lr} --lr-embedding {options.lr_embedding} --remember {options.remember} "
            f"--seed {options.seed}"
        )
        run.save(options.work / "decayed.pt")
        export(run.model, tokenizer, options, report(run, tokenizer), run.history, run.step, run.seconds)


if __name__ == "__main__":
    main()
