"""The story grammar: the same seed, the same story; held-out words stay out; the English agrees."""

from __future__ import annotations

import random
import re

import grammar
import grammar_lexicon as lexicon
import pytest
from grammar_realise import expand, tidy

COUNT = 2000


@pytest.fixture(scope="module")
def training() -> list[grammar.Story]:
    return [grammar.story(seed) for seed in range(COUNT)]


@pytest.fixture(scope="module")
def held_out() -> list[grammar.Story]:
    return [grammar.story(seed, "heldout") for seed in range(400)]


@pytest.fixture(scope="module")
def everything(training: list[grammar.Story], held_out: list[grammar.Story]) -> list[grammar.Story]:
    return training + held_out


def test_a_seed_gives_the_same_story_whatever_was_drawn_before(training: list[grammar.Story]) -> None:
    assert [grammar.story(seed) for seed in (7, 3, 1999)] == [training[7], training[3], training[1999]]


def test_stories_are_distinct(training: list[grammar.Story]) -> None:
    assert len({story.text for story in training}) == COUNT


def test_every_training_plot_is_used_and_no_held_out_one(training: list[grammar.Story]) -> None:
    assert {story.plot for story in training} == {plot.name for plot in grammar.plots("train")}
    assert not {plot.name for plot in grammar.plots("train")} & {plot.name for plot in grammar.plots("heldout")}


def test_every_second_held_out_story_has_a_held_out_plot(held_out: list[grammar.Story]) -> None:
    names = {plot.name for plot in grammar.plots("heldout")}
    assert [story.plot in names for story in held_out] == [bool(seed % 2) for seed in range(len(held_out))]


def test_no_word_of_a_training_story_is_a_held_out_name(
    training: list[grammar.Story], held_out: list[grammar.Story]
) -> None:
    names = {name for table in lexicon.HELD_OUT_NAMES.values() for name in table}
    names |= {name for story in held_out for name in story.names}
    for story in training:
        assert not names & set(re.findall(r"\w+", story.text)), story.text


def test_length(everything: list[grammar.Story]) -> None:
    for story in everything:
        assert len(story.text.split()) in grammar.WORDS, story.text


WRONG = {
    "a template left over": r"[{}\[\]|]",
    "a before a vowel sound": r"\b[Aa] (?=[aeiou])(?!one\b|once\b|uni|use)",
    "an before a consonant": r"\b[Aa]n (?![aeiouAEIOU]|hour|honest)",
    "a small letter after a full stop": r'\. "?[a-z]',
    "a doubled word": r"\b(?!that\b|had\b)([a-z]+) \1\b",
    "stray punctuation": r"  | [.,!?]|[,.;:]{2}|[?!]\.",
    "a capital where a sentence goes on": r'[?!]" (?:She|He|They) (?:said|asked|cried|called|shouted|whispered)\b',
    "a paragraph that starts small": r"(?:^|\n)[^A-Z\"\n]",
}


@pytest.mark.parametrize("pattern", WRONG.values(), ids=WRONG.keys())
def test_spelling_and_punctuation(pattern: str, everything: list[grammar.Story]) -> None:
    found = [(story.plot, match[0], story.text) for story in everything for match in re.finditer(pattern, story.text)]
    assert not found, found[0]


def test_quotes_are_balanced_in_each_paragraph_and_the_story_ends(everything: list[grammar.Story]) -> None:
    for story in everything:
        assert all(paragraph.count('"') % 2 == 0 for paragraph in story.text.split("\n\n")), story.text
        assert re.search(r'[.!?]"?$', story.text), story.text
        assert story.text.isascii()


def test_the_hero_is_himself_or_herself(everything: list[grammar.Story]) -> None:
    """A reflexive is only ever the hero's in these plots, so the other gender's must not occur."""
    other = {"he": "herself", "she": "himself"}
    used = 0
    for story in everything:
        assert other[story.hero.gender] not in story.text, story.text
        used += bool(re.search(r"\b(?:him|her)self\b", story.text))
    assert used > 20  # the rule was put to use


def test_alone_a_hero_has_one_pronoun() -> None:
    """The plot bedtime has the hero and one relative; when both are of one gender the other pronouns cannot occur."""
    plot = next(plot for plot in grammar.plots("train") if plot.name == "bedtime")
    seen = set()
    for seed in range(200):
        story = grammar._draft(plot, "train", random.Random(seed))
        own, other = (r"\b(?:he|him|his)\b", r"\b(?:she|her|hers)\b")
        if story.hero.gender == "she":
            own, other = other, own
        assert re.search(own, story.text, re.IGNORECASE), story.text
        if not re.search(other, story.text, re.IGNORECASE):
            seen.add(story.hero.gender)
    assert seen == {"he", "she"}


def test_the_first_opening_names_the_hero(everything: list[grammar.Story]) -> None:
    for story in everything:
        assert story.hero.name in story.text.split("\n\n")[0]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a apple and a old owl", "An apple and an old owl"),
        ("a unicorn saw a hour pass", "A unicorn saw an hour pass"),
        ('"stop!" he cried. "now!" the bird flew up.', '"stop!" he cried. "now!" The bird flew up.'),
        ("she left . he  stayed", "She left. He stayed"),
    ],
)
def test_tidy(template: str, expected: str) -> None:
    assert tidy(template) == expected


def test_expand_takes_every_arm_and_refuses_an_unknown_slot() -> None:
    drawn = {expand("[a|b[c|d]]", {}, random.Random(seed)) for seed in range(50)}
    assert drawn == {"a", "bc", "bd"}
    with pytest.raises(KeyError, match="nobody"):
        expand("{nobody.he}", {}, random.Random(0))
