"""A decoder in a few lines of numpy, behind the executor's interface, and a model folder that describes it.

What it answers depends on every visible token and its row, so a wrong slot, mask, chunk or row shows at once. It keeps
to the contract strictly: it refuses inputs of another name, shape or dtype.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.manifest import Manifest, describe_files, write_manifest
from lilims.runtime.contract import FunctionInterface
from lilims.runtime.executor import ExecutorName, check_rows
from lilims.runtime.model import Model
from lilims.runtime.portable.program import TensorType

VOCAB, PADDED = 258, 320
BOS, EOS = 256, 257
CONTEXT, CHUNK, ROWS = 40, 8, 64
STATE_SHAPE = (4, 1, ROWS, 32)

Answer = Callable[[Sequence[int]], int]


def mixed(tokens: Sequence[int]) -> int:
    """A token that depends on every token and its place; never a special one."""
    return sum((token + 1) * (place + 3) for place, token in enumerate(tokens)) % 256


def scripted(*answers: int, prompt: int = 1) -> Answer:
    """Answers one after the other to a prompt of `prompt` tokens, then zeros."""
    return lambda tokens: answers[len(tokens) - prompt] if 0 <= len(tokens) - prompt < len(answers) else 0


def logits_of(token: int) -> NDArray[np.float32]:
    """Logits whose largest is `token`: fixed noise, float32 [VOCAB]."""
    noise = np.random.Generator(np.random.PCG64(token)).standard_normal(VOCAB).astype(np.float32)
    noise[token] = 6
    return noise


@dataclass
class FakeExecutor:
    """Runs the fake decoder; counts calls.

    Attributes:
        calls: function names in the order of their calls.
        loaded: functions that were asked for.
        poison: a call whose number is in it fails with `error`.
    """

    answer: Answer = mixed
    name: ExecutorName = "portable"
    warms_up: bool = False
    pads: bool = True
    calls: list[str] = field(default_factory=list)
    loaded: set[str] = field(default_factory=set)
    states: int = 0
    poison: frozenset[int] = frozenset()
    error: Exception = field(default_factory=lambda: RuntimeError("poisoned call"))

    def make_state(self) -> NDArray[np.int64]:
        self.states += 1
        return np.zeros(ROWS, np.int64)

    def read_state(self, state: NDArray[np.int64], rows: int) -> NDArray[np.float16]:
        """The token of each row in all of its values."""
        check_rows(STATE_SHAPE, rows)
        return np.tile(state[:rows, None].astype(np.float16), (4, 1, 1, 32))

    def write_state(self, state: NDArray[np.int64], values: NDArray[np.float16]) -> None:
        check_rows(STATE_SHAPE, values.shape)
        state[: values.shape[2]] = values[0, 0, :, 0]

    def function(self, name: str) -> FakeFunction:
        self.loaded.add(name)
        return FakeFunction(self, name)


@dataclass
class FakeFunction:
    executor: FakeExecutor
    name: str

    def predict(self, inputs: Mapping[str, NDArray[Any]], state: Any) -> dict[str, NDArray[Any]]:
        self.executor.calls.append(self.name)
        if len(self.executor.calls) in self.executor.poison:
            raise self.executor.error
        count = 1 if self.name == "decode" else CHUNK if self.executor.pads else inputs["input_ids"].shape[1]
        self.check(inputs, count)
        slot, mask = int(inputs["slot"][0]), inputs["attention_mask"][0, 0]
        assert slot + count <= ROWS
        state[slot : slot + count] = inputs["input_ids"][0]
        rows = range(count) if self.name == "score" else [int(inputs["last"][0])] if self.name == "prefill" else [0]
        logits = np.full((1, len(rows), PADDED), 1e4, np.float32)  # the padding must never be chosen
        for index, row in enumerate(rows):
            visible = state[mask[row] == 0]
            logits[0, index, :VOCAB] = logits_of(self.executor.answer([int(token) for token in visible]))
        return {"logits": logits}

    def check(self, inputs: Mapping[str, NDArray[Any]], count: int) -> None:
        wanted: dict[str, tuple[tuple[int, ...], type]] = {
            "input_ids": ((1, count), np.int32),
            "slot": ((1,), np.int32),
            "attention_mask": ((1, 1, count, ROWS), np.float32),
            "cos": ((1, 1, count, 4), np.float32),
            "sin": ((1, 1, count, 4), np.float32),
        }
        if self.name == "prefill":
            wanted["last"] = ((1,), np.int32)
        assert {name: (array.shape, array.dtype.type) for name, array in inputs.items()} == wanted


def manifest_of(files: Mapping[str, Any] | None = None, **changes: Any) -> Manifest:
    """The manifest of the fake decoder; `changes` replace top-level fields."""
    raw: dict[str, Any] = {
        "name": "fake",
        "source": {"kind": "huggingface", "name": "fake", "sha256": "0" * 64},
        "architecture": {
            "model_type": "llama", "layers": 2, "hidden_size": 8, "heads": 2, "kv_heads": 1, "head_dim": 4,
            "vocab_size": VOCAB, "parameters": 1000,
        },
        "positions": {"kind": "rotary", "rotary": {"rotary_dim": 4, "theta": 10000.0, "kind": "default"}},
        "tokens": {"bos": BOS, "eos": [EOS], "padding": 7},
        "context": CONTEXT,
        "state": {"shape": [4, 1, ROWS, 32]},
        "functions": {
            "decode": {"tokens": 1, "rows": ROWS, "logits": "last"},
            "prefill": {"tokens": CHUNK, "rows": ROWS, "logits": "last"},
            "score": {"tokens": CHUNK, "rows": ROWS, "logits": "all"},
        },
        "quantization": {"scheme": "fp16", "bits_per_weight": 16.0, "tensors": {}},
        "compatible_runtime": ">=0.1",
        "tools": {},
        "files": files or {},
    }  # fmt: skip
    return Manifest.model_validate({**raw, **changes})


def interfaces_of(manifest: Manifest) -> dict[str, FunctionInterface]:
    """What a package that fits the manifest of the fake decoder takes, gives and keeps; spelled out by hand."""
    found = {}
    for name, count, rows in (("decode", 1, 1), ("prefill", CHUNK, 1), ("score", CHUNK, CHUNK)):
        inputs = {
            "input_ids": TensorType("int32", (1, count)),
            "slot": TensorType("int32", (1,)),
            "attention_mask": TensorType("fp16", (1, 1, count, ROWS)),
            "cos": TensorType("fp16", (1, 1, count, 4)),
            "sin": TensorType("fp16", (1, 1, count, 4)),
        }
        if name == "prefill":
            inputs["last"] = TensorType("int32", (1,))
        found[name] = FunctionInterface(
            inputs,
            {"logits": TensorType("fp16", (1, rows, PADDED))},
            {"kv_cache": TensorType("fp16", (4, 1, ROWS, 32))},
        )
    return found


def write_tokenizer(folder: Path, *, extra: int = 0) -> None:
    """A byte-level tokenizer: one id a byte, then <s>, </s> and `extra` more. BOS is not added by itself."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = [c for c, _ in sorted(_byte_letters().items(), key=lambda item: item[1])]
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = ["<s>", "</s>", *(f"<extra{i}>" for i in range(extra))]
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in names])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))


def _byte_letters() -> dict[str, int]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the rest from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in printable}
    letters.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in printable)})
    return letters


def write_folder(folder: Path, *, tokenizer: bool = True, extra: int = 0, **changes: Any) -> Path:
    """A model folder of the fake decoder, with a package that holds no program."""
    (folder / "model.mlpackage").mkdir(parents=True)
    (folder / "model.mlpackage" / "Manifest.json").write_text("{}")
    if tokenizer:
        write_tokenizer(folder, extra=extra)
    files = {name: record.model_dump() for name, record in describe_files(folder).items()}
    write_manifest(folder, manifest_of(**{"files": files, **changes}))
    return folder


def fake_model(folder: Path, executor: FakeExecutor, *, tokenizer: bool = True) -> Model:
    """A model on the fake executor."""
    from lilims.core.manifest import read_manifest
    from lilims.tokenizer import Tokenizer

    write_folder(folder, tokenizer=tokenizer)
    return Model(folder, read_manifest(folder), executor, Tokenizer.load(folder) if tokenizer else None)
