"""Schemas, expressions and grammars that are wrong, hostile or too large end in one clear line, soon."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pytest

from lilims.core.errors import MissingDependencyError, UnsupportedError
from lilims.core.testing import test_data
from lilims.runtime.constrained import GrammarConstraint, grammar, json_schema, regex
from lilims.runtime.constrained import vocabulary as vocabularies
from lilims.runtime.errors import ConstraintError
from lilims.runtime.sampling import Sampler, SamplingParameters
from lilims.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return Tokenizer.load(test_data("models/stories260K/tokenizer.model"))


def nested(count: int) -> str:
    return '{"type":"array","items":' * count + "{}" + "}" * count


WRONG: dict[str, tuple[Callable[..., GrammarConstraint], Any, str]] = {
    "not-json": (json_schema, "{", "not JSON"),
    "number": (json_schema, "5", "object or a boolean"),
    "nan": (json_schema, {"minimum": float("nan")}, "not JSON"),
    "set": (json_schema, {"enum": {1, 2}}, "not JSON"),
    "unknown-type": (json_schema, {"type": "nonsense"}, "nonsense"),
    "not": (json_schema, {"not": {"type": "string"}}, "not"),
    "false": (json_schema, False, "no text fulfils it"),
    "contradiction": (json_schema, {"type": "integer", "minimum": 5, "maximum": 3}, "minimum"),
    "remote": (json_schema, {"$ref": "http://example.com/x.json"}, "example.com"),
    "file": (json_schema, {"$ref": "file:///etc/passwd"}, "passwd"),
    "itself": (json_schema, {"$ref": "#"}, "no text fulfils it"),
    "deep": (json_schema, nested(5000), "recursion|not JSON"),
    "look-ahead": (json_schema, {"type": "string", "pattern": "(?=a)b"}, "regex"),
    "many-properties": (json_schema, {"properties": {f"k{i}": {"type": "string"} for i in range(20000)}}, "large"),
    "large": (json_schema, json.dumps({"enum": ["x" * 2_000_000]}), "characters"),
    "open-group": (regex, "(", "regex"),
    "back-reference": (regex, r"(a)\1", "backreferences"),
    "empty-class": (regex, r"[^\s\S]", "no text fulfils it"),
    "surrogate": (regex, "\ud800", "surrogate"),
    "bytes": (regex, b"a", "text, not bytes"),
    "unknown-rule": (grammar, "start: x", "unknown name"),
    "no-rule": (grammar, "hello", "Expected"),
    "no-end": (grammar, 'start: start "a"', "no text fulfils it"),
    "import": (grammar, "%import /etc/passwd (X)\nstart: X", "Expected"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_ones(name: str, words: Tokenizer) -> None:
    make, source, reason = WRONG[name]
    begun = time.perf_counter()
    with pytest.raises(ConstraintError, match=reason) as caught:
        make(source, words)
    assert time.perf_counter() - begun < 60
    assert caught.value.where == make.__name__
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


LARGE: dict[str, tuple[Callable[..., GrammarConstraint], Any]] = {
    "repeat": (regex, "(a{1,1000}){1,1000}"),
    "states": (regex, ".*a.{300}"),
    "alternatives": (regex, "(a|b)*a" + "(a|b)" * 300),
    "long-array": (json_schema, {"type": "array", "minItems": 1_000_000_000}),
    "long-string": (json_schema, {"type": "string", "maxLength": 1_000_000_000}),
    "ambiguous": (grammar, 'start: start start | "a" | '),
    "enum": (json_schema, {"enum": [f"value {i}" for i in range(20_000)]}),
}


@pytest.mark.parametrize("name", LARGE)
def test_costly_ones_are_followed_or_refused_soon(name: str, words: Tokenizer) -> None:
    make, source = LARGE[name]
    begun, rng = time.perf_counter(), np.random.default_rng(0)
    with suppress(ConstraintError):
        sampler = Sampler(SamplingParameters(temperature=1.0, seed=0), make(source, words))
        for _ in range(40):
            if not sampler.finished:
                sampler.choose(rng.standard_normal(words.vocab_size).astype(np.float32))
    assert time.perf_counter() - begun < 60


def test_without_llguidance(words: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    monkeypatch.setattr(vocabularies, "_known", WeakKeyDictionary())
    with pytest.raises(MissingDependencyError) as caught:
        json_schema({}, words)
    assert "pip install 'lilims-runtime[constrained]'" in (caught.value.hint or "")


def test_a_tokenizer_without_bytes(tmp_path: Any) -> None:
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models

    backend = Backend(models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece()
    backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UnsupportedError, match="stand for bytes"):
        regex("ab", Tokenizer.load(tmp_path))


def test_a_vocabulary_is_made_once(words: Tokenizer) -> None:
    assert vocabularies.vocabulary_of(words) is vocabularies.vocabulary_of(words, words.eos_ids)
    assert vocabularies.vocabulary_of(words) is not vocabularies.vocabulary_of(words, ())
