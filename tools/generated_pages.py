"""What docs/ has of code and recorded results: `python tools/generated_pages.py [--check] [NAME ...]`.

    cli             docs/cli.md, from the commands
    api             the lists of docs/api.md, from each module's `__all__`
    errors          the classes in docs/troubleshooting.md, from errors.py and commands that fail
    lint            docs/lint.md, from the rules
    gguf            the table of docs/gguf.md, from what the reader makes of each type
    quality         the table of docs/quality.md, from tools/results/quality.json
    full-shapes     the table of conversions in docs/performance.md, from tools/results/full_shapes.json
    peers-speed     the tables beside peers in docs/performance.md, from tools/results/peers_speed.json
    long-context    the table of ten contexts in docs/long-context.md, from tools/results/long_context.json
    conformance     docs/conformance.md, from tools/conformance/results.json
    architectures   the text of docs/architectures.md; its figures are measured, tools/architecture_table.py
    packages, data-flow, decoder-layer    docs/diagrams

Without --check the pages are written. With it nothing is: one line for each part that is not current, and exit code 1.
Knows which tool makes what. Must not know how.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
Make = Callable[[], str]


@dataclass(frozen=True)
class Generated:
    """A page, or what stands in it between `<!-- MARK: begin -->` and `<!-- MARK: end -->`."""

    page: str
    make: Make
    mark: str = ""

    def wanted(self) -> str:
        """The page as it should be."""
        if not self.mark:
            return self.make()
        text = (DOCS / self.page).read_text("utf-8")
        found = re.search(rf"(<!-- {self.mark}: begin[^>]*-->\n).*?(<!-- {self.mark}: end -->)", text, re.S)
        if found is None:
            raise SystemExit(f"docs/{self.page} has no marks <!-- {self.mark}: begin --> and end")
        return text[: found.end(1)] + self.make().strip("\n") + "\n" + text[found.start(2) :]


def _api() -> str:
    from lilims.docs import public_modules, public_names
    from lilims.docs.public import packages

    parts = []
    for package in packages():
        modules = public_modules(package)
        parts += [f"## {package}\n"] if modules else []
        for module in modules:
            if module != package:
                parts.append(f"### {module}\n")
            names = public_names(module)
            parts.append("| name | |\n|---|---|\n" + "".join(f"| `{n.name}` | {_cell(n.summary)} |\n" for n in names))
    return "\n".join(parts)


def _cell(text: str) -> str:
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([*<>])", r"\\\1", p) for p in pieces).replace("|", "\\|")


def _cli() -> str:
    from lilims.docs import command_line_page

    return command_line_page()


def _errors() -> str:
    import error_messages

    return error_messages.section()


def _lint() -> str:
    from lilims.conversion.lint import rules_page

    return rules_page()


def _gguf() -> str:
    import gguf_types

    return gguf_types.table()


def _quality() -> str:
    import quality_table

    return quality_table.table()


def _full_shapes() -> str:
    import full_shapes

    return full_shapes.table()


def _peers_speed() -> str:
    import peers_table

    return peers_table.table()


def _long_context() -> str:
    import long_context_table

    return long_context_table.table()


def _conformance() -> str:
    from conformance import records, table

    return table.render(*records.read_summary())


def _architectures() -> str:
    """The page with its figures as they are: words, names and features are the tables'."""
    import architecture_table as tool
    from lilims.conversion.architectures import supported

    rows = tool.read_rows()
    text = tool.HEAD
    for name in supported():
        figures = rows.get(name, "").split(" | ")[-3:]
        text += " | ".join([f"| {name}", tool.EXAMPLES[name], ", ".join(tool.features_of(name)), *figures]) + "\n"
    return text


PAGES = {
    "cli": Generated("cli.md", _cli),
    "api": Generated("api.md", _api, "public names"),
    "errors": Generated("troubleshooting.md", _errors, "error classes"),
    "lint": Generated("lint.md", _lint),
    "gguf": Generated("gguf.md", _gguf, "gguf types"),
    "quality": Generated("quality.md", _quality, "quality"),
    "full-shapes": Generated("performance.md", _full_shapes, "full shapes"),
    "peers-speed": Generated("performance.md", _peers_speed, "peers speed"),
    "long-context": Generated("long-context.md", _long_context, "ten contexts"),
    "conformance": Generated("conformance.md", _conformance),
    "architectures": Generated("architectures.md", _architectures),
}
DIAGRAMS = ("packages", "data-flow", "decoder-layer")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if something is not current")
    given = parser.parse_args(arguments)
    names = given.names or [*PAGES, *DIAGRAMS]
    if unknown := sorted(set(names) - {*PAGES, *DIAGRAMS}):
        parser.error(f"nothing is called {unknown[0]}; there are {', '.join([*PAGES, *DIAGRAMS])}")
    failed = False
    for name in names:
        if name in DIAGRAMS:
            import diagrams

            failed |= bool(diagrams.main([name, "--check"] if given.check else [name]))
            continue
        part = PAGES[name]
        wanted, path = part.wanted(), DOCS / part.page
        if not given.check:
            path.write_text(wanted, "utf-8", newline="\n")
        elif not path.is_file() or path.read_text("utf-8") != wanted:
            print(f"docs/{part.page} is not current: run python tools/generated_pages.py {name}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
