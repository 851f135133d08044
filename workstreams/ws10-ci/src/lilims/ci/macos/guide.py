"""The tables of docs/macos-ci.md, made from the code: `python -m lilims.ci.macos.guide FILE` writes them into it.

Knows the page's marks, `<!-- name -->` before each table. Must not know the rest of it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from .behaviour import BEHAVIOUR
from .ladder import LADDER
from .pages import catalogue
from .rungs import OUTCOMES

__all__ = ["filled", "main"]


def filled(page: str) -> str:
    """The page with its tables as the code has them.

    Raises:
        ValueError: a mark is missing.
    """
    tables = {
        "outcomes": "| what became of it | means |\n| --- | --- |\n"
        + "".join(f"| {name} | {means} |\n" for name, means in OUTCOMES.items()),
        "probes": catalogue(LADDER),
        "behaviour": catalogue(BEHAVIOUR),
    }
    for name, table in tables.items():
        mark = f"<!-- {name} -->\n"
        if mark not in page:
            raise ValueError(f"the page has no {mark!r}")
        before, _, after = page.partition(mark)
        page = f"{before}{mark}\n{table}" + re.sub(r"\A\n?(\|.*\n)*\n*", "\n", after)
    return page


def main(file: str) -> None:
    """Writes the tables into the page."""
    path = Path(file)
    path.write_text(filled(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
