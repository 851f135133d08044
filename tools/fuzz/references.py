"""Tokenizers of the test data, each with the library that its format comes from.

Knows where they are and how the references are called. Must not know what is compared.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from lilims.core.testing import test_data
from lilims.tokenizer import Tokenizer
from lilims.tokenizer.decoding import byte_level_bytes
from lilims.tokenizer.ranks import ENCODINGS

__all__ = ["Subject", "gpt2_ranks", "make_subjects", "tiktoken_of"]

SENTENCEPIECE = {
    "stories260K": "models/stories260K/tokenizer.model",
    "mistral": "tokenizers/mistral/mistral_instruct_tokenizer_240323.model.v3",
    "unigram": "tokenizers/sentencepiece/test_model.model",
    "japanese": "tokenizers/sentencepiece/test_ja_model.model",
}
GPT2 = "tokenizers/gpt2"
WORDS = ("llama3", "qwen", "cl100k_base", "o200k_base")


@dataclass(frozen=True)
class Subject:
    """A tokenizer and its reference.

    Attributes:
        encode: a text's ids by the reference, without tokens around it.
        decode: the text of ids by the reference; None where lilims differs on purpose.
        special: ids that plain text never becomes.
        lossless: every text comes back from its ids.
    """

    tokenizer: Tokenizer
    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str] | None
    special: frozenset[int]
    lossless: bool = True


def make_subjects(folder: Path, names: Iterable[str] | None = None) -> dict[str, Subject]:
    """The tokenizers by name (all, or those of `names`); `folder` takes files that are made for them."""
    makers: dict[str, Callable[[], Subject]] = {
        "gpt2": lambda: _gpt2(test_data(GPT2)),
        "gpt2-merges": lambda: _gpt2(test_data(f"{GPT2}/vocab.json")),
        "gpt2-ranks": lambda: _gpt2(_rank_file(folder, "r50k_base")),
        **{f"{name}-words": lambda name=name: _words(folder, name) for name in WORDS},  # type: ignore[misc]
        "gpt2-gguf": lambda: _gpt2(_from_gguf("gpt-2", folder)),
        "qwen2": _qwen2,
        **{name: lambda path=path: _sentencepiece(path, path) for name, path in SENTENCEPIECE.items()},  # type: ignore[misc]
        "llama2c": lambda: _sentencepiece("models/stories260K/tok512.bin", SENTENCEPIECE["stories260K"]),
        "llama-gguf": lambda: _written("llama-spm", folder),
        "phi3-gguf": lambda: _written("phi-3", folder),
    }
    return {name: makers[name]() for name in names or makers}


@cache
def gpt2_ranks() -> dict[bytes, int]:
    """GPT-2's ranks as tiktoken reads them: bytes, then the unions of merges.txt in its order."""
    lines = test_data(f"{GPT2}/merges.txt").read_text("utf-8").split("\n")[1:]
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    order = visible + [byte for byte in range(256) if byte not in visible]
    ranks = {bytes([byte]): n for n, byte in enumerate(order)}
    for line in filter(None, lines):
        ranks[byte_level_bytes(line.replace(" ", "")).data] = len(ranks)
    return ranks


@cache
def tiktoken_of(name: str) -> Any:
    """tiktoken with GPT-2's ranks and the words of one of `ENCODINGS`, in tiktoken's own spelling where it has one."""
    import tiktoken
    import tiktoken_ext.openai_public as public

    pattern = public.r50k_pat_str if name == "r50k_base" else ENCODINGS[name].pattern.replace(r"\z", "$")
    special = {"<|endoftext|>": 50_256}
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=gpt2_ranks(), special_tokens=special)


def _gpt2(path: Path) -> Subject:
    theirs = tiktoken_of("r50k_base")
    tokenizer = Tokenizer.load(path)

    def decode(ids: list[int]) -> str:
        return str(theirs.decode([i for i in ids if i != 50_256]))

    return Subject(tokenizer, theirs.encode_ordinary, decode, frozenset([50_256]))


def _words(folder: Path, name: str) -> Subject:
    """GPT-2's ranks behind the words of another encoding. (Python's own NFC is that of an older Unicode.)"""
    from tokenizers.normalizers import NFC

    theirs, nfc = tiktoken_of(name), ENCODINGS[name].nfc

    def encode(text: str) -> list[int]:
        found: list[int] = theirs.encode_ordinary(NFC().normalize_str(text) if nfc else text)
        return found

    return replace(_gpt2(_rank_file(folder, name)), encode=encode, lossless=not nfc)


def _rank_file(folder: Path, name: str) -> Path:
    """GPT-2's ranks under the name of an encoding, with GPT-2's special token instead of that encoding's own."""
    path = folder / name / f"{name}.tiktoken"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{base64.b64encode(token).decode()} {i}\n" for token, i in gpt2_ranks().items()))
    added = {"added_tokens_decoder": {"50256": {"content": "<|endoftext|>", "special": True}}}
    (path.parent / "tokenizer_config.json").write_text(json.dumps(added))
    return path


def _from_gguf(name: str, folder: Path) -> Path:
    from lilims.conversion.gguf.tokenizer import write_files

    target = folder / name
    target.mkdir(exist_ok=True)
    write_files(test_data(f"tokenizers/ggml-vocab/ggml-vocab-{name}.gguf"), target)
    return target


def _qwen2() -> Subject:
    from transformers import AutoTokenizer

    theirs: Any = AutoTokenizer.from_pretrained(str(test_data("tokenizers/qwen2")), split_special_tokens=True)
    tokenizer = Tokenizer.load(test_data("tokenizers/qwen2"))

    def decode(ids: list[int]) -> str:
        return str(theirs.decode(ids, skip_special_tokens=True))

    special = frozenset(range(151_643, 151_646))
    return Subject(tokenizer, lambda text: theirs.encode(text, add_special_tokens=False), decode, special)


def _sentencepiece(path: str | Path, model: str | Path) -> Subject:
    import sentencepiece

    theirs: Any = sentencepiece.SentencePieceProcessor(model_file=str(test_data(str(model))))
    control = frozenset(i for i in range(theirs.get_piece_size()) if theirs.is_control(i))
    tokenizer = Tokenizer.load(test_data(str(path)))
    return Subject(
        tokenizer, theirs.encode, theirs.decode, control, lossless=theirs.is_byte(theirs.piece_to_id("<0x00>"))
    )


def _written(name: str, folder: Path) -> Subject:
    """A GGUF file's SentencePiece vocabulary, against sentencepiece with the .model that is made of it."""
    import sentencepiece

    path = _from_gguf(name, folder)
    theirs: Any = sentencepiece.SentencePieceProcessor(model_file=str(path / "tokenizer.model"))
    control = frozenset(i for i in range(theirs.get_piece_size()) if theirs.is_control(i))
    return Subject(Tokenizer.load(path), theirs.encode, theirs.decode, control)
