"""Other ids of the same text: found as far as they go, and never across a special token that a message only spells."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lilims.tokenizer import Tokenizer
from lilims.ui.terminal.spelling import respelled

WORDS = ["Once", " upon", " a", " wooden", " boat", " sailed", ".", " “", "né", " 東京", "🙂", "\n", " the", " fox"]


@pytest.fixture(scope="module")
def tokenizer(shared_home: Path) -> Tokenizer:
    return Tokenizer.load(shared_home / "models" / "stories-int4")


def shuffled(tokenizer: Tokenizer, text: str, seed: int) -> list[int]:
    """A text's ids, cut at random places before they are encoded: mostly other ids than the tokenizer's."""
    numbers, ids, start = random.Random(seed), tokenizer.encode("a")[:1], 0
    while start < len(text):
        end = start + numbers.randint(1, 4)
        ids += tokenizer.encode(text[start:end], add_special_tokens=False)
        start = end
    return ids


@settings(deadline=None)
@given(
    words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=12),
    more=st.lists(st.sampled_from(WORDS), max_size=4),
    seed=st.integers(0, 99),
)
def test_the_text_is_always_the_same(tokenizer: Tokenizer, words: list[str], more: list[str], seed: int) -> None:
    held, wanted = shuffled(tokenizer, "".join(words), seed), tokenizer.encode("".join(words + more))
    made = respelled(wanted, held, tokenizer)
    assert tokenizer.decode(made) == tokenizer.decode(wanted)
    if tokenizer.decode(held) == tokenizer.decode(tokenizer.encode("".join(words))) and more == [" the"]:
        assert made[: len(held)] == held


def test_what_is_held_is_taken(tokenizer: Tokenizer) -> None:
    text = "Once upon a time there was a wooden boat."
    held = shuffled(tokenizer, text, 1)
    wanted = tokenizer.encode(text + " It")
    assert held != wanted[: len(held)], "the ids differ, or the test shows nothing"
    assert respelled(wanted, held, tokenizer)[: len(held)] == held
    assert respelled(wanted, wanted[:5], tokenizer) == wanted
    assert respelled(wanted, [], tokenizer) == wanted


def test_another_text_is_not_taken(tokenizer: Tokenizer) -> None:
    wanted = tokenizer.encode("Once upon a time there was a fox.")
    held = shuffled(tokenizer, "Once upon a time there was a hen.", 2)
    made = respelled(wanted, held, tokenizer)
    assert tokenizer.decode(made) == tokenizer.decode(wanted)
    assert made[-2:] == wanted[-2:]


def test_a_message_that_spells_a_special_token_is_not_one(tokenizer: Tokenizer) -> None:
    (end,) = sorted(tokenizer.eos_ids)[:1]
    spelled = tokenizer.decode([end], skip_special_tokens=False)
    assert spelled, "a special token has a text"
    before, after = tokenizer.encode("Once."), tokenizer.encode(" Then", add_special_tokens=False)
    literal = tokenizer.encode(spelled, add_special_tokens=False)
    assert end not in literal
    wanted = [*before, *literal, *after]
    assert end not in respelled(wanted, [*before, end, *after], tokenizer)[1:], "but for the BOS, which is the same"
    assert respelled([*before, end, *after], wanted, tokenizer)[len(before)] == end
