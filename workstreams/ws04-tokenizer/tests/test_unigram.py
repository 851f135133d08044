"""Unigram models: rounded as google/sentencepiece 0.2.3 rounds; compared live, and with what was recorded of it."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.tokenizer.sentencepiece_model import parse
from lilims.tokenizer.unigram import Unigram

from .helpers import BASE, BYTES, NORMAL, UNIGRAM, UNUSED, USER_DEFINED, model, piece


def made(seed: int, *, scale: float = 8.0, fallback: bool = False) -> bytes:
    """A model of few pieces whose scores often add up to the same."""
    rng = random.Random(seed)
    scores = [-rng.random() * scale for _ in range(5)]
    texts = dict.fromkeys(["▁", "a", "b", "0"])
    texts |= dict.fromkeys("".join(rng.choice("▁ab0") for _ in range(rng.randint(2, 4))) for _ in range(14))
    kinds = [NORMAL] * 12 + [USER_DEFINED, UNUSED]
    pieces = [
        piece(text, rng.choice(scores) + (rng.choice(scores) if len(text) > 1 else 0.0), rng.choice(kinds))
        for text in texts
    ]
    extra = BYTES if fallback else []
    return model([*BASE, *pieces, *extra], kind=UNIGRAM, dummy_prefix=False, byte_fallback=fallback)


def digest(ids: list[int]) -> str:
    return hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest()[:16]


def text_of(seed: int, length: int) -> str:
    return "".join(random.Random(seed).choices("▁ab0c", k=length))


RECORDED = {  # seed, scale, length: the hash of sentencepiece 0.2.3's ids
    (1, 8.0, 300): "ab4336e273fc7c47",
    (2, 8.0, 300): "2ae20d1d6ae64392",
    (3, 8.0, 300): "34f4bdf8b959ea19",
    (4, 800.0, 2000): "a296f455084c9fac",
    (5, 800.0, 2000): "d2be24b7ff388aa4",
    (6, 30_000.0, 300): "fe31db40806d9110",
}


@pytest.mark.parametrize(("seed", "scale", "length"), RECORDED, ids=str)
def test_ties_are_decided_as_recorded(seed: int, scale: float, length: int) -> None:
    ids = Unigram(parse(made(seed, scale=scale))).encode(text_of(seed, length))
    assert digest(ids) == RECORDED[seed, scale, length]


def test_what_is_remembered_changes_nothing() -> None:
    """Words that are remembered, words searched behind the exact score, and the text as one word: the same ids."""
    for seed in range(6):
        unigram, text = Unigram(parse(made(seed, scale=800.0))), text_of(seed, 3000)
        first = unigram.encode(text)
        assert unigram.encode(text) == first
        assert unigram._joined(list(unigram._split(text, 0.0).ids)) == first


@pytest.mark.parity
@given(st.integers(0, 10**6), st.sampled_from([8.0, 800.0, 30_000.0]), st.booleans(), st.integers(1, 400))
def test_against_sentencepiece(seed: int, scale: float, fallback: bool, length: int) -> None:
    import sentencepiece

    data, text = made(seed, scale=scale, fallback=fallback), text_of(seed, length)
    theirs: Any = sentencepiece.SentencePieceProcessor(model_proto=data)
    assert Unigram(parse(data)).encode(text) == theirs.encode(text)
