"""Gives every distribution a version: `python tools/set_version.py 0.2.0 [--date 2026-01-31]`.

Rewrites the version of the root and of every member, the umbrella's pins, and, with --date, turns the changelog's
`Unreleased` into the section of that version under a new, empty `Unreleased`. All files or none; then
`lilims ci release-check` says whether all agree. Knows lines. Must not know a distribution by name.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
import tomllib
from pathlib import Path

__all__ = ["main", "rewritten"]

VERSION = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}((a|b|rc)(0|[1-9]\d*))?")


def rewritten(root: Path, version: str, date: str | None) -> dict[Path, str]:
    """File → its new text.

    Raises:
        SystemExit: a file is not as expected; nothing was written.
    """
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    globs = settings["tool"]["uv"]["workspace"]["members"]
    files = [root / "pyproject.toml", *sorted(p for g in globs for p in root.glob(f"{g}/pyproject.toml"))]
    texts = {path: path.read_text("utf-8") for path in files}
    for path, text in texts.items():
        text, count = re.subn(r'(?m)^version = "[^"]*"$', f'version = "{version}"', text)
        if count != 1:
            raise SystemExit(f"{path}: has {count} lines `version = …`, not one")
        texts[path] = re.sub(r'"(lilims-[\w-]+(?:\[[\w-]+\])?)==[^"]*"', rf'"\1=={version}"', text)
    if date:
        changelog = root / "CHANGELOG.md"
        text, count = re.subn(
            r"(?m)^## Unreleased$", f"## Unreleased\n\n## {version} - {date}", changelog.read_text("utf-8")
        )
        if count != 1:
            raise SystemExit(f"{changelog}: has {count} sections Unreleased, not one")
        texts[changelog] = text
    return texts


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("version")
    parser.add_argument("--date", metavar="DATE", help="release the changelog's Unreleased under this date")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    options = parser.parse_args(arguments)
    if not VERSION.fullmatch(options.version):
        parser.error(f"{options.version!r} is not of the form 1.2.3, 1.2.3a1, 1.2.3b1 or 1.2.3rc1")
    if options.date:
        try:
            datetime.date.fromisoformat(options.date)
        except ValueError:
            parser.error(f"{options.date!r} is no date of the form 2026-01-31")
    for path, text in rewritten(options.root, options.version, options.date).items():
        path.write_text(text, "utf-8", newline="\n")
        print(path.relative_to(options.root).as_posix())
    return 0


if __name__ == "__main__":
    sys.exit(main())
