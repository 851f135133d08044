"""How fast texts become ids and ids texts: lilims beside the library `tokenizers` and tiktoken, in alternating rounds.

    python tools/tokenizer_speed.py                       all; prints tables in Markdown
    python tools/tokenizer_speed.py --only gpt2 --rounds 9

Each round takes every implementation in turn; the table has the median of the rounds' ratios and the best rate. The raw
library gets what `tokenizers` itself would read: tokenizer.json, or the same model with its own normaliser. Lines are
those of WikiText-2's test split, `lines` one call each, `batch` one call for all, `whole` one call for 1.3 MB. Needs
tiktoken for its column.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from fuzz.references import tiktoken_of
from lilims.core.testing import test_data
from lilims.tokenizer import StreamDecoder, Tokenizer

SOURCES = {
    "gpt2": "tokenizers/gpt2",
    "qwen2": "tokenizers/qwen2",
    "stories260K": "models/stories260K",
    "mistral": "tokenizers/mistral/mistral_instruct_tokenizer_240323.model.v3",
    "unigram": "tokenizers/sentencepiece/test_model.model",
}
Task = Callable[[], Any]


def raw_library(name: str, tokenizer: Tokenizer) -> Any:
    """A `tokenizers.Tokenizer` that does all of the work by itself, without tokens around a text."""
    from tokenizers import Tokenizer as Library
    from tokenizers import models, normalizers

    from lilims.tokenizer.sentencepiece import merges_of
    from lilims.tokenizer.sentencepiece_model import PieceType, read

    if name == "gpt2":
        library = Library.from_file(str(test_data("tokenizers/gpt2/tokenizer.json")))
        library.no_truncation()
        return library
    if name == "qwen2":
        from transformers import AutoTokenizer

        found: Any = AutoTokenizer.from_pretrained(str(test_data("tokenizers/qwen2")))
        return found.backend_tokenizer
    path = test_data(SOURCES[name])
    model = read(path / "tokenizer.model" if path.is_dir() else path)
    steps: list[Any] = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    if model.remove_extra_whitespaces:
        from tokenizers import Regex

        steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    steps += [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    vocab = {piece.text: i for i, piece in enumerate(model.pieces)}
    if model.bpe:
        kind: Any = models.BPE(vocab, merges_of(model), byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    else:
        kind = models.Unigram([(p.text, p.score) for p in model.pieces], model.unknown, False)
    made: Any = Library(kind)
    made.normalizer = normalizers.Sequence(steps)
    made.decoder = _decoder()
    made.add_special_tokens([p.text for p in model.pieces if p.type is PieceType.CONTROL][:2])
    return made


def _decoder() -> Any:
    from tokenizers import decoders

    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    return decoders.Sequence(steps)


def tasks(name: str, lines: list[str]) -> dict[str, dict[str, Task]]:
    """What is measured: by task and implementation."""
    ours = Tokenizer.load(test_data(SOURCES[name]))
    raw = raw_library(name, ours)
    whole = "\n".join(lines)
    ids = [ours.encode(line, add_special_tokens=False) for line in lines]

    def streamed() -> None:
        decoder = StreamDecoder(ours)
        for one in ids:
            for token in one:
                decoder.push(token)

    found: dict[str, dict[str, Task]] = {
        "encode, lines": {
            "lilims": lambda: [ours.encode(line, add_special_tokens=False) for line in lines],
            "tokenizers": lambda: [raw.encode(line, add_special_tokens=False).ids for line in lines],
        },
        "encode, batch": {
            "lilims": lambda: ours.encode_batch(lines, add_special_tokens=False),
            "tokenizers": lambda: [one.ids for one in raw.encode_batch(lines, add_special_tokens=False)],
        },
        "encode, whole": {
            "lilims": lambda: ours.encode(whole, add_special_tokens=False),
            "tokenizers": lambda: raw.encode(whole, add_special_tokens=False).ids,
        },
        "decode, lines": {
            "lilims": lambda: [ours.decode(one) for one in ids],
            "tokenizers": lambda: [raw.decode(one) for one in ids],
        },
        "stream": {"lilims": streamed},
    }
    if name == "gpt2":
        tiktoken = tiktoken_of("r50k_base")
        found["encode, lines"]["tiktoken"] = lambda: [tiktoken.encode_ordinary(line) for line in lines]
        found["encode, batch"]["tiktoken"] = lambda: tiktoken.encode_ordinary_batch(lines, num_threads=os.cpu_count())
        found["encode, whole"]["tiktoken"] = lambda: tiktoken.encode_ordinary(whole)
        found["decode, lines"]["tiktoken"] = lambda: [tiktoken.decode(one) for one in ids]
    return found


def seconds(task: Task) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def measure(found: dict[str, Task], rounds: int) -> dict[str, list[float]]:
    """Seconds by implementation; each round has them in another order."""
    times: dict[str, list[float]] = {name: [] for name in found}
    names = list(found)
    for task in found.values():
        task()
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            times[name].append(seconds(found[name]))
    return times


def table(name: str, lines: list[str], rounds: int) -> None:
    """Prints one tokenizer's table."""
    characters = sum(map(len, lines))
    print(f"\n{name}\n\n| | lilims, million characters/s | of tokenizers | of tiktoken |\n|---|---|---|---|")
    for task, found in tasks(name, lines).items():
        times = measure(found, rounds)
        cells = [f"{characters / min(times['lilims']) / 1e6:.2f}"]
        for other in ("tokenizers", "tiktoken"):
            pairs = zip(times.get(other, []), times["lilims"], strict=False)
            ratios = [theirs / ours for theirs, ours in pairs]
            cells.append(f"{statistics.median(ratios):.2f}" if ratios else "")
        print(f"| {task} | {' | '.join(cells)} |", flush=True)


def repeated(rounds: int) -> None:
    """Prints seconds for 100 kB and 1 MB of one character: ten times the text takes ten times as long."""
    print("\n| of one character, seconds | 100 kB | 1 MB |\n|---|---|---|")
    for name, path in SOURCES.items():
        tokenizer = Tokenizer.load(test_data(path))
        for character in ("a", " ", "漢"):
            sizes = [character * (size // len(character.encode())) for size in (10**5, 10**6)]
            best = [min(seconds(partial(tokenizer.encode, text)) for _ in range(rounds)) for text in sizes]
            print(f"| {name}, {character!r} | {best[0]:.3f} | {best[1]:.3f} |", flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=SOURCES)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    text = test_data("text/wiki.test.raw").read_text("utf-8")[:400_000]
    lines = [line for line in text.split("\n") if line.strip()]
    for name in given.only or SOURCES:
        table(name, lines, given.rounds)
    if not given.only:
        repeated(2)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
