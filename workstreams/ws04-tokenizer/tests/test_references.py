"""Ids and texts of google/sentencepiece, transformers and llama.cpp, recorded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from lilims.core.testing import test_data

from .helpers import loaded

REFERENCES = json.loads((Path(__file__).parent / "data" / "references.json").read_text("utf-8"))
MODELS: dict[str, dict[str, Any]] = REFERENCES["models"]
CASES = [pytest.param(m, i, id=f"{m}-{i}") for m in MODELS for i in range(len(REFERENCES["texts"]))]


@pytest.mark.parametrize(("name", "index"), CASES)
def test_a_text(name: str, index: int) -> None:
    reference, text = MODELS[name], REFERENCES["texts"][index]
    tokenizer = loaded(reference["path"])
    assert tokenizer.encode(text, add_special_tokens=False) == reference["ids"][index], text
    assert tokenizer.decode(reference["ids"][index]) == reference["decoded"][index], text


@pytest.mark.parametrize("name", MODELS)
def test_a_long_text(name: str) -> None:
    text = test_data(REFERENCES["long_text"]).read_text("utf-8")[: REFERENCES["long_characters"]]
    ids = loaded(MODELS[name]["path"]).encode(text, add_special_tokens=False)
    assert len(ids) == MODELS[name]["long"]["count"]
    assert hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest() == MODELS[name]["long"]["sha256"]


@pytest.mark.parametrize("path", ["tokenizers/gpt2/tokenizer.json", "tokenizers/gpt2/vocab.json"])
def test_gpt2_against_llama_cpp(path: str) -> None:
    """The texts and ids of llama.cpp's own tokenizer tests."""
    folder = test_data("tokenizers/ggml-vocab")
    texts = (folder / "ggml-vocab-gpt-2.gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    lines = (folder / "ggml-vocab-gpt-2.gguf.out").read_text().split("\n")
    assert len(texts) > 40
    for text, line in zip(texts, lines, strict=False):
        assert loaded(path).encode(text) == [int(i) for i in line.split()], repr(text)


def test_the_greedy_story_of_stories260k() -> None:
    folder = test_data("models/stories260K")
    greedy = json.loads((folder / "greedy_200.json").read_text("utf-8"))
    tokenizer = loaded("models/stories260K")
    assert tokenizer.decode(greedy["greedy_ids"]) == greedy["text"]
    assert tokenizer.encode("") == greedy["prompt_ids"]
    assert tokenizer.decode(tokenizer.encode(greedy["text"])) == greedy["text"]
    assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_ids) == (512, 1, (2,))


def test_what_qwen2_adds() -> None:
    tokenizer = loaded("tokenizers/qwen2")
    assert tokenizer.vocab_size == 151646 and tokenizer.bos_id is None
    assert tokenizer.eos_ids == (tokenizer.token_id("<|im_end|>"), tokenizer.token_id("<|endoftext|>"))
    assert tokenizer.encode("<|im_start|>user", parse_special=True) == [151644, 872]
    assert tokenizer.encode("<|im_start|>user")[0] != 151644
