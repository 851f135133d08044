"""How much a template may do: steps, and characters that it makes.

Knows numbers. Must not know what a template is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ChatTemplateError

__all__ = ["Budget", "size_of"]

STEPS, STEPS_PER_VALUE = 200_000, 100
CHARACTERS, CHARACTERS_PER_CHARACTER = 4_000_000, 64
_DEEPEST = 100


class Budget:
    """What is left. Every expression costs a step; every string and list that is made or compared costs its length.

    Both are paid before the work is done, so that nothing is allocated that was not granted: a rendering takes under
    a second and at most four bytes for each character.
    """

    def __init__(self, values: int, characters: int) -> None:
        self.steps = STEPS + STEPS_PER_VALUE * values
        self.characters = CHARACTERS + CHARACTERS_PER_CHARACTER * characters

    def step(self, count: int = 1) -> None:
        """Pays for `count` steps.

        Raises:
            ChatTemplateError: there are not as many left.
        """
        self.steps -= count
        if self.steps < 0:
            raise ChatTemplateError("the template takes too many steps: does it loop without end?")

    def text(self, characters: int) -> None:
        """Pays for a string of that length.

        Raises:
            ChatTemplateError: too many have been made.
        """
        self.characters -= characters
        if self.characters < 0:
            raise ChatTemplateError("the template makes too much text")

    def whole(self, value: Any, depth: int = 0, *, weight: int = 1) -> None:
        """Pays for a walk over a value and all in it, where Python will do it without being stopped.

        Comparing, hashing, printing and sorting are such walks: a list that holds a list twice, which holds one twice,
        and so on, is small, and printing it would take for ever.

        Args:
            weight: how many characters become of one of its strings'.

        Raises:
            ChatTemplateError: too large, or nested too deep.
        """
        if isinstance(value, str):
            self.text(len(value) * weight)
            return
        self.step()
        if depth > _DEEPEST:
            raise ChatTemplateError(f"a value is nested deeper than {_DEEPEST} levels")
        if isinstance(value, dict):
            for key, item in value.items():
                self.whole(key, depth + 1, weight=weight)
                self.whole(item, depth + 1, weight=weight)
        elif isinstance(value, (list, tuple)):
            for item in value:
                self.whole(item, depth + 1, weight=weight)


def size_of(value: Any) -> tuple[int, int]:
    """The number of values in `value` and of the characters in its strings.

    Raises:
        ChatTemplateError: it holds something that is neither text, a number, a list nor a mapping; or itself.
    """
    values = characters = 0
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        values += len(level)
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                characters += len(item)
            elif isinstance(item, Mapping):
                below += [*item.keys(), *item.values()]
            elif isinstance(item, (list, tuple)):
                below += item
            elif not isinstance(item, (int, float, type(None))):
                raise ChatTemplateError(
                    f"messages and tools must be as JSON has them, not {type(item).__name__}",
                    hint="give dicts, lists, strings, numbers, booleans and None",
                )
        if not below:
            return values, characters
        level = below
    raise ChatTemplateError(
        f"messages or tools are nested deeper than {_DEEPEST} levels", hint="do they hold themselves?"
    )
