"""The changelog's section of a version: `python tools/ci/release_notes.py 0.2.0`.

Knows headings. Must not import lilims.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

__all__ = ["main", "section"]

CHANGELOG = Path(__file__).resolve().parents[2] / "CHANGELOG.md"


def section(text: str, version: str) -> str:
    """What stands under the heading of a version.

    Raises:
        SystemExit: there is no such heading, or nothing under it.
    """
    found = re.search(rf"(?ms)^## \[?{re.escape(version)}\]?( - \S+)?[ \t]*\n(.*?)(?=^## |\Z)", text)
    if not found or not found[2].strip():
        raise SystemExit(f"the changelog says nothing of {version}")
    return found[2].strip()


def main(arguments: list[str]) -> int:
    print(section(CHANGELOG.read_text("utf-8"), arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
