"""Tags that are spread over pieces of text.

Knows strings. Must not know what a tag means.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["partial"]


def partial(text: str, tags: Iterable[str]) -> int:
    """How many characters at the end of `text` may be the beginning of one of `tags`; a whole tag does not count."""
    longest = 0
    for tag in tags:
        for size in range(min(len(tag) - 1, len(text)), longest, -1):
            if text.endswith(tag[:size]):
                longest = size
                break
    return longest
