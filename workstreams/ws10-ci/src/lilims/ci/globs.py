"""Paths against patterns: `*` within a folder, `**` across folders, all else as it stands.

Knows patterns. Must not touch the file system.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["matches"]


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*\*|\*)", pattern)
    meaning = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*"}
    return re.compile("".join(meaning.get(part) or re.escape(part) for part in parts), re.DOTALL)


def matches(pattern: str, path: str) -> bool:
    """Whether a path, with slashes, is one that the pattern means."""
    return _expression(pattern).fullmatch(path) is not None
