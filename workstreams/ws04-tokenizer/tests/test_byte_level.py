"""tokenizer.json, and vocab.json with merges.txt."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.core.errors import TokenizerError
from lilims.core.testing import test_data
from lilims.tokenizer import Tokenizer, tokenizer_files

from .helpers import TEXTS, loaded

GPT2 = "tokenizers/gpt2"
ALPHABET = [chr(i) for i in [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100), *range(0x100, 0x144)]]
WORDS = ["he", "ll", "llo", "hello", "Ġw"]
MERGES = ["h e", "l l", "ll o", "he llo", "Ġ w"]


def write(folder: Path, *, merges: str | None = None, **files: Any) -> Path:
    """A small byte-level tokenizer: 256 bytes and five words."""
    vocab = {token: i for i, token in enumerate([*ALPHABET, *WORDS])}
    (folder / "vocab.json").write_text(json.dumps(files.pop("vocab", vocab)), "utf-8")
    (folder / "merges.txt").write_bytes((merges or "\n".join(["#version: 0.2", *MERGES, ""])).encode())
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value), "utf-8")
    return folder


@given(TEXTS)
def test_two_files_equal_the_one(text: str) -> None:
    one, two = loaded(f"{GPT2}/tokenizer.json"), loaded(f"{GPT2}/vocab.json")
    ids = one.encode(text)
    assert two.encode(text) == ids
    assert one.decode(ids) == two.decode(ids) == text
    assert one.encode(text, parse_special=True) == two.encode(text, parse_special=True)


@given(st.lists(st.integers(-2, 50300) | st.sampled_from([50256, 187, 220, 126, 251]), max_size=12), st.booleans())
def test_decoding_equals_the_library(ids: list[int], skip: bool) -> None:
    expected = _library().decode([i for i in ids if i >= 0], skip_special_tokens=skip)
    assert loaded(GPT2).decode(ids, skip_special_tokens=skip) == expected


@pytest.mark.parametrize(
    "path", [GPT2, "tokenizers/qwen2", "models/stories260K", "tokenizers/sentencepiece/test_model.model"]
)
@given(texts=st.lists(TEXTS, max_size=5), special=st.booleans(), parse=st.booleans())
def test_a_batch_is_its_texts(path: str, texts: list[str], special: bool, parse: bool) -> None:
    tokenizer = loaded(path)
    ids = [tokenizer.encode(text, special, parse_special=parse) for text in texts]
    assert tokenizer.encode_batch(texts, special, parse_special=parse) == ids
    assert tokenizer.decode_batch(ids) == [tokenizer.decode(one) for one in ids]


def test_the_truncation_of_a_training_run_is_off() -> None:
    assert len(loaded(GPT2).encode("word " * 500)) > 500  # the file asks for 50 tokens


@pytest.mark.parametrize("path", [GPT2, f"{GPT2}/vocab.json"])
def test_special_tokens_of_gpt2(path: str) -> None:
    tokenizer = loaded(path)
    assert (tokenizer.bos_id, tokenizer.eos_ids, tokenizer.vocab_size) == (50256, (50256,), 50257)
    assert tokenizer.encode("a<|endoftext|>b", parse_special=True) == [64, 50256, 65]
    assert 50256 not in tokenizer.encode("a<|endoftext|>b")
    assert tokenizer.decode([64, 50256, 65]) == "ab"
    assert tokenizer.decode([64, 50256, 65], skip_special_tokens=False) == "a<|endoftext|>b"
    assert tokenizer.token(50256) == "<|endoftext|>" and tokenizer.token_id("Ġthe") == 262
    assert tokenizer.token(50257) is None and tokenizer.token(-1) is None and tokenizer.token_id("no such") is None


def test_lone_surrogates_become_replacements_and_pairs_are_joined() -> None:
    tokenizer = loaded(GPT2)
    assert tokenizer.encode("a\ud800b") == tokenizer.encode("a\ufffdb")
    assert tokenizer.encode("\ud83d\ude42") == tokenizer.encode("🙂")


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("version", ["#version: 0.2", None], ids=["version", "plain"])
def test_ends_of_lines(tmp_path: Path, line_end: str, version: str | None) -> None:
    lines = [*([version] if version else []), *MERGES]
    tokenizer = Tokenizer.load(write(tmp_path, merges=line_end.join(lines) + line_end))
    assert [tokenizer.token(i) for i in tokenizer.encode("hello world")] == ["hello", "Ġw", "o", "r", "l", "d"]


def test_a_merge_of_hashes_is_no_comment(tmp_path: Path) -> None:
    vocab = {token: i for i, token in enumerate([*ALPHABET, "##"])}
    tokenizer = Tokenizer.load(write(tmp_path, vocab=vocab, merges="# #\n"))
    assert tokenizer.encode("##") == [256]


def test_bos_and_prefix_by_the_config(tmp_path: Path) -> None:
    config = {
        "tokenizer_class": "GPT2TokenizerFast",
        "bos_token": "<b>",
        "add_bos_token": True,
        "add_prefix_space": True,
    }
    added = {"added_tokens_decoder": {"261": {"content": "<b>", "special": True}}}
    tokenizer = Tokenizer.load(write(tmp_path, tokenizer_config={**config, **added}))
    assert tokenizer.bos_id == 261 and tokenizer.eos_ids == ()
    assert [tokenizer.token(i) for i in tokenizer.encode("w")] == ["<b>", "Ġw"]
    assert [tokenizer.token(i) for i in tokenizer.encode("w", add_special_tokens=False)] == ["Ġw"]


def test_added_tokens_that_are_not_special_are_always_read(tmp_path: Path) -> None:
    specials = {"additional_special_tokens": ["<x>"], "eos_token": {"content": "<e>"}}
    write(tmp_path, added_tokens={"<e>": 263, "<x>": 262, "    ": 261}, special_tokens_map=specials)
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode("h    h") == [ALPHABET.index("h"), 261, ALPHABET.index("h")]
    assert 262 not in tokenizer.encode("<x>") and tokenizer.encode("<x>", parse_special=True) == [262]
    assert tokenizer.eos_ids == (263,) and tokenizer.vocab_size == 264


def test_files_to_copy(tmp_path: Path) -> None:
    write(tmp_path, tokenizer_config={}, unrelated={})
    assert [p.name for p in tokenizer_files(tmp_path)] == ["vocab.json", "merges.txt", "tokenizer_config.json"]
    (tmp_path / "chat_template.jinja").write_text("x")
    (tmp_path / "tokenizer.json").write_text("{}")
    assert [p.name for p in tokenizer_files(tmp_path)] == [
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ]


@pytest.mark.parametrize(
    ("changes", "file", "message"),
    [
        ({"merges": "h e x\n"}, "merges.txt", "line 1 is not two tokens"),
        ({"merges": "h e\nh\n"}, "merges.txt", "line 2 is not two tokens"),
        ({"merges": "h q\n"}, "merges.txt", "does not agree with vocab.json"),
        ({"vocab": []}, "vocab.json", "not an object"),
        ({"vocab": {"a": 0, "b": 0}}, "vocab.json", "the id of 'b', 0"),
        ({"vocab": {"a": 1}}, "vocab.json", "the id of 'a', 1"),
        ({"vocab": {"a": True}}, "vocab.json", "the id of 'a', True"),
        ({"vocab": {"a": "0"}}, "vocab.json", "the id of 'a', '0'"),
        ({"tokenizer_config": {"tokenizer_class": "MysteryTokenizer"}}, "vocab.json", "MysteryTokenizer"),
        ({"tokenizer_config": []}, "tokenizer_config.json", "not a JSON object"),
        ({"tokenizer_config": {"added_tokens_decoder": {"x": {}}}}, "tokenizer_config.json", "'x' is not a token id"),
        ({"tokenizer_config": {"added_tokens_decoder": {"1": 3}}}, "tokenizer_config.json", "has no content"),
        ({"added_tokens": {"<x>": 999}}, "vocab.json", "would get id 261, the config says 999"),
        ({"added_tokens": {"<x>": 1 << 40}}, "added_tokens.json", "is not a token id"),
    ],
    ids=str,
)
def test_a_damaged_file_is_named(tmp_path: Path, changes: dict[str, Any], file: str, message: str) -> None:
    write(tmp_path, **changes)
    with pytest.raises(TokenizerError) as caught:
        Tokenizer.load(tmp_path)
    assert caught.value.where is not None and caught.value.where.endswith(file)
    assert message in caught.value.message and caught.value.hint


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"model": {"type": "BPE"}}', "[" * 100_000])
def test_a_damaged_tokenizer_json_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: not a tokenizer"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("model", "decoder", "words"),
    [({"continuing_subword_prefix": "#" * 99}, {}, "not a tokenizer: range end index"),
     ({}, {"type": "Strip", "content": "a", "start": 0, "stop": 9}, "cannot decode: ")],
    ids=["load", "decode"],
)  # fmt: skip
def test_a_panic_of_the_library_is_an_error(
    tmp_path: Path, model: dict[str, Any], decoder: dict[str, Any], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Rust code that panics raises no `Exception`; nothing but its own line may reach the user beside ours."""
    vocab = {"a": 0, "b": 1, "ab": 2}
    content = {"model": {"type": "BPE", "vocab": vocab, "merges": ["a b"], **model}, "decoder": decoder or None}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], **content}))
    with pytest.raises(TokenizerError, match=words):
        Tokenizer.load(tmp_path).decode([0, 1, 2, 0])
    assert "panicked" in capfd.readouterr().err  # so this did test a panic


def test_what_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"no such file or folder"):
        Tokenizer.load(tmp_path / "nowhere")
    with pytest.raises(TokenizerError, match=r"holds no tokenizer"):
        tokenizer_files(tmp_path)
    (tmp_path / "words.txt").write_text("x")
    with pytest.raises(TokenizerError, match=r"words\.txt: not a tokenizer file"):
        Tokenizer.load(tmp_path / "words.txt")
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(TokenizerError, match=r"there is no merges.txt"):
        tokenizer_files(tmp_path)
    write(tmp_path)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(TokenizerError, match=r"merges.txt: no such file"):
        Tokenizer.load(tmp_path)


@pytest.mark.parity
@given(text=TEXTS)
def test_qwen2_against_transformers(text: str) -> None:
    ours, theirs = loaded("tokenizers/qwen2"), _qwen2()
    assert ours.encode(text) == theirs.encode(text)


@functools.cache
def _library() -> Any:
    from tokenizers import Tokenizer as Library

    return Library.from_file(str(test_data(f"{GPT2}/tokenizer.json")))


@functools.cache
def _qwen2() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(test_data("tokenizers/qwen2")), split_special_tokens=True)
