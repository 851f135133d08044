"""Swift's grammar, Xcode's two formats, and models that are quickly made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STARTER = Path(__file__).parents[2] / "src/lilims/ui/swift/starter"
DECLARATIONS = Path(__file__).parent / "declarations"
SWIFT = [p for folder in (STARTER, DECLARATIONS) for p in sorted(folder.rglob("*.swift")) if ".build" not in p.parts]


def mistakes(source: bytes) -> list[str]:
    """Places where a text is not Swift: line and what stands there."""
    import tree_sitter_swift
    from tree_sitter import Language, Parser

    def walk(node: Any) -> Iterator[str]:
        if node.is_error or node.is_missing:
            yield f"line {node.start_point.row + 1}: {source[node.start_byte : node.end_byte][:60]!r} {node.type}"
        elif node.has_error:
            for child in node.children:
                yield from walk(child)

    return list(walk(Parser(Language(tree_sitter_swift.language())).parse(source).root_node))


_TOKEN = re.compile(r'\s+|//[^\n]*|/\*.*?\*/|("(?:[^"\\]|\\.)*"|[{}()=;,]|[\w./$:+-]+)', re.DOTALL)


def read_project(text: str) -> Any:
    """A property list in the old style, as `project.pbxproj` is one: dictionaries, arrays, strings."""
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"not a property list at {text[at : at + 40]!r}")
        tokens += [found[1]] if found[1] else []
        at = found.end()
    value, rest = _value(tokens, 0)
    if rest != len(tokens):
        raise ValueError(f"{len(tokens) - rest} tokens behind the end")
    return value


def _value(tokens: list[str], at: int) -> tuple[Any, int]:
    if tokens[at] == "{":
        found: dict[str, Any] = {}
        at += 1
        while tokens[at] != "}":
            name = tokens[at].strip('"')
            if tokens[at + 1] != "=" or name in found:
                raise ValueError(f"{name!r} stands twice, or without a value")
            found[name], at = _value(tokens, at + 2)
            if tokens[at] != ";":
                raise ValueError(f"{name!r} is not closed")
            at += 1
        return found, at + 1
    if tokens[at] == "(":
        items, at = [], at + 1
        while tokens[at] != ")":
            item, at = _value(tokens, at)
            items.append(item)
            at += tokens[at] == ","
        return items, at + 1
    if tokens[at] in ")};,=":
        raise ValueError(f"a value is missing before {tokens[at]!r}")
    return tokens[at].strip('"').replace('\\"', '"'), at + 1


_SETTING = re.compile(r"([A-Za-z_][A-Za-z0-9_]*(?:\[[a-z]+=[^\]]+\])?)\s*=\s*(.*)")
_INCLUDE = re.compile(r'#include(\?)?\s+"([^"]+)"')


def read_settings(path: Path) -> dict[str, str]:
    """The build settings of an xcconfig file and of those that it includes; a later one wins."""
    found: dict[str, str] = {}
    for line in path.read_text("utf-8").splitlines():
        line = line.split("//", 1)[0].strip()
        if include := _INCLUDE.fullmatch(line):
            target = path.with_name(include[2])
            if target.is_file() or not include[1]:
                found |= read_settings(target)
        elif line:
            setting = _SETTING.fullmatch(line)
            if setting is None:
                raise ValueError(f"{path.name}: not a setting: {line!r}")
            found[setting[1]] = setting[2].strip()
    return found


def expanded(settings: dict[str, str], name: str) -> str:
    """The value of a setting, the `$(…)` in it replaced."""
    value = settings[name]
    while found := re.search(r"\$\(([A-Za-z0-9_]+)\)", value):
        value = value[: found.start()] + settings[found[1]] + value[found.end() :]
    return value
