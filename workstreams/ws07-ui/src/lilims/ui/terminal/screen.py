"""What a conversation shows, and where: answers on stdout, all else on stderr.

Knows streams and colours. Must not know what is said. On a terminal control characters of a model's text are shown as
such, not sent: a model could otherwise steer it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lilims.core.console import console

if TYPE_CHECKING:
    from lilims.runtime import Token
    from lilims.runtime.statistics import Statistics

__all__ = ["Screen", "figures", "harmless"]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """A model's text without what steers a terminal or turns the direction of writing."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class Screen:
    """Where a conversation is shown.

    Args:
        keep: take answers instead of showing them, as for --json.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self._keep = keep
        self._terminal = sys.stdout.isatty()

    def answer(self, tokens: Iterable[Token]) -> None:
        """Shows an answer while it comes, and ends its line; also where an error or an interrupt ends it.

        One that fails before its first word leaves no line: to whoever reads the pipe it would be an empty answer.
        """
        last, thinking, failed = "", False, True
        try:
            for token in tokens:
                if token.reasoning and not console.quiet and not self._keep:
                    self._dim(token.reasoning, end="")
                    thinking = not token.reasoning.endswith("\n")
                if token.text and not self._keep:
                    if thinking:
                        self._dim("\n")
                        thinking = False
                    console.data(harmless(token.text) if self._terminal else token.text, end="")
                    last = token.text
            failed = False
        finally:
            begun = last[-1:] not in ("", "\n")
            if not self._keep and (begun or not (self._terminal or (failed and not last))):
                console.data("")

    def note(self, text: str) -> None:
        """A line about the conversation, unless -q."""
        if not console.quiet:
            self.tell(text)

    def tell(self, text: str) -> None:
        """Lines that were asked for."""
        self._dim(text)

    def _dim(self, text: str, end: str = "\n") -> None:
        console.stderr().print(harmless(text), style="dim", markup=False, end=end)


def figures(found: Statistics) -> str:
    """A line about an answer: tokens, speed, what the cache spared."""
    ran = found.prompt_tokens - found.reused_tokens
    return (
        f"{found.generated_tokens} tokens, {found.decode_tokens_per_second:.1f} tokens/s · first token "
        f"{found.time_to_first_token * 1000:.0f} ms · {ran} of {found.prompt_tokens} prompt tokens run, "
        f"{found.reused_tokens} from the cache"
    )
