"""The error tree: what is drawn, exported and raised agrees; wording and exit codes."""

from __future__ import annotations

import re

import pytest

from lilims.core import errors
from lilims.core.errors import ContextOverflowError, ExecutionError, LilimsError, PackageError, UsageError

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and value.__module__ == errors.__name__
}


def test_all_is_complete() -> None:
    assert sorted(CLASSES) == errors.__all__


def test_drawing_matches_the_classes() -> None:
    assert errors.__doc__ is not None
    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"^([ │├└─]+)([A-Z]\w+Error)\b", line)
        if match is None:
            continue
        depth, name = len(match[1]), match[2]
        above = [(d, n) for d, n in above if d < depth]
        drawn[name] = above[-1][1] if above else "Exception"
        above.append((depth, name))
    assert drawn == {name: cls.__bases__[0].__name__ for name, cls in CLASSES.items()}


def test_every_class_says_what_it_means() -> None:
    assert [name for name, cls in CLASSES.items() if not cls.__doc__] == []


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"LilimsError", "InputError"}))
def test_an_error_without_a_hint_says_what_to_do_next(name: str) -> None:
    assert (CLASSES[name]("is wrong").hint or "").split()
    assert CLASSES[name]("is wrong", hint="do this").hint == "do this"


def test_words() -> None:
    error = PackageError("is damaged", where="a/weight.bin", hint="copy it again")
    assert str(error) == "a/weight.bin: is damaged"
    assert error.as_dict() == {
        "type": "PackageError", "message": "is damaged", "where": "a/weight.bin", "hint": "copy it again",
    }  # fmt: skip
    assert str(LilimsError("plain")) == "plain"


def test_what_a_hostile_file_says_is_cut() -> None:
    error = LilimsError("a" * 5000 + "z", where="b" * 10_000_000, hint="c" * 601)
    assert all(600 < len(part) < 610 for part in (error.message, error.where or "", error.hint or ""))
    assert error.message.endswith("aaz")
    assert LilimsError("a" * 600).message == "a" * 600


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_exit_codes(name: str) -> None:
    assert CLASSES[name].exit_code == (2 if CLASSES[name] is UsageError else 1)


def test_overflow_is_an_execution_error() -> None:
    assert issubclass(ContextOverflowError, ExecutionError)
