"""Stop strings: wherever the pieces are cut, the text before the first of them, and nothing of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.core.errors import UsageError
from lilims.runtime.generation.stops import StopStrings


def cut(pieces: list[str], strings: list[str]) -> tuple[str, str | None]:
    stops = StopStrings(strings)
    text = "".join(stops.push(piece) for piece in pieces)
    return text + stops.finish(), stops.found


def wanted(text: str, strings: list[str]) -> str:
    """By the definition: character by character, until one completes a string."""
    for end in range(len(text) + 1):
        if found := [s for s in strings if text[:end].endswith(s)]:
            return text[: end - max(map(len, found))]
    return text


texts = st.text("ab\n", max_size=30)
strings = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=4)


@given(st.lists(st.text("ab\n", max_size=5), max_size=12), strings)
def test_every_cut_gives_the_text_before_the_first_string(pieces: list[str], strings: list[str]) -> None:
    text, found = cut(pieces, strings)
    assert text == wanted("".join(pieces), strings)
    assert (found is not None) == (text != "".join(pieces))


@given(texts, strings)
def test_no_more_is_held_back_than_could_become_a_string(text: str, strings: list[str]) -> None:
    stops = StopStrings(strings)
    given_out = "".join(stops.push(character) for character in text)
    if stops.found is None:
        held = text[len(given_out) :]
        assert given_out + held == text
        assert held == "" or any(s.startswith(held) for s in strings)


def test_what_comes_later_is_not_looked_at() -> None:
    stops = StopStrings(["stop"])
    assert [stops.push(piece) for piece in ("a st", "op b", "c")] == ["a ", "", ""]
    assert (stops.found, stops.finish()) == ("stop", "")


@pytest.mark.parametrize("strings", [[""], ["a", ""], ["x" * 1025], ["a"] * 65], ids=["empty", "one", "long", "many"])
def test_strings_that_are_refused(strings: list[str]) -> None:
    with pytest.raises(UsageError, match="stop string"):
        StopStrings(strings)
