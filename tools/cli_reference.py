"""Writes docs/cli.md, the reference of the command line: `python tools/cli_reference.py [--check]`.

With --check nothing is written: exit code 1, and the first command that differs, if the page is not what it would be.
"""

from __future__ import annotations

import argparse
import sys
from itertools import zip_longest
from pathlib import Path

from lilims.docs import command_line_page

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"


def first_difference(old: str, new: str) -> str | None:
    """The heading of the first section that differs; None if all are equal."""
    heading = "the page's top"
    for before, after in zip_longest(old.splitlines(), new.splitlines()):
        if before != after:
            changed = after if after is not None and after.startswith("#") else None
            return changed.lstrip("# ") if changed else heading
        if before is not None and before.startswith("#"):
            heading = before.lstrip("# ")
    return None


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is not current")
    page = command_line_page()
    if not parser.parse_args(arguments).check:
        PAGE.write_text(page, "utf-8", newline="\n")
        return 0
    place = first_difference(PAGE.read_text("utf-8") if PAGE.is_file() else "", page)
    if place:
        print(f"docs/cli.md differs at {place}: run python tools/cli_reference.py", file=sys.stderr)
    return 1 if place else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
