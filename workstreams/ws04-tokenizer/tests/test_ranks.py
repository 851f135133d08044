"""Rank files of tiktoken and Llama 3, and llama2.c's tokenizer.bin."""

from __future__ import annotations

import base64
import functools
import json
import random
import struct
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.core.errors import TokenizerError
from lilims.core.testing import test_data
from lilims.tokenizer import Tokenizer, has_tokenizer, tokenizer_files
from lilims.tokenizer import ranks as ranks_module
from lilims.tokenizer.decoding import byte_level_bytes
from lilims.tokenizer.ranks import ENCODINGS

from .helpers import TEXTS, loaded


def lines(tokens: dict[bytes, int], end: str = "\n") -> bytes:
    return "".join(f"{base64.b64encode(token).decode()} {rank}{end}" for token, rank in tokens.items()).encode()


@functools.cache
def gpt2_ranks() -> dict[bytes, int]:
    """GPT-2's vocabulary by bytes, in the order in which its merges were learned."""
    tokenizer = loaded("tokenizers/gpt2")
    return {byte_level_bytes(str(tokenizer.token(i))).data: i for i in range(50_256)}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("ranks") / "r50k_base.tiktoken"
    path.write_bytes(lines(gpt2_ranks()))
    return Tokenizer.load(path)


BYTES = {bytes([byte]): byte for byte in range(256)}
SMALL = BYTES | {b"ab": 256, b"he": 257, b"hello": 258, b"llo": 259, b" ab": 260}


def small(folder: Path, name: str = "cl100k_base.tiktoken", data: bytes | None = None) -> Path:
    (folder / name).write_bytes(lines(SMALL) if data is None else data)
    return folder / name


@given(TEXTS)
def test_ranks_of_gpt2_give_the_ids_of_its_merges(gpt2: Tokenizer, text: str) -> None:
    ids = gpt2.encode(text)
    assert ids == loaded("tokenizers/gpt2").encode(text), text
    assert gpt2.decode(ids) == text


def test_special_tokens(gpt2: Tokenizer) -> None:
    assert (gpt2.vocab_size, gpt2.eos_ids, gpt2.bos_id) == (50_257, (50_256,), None)
    assert 50_256 not in gpt2.encode("a<|endoftext|>") and gpt2.encode("<|endoftext|>", parse_special=True) == [50_256]
    assert gpt2.decode([64, 50_256]) == "a"


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_words_that_are_tokens_and_pairs_of_any_halves(tmp_path: Path, end: str) -> None:
    tokenizer = Tokenizer.load(small(tmp_path, data=lines(SMALL, end)))
    assert tokenizer.encode("hello") == [258]  # no merges lead there
    assert tokenizer.encode("xhe ab") == [ord("x"), 257, 260]
    assert tokenizer.vocab_size == 100_277


def test_llama3_by_the_number_of_its_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = replace(ENCODINGS["llama3"], tokens=len(SMALL))
    monkeypatch.setattr(ranks_module, "ENCODINGS", {**ENCODINGS, "llama3": fewer})
    (tmp_path / "tokenizer.model").write_bytes(lines(SMALL))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode("ab 1234") == [128_000, 256, ord(" "), ord("1"), ord("2"), ord("3"), ord("4")]
    assert (tokenizer.bos_id, tokenizer.vocab_size) == (128_000, 128_256)
    assert tokenizer.eos_ids == (128_001,) and set(tokenizer.end_of_turn_ids) == {128_001, 128_008, 128_009}
    assert tokenizer.token_id("<|start_header_id|>") == 128_006 and tokenizer.token_id("<|python_tag|>") == 128_010
    assert tokenizer.token_id("<|reserved_special_token_247|>") == 128_255
    assert tokenizer.encode("<|eot_id|>", add_special_tokens=False, parse_special=True) == [128_009]
    assert [p.name for p in tokenizer_files(tmp_path)] == ["tokenizer.model"] and has_tokenizer(["qwen.tiktoken"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"YQ== 0\nnonsense\n", "line 2 is not base64"),
        (b"YQ== 0\nYQ= 1\n", "line 2 is not base64"),
        (b"YQ== 0\nYQ== 1\n", "line 2 has a token or rank that stands twice"),
        (b"YQ== 0\nYg== 0\n", "line 2 has a token or rank that stands twice"),
        (b"YQ== 0\nYg== 99999999\n", "line 2 has a token or rank"),
        (b"", "no token for the byte 0x00"),
        (lines({k: v for k, v in SMALL.items() if v != 7}), "no token for the byte 0x07"),
    ],
    ids=str,
)
def test_a_damaged_rank_file_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(TokenizerError, match=message) as caught:
        Tokenizer.load(small(tmp_path, data=data))
    assert caught.value.where == str(tmp_path / "cl100k_base.tiktoken")


def test_an_encoding_that_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="has 261 ranks, and lilims does not know"):
        Tokenizer.load(small(tmp_path, "mine.tiktoken"))


def test_an_added_token_that_is_a_word_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"added_tokens_decoder": {"300": {"content": "word"}}}')
    with pytest.raises(TokenizerError, match="'word', 300, cannot be told from text"):
        Tokenizer.load(small(tmp_path))


@pytest.mark.parity
@given(text=TEXTS)
def test_gpt2_against_tiktoken(gpt2: Tokenizer, text: str) -> None:
    assert gpt2.encode(text) == _tiktoken("r50k_base").encode_ordinary(text)


@pytest.mark.parity
@pytest.mark.parametrize("name", ENCODINGS)
@given(text=TEXTS)
def test_how_encodings_cut_words_against_tiktoken(name: str, text: str) -> None:
    """GPT-2's ranks, each encoding's words. (Python's own NFC is that of an older Unicode.)"""
    from tokenizers.normalizers import NFC

    encoding = ENCODINGS[name]
    text = NFC().normalize_str(text) if encoding.nfc else text
    assert _with_gpt2s_ranks(name).encode(text, add_special_tokens=False) == _tiktoken(name).encode_ordinary(text)


@pytest.mark.parity
@given(seed=st.integers(0, 10**6))
def test_any_ranks_against_tiktoken(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Tokens learned from nothing: every union of two is as likely as another."""
    import tiktoken

    rng = random.Random(seed)
    tokens = dict(BYTES)
    while len(tokens) < 256 + 12:
        tokens.setdefault(b"".join(rng.choices([b"a", b"b", *list(tokens)[256:]], k=2)), len(tokens))
    path = small(tmp_path_factory.mktemp("any"), data=lines(tokens))
    theirs = tiktoken.Encoding("any", pat_str=r"\w+|\W+", mergeable_ranks=tokens, special_tokens={})
    text = "".join(rng.choices("ab", k=60))
    assert Tokenizer.load(path).encode(text) == theirs.encode_ordinary(text)


PATTERNS = {  # as their authors give them to tiktoken
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}


@functools.cache
def _tiktoken(name: str) -> Any:
    import tiktoken
    from tiktoken_ext import openai_public

    pattern = PATTERNS.get(name) or _pattern(getattr(openai_public, name))
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=gpt2_ranks(), special_tokens={})


def _pattern(constructor: Any) -> str:
    """The pattern of one of tiktoken's encodings, without fetching its ranks."""
    import tiktoken_ext.openai_public as public

    kept = public.load_tiktoken_bpe
    public.load_tiktoken_bpe = lambda *args, **kwargs: {}
    try:
        return str(constructor()["pat_str"])
    finally:
        public.load_tiktoken_bpe = kept


@functools.cache
def _with_gpt2s_ranks(name: str) -> Tokenizer:
    """The encoding's own special tokens would have ids of GPT-2's words."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.tiktoken"
        path.write_bytes(lines(gpt2_ranks()))
        added = {"50256": {"content": "<|endoftext|>", "special": True}}
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}))
        return Tokenizer.load(path)


STORIES = "models/stories260K"


@given(TEXTS)
def test_llama2c_gives_the_ids_of_the_model_it_was_made_of(text: str) -> None:
    ours, theirs = loaded(f"{STORIES}/tok512.bin"), loaded(f"{STORIES}/tokenizer.model")
    ids = theirs.encode(text)
    assert ours.encode(text) == ids
    assert ours.decode(ids) == theirs.decode(ids)
    assert ours.encode(text, parse_special=True) == theirs.encode(text, parse_special=True)


def test_what_llama2c_knows(tmp_path: Path) -> None:
    tokenizer = loaded(f"{STORIES}/tok512.bin")
    assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_ids) == (512, 1, (2,))
    (tmp_path / "tokenizer.bin").write_bytes(test_data(f"{STORIES}/tok512.bin").read_bytes())
    assert Tokenizer.load(tmp_path).encode("Once upon") == tokenizer.encode("Once upon")


def entry(text: bytes, score: float = 0.0, length: int | None = None) -> bytes:
    return struct.pack("<fi", score, len(text) if length is None else length) + text


HEAD = struct.pack("<i", 9) + entry(b"<unk>") + entry(b"\n<s>\n")


@pytest.mark.parametrize(
    "data",
    [b"", b"abc", HEAD, HEAD + entry(b"\n</s>\n"), HEAD + entry(b"x" * 20), HEAD + entry(b"x", length=-1),
     HEAD + entry(b"x", float("nan")), HEAD + entry(b"\xff"), HEAD + entry(b"\n</s>\n") + entry(b"abc")[:-1]],
    ids=str,
)  # fmt: skip
def test_a_damaged_llama2c_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "tokenizer.bin").write_bytes(data)
    with pytest.raises(TokenizerError, match=r"tokenizer\.bin: not a tokenizer of llama2\.c"):
        Tokenizer.load(tmp_path)


def test_a_gguf_file_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [])
    with pytest.raises(TokenizerError, match="read by another package"):
        Tokenizer.load(tmp_path / "m.gguf")
