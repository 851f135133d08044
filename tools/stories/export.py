"""Writes the checkpoint folder in the Hugging Face layout, with its held-out text and its model card.

Everything is written under temporary names first and renamed at the end.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from corpus import CONTEXT, VALIDATION_STORIES, held_out_text, tokenizer_files
from model import Config, Llama
from torch import Tensor

if TYPE_CHECKING:
    from tokenizers import Tokenizer

HELD_OUT_TOKENS = 20_000
GENERATION = {
    "bos_token_id": 0,
    "eos_token_id": 0,
    "do_sample": True,
    "temperature": 0.8,
    "top_k": 40,
    "max_new_tokens": 400,
}
# Names that no training story has, and wordings that the grammar's openings do not use.
OPENINGS = (
    "Once upon a time, there was a little fox named Pip.",
    "One morning, Matilda the hedgehog found a blue button under a tree.",
    "Wilbur was a young bear. He wanted to learn how to swim.",
    "Tabitha had a red kite. She loved it more than anything.",
    "There was a small boy named Linus who was afraid of the dark.",
    "Luna and her friend Rafi went to the river with a little boat.",
    "It was the birthday of Stanley's grandmother, but he had no present.",
    "Juniper the mouse lived in a teapot.",
    "Once there was a girl named Keiko who lived by the sea.",
    "Barnaby the badger wanted to share his apples with somebody.",
)


def state_dict(model: Llama) -> dict[str, Tensor]:
    """fp16 tensors under transformers' names; the output matrix is the embedding and is not stored twice."""
    return {name: tensor.detach().half().contiguous() for name, tensor in model.state_dict().items()}


def generate(model: Llama, tokenizer: Tokenizer, prompt: str, seed: int | None, limit: int = 400) -> tuple[str, bool]:
    """Prompt and continuation, and whether the model ended it. seed None: greedy; else temperature 0.8, top-k 40."""
    ids: list[int] = tokenizer.encode(prompt).ids
    generator = torch.Generator().manual_seed(seed or 0)
    with torch.inference_mode():
        while len(ids) < min(limit, CONTEXT):
            logits = model(torch.tensor([ids]))[0, -1]
            if seed is None:
                token = int(logits.argmax())
            else:
                top = torch.topk(logits / 0.8, 40)
                token = int(top.indices[torch.multinomial(top.values.softmax(0), 1, generator=generator)])
            if token == 0:
                return tokenizer.decode(ids), True
            ids.append(token)
    return tokenizer.decode(ids), False


def samples(model: Llama, tokenizer: Tokenizer, seeds: list[int | None]) -> str:
    """One story per seed, from the openings in turn, as quoted Markdown."""
    parts = []
    for i, seed in enumerate(seeds):
        prompt = OPENINGS[i % len(OPENINGS)]
        text, ended = generate(model, tokenizer, prompt, seed)
        quoted = "**" + prompt + "**" + text[len(prompt) :]
        lines = quoted.splitlines() + ([] if ended else ["", "*(not ended within the limit)*"])
        parts.append("\n".join(f"> {line}".rstrip() for line in lines))
    return "\n\n---\n\n".join(parts)


def card(
    losses: dict[str, dict[str, float]],
    options: Namespace,
    history: list[str],
    steps: int,
    seconds: float,
    shown: tuple[str, str],
) -> str:
    """The model card, from the template ``card.md`` beside this file."""
    rows = []
    for text, by in losses.items():
        cells = [f"{loss:.4f} / {math.exp(loss):.3f}" for loss in by.values()]
        cells += [f"{math.exp(by[name] - by['fp16']) - 1:+.2%}" for name in ("int8", "int4")]
        rows.append(" | ".join(["", text, *cells, ""]).strip())
    parameters = sum(p.numel() for p in Llama(Config()).parameters())
    return (
        (Path(__file__).parent / "card.md")
        .read_text(encoding="utf-8")
        .format(
            c=Config(),
            o=options,
            context=CONTEXT,
            steps=steps,
            commands="\n".join(f"python tools/stories/train.py --out FOLDER {command}" for command in history),
            rows="\n".join(rows),
            minutes=seconds / 60,
            parameters=f"{parameters / 1e6:.1f}",
            last_story=options.stories - 1,
            held_out_tokens=HELD_OUT_TOKENS,
            validation_stories=VALIDATION_STORIES,
            tokens=steps * options.batch * CONTEXT / 1e6,
            greedy=shown[0],
            sampled=shown[1],
        )
    )


def export(
    model: Llama,
    tokenizer: Tokenizer,
    options: Namespace,
    losses: dict[str, dict[str, float]],
    history: list[str],
    steps: int,
    seconds: float,
) -> None:
    """Writes the folder ``options.out``. losses: per text, per rounding. steps: in all."""
    from safetensors.torch import save_file

    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    weights = state_dict(model)
    model.load_state_dict(weights)  # the samples come from what is saved
    shown = (samples(model, tokenizer, [None] * 5), samples(model, tokenizer, list(range(1, 11))))
    with tempfile.TemporaryDirectory(dir=out, prefix=".writing-") as name:
        folder = Path(name)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        tokenizer_files(tokenizer, folder)
        for file, content in (("config.json", Config().hugging_face()), ("generation_config.json", GENERATION)):
            (folder / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        (folder / "heldout.txt").write_text(held_out_text(tokenizer, HELD_OUT_TOKENS), encoding="ascii")
        (folder / "README.md").write_text(card(losses, options, history, steps, seconds, shown), encoding="utf-8")
        for path in sorted(folder.iterdir()):
            path.chmod(0o644)
            os.replace(path, out / path.name)
