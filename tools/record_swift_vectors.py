"""Writes the values that the Swift sources are compared with: plans, masks, tables, random numbers, samples, tokens.

    python tools/record_swift_vectors.py

Both sides test the same files, which are exported with the sources: LilimsCoreTests in Swift, and test_vectors.py of
workstreams/ws07-ui/tests/swift, which computes them again. Must not compute anything itself: every value
comes from the packages that it is about. trace.json is a generation of the built-in model, call by call.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lilims.context import ContextPolicy, DecoderShape, RotaryParameters, open_window, rotary_tables
from lilims.runtime import Session
from lilims.runtime.sampling import Sampler, SamplingParameters
from lilims.tokenizer import StreamDecoder, Tokenizer
from lilims.ui.swift.record import PROBES
from lilims.ui.swift.tables import tables_of

FOLDER = (
    Path(__file__).parents[1]
    / "workstreams/ws07-ui/src/lilims/ui/swift/starter/LilimsKit/Tests/LilimsCoreTests/Vectors"
)
ROTARY: list[dict[str, Any]] = [
    {"rotary_dim": 8},
    {"rotary_dim": 32, "theta": 500000.0},
    {"rotary_dim": 16, "kind": "linear", "factor": 4.0},
    {"rotary_dim": 16, "kind": "dynamic", "factor": 2.0, "original_context": 64},
    {"rotary_dim": 64, "theta": 500000.0, "kind": "llama3", "factor": 8.0, "original_context": 8192,
     "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    {"rotary_dim": 32, "kind": "yarn", "factor": 4.0, "attention_factor": 1.1386294361119891, "original_context": 4096},
    {"rotary_dim": 32, "kind": "yarn", "factor": 8.0, "original_context": 2048, "truncate": False, "beta_fast": 16.0},
    {"rotary_dim": 8, "kind": "longrope", "factor": 4.0, "attention_factor": 1.19, "original_context": 64,
     "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.0, 2.0, 4.0, 8.0]},
]  # fmt: skip
POSITIONS = (0, 1, 7, 511, 8191, 131071)
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {"context": 40, "rows": 64, "functions": {"decode": 1, "prefill": 8}},
    "odd": {"context": 50, "rows": 64, "functions": {"decode": 1, "prefill": 8}, "padding": 3, "window": 9},
    "local": {"context": 40, "rows": 64, "functions": {"decode": 1, "prefill": 16}, "local_window": 5},
    "buckets": {"context": 80, "rows": 96, "functions": {"decode": 1, "prefill": 8, "decode_32": 1, "prefill_32": 8,
                "decode_64": 1, "prefill_64": 8}, "reads": {"decode_32": 32, "prefill_32": 32, "decode_64": 64,
                "prefill_64": 64}},
    "single": {"context": 31, "rows": 32, "functions": {"decode": 1}},
    "learned": {"context": 40, "rows": 64, "functions": {"decode": 1, "prefill": 8}, "max_positions": 42},
}  # fmt: skip
APPENDS = ((1,), (8,), (9, 1, 1), (17, 1, 5, 1), (23, 8, 8), (40,), (70, 1, 1, 3), (150, 1, 90, 1))


def rotary() -> list[dict[str, Any]]:
    found = []
    for values in ROTARY:
        parameters = RotaryParameters.from_dict(values)
        cos, sin = rotary_tables(parameters, POSITIONS, length=128)
        found.append(
            {"parameters": values, "length": 128, "positions": POSITIONS, "cos": _floats(cos), "sin": _floats(sin)}
        )
    return found


def plans() -> list[dict[str, Any]]:
    """Calls and inputs of texts that grow, one after the other, under both policies."""
    found = []
    for name, values in SHAPES.items():
        rotary_dim = None if name == "learned" else 8
        shape = DecoderShape(**values, rotary=rotary_dim and RotaryParameters(rotary_dim=rotary_dim))  # type: ignore[arg-type]
        for policy in ("error", "rolling"):
            if name != "learned" or policy == "error":
                found += [_plan(name, shape, policy, appends) for appends in APPENDS if _fits(shape, policy, appends)]
    return found


def _fits(shape: DecoderShape, policy: str, appends: Sequence[int]) -> bool:
    return policy == "rolling" or sum(appends) <= shape.context


def _plan(name: str, shape: DecoderShape, policy: str, appends: Sequence[int]) -> dict[str, Any]:
    window, calls = open_window(shape, ContextPolicy.named(policy)), []
    for count in appends:
        ids = [(7 * (window.position + i)) % 101 for i in range(count)]
        for step in window.plan(ids, "last"):
            inputs = window.inputs.build(step.call, step.ids)
            calls.append(_call(step.call.function, step.call.chunk, inputs))
            window.begin(step)
            window.finish(step)
    return {"shape": name, **SHAPES[name], "policy": policy, "appends": appends, "calls": calls}


def _call(function: str, chunk: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    integers = {name: inputs[name].reshape(-1).tolist() for name in ("input_ids", "slot", "positions", "last")
                if name in inputs}  # fmt: skip
    masks = {
        name: [_ranges(line == 0) for line in inputs[name][0, 0]]
        for name in ("attention_mask", "local_attention_mask")
        if name in inputs
    }
    sums = {name: float(np.sum(inputs[name], dtype=np.float64)) for name in ("cos", "sin") if name in inputs}
    place = {"slot": chunk.slot, "count": chunk.count, "size": chunk.size, "position": chunk.position}
    return {"function": function, "chunk": place, "integers": integers, "masks": masks, "sums": sums}


def _ranges(seen: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
    """The rows that a query sees: "0-3 9-12" are 0, 1, 2 and 9, 10, 11."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], seen, [False])).astype(np.int8)))
    return " ".join(f"{first}-{end}" for first, end in edges.reshape(-1, 2).tolist())


def random() -> list[dict[str, Any]]:
    seeds = (0, 1, 42, 0xFFFFFFFF, 1 << 32, 0x123456789ABCDEF0, (1 << 64) - 1)
    return [
        {"seed": str(seed), "words": [str(word) for word in np.random.PCG64(seed).random_raw(5)],
         "uniform": np.random.Generator(np.random.PCG64(seed)).random(5).tolist()}
        for seed in seeds
    ]  # fmt: skip


SAMPLES: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0},
    {"temperature": 0.8, "top_k": 40},
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 1.3, "min_p": 0.1},
    {"temperature": 1.0, "typical_p": 0.6},
    {"temperature": 0.9, "top_k": 50, "top_p": 0.8, "min_p": 0.02, "typical_p": 0.9},
    {"repetition_penalty": 1.3},
    {"temperature": 1.0, "repetition_penalty": 1.2, "frequency_penalty": 0.5, "presence_penalty": 0.25, "top_k": 20},
    {"temperature": 1.0, "logit_bias": {3: 9.0, 5: float("-inf")}, "top_k": 5},
    {"temperature": 1e-30, "top_p": 0.5},
]


def logits_at(step: int, vocabulary: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Numbers that both sides can make: many of them are equal."""
    i = np.arange(vocabulary, dtype=np.int64)
    return ((i * 7919 + step * 104729) % 10007 / 1000.0 - 5).astype(np.float32)


def samples() -> list[dict[str, Any]]:
    found = []
    for vocabulary in (64, 3000, 20000):
        for number, values in enumerate(SAMPLES):
            if vocabulary > 4096 and values.get("temperature") and "top_k" not in values:
                continue  # computed in single precision here: equal but for numbers at a boundary (candidates.py)
            sampler = Sampler(SamplingParameters(**values, seed=number))
            sampler.observe([1, 2, 3, 3])
            ids, shares = sampler.distribution(logits_at(0, vocabulary))
            tokens = [sampler.choose(logits_at(step, vocabulary)).id for step in range(24 if vocabulary < 4096 else 6)]
            named = {**values, "seed": number}
            if "logit_bias" in named:  # as Swift's Codable writes [Int: Double]
                named["logit_bias"] = {str(i): _json_float(bias) for i, bias in values["logit_bias"].items()}
            found.append(
                {"parameters": named, "vocabulary": vocabulary, "tokens": tokens, "kept": len(ids),
                 "first": ids[:32].tolist(), "shares": shares[:32].tolist()}
            )  # fmt: skip
    return found


def _json_float(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def halves() -> dict[str, Any]:
    values = [0.0, -0.0, 1.0, -2.5, 65504.0, 65519.0, 65520.0, 1e9, 6e-8, 2.9e-8, 2.98023e-8, 3e-8, 6.1e-5, 6.0976e-5,
              0.1, -1e4, 1 / 3, 2049.0, 2051.0, 1e-30]  # fmt: skip
    with np.errstate(over="ignore"):
        bits = np.array(values, np.float32).astype(np.float16).view(np.uint16).tolist()
    return {"values": [float(np.float32(value)) for value in values], "bits": bits}


def _words(*words: str) -> list[tuple[str, str]]:
    """Merges that put words together from the left."""
    merges: list[tuple[str, str]] = []
    for word in words:
        for cut in range(1, len(word)):
            if (word[:cut], word[cut]) not in merges:
                merges.append((word[:cut], word[cut]))
    return merges


def _byte_level(folder: Path) -> Tokenizer:
    """Llama 3's way: NFC, its pattern, whole words first; a token of text and one that takes the spaces beside it."""
    from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders as steps

    from lilims.tokenizer.decoding import byte_level_token
    from lilims.tokenizer.ranks import ENCODINGS

    merges = _words("Ġthe", "Ġonce", "ing", "Ġand", "Ã©", "123", "ĊĊ", "'ll", "ĠĠ", "don")
    bytes_ = [byte_level_token(bytes([byte])) for byte in range(256)]
    tokens = dict.fromkeys([*bytes_, *(a + b for a, b in merges), "Ġwhole"])
    vocab = {token: i for i, token in enumerate(tokens)}
    backend: Any = Backend(models.BPE(vocab=vocab, merges=merges, fuse_unk=False, ignore_merges=True))
    backend.normalizer = normalizers.NFC()
    pattern = Regex(ENCODINGS["llama3"].pattern)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.decoder = steps.ByteLevel()
    added = [("<|end|>", True, False), ("<tool>", False, False), ("<wide>", False, True)]
    backend.add_tokens(
        [AddedToken(text, special=special, normalized=False, lstrip=wide, rstrip=wide) for text, special, wide in added]
    )
    return _saved(backend, folder)


def _sentencepiece(folder: Path) -> Tokenizer:
    """Llama 2's way: ▁ in front of everything, byte fallback, one space less where a text begins."""
    from tokenizers import AddedToken, decoders, models, normalizers
    from tokenizers import Tokenizer as Backend

    merges = _words("▁the", "▁once", "ing", "▁and", "▁a", "▁▁", "é▁", "st", "on")
    control = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    letters = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'é東"
    tokens = dict.fromkeys([*control, *letters, *(a + b for a, b in merges)])
    vocab = {token: i for i, token in enumerate(tokens)}
    backend: Any = Backend(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in control[:3]])
    return _saved(backend, folder)


def _saved(backend: Any, folder: Path) -> Tokenizer:
    backend.save(str(folder / "tokenizer.json"))
    return Tokenizer.load(folder)


def _stories(_folder: Path) -> Tokenizer:
    from lilims.models.names import builtin_checkpoint

    return Tokenizer.load(builtin_checkpoint())


TOKENIZERS: dict[str, Callable[[Path], Tokenizer]] = {
    "stories": _stories, "byte-level": _byte_level, "sentencepiece": _sentencepiece,
}  # fmt: skip
TEXTS = (
    *PROBES, "", " ", "the the  the", "whole whole", "a<tool>b <wide> c<|end|>", "\u0085\u000b x\u00a0y", "ᄀ가각",
    "I'LL 'S ſ's",
    "x" * 40, "1234567", "é e\u0301", "\u00c5 \u212b A\u030a", "\x00\x7f", "▁the", "東 西",
)  # fmt: skip


def tokenizers() -> Iterator[dict[str, Any]]:
    for name, make in TOKENIZERS.items():
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = make(Path(folder))
        yield {
            "name": name,
            "file": tables_of(tokenizer, Path(name)),
            "texts": [{"text": text, "ids": (ids := tokenizer.encode(text)), "decoded": tokenizer.decode(ids)}
                      for text in TEXTS],
            "streams": [_stream(tokenizer, ids) for ids in _id_lists(tokenizer)],
            "prompts": [_prompt(tokenizer, pieces) for pieces in _prompts(tokenizer)],
        }  # fmt: skip


def _id_lists(tokenizer: Tokenizer) -> list[list[int]]:
    """Ids that come to whole characters, to halves of them, to bytes that are none."""
    count, rng = tokenizer.vocab_size, np.random.default_rng(5)
    emoji = tokenizer.encode("🙂é🙂", add_special_tokens=False)
    return [
        emoji, emoji[:-1], emoji[1:], emoji[::-1], [emoji[0]] * 3, [*emoji[:2], count + 5, *emoji[2:]],
        *(rng.integers(0, count, 24).tolist() for _ in range(8)),
        *(rng.integers(0, min(count, 260), 24).tolist() for _ in range(8)),
    ]  # fmt: skip


def _stream(tokenizer: Tokenizer, ids: list[int]) -> dict[str, Any]:
    decoder = StreamDecoder(tokenizer)
    return {"ids": ids, "pieces": [*map(decoder.push, ids), decoder.finish()]}


def _prompts(tokenizer: Tokenizer) -> list[list[int | str]]:
    special = min(tokenizer.parts.special.values())
    return [
        ["the ", special, " the", " end"],
        [special, "a", special, special, "the"],
        ["é", " and ", "ing"],
        [special],
    ]


def _prompt(tokenizer: Tokenizer, pieces: list[int | str]) -> dict[str, Any]:
    return {"pieces": pieces, "ids": tokenizer.parts.encode_around(pieces)}


def embeddings() -> list[dict[str, Any]]:
    """Rows of tables of each type of codes, of random bytes."""
    from lilims.core.manifest import HostEmbedding
    from lilims.runtime.embedding import EmbeddingFile, row_bytes

    rng, found, ids = np.random.default_rng(11), [], [4, 0, 2]
    for codes, offset in itertools.product(("fp16", "int8", "uint8", "int4", "uint4"), (False, True)):
        if codes == "fp16" and offset:
            continue
        group = None if codes == "fp16" else 8
        table = HostEmbedding.model_validate(
            {"file": "rows.bin", "rows": 5, "columns": 16, "codes": codes, "group_size": group, "offset": offset}
        )
        width = row_bytes(table)
        halves_from = 0 if group is None else width - 2 * (4 if offset else 2)  # two groups of 8
        data = rng.integers(0, 256, (5, width), np.uint8)
        data[:, halves_from:] = rng.uniform(-2, 2, (5, (width - halves_from) // 2)).astype("<f2").view(np.uint8)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / table.file).write_bytes(data.tobytes())
            mapped = EmbeddingFile(Path(folder), table)
            rows = _floats(mapped.rows(np.array(ids)))
            del mapped  # Windows keeps a mapped file
        packed = base64.b64encode(data.tobytes()).decode()
        found.append({"table": table.model_dump(), "data": packed, "ids": ids, "rows": rows})
    return found


PROMPT = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park with her dog. " * 6
)


def trace() -> dict[str, Any]:
    """A greedy and a seeded generation of the built-in model, with every call's inputs and logits."""
    from lilims.models import resolve
    from lilims.runtime import load

    model = load(resolve("stories"), executor="portable")
    runs = [_traced(model, PROMPT, 8), _traced(model, PROMPT[:300], 6, temperature=0.8, top_k=40, seed=7)]
    return {"prompt_tokens": [len(run["prompt"]) for run in runs], "runs": runs}


def _traced(model: Any, prompt: str, tokens: int, **sampling: Any) -> dict[str, Any]:
    plain, ids = model.session(), model.tokenizer.encode(prompt)
    shape = dataclasses.replace(plain._shape, padded=True)  # as on Core ML
    session = Session(plain._executor, shape, plain._vocab_size)
    sampler, decoder = Sampler(SamplingParameters(**sampling)), StreamDecoder(model.tokenizer)
    sampler.observe(ids)
    for token in ids:
        decoder.push(token)
    calls, written, text = [], ids, ""
    chosen: list[int] = []
    for _ in range(tokens):
        window, logits = session._window, None
        for step in window.plan(written, "last"):
            inputs = window.inputs.build(step.call, step.ids)
            made = _call(step.call.function, step.call.chunk, inputs)
            outputs = session._execute(window, step, session._state)
            logits = session._rows(step, outputs, every=False)[-1]
            last = step.call.chunk.end == len(ids) + len(chosen)
            made["logits"] = base64.b64encode(logits.astype("<f2").tobytes()).decode() if last else None
            calls.append(made)
        assert logits is not None
        chosen.append(sampler.choose(logits.astype(np.float16).astype(np.float32)).id)
        text += decoder.push(chosen[-1])
        written = [chosen[-1]]
    return {"text": prompt, "prompt": ids, "sampling": sampling, "calls": calls, "tokens": chosen, "answer": text}


def _floats(values: Any) -> list[float]:
    return [float(value) for value in np.asarray(values, np.float32).reshape(-1)]


VECTORS: dict[str, Callable[[], Any]] = {
    "rotary": rotary, "plans": plans, "random": random, "samples": samples, "halves": halves, "embeddings": embeddings,
    "tokenizers": lambda: list(tokenizers()), "trace": trace,
}  # fmt: skip


def main(names: Sequence[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names or VECTORS:
        text = json.dumps(VECTORS[name](), ensure_ascii=False, separators=(",", ":"))
        (FOLDER / f"{name}.json").write_text(text + "\n", "utf-8", newline="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
