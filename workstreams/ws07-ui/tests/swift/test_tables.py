"""Tokenizers as tables, and chat templates as pieces: what is followed, and what is refused by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lilims.core.errors import UnsupportedError
from lilims.core.testing import test_data as data
from lilims.tokenizer import Tokenizer
from lilims.ui.swift import ChatPieces, chat_pieces, tables_of
from lilims.ui.swift.tables import icu_pattern

Change = Callable[[dict[str, Any]], Any]


def _changed(folder: Path, change: Change) -> Tokenizer:
    from lilims.models.names import builtin_checkpoint

    spec = json.loads((builtin_checkpoint() / "tokenizer.json").read_text("utf-8"))
    change(spec)
    (folder / "tokenizer.json").write_text(json.dumps(spec), "utf-8")
    return Tokenizer.load(folder)


def _normalizer(spec: dict[str, Any]) -> None:
    spec["normalizer"] = {"type": "Lowercase"}


def _prefix(spec: dict[str, Any]) -> None:
    spec["pre_tokenizer"]["add_prefix_space"] = True


def _words(spec: dict[str, Any]) -> None:
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, spec["pre_tokenizer"]]}


def _behaviour(spec: dict[str, Any]) -> None:
    split = {"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Removed", "invert": False}
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, spec["pre_tokenizer"]]}


def _single(spec: dict[str, Any]) -> None:
    spec["added_tokens"][0]["single_word"] = True


def _metaspace(spec: dict[str, Any]) -> None:
    spec["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}


def _decoder(spec: dict[str, Any]) -> None:
    spec["decoder"] = {"type": "WordPiece", "prefix": "##", "cleanup": True}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_normalizer, "it normalises by Lowercase"),
        (_prefix, "it puts a space before a text"),
        (_words, "it cuts text by Whitespace"),
        (_behaviour, "it cuts text by Removed"),
        (_single, "counts as a single word only"),
        (_metaspace, "Metaspace cuts text into words"),
        (_decoder, "its decoder looks at neighbouring tokens"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_swift_cannot_follow_is_refused_by_name(tmp_path: Path, change: Change, words: str) -> None:
    with pytest.raises(UnsupportedError, match="cannot follow this one") as caught:
        tables_of(_changed(tmp_path, change), tmp_path)
    assert words in caught.value.message
    assert "docs/swift.md" in str(caught.value.hint)


def test_unigram_is_refused() -> None:
    path = data("tokenizers/sentencepiece") / "test_model.model"
    with pytest.raises(UnsupportedError, match="unigram"):
        tables_of(Tokenizer.load(path), path)


@pytest.mark.parametrize("name", ["tokenizers/gpt2", "tokenizers/qwen2", "models/stories260K"])
def test_tables_hold_every_token(name: str) -> None:
    import base64

    tokenizer = Tokenizer.load(data(name))
    tables = tables_of(tokenizer, Path(name))
    lengths = memoryview(base64.b64decode(tables["lengths"])).cast("H")
    assert len(lengths) == tokenizer.vocab_size
    assert sum(lengths) == len(base64.b64decode(tables["bytes"]))
    assert len(base64.b64decode(tables["merges"])) % 12 == 0


def test_icu_takes_its_own_name_for_white_space() -> None:
    assert (
        icu_pattern(r"\s+(?!\S)|[^\s\p{L}]|\\s") == r"\p{White_Space}+(?!\P{White_Space})|[^\p{White_Space}\p{L}]|\\s"
    )


def _with_template(folder: Path, template: str | None) -> Tokenizer:
    from lilims.models.names import builtin_checkpoint

    (folder / "tokenizer.json").write_bytes((builtin_checkpoint() / "tokenizer.json").read_bytes())
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, "utf-8")
    return Tokenizer.load(folder)


PLAIN = (
    "{% for m in messages %}{% if m.role == 'system' %}S:{{ m.content }}\n{% elif m.role == 'user' %}"
    "U:{{ m.content | trim }}\n"
    "{% else %}A:{{ m.content | trim }}<|endoftext|>{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
)


def test_a_plain_template_becomes_pieces(tmp_path: Path) -> None:
    pieces = chat_pieces(_with_template(tmp_path, PLAIN.replace("S:{{ m.content }}", "S:{{ m.content | trim }}")))
    assert isinstance(pieces, ChatPieces)
    assert pieces.first == ["U:"] and pieces.generate == ["\nA:"] and pieces.next == [0, "U:"] and pieces.trims
    assert pieces.system is not None and pieces.system.before == ["S:"] and pieces.system.after == ["\nU:"]


def test_pieces_give_the_ids_of_the_template() -> None:
    tokenizer = Tokenizer.load(data("tokenizers/qwen2"))
    pieces = chat_pieces(tokenizer)
    assert isinstance(pieces, ChatPieces)
    messages = [
        {"role": "user", "content": "Hi <|im_end|>"},
        {"role": "assistant", "content": " so\n"},
        {"role": "user", "content": "?"},
    ]
    for told in ([], [{"role": "system", "content": "Be brief."}]):
        both = [*told, *messages]
        assert tokenizer.parts.encode_around(pieces.compose(both)) == tokenizer.encode_chat(both)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (None, "the model has no chat template"),
        ("{{ messages[-1].content }}", "does not print every message once"),
        ("{{ raise_exception('never') }}", "refuses a plain conversation: the template refuses these messages: never"),
        (PLAIN, "instructions"),  # theirs keep their spaces, questions do not
        (PLAIN.replace("U:", "U{{ loop.index if loop.index > 4 else '' }}:"), "a long conversation"),
    ],
    ids=["none", "last-only", "refuses", "uneven-trim", "counts"],
)
def test_a_template_without_pieces_says_why(tmp_path: Path, template: str | None, words: str) -> None:
    why = chat_pieces(_with_template(tmp_path, template))
    assert isinstance(why, str) and words in why
