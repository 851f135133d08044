"""Every Swift file is Swift, and so is what the guide shows: there is no compiler on every machine that tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .helpers import STARTER, SWIFT, mistakes

GUIDE = Path(__file__).parents[4] / "docs/swift.md"
CODE = re.compile(r"^```swift\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", SWIFT, ids=lambda path: path.name)
def test_a_source_has_no_syntax_errors(path: Path) -> None:
    assert mistakes(path.read_bytes()) == []


@pytest.mark.parametrize(
    ("broken", "line"), [(b"func f( {\n}\n", 1), (b"let a = 1\nlet b = \n}\n", 2), (b"struct S { var x: }\n", 1)]
)
def test_a_broken_source_is_found(broken: bytes, line: int) -> None:
    assert any(mistake.startswith(f"line {line}:") for mistake in mistakes(broken)), mistakes(broken)


def test_a_brace_that_is_taken_away_is_found() -> None:
    for path in SWIFT:
        source = path.read_bytes()
        assert mistakes(source.rstrip().removesuffix(b"#endif").rstrip()[:-1] if b"}" in source else b"func"), path.name


def test_the_examples_of_the_guide_are_swift() -> None:
    examples = CODE.findall(GUIDE.read_text("utf-8"))
    assert len(examples) >= 2
    for example in examples:
        assert mistakes(example.encode()) == [], example


def test_sources_are_short_and_say_nothing_of_models() -> None:
    """Nothing is filled in: what a model needs stands in its folder."""
    for path in SWIFT:
        text = path.read_text("utf-8")
        assert len(text.splitlines()) <= 400, path.name
        assert "{{" not in text and "stories" not in text.lower() or "Tests" in path.parts[-2], path.name


def test_the_pure_half_knows_no_core_ml() -> None:
    for path in (STARTER / "LilimsKit/Sources/LilimsCore").glob("*.swift"):
        imports = set(re.findall(r"^(?:@\w+ )?import (\w+)", path.read_text("utf-8"), re.MULTILINE))
        assert imports <= {"Foundation"}, path.name


def test_the_app_never_draws_a_models_text_as_markdown() -> None:
    """`Text("…")` of a variable is Markdown where it is a localised key: what a model says is verbatim."""
    view = (STARTER / "App/ChatView.swift").read_text("utf-8")
    assert "Text(verbatim: entry.text)" in view and "Text(entry.text)" not in view
