"""The fuzzer of tokenizers: a text comes back from its numbers, and every kind of difference is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from fuzz.references import Subject
from fuzz.texts import make_text
from fuzz_tokenizers import case
from lilims.core.testing import test_data
from lilims.tokenizer import Tokenizer

CORPORA = ["Once upon a time there was a fox. " * 9]


@pytest.fixture(scope="module")
def honest() -> Subject:
    """lilims against itself."""
    tokenizer = Tokenizer.load(test_data("models/stories260K"))
    return Subject(tokenizer, lambda text: tokenizer.encode(text, False), tokenizer.decode, frozenset([1, 2]))


def test_a_text_comes_back_from_its_seed() -> None:
    texts = [make_text(Random(f"1:{n}"), CORPORA) for n in range(200)]
    assert texts == [make_text(Random(f"1:{n}"), CORPORA) for n in range(200)]
    whole = "".join(texts)
    assert "<|im_start|>" in whole and " " * 30 in whole and any(0xD800 <= ord(c) < 0xE000 for c in whole)
    assert any(ord(c) > 0xFFFF for c in whole) and any(ord(c) < 32 for c in whole)


def test_no_difference_from_itself(honest: Subject) -> None:
    assert [case(honest, 1, n, CORPORA)[1] for n in range(60)] == [[]] * 60


LIES: dict[str, tuple[Callable[[Subject], dict[str, Any]], str]] = {
    "other ids": (lambda s: {"encode": lambda text: [*s.encode(text), 5]}, "ids differ at"),
    "another text": (lambda s: {"decode": lambda ids: str(s.tokenizer.decode(ids)) + "."}, "decoded"),
    "a special token": (lambda s: {"special": frozenset(range(512))}, "special tokens"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_difference_is_found(honest: Subject, name: str) -> None:
    lie, message = LIES[name]
    _, wrong = case(replace(honest, **lie(honest)), 1, 3, CORPORA)
    assert any(one.startswith(message) for one in wrong)
