"""Tokenizers made of a GGUF file's vocabulary, against llama.cpp's own expectations and transformers' tokenizers."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.conversion.gguf.bpe import KINDS
from lilims.conversion.gguf.header import read_header
from lilims.conversion.gguf.tokenizer import write_files
from lilims.conversion.gguf.vocabulary import TokenKind, Vocabulary, read_vocabulary, write_tokenizer
from lilims.core.errors import TokenizerError
from lilims.core.testing import test_data as data_folder
from lilims.tokenizer import Tokenizer

FILES = ("gpt-2", "llama-spm", "phi-3")


def vocabulary(path: Path) -> Vocabulary:
    found = read_vocabulary(path, read_header(path).metadata)
    assert found is not None
    return found


def metadata(**changes: Any) -> dict[str, Any]:
    tokens = ["<s>", "</s>", "Ġ", "a", "b", "ab", "Ġab", "<|im_end|>", "<tool>"]
    kinds = np.array([3, 3, 1, 1, 1, 1, 1, 3, 4], np.int32)
    values = {
        "model": "gpt2", "pre": "gpt-2", "tokens": tokens, "token_type": kinds, "merges": ["a b", "Ġ ab"],
        "bos_token_id": 0, "eos_token_id": 1, "add_bos_token": True, **changes,
    }  # fmt: skip
    return {f"tokenizer.ggml.{key}": value for key, value in values.items() if value is not None}


def made(folder: Path, values: dict[str, Any]) -> Tokenizer:
    found = read_vocabulary(Path("model.gguf"), values)
    assert found is not None
    write_tokenizer(found, folder)
    return Tokenizer.load(folder)


@pytest.mark.parametrize("name", FILES)
def test_ids_are_those_of_llama_cpp(tmp_path: Path, name: str) -> None:
    """llama.cpp's own texts for this vocabulary, and the ids that its tests expect."""
    path = data_folder("tokenizers/ggml-vocab") / f"ggml-vocab-{name}.gguf"
    write_tokenizer(vocabulary(path), tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    texts = path.with_name(path.name + ".inp").read_text("utf-8").split("\n__ggml_vocab_test__\n")
    wanted = [[int(i) for i in line.split()] for line in path.with_name(path.name + ".out").read_text().splitlines()]
    assert len(wanted) > 40
    for text, ids in zip(texts, wanted, strict=False):
        assert tokenizer.encode(text, add_special_tokens=False) == ids, text
        assert tokenizer.decode(ids).strip() == text.strip()


def test_special_tokens_of_real_files() -> None:
    folder = data_folder("tokenizers/ggml-vocab")
    phi = vocabulary(folder / "ggml-vocab-phi-3.gguf")
    assert phi.ends == [32000, 32007]  # <|endoftext|>, <|end|>
    assert phi.chat_template is not None and "<|assistant|>" in phi.chat_template
    assert vocabulary(folder / "ggml-vocab-llama-spm.gguf").special == {"bos": 1, "eos": 2, "unknown": 0}


def test_qwen2_splits_as_its_own_files_do(tmp_path: Path) -> None:
    """Qwen2's vocabulary as a GGUF file would hold it, against the tokenizer that reads the original files."""
    folder = data_folder("tokenizers/qwen2")
    vocab = json.loads((folder / "vocab.json").read_text("utf-8"))
    added = json.loads((folder / "added_tokens.json").read_text("utf-8"))
    tokens = [token for token, _ in sorted([*vocab.items(), *added.items()], key=lambda item: item[1])]
    merges = (folder / "merges.txt").read_text("utf-8").split("\n")[1:]
    values = metadata(
        pre="qwen2", tokens=tokens, merges=[merge for merge in merges if merge], eos_token_id=added["<|im_end|>"],
        token_type=np.array([3 if token in added else 1 for token in tokens], np.int32), add_bos_token=False,
        bos_token_id=None,
    )  # fmt: skip
    ours, theirs = made(tmp_path, values), Tokenizer.load(folder)
    texts = (data_folder("tokenizers/ggml-vocab") / "ggml-vocab-gpt-2.gguf.inp").read_text("utf-8")
    for text in [*texts.split("\n__ggml_vocab_test__\n"), "I'LL 2345 cafe\u0301 <|im_start|>user\n"]:
        for special in (False, True):
            assert ours.encode(text, parse_special=special) == theirs.encode(text, parse_special=special), text
    assert ours.end_of_turn_ids == theirs.end_of_turn_ids


@pytest.mark.parametrize("pre", KINDS)
def test_every_kind_of_splitting_loads(tmp_path: Path, pre: str) -> None:
    tokenizer = made(tmp_path, metadata(pre=pre))
    assert tokenizer.encode("ab ab", add_special_tokens=False) == [5, 6]
    assert tokenizer.encode("ab")[0] == 0


CUTS = {
    "gpt-2": ["I", "'ll", " take", " 12345", ",", "  ", " X", "'S", "\n\n"],
    "starcoder": ["I", "'ll", " take", " ", "1", "2", "3", "4", "5", ",", "  ", " X", "'", "S", "\n\n"],
    "llama-bpe": ["I", "'ll", " take", " ", "123", "45", ",", "  ", " X", "'S", "\n\n"],
    "qwen2": ["I", "'ll", " take", " ", "1", "2", "3", "4", "5", ",", "  ", " X", "'S", "\n\n"],
    "tekken": ["I", "'ll", " take", " ", "1", "2", "3", "4", "5", ",", "  ", " X", "'S", "\n\n"],
    "deepseek-llm": ["I", "'", "ll", " take", " ", "12345", ",", "  ", " X", "'", "S", "\n", "\n"],
    "deepseek-coder": ["I", "'", "ll", " take", " ", "1", "2", "3", "4", "5", ",", "  ", " X", "'", "S", "\n", "\n"],
    "deepseek-v3": ["I", "'ll", " take", " ", "123", "45", ",", "  ", " X", "'S", "\n\n"],
    "seed-coder": ["I", "'ll", " take", " ", "1", "2", "3", "4", "5", ",", "  ", " X", "'S", "\n\n"],
    "viking": ["I'll", " take", " ", "1", "2", "3", "4", "5", ",  ", " X'S", "\n\n"],
    "superbpe": ["I'll take ", "12", "345", ",   X'S\n\n"],
    "gpt-4o": ["I'll", " take", " ", "123", "45", ",", "  ", " X'S", "\n\n"],
}


@pytest.mark.parametrize("pre", CUTS)
def test_how_text_is_cut_into_words(tmp_path: Path, pre: str) -> None:
    """As the expressions say: read off by hand, apart from the library's spelling of bytes."""
    from tokenizers import Tokenizer as Library

    made(tmp_path, metadata(pre=pre))
    library: Any = Library.from_file(str(tmp_path / "tokenizer.json"))
    words = [word for word, _ in library.pre_tokenizer.pre_tokenize_str("I'll take 12345,   X'S\n\n")]
    found = [word.replace("Ġ", " ").replace("Ċ", "\n") for word in words]
    wanted = ["".join(CUTS[pre])] if pre not in CUTS else CUTS[pre]
    if pre == "gpt-2":
        wanted = [*wanted[:-2], "'", "S", "\n\n"]
    assert found == wanted


def test_kinds_of_tokens(tmp_path: Path) -> None:
    """Control tokens are read from text only when asked for; those that a user defined always are."""
    tokenizer = made(tmp_path, metadata())
    assert tokenizer.encode("ab<tool>ab", add_special_tokens=False) == [5, 8, 5]
    assert 7 not in tokenizer.encode("ab<|im_end|>", add_special_tokens=False)
    assert tokenizer.encode("ab<|im_end|>", parse_special=True) == [0, 5, 7]
    assert tokenizer.decode([0, 5, 7, 8]) == "ab<tool>"


def test_ends_of_turns_are_found_by_name() -> None:
    found = read_vocabulary(Path("m"), metadata(eot_token_id=8))
    assert found is not None and found.ends == [1, 8, 7]


def test_sentencepiece_files_with_oddities(tmp_path: Path) -> None:
    """No token for the unknown among the kinds, unused ones within, padding behind."""
    tokens = ["<unk>", "<s>", "</s>", "▁", "a", "<unused0>", "▁a", "[PAD7]", "[PAD8]"]
    kinds = np.array([3, 3, 3, 1, 1, 5, 1, 5, 5], np.int32)
    values = metadata(
        model="llama", pre="default", tokens=tokens, token_type=kinds, merges=None, unknown_token_id=0, bos_token_id=1,
        eos_token_id=2, scores=np.array([0, 0, 0, -3, -2, 0, -1, 0, 0], np.float32),
    )  # fmt: skip
    tokenizer = made(tmp_path, values)
    assert tokenizer.vocab_size == 7
    assert tokenizer.encode("a a") == [1, 6, 6]
    assert tokenizer.encode("a<unused0>z", add_special_tokens=False)[0] == 6
    assert tokenizer.eos_ids == (2,)


def test_files_without_a_tokenizer() -> None:
    assert read_vocabulary(Path("m"), {}) is None
    assert read_vocabulary(Path("m"), metadata(model="no_vocab")) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pre": "runic"}, "does not know how that splits text"),
        ({"pre": None}, "tokenizer.ggml.pre is None"),
        ({"model": "bert"}, "'bert' is not supported"),
        ({"tokens": ["a", "a"]}, "a token twice"),
        ({"tokens": np.array([1, 2])}, "is no text"),
        ({"model": np.array([1, 2])}, "is no text"),
        ({"token_type": np.array([1, 1])}, "not a number for each of the 9"),
        ({"token_type": np.full(9, 44)}, "unknown kind"),
        ({"merges": ["a b c"]}, "merge 0, 'a b c'"),
        ({"merges": ["a z"]}, "is not of two tokens to a third"),
        ({"merges": 3}, "is no text"),
        ({"model": "llama", "scores": np.zeros(9)}, "no token for unknown text"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_vocabularies_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message) as caught:
        made(tmp_path, metadata(**changes))
    assert caught.value.where == "model.gguf"


def test_a_score_that_is_no_number_is_found_by_the_reader_of_what_was_written(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="score of piece 0 is inf"):
        made(tmp_path, metadata(model="llama", unknown_token_id=3, scores=np.full(9, 1e300)))


def test_kinds_are_sentencepieces() -> None:
    from lilims.tokenizer.sentencepiece_model import PieceType

    assert {kind.name: int(kind) for kind in TokenKind} == {kind.name: int(kind) for kind in PieceType}


@pytest.mark.parametrize("name", FILES)
def test_a_gguf_file_is_a_tokenizer(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the entry point that pyproject.toml declares."""
    import importlib.metadata
    import tomllib

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    group = "lilims.tokenizer_files"
    declared = [importlib.metadata.EntryPoint(*one, group) for one in project["entry-points"][group].items()]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: declared)
    path = data_folder("tokenizers/ggml-vocab") / f"ggml-vocab-{name}.gguf"
    tokenizer = Tokenizer.load(path)
    write_tokenizer(vocabulary(path), tmp_path)
    text = "Hello World, 3 <|end|> 漢字\n"
    assert tokenizer.encode(text) == Tokenizer.load(tmp_path).encode(text)
    assert tokenizer.has_chat_template == (name == "phi-3")
    assert set(vocabulary(path).ends) <= set(tokenizer.eos_ids)


def test_a_gguf_file_without_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))
    with pytest.raises(TokenizerError, match="holds no tokenizer"):
        write_files(tmp_path / "a.gguf", tmp_path)
