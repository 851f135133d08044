"""Text up to the first of some strings, from pieces as they come.

Knows text. Must not know tokens, nor what else ends a generation.

What could still become a stop string is held back, so no part of one is ever given out: with the stop string "\\n\\n"
the piece "end\\n" gives "end", and the line end comes with the next piece, if that does not begin with another. The
string that is complete first ends the text; of two that are at the same character, the longer.
"""

from __future__ import annotations

from collections.abc import Sequence

from lilims.core.errors import UsageError

__all__ = ["StopStrings"]

_MOST, _LONGEST = 64, 1024


class StopStrings:
    """Cuts a stream of text before the first of `strings`.

    Attributes:
        found: the string that ended the text, None as long as none did.

    Raises:
        UsageError: one is empty or longer than 1,024 characters, or there are more than 64.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        if isinstance(strings, str):
            strings = [strings]
        if len(strings) > _MOST:
            raise UsageError(f"{len(strings)} stop strings are more than {_MOST}")
        for string in strings:
            if not 0 < len(string) <= _LONGEST:
                raise UsageError(f"a stop string has 1 to {_LONGEST} characters, not {len(string)}")
        self._strings = tuple(strings)
        self._held = ""
        self.found: str | None = None

    def push(self, text: str) -> str:
        """The text that is certain now. After a stop string was found there is no more."""
        if self.found is not None:
            return ""
        if not self._strings:
            return text
        held = self._held + text
        places = [(place + len(s), place, s) for s in self._strings if (place := held.find(s)) >= 0]
        if places:
            _, place, self.found = min(places)
            self._held = ""
            return held[:place]
        kept = max(self._overlap(held, string) for string in self._strings)
        self._held = held[len(held) - kept :]
        return held[: len(held) - kept]

    def finish(self) -> str:
        """What was held back, as no more text comes."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _overlap(text: str, string: str) -> int:
        """Characters at the end of the text with which the string begins."""
        return next((n for n in range(min(len(string) - 1, len(text)), 0, -1) if text.endswith(string[:n])), 0)
